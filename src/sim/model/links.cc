// When what was sent may begin to land.
#include "sim/model/links.h"

#include <algorithm>

namespace transload {
namespace {

constexpr uint64_t kDelayTimes = 50;        // of the latency, where a transfer is delayed
constexpr uint64_t kDelayLeastNs = 20'000;  // for links without latency
constexpr uint64_t kStallNs = 500'000;

bool is_slow(const LinkModel& m) {
  return m.latency_ns > 0 || m.bandwidth_gb_s > 0 || m.delay > 0 || m.reorder > 0 || m.stall > 0;
}

}  // namespace

ModelLinks::ModelLinks(const Network& setup) : setup_(setup) {
  if (slow(true) || slow(false)) busy_until_.assign(size_t(setup.ranks) * setup.ranks, 0);
}

bool ModelLinks::slow(bool scale_out) const { return is_slow(scale_out ? setup_.scale_out : setup_.scale_up); }

bool ModelLinks::chance(double of) {
  return of > 0 && double(setup_.draw(setup_.from) >> 11) < of * double(1ull << 53);
}

uint64_t ModelLinks::ready_at(const Transfer& t, uint64_t now) {
  if (dead(t.from, t.to)) return kNever;
  if (!slow(t.scale_out)) return now;
  const LinkModel& m = t.scale_out ? setup_.scale_out : setup_.scale_up;
  uint64_t& busy = busy_until_[t.from * size_t(setup_.ranks) + t.to];
  uint64_t begin = std::max(now, busy);
  if (m.bandwidth_gb_s > 0) busy = begin += uint64_t(double(t.bytes) / m.bandwidth_gb_s);
  if (chance(m.stall)) busy = begin += kStallNs;
  uint64_t ready = begin + m.latency_ns;
  if (chance(m.delay)) ready += std::max(m.latency_ns * kDelayTimes, kDelayLeastNs);
  if (chance(m.reorder)) ready += setup_.draw(setup_.from) % std::max(m.latency_ns * 2, kDelayLeastNs);
  return ready;
}

void ModelLinks::kill(uint32_t a, uint32_t b) {
  if (dead_.empty()) dead_.assign(size_t(setup_.ranks) * setup_.ranks, false);
  dead_[a * size_t(setup_.ranks) + b] = dead_[b * size_t(setup_.ranks) + a] = true;
}

}  // namespace transload
