// Ranks as threads of this process, a workload for them, and checks of all that they get against the reference.
#pragma once
#include <transload/transload.h>

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "reference/reference.h"
#include "tests/support/side.h"

namespace transload::test {

struct World {
  std::vector<uint32_t> node_sizes = {1};
  uint32_t experts = 8;
  uint32_t top_k = 2;
  uint32_t columns = 8;                // bf16 elements of a row
  std::vector<int64_t> tokens;         // by rank; one entry: the same for all
  std::vector<uint32_t> expert_owner;  // empty: blocks
  uint32_t channels = 2;
  uint32_t slots = 4;
  uint32_t scales_max = 8;
  uint64_t slab_bytes = 8 << 20;
  CombineWire combine_wire = CombineWire::kF32;
  uint32_t deadline_ms = 60000;
  ScaleOutChoice scale_out = ScaleOutChoice::kLoopback;
  uint64_t seed = 1;
  std::function<int32_t(uint32_t rank, int64_t token, uint32_t k)> route;  // null: uniform, with some -1

  uint32_t ranks() const { return Topology{node_sizes}.ranks(); }
  int64_t tokens_of(uint32_t rank) const { return tokens.size() == 1 ? tokens[0] : tokens.at(rank); }
  std::string describe() const;
};

// Two experts on each rank, of which a token chooses four.
World world_of(std::vector<uint32_t> node_sizes, std::vector<int64_t> tokens);

// Whose memory the outputs of a pass lie in.
enum class Homes : uint8_t {
  kLease,      // the call's own lease
  kOwn,        // `room` gives memory that no peer reaches
  kOwnLeases,  // `room` gives leases
};

// How one pass through the calls is made.
struct Pass {
  Landing landing = Landing::kAuto;
  CombineSource source = CombineSource::kAuto;
  CombineWire wire = CombineWire::kBf16;
  int biases = 0;
  uint32_t bias_off = 0;  // bytes beyond an address of 16
  bool weights = false;   // combine sums them as well
  bool wide_ids = false;  // int64
  bool wide_out = false;  // int64 ids come back
  bool own_out = false;   // combine's result goes to memory that the caller names
  uint32_t channels = 0;
  uint32_t columns = 0;  // 0: the world's
  uint32_t scales = 0;
  int32_t scale_gap = -1;  // scalars between the scales of two tokens; -1: scales lie column by column
  uint32_t alignment = 1;
  uint32_t deadline_ms = 0;  // of each call; 0: the group's
  Homes homes = Homes::kLease;
  std::vector<int64_t> rows_max = {};  // by rank, 0: none; rows beyond it are dropped. Empty: none
};

// The routing of a world as the reference takes it.
reference::Problem problem_of(const World& world);
uint16_t element(uint64_t seed, uint32_t rank, int64_t row, uint32_t column);

// The outputs of a dispatch, in memory that the host reads.
struct Seen {
  DispatchReport report;
  Tensor x, scales, topk_idx, topk_weights, source;
  Landing landing;
};

// One rank of a team. A pass is a dispatch, a combine, a cached dispatch and a combine, of which every output is
// compared. Reports through GoogleTest, naming the rank.
class Member {
 public:
  Member(const World& world, const reference::Problem& problem, Group& group);
  void pass(const Pass& pass, uint64_t salt);

 private:
  // Gives room to the outputs of the next call. expect_given() checks that each output was asked for once, and lies in
  // the room that it got.
  RoomFor room_of(const Pass& pass);
  void expect_given(const Pass& pass, std::initializer_list<std::pair<Output, Tensor>> outputs);
  Seen taken(const Pass& pass, const DispatchOutputs& out);
  int64_t crossing() const;  // copies of my tokens to other nodes
  void check_dispatch(const Pass& pass, const Seen& out, uint64_t salt, bool cached);
  void check_rows_left(const Seen& out);
  void check_combine(const Pass& pass, const Tensor& sums, const Tensor& sums_of_weights, uint64_t salt);
  void combine(const Pass& pass, const Handle& handle, uint64_t salt);

  const World& world_;
  reference::Problem problem_;  // with the pass's rows_max
  Group& group_;
  TensorHome& side_;
  reference::Received received_;
  std::vector<std::pair<Output, void*>> asked_;
  std::vector<Lease> leases_;
};

// The options of one rank of the world.
GroupOptions options_of(const World& world, uint32_t rank, uint16_t port, const std::string& name = "test");

// Makes the group on every rank (a thread each), runs the body, frees it. Exceptions become test failures.
void run_team(const World& world, const std::function<void(Group&, uint32_t rank)>& body);
// The usual body: these passes, in order, on every rank.
void run_passes(const World& world, const std::vector<Pass>& passes);

}  // namespace transload::test
