// What the kernels of a rank's calls are given beside their trip.
#include "runtime/cuda/launch_facts.h"

#include "base/check.h"
#include "base/math.h"
#include "channel/command.h"

namespace transload {

DeviceCall LaunchFacts::device_call(const Word* born) const {
  TRANSLOAD_CHECK(buffers.state != nullptr && host != nullptr);
  return {.state = buffers.state,
          .host = host,
          .born = born,
          .deadline_ns = deadline_ns(),
          .blocks = rank.options.sms,
          .phase = current.phase.load(std::memory_order_relaxed)};
}

Call LaunchFacts::call(const Card& card, uint32_t arrivals_expected) const {
  Call call{};
  call.card = card;
  call.card_bytes = buffers.card;
  call.grants = buffers.grants;
  call.grant_bytes = rank.grant_bytes();
  call.arrivals_expected = arrivals_expected;
  return call;
}

StoreAreas LaunchFacts::areas(const Tensor& one, const Tensor& other) const {
  const auto area = [](const Tensor& t) { return StoreArea{t.as<char>(), uint64_t(t.bytes())}; };
  return {buffers.areas, buffers.area_count, {area(one), area(other)}};
}

RailQueue LaunchFacts::rail_queue() const {
  RailQueue queue = buffers.queue;
  queue.gave_up = &buffers.state->gave_up;
  queue.abort = &host->abort;
  queue.patience_ns = room_patience_ns(deadline_ns());
  return queue;
}

// Stages are as long as an SM allows. Scales and headers of more than kRideMax bytes do not move with their row.
NearShape LaunchFacts::near_shape(uint64_t behind_row) const {
  constexpr uint64_t kRideMax = 1024;
  NearShape shape{};
  shape.table_bytes = table_bytes_of(rank.map);
  shape.global_tables = buffers.global_tables;
  const uint64_t tables = shape.global_tables == nullptr ? shape.table_bytes : 0;
  const uint64_t of_warp = near_bytes_max / kWarpsOfBlock / kLineBytes * kLineBytes;
  TRANSLOAD_CHECK(tables < of_warp);
  shape.stage_bytes = uint32_t((of_warp - tables) / kStages / kLineBytes * kLineBytes);
  const uint64_t ride = behind_row <= kRideMax ? round_up(behind_row, kLineBytes) : 0;
  TRANSLOAD_CHECK(shape.stage_bytes >= ride + kStageBytesMin);
  shape.piece_bytes = uint32_t(shape.stage_bytes - ride);
  const GroupOptions& options = rank.options;
  shape.publish_every = rank.geometry.mapped_rails ? publish_every(options.slots) : options.rail_batch;
  shape.credit_every = credit_every(options.slots);
  return shape;
}

}  // namespace transload
