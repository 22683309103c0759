// The group of the survivors: see recovery.h.
#include "cli/run/recovery.h"

#include "cli/show/usage.h"

namespace transload::cli {
namespace {

constexpr uint32_t kToldApartMs = 2000;  // ranks are told of a fault within a second of each other

Options options_of(const Options& before, const Rest& rest, uint32_t rank) {
  Options out = before;
  out.fault.reset();
  out.recover = false;
  out.group.topology.node_sizes = rest.node_sizes;
  out.tokens.clear();
  for (const uint32_t r : rest.rank_of) out.tokens.push_back(before.tokens[r]);
  out.warmup = 0;
  out.iterations = 1;
  out.rows_max = 0;
  out.graph = false;
  out.dump.clear();
  out.group.deadline_ms = before.group.deadline_ms + kToldApartMs;
  if (out.cuda) out.local_rank = before.device_of(rank).device_id;  // each rank keeps its GPU
  return out;
}

}  // namespace

Rest::Rest(const std::vector<uint32_t>& nodes, uint32_t without) {
  uint32_t rank = 0;
  for (const uint32_t size : nodes) {
    uint32_t left = 0;
    for (const uint32_t end = rank + size; rank < end; ++rank)
      if (rank != without) rank_of.push_back(rank), ++left;
    if (left > 0) node_sizes.push_back(left);
  }
}

Bootstrap place_in(const Rest& rest, const Bootstrap& before) {
  Bootstrap out = before;
  out.ranks = uint32_t(rest.rank_of.size());
  for (uint32_t i = 0; i < out.ranks; ++i)
    if (rest.rank_of[i] == before.rank) out.rank = i;
  out.name = "survivors";
  return out;
}

bool goes_on(const Options& options, const WorkerResult& result) {
  return options.recover && result.fault && result.fault->kind != FaultKind::kUnreachable &&
         result.fault->culprit_rank != result.rank && result.fault->culprit_rank < options.ranks();
}

Recovery::Recovery(const Options& before, const Bootstrap& bootstrap, StatusPage& page, uint32_t culprit)
    : rest_(before.node_sizes(), culprit),
      options_(options_of(before, rest_, bootstrap.rank)),
      workload_(options_),
      worker_(options_, workload_, place_in(rest_, bootstrap), {&page, 1}) {}

void Recovery::run(WorkerResult& result) {
  const WorkerResult seen = worker_.run();
  result.recovery = seen.fault            ? "fault: " + seen.fault->to_string()
                    : !seen.error.empty() ? seen.error
                    : seen.mismatch       ? "wrong: " + seen.mismatch->to_string()
                                          : kRecovered;
}

}  // namespace transload::cli
