// --recover: after a fault the survivors make a group of their own, in the same processes, and go through one
// full iteration in it.
#pragma once
#include <memory>

#include "cli/run/worker.h"

namespace transload::cli {

// The ranks of a group except `without`, ascending, and the sizes of their nodes.
struct Rest {
  Rest(const std::vector<uint32_t>& nodes, uint32_t without);

  std::vector<uint32_t> rank_of;  // [new rank] its rank in the old group
  std::vector<uint32_t> node_sizes;
};

// The Bootstrap of the same rank in the new group.
Bootstrap place_in(const Rest& rest, const Bootstrap& before);

// Whether this rank is to continue. Where the network was cut no rank is, because nobody knows who survives.
bool goes_on(const Options& options, const WorkerResult& result);

class Recovery {
 public:
  Recovery(const Options& before, const Bootstrap& bootstrap, StatusPage& page, uint32_t culprit);

  // Makes a new group of the survivors, once the old one is freed, and says in result.recovery how it went.
  void run(WorkerResult& result);
  Group* group() { return worker_.group(); }
  const Rest& rest() const { return rest_; }

 private:
  const Rest rest_;
  Options options_;
  const Workload workload_;
  Worker worker_;
};

}  // namespace transload::cli
