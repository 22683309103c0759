// One rank under another launcher: all that is known of the others comes over a group's control channel.
#include <memory>
#include <utility>

#include "cli/launch/launcher.h"
#include "cli/run/fault_injection.h"
#include "cli/run/recovery.h"
#include "cli/show/usage.h"

namespace transload::cli {
namespace {

void gather_results(Group& group, const WorkerResult& mine, const std::vector<uint32_t>& rank_of, RunOutcome& out) {
  const auto texts = group.gather(mine.to_text());
  for (size_t i = 0; i < texts.size(); ++i) {
    const uint32_t rank = rank_of[i];
    try {
      WorkerResult said = WorkerResult::from_text(texts[i]);
      if (said.rank != rank) refuse("run: the result is that of rank {}, must be its own", said.rank);
      out.results[rank] = std::move(said);
    } catch (const UsageError& error) {
      refuse("{} (rank {})", error.what(), rank);
    }
  }
}

// The rendezvous may have gone with its rank, so the lowest rank that survives opens another.
Bootstrap one_port_further(Bootstrap bootstrap) {
  bootstrap.serve = bootstrap.rank == 0;
  bootstrap.port = uint16_t(bootstrap.port == 65535 ? bootstrap.port - 1 : bootstrap.port + 1);
  return bootstrap;
}

// The survivors make a small group of their own, one port further, to tell each other what they saw.
void meet_survivors(const Options& options, const Bootstrap& bootstrap, const WorkerResult& mine, RunOutcome& out) {
  const Rest rest(options.node_sizes(), mine.fault->culprit_rank);
  GroupOptions survivors;
  survivors.topology.node_sizes = rest.node_sizes;
  survivors.bootstrap = one_port_further(place_in(rest, bootstrap));
  survivors.tokens_max = survivors.channels = survivors.slots = survivors.top_k_max = 1;
  survivors.row_bytes_max = 16;
  survivors.slab_bytes = 1 << 16;
  survivors.deadline_ms = options.group.deadline_ms + 2000;  // ranks hear of a fault within a second of each other
  survivors.scale_out = options.group.scale_out;
  survivors.provider = options.group.provider;
  Group group(survivors);
  gather_results(group, mine, rest.rank_of, out);
}

// Where a group without the culprit meets.
Bootstrap moved_on(const Options& options, const Bootstrap& bootstrap, uint32_t culprit) {
  const Bootstrap further = one_port_further(place_in(Rest(options.node_sizes(), culprit), bootstrap));
  Bootstrap moved = bootstrap;
  moved.port = further.port;
  moved.serve = further.serve;
  return moved;
}

// With --recover the survivors make a group and an iteration in it, and tell each other there what they saw.
void recover(Recovery& recovery, WorkerResult& mine, RunOutcome& out) {
  recovery.run(mine);
  if (recovery.group() != nullptr) gather_results(*recovery.group(), mine, recovery.rest().rank_of, out);
}

}  // namespace

RunOutcome join(const Options& options, const Workload& workload, const Bootstrap& bootstrap) {
  RunOutcome out;
  out.results.resize(bootstrap.ranks);
  out.endings.resize(bootstrap.ranks);
  const auto page = std::make_unique<StatusPage>();
  std::optional<SelfInjector> self;
  if (options.fault && options.fault->rank == bootstrap.rank && by_signal(*options.fault))
    self.emplace(*options.fault, *page);
  auto worker = std::make_unique<Worker>(options, workload, bootstrap, StatusBoard{page.get(), 1});
  WorkerResult result = worker->run();
  std::vector<uint32_t> all(bootstrap.ranks);
  for (uint32_t r = 0; r < bootstrap.ranks; ++r) all[r] = r;
  try {
    const bool alone = result.fault && (result.fault->kind == FaultKind::kUnreachable ||  // nobody knows who survives
                                        result.fault->culprit_rank == bootstrap.rank);
    if (goes_on(options, result)) {
      worker.reset();
      const uint32_t culprit = result.fault->culprit_rank;
      Recovery recovery(options, moved_on(options, bootstrap, culprit), *page, culprit);
      recover(recovery, result, out);
    } else if (result.fault && !alone) {
      meet_survivors(options, bootstrap, result, out);
    } else if (!result.fault && worker->group() != nullptr) {
      gather_results(*worker->group(), result, all, out);
    }
  } catch (const Error& error) {
    if (!result.fault && error.code() == Code::kFault) result.fault = error.fault();
  }
  out.partial = !out.results[bootstrap.rank];  // the others cannot be asked: only this rank's own word
  if (out.partial) out.results[bootstrap.rank] = result;
  return out;
}

}  // namespace transload::cli
