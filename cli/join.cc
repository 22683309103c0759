// One rank under another launcher: all that is known of the others comes over a group's control channel.
#include <memory>

#include "cli/fault_injection.h"
#include "cli/launcher.h"
#include "cli/worker.h"

namespace transload::cli {
namespace {

void gather_results(Group& group, const WorkerResult& mine, const std::vector<uint32_t>& rank_of, Outcome& out) {
  const auto texts = group.gather(mine.to_text());
  for (size_t i = 0; i < texts.size(); ++i) out.results[rank_of[i]] = WorkerResult::from_text(texts[i]);
}

// The ranks that are left make a small group of their own, one port further, to tell each other what they saw.
void meet_survivors(const Options& options, const Bootstrap& bootstrap, const WorkerResult& mine, Outcome& out) {
  const uint32_t culprit = mine.fault->culprit_rank;
  std::vector<uint32_t> rank_of;
  GroupOptions survivors;
  for (uint32_t first = 0; uint32_t size : options.node_sizes) {
    for (uint32_t r = first; r < first + size; ++r)
      if (r != culprit) rank_of.push_back(r);
    const uint32_t left = size - (culprit >= first && culprit < first + size ? 1 : 0);
    if (left > 0) survivors.topology.node_sizes.push_back(left);
    first += size;
  }
  survivors.bootstrap = bootstrap;
  survivors.bootstrap.ranks = uint32_t(rank_of.size());
  survivors.bootstrap.rank = bootstrap.rank - (bootstrap.rank > culprit ? 1 : 0);
  survivors.bootstrap.serve = survivors.bootstrap.rank == 0;
  survivors.bootstrap.port = uint16_t(bootstrap.port + 1);
  survivors.bootstrap.name = "survivors";
  survivors.tokens_max = survivors.channels = survivors.slots = survivors.top_k_max = 1;
  survivors.row_bytes_max = 16;
  survivors.slab_bytes = 1 << 16;
  survivors.deadline_ms = options.deadline_ms + 2000;  // they are told within a second of each other
  survivors.scale_out = options.scale_out;
  survivors.provider = options.provider;
  Group group(survivors);
  gather_results(group, mine, rank_of, out);
}

}  // namespace

Outcome join(const Options& options, const Workload& workload, const Bootstrap& bootstrap) {
  Outcome out;
  out.results.resize(bootstrap.ranks);
  out.endings.resize(bootstrap.ranks);
  const auto page = std::make_unique<Page>();
  std::optional<SelfInjector> self;
  if (options.fault && options.fault->rank == bootstrap.rank) self.emplace(*options.fault, *page);
  Worker worker(options, workload, bootstrap, {page.get(), 1});
  WorkerResult result = worker.run();
  std::vector<uint32_t> all(bootstrap.ranks);
  for (uint32_t r = 0; r < bootstrap.ranks; ++r) all[r] = r;
  try {
    const bool cut_off =
        result.fault && result.fault->kind == FaultKind::kUnreachable;  // nobody knows who is left, and where
    if (result.fault && !cut_off)
      meet_survivors(options, bootstrap, result, out);
    else if (!result.fault && worker.group() != nullptr)
      gather_results(*worker.group(), result, all, out);
  } catch (const Error& error) {
    if (!result.fault && error.code() == Code::kFault) result.fault = error.fault();
  }
  out.partial = !out.results[bootstrap.rank];  // the others cannot be asked: only this rank's own word
  if (out.partial) out.results[bootstrap.rank] = result;
  return out;
}

}  // namespace transload::cli
