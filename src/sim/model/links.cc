// When what was sent may begin to land.
#include "sim/model/links.h"

#include <algorithm>

namespace transload {
namespace {

constexpr uint64_t kDelayTimes = 50;        // a delayed transfer takes its latency this many times
constexpr uint64_t kDelayLeastNs = 20'000;  // the least delay, for a latency that is too small to multiply
constexpr uint64_t kStallNs = 500'000;

bool is_slow(const LinkModel& m) {
  return m.latency_ns > 0 || m.bandwidth_gb_s > 0 || m.message_ns > 0 || m.delay > 0 || m.reorder > 0 || m.stall > 0;
}

// How long a transfer occupies a port.
uint64_t port_ns(const LinkModel& m, const ModelLinks::Transfer& t) {
  const uint64_t bytes = m.bandwidth_gb_s > 0 ? uint64_t(double(t.bytes) / m.bandwidth_gb_s) : 0;
  return bytes + t.messages * m.message_ns;
}

}  // namespace

ModelLinks::ModelLinks(const Network& setup) : setup_(setup) {
  for (const bool scale_out : {false, true})
    if (slow(scale_out)) ports(scale_out).out.assign(setup.ranks, 0), ports(scale_out).in.assign(setup.ranks, 0);
}

bool ModelLinks::slow(bool scale_out) const { return is_slow(model(scale_out)); }

bool ModelLinks::chance(double of) {
  return of > 0 && double(setup_.draw(setup_.from) >> 11) < of * double(1ull << 53);
}

ModelLinks::Passage ModelLinks::leave(const Transfer& t, uint64_t now) {
  const LinkModel& m = model(t.scale_out);
  uint64_t& busy = ports(t.scale_out).out[t.from];
  const uint64_t begins = std::max(now, busy) + (chance(m.stall) ? kStallNs : 0);
  busy = begins + port_ns(m, t);
  return {begins, busy};
}

uint64_t ModelLinks::arrive(const Transfer& t, uint64_t begins) {
  const LinkModel& m = model(t.scale_out);
  const uint64_t comes = begins + m.latency_ns, takes = port_ns(m, t);
  if (takes == 0) return comes;
  uint64_t& busy = ports(t.scale_out).in[t.to];
  return busy = std::max(comes, busy) + takes;
}

uint64_t ModelLinks::ready_at(const Transfer& t, uint64_t now) {
  if (dead(t.from, t.to)) return kNever;
  if (!slow(t.scale_out)) return now;
  const LinkModel& m = model(t.scale_out);
  uint64_t ready = arrive(t, leave(t, now).begins);
  if (chance(m.delay)) ready += std::max(m.latency_ns * kDelayTimes, kDelayLeastNs);
  if (chance(m.reorder)) ready += setup_.draw(setup_.from) % std::max(m.latency_ns * 2, kDelayLeastNs);
  return ready;
}

void ModelLinks::kill(uint32_t a, uint32_t b) {
  if (dead_.empty()) dead_.assign(size_t(setup_.ranks) * setup_.ranks, false);
  dead_[a * size_t(setup_.ranks) + b] = dead_[b * size_t(setup_.ranks) + a] = true;
}

}  // namespace transload
