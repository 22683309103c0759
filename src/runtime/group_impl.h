// The inside of a Group: one rank's memory, links, fibers and control channel, and what its calls share.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "channel/board.h"
#include "executor/fiber/host_memory.h"
#include "executor/fiber/scheduler.h"
#include "layout/placement.h"
#include "layout/rank_map.h"
#include "layout/regions.h"
#include "protocol/call.h"
#include "runtime/arena.h"
#include "runtime/control.h"
#include "runtime/handle.h"
#include "transload/group.h"

namespace transload {

using Task = Scheduler::Task;
constexpr uint32_t kWarpsOfRoleMax = 8;  // more channels than warps are claimed in turn
class Neighbours;
class SharedRegion;

// Positions of the rings of one kind, kept from call to call.
struct RingPositions {
  std::vector<Word> sent, taken, drained;
  RingPositions(uint64_t producers, uint64_t consumers) : sent(producers), taken(consumers), drained(producers) {}
  Positions view() { return {sent.data(), taken.data(), drained.data()}; }
};

struct Group::Impl {
  explicit Impl(const GroupOptions& given);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  DispatchOutputs dispatch(const DispatchInputs& in);
  CombineOutputs combine(const CombineInputs& in);
  Lease lease(size_t bytes);

  // What a call starts with: throws the fault that ended the group, if any.
  void refuse_if_faulted();
  // Takes an epoch, fills the card's common fields and sets the counters of the warps to 0.
  void begin_call(Call& call, Phase phase, uint64_t rows_total);
  // What I grant my peers: `direct`, and where. Row bases are those of `row_base` ([ranks + 1]).
  struct GrantOffer {
    bool direct;
    const char* rows;  // in my slabs, if direct
    const char* tails;
  };
  void write_grants(const Call& call, const GrantOffer& offer, const std::vector<uint64_t>& row_base);
  // Runs warps until all end. Throws the Fault if the group is faulted meanwhile.
  void run(std::vector<Task>& tasks, const char* operation, bool last);
  void set_phase(Phase phase, uint64_t rows_total);
  [[noreturn]] void fail(const char* operation);
  void decide(const std::string& what, const std::string& choice, const std::string& why);
  uint32_t channels_of(uint32_t asked) const { return asked == 0 ? options.channels : asked; }
  uint32_t warps_of(uint32_t channels) const;
  // Cards that one call shows, as Progress counts them.
  uint64_t cards_shown() const;

  GroupOptions options;
  std::unique_ptr<RankTable> ranks;
  std::unique_ptr<PlacementTable> placement;
  RankMap map{};
  Placement experts{};
  Geometry geometry{};
  std::unique_ptr<Control> control;
  std::shared_ptr<SharedRegion> region;
  Descriptor bell_fd;
  std::unique_ptr<Neighbours> neighbours;
  std::unique_ptr<ScaleOut> scale_out;
  std::shared_ptr<Arena> arena;

  Board board{};
  std::vector<char*> peer_base, mapped_base;
  std::vector<Counterpart> rails, sources;
  Word always = ~Word(0);
  std::unique_ptr<RingPositions> dispatch_up, dispatch_rail, combine_up, combine_rail;

  // Buffers of calls, as long as the group allows.
  std::vector<char> tails, grants, counts_to_peers, counts_to_nodes;
  Word arrivals = 0;
  Word tickets[8] = {};
  Card card{};

  std::unique_ptr<HostMemory> memory;
  std::unique_ptr<Scheduler> scheduler;
  uint64_t epoch = 0, notify_uses = 0;
  Phase phase = Phase::kIdle;
  uint64_t call_since = 0;  // now_ns() at the call's entry
  std::vector<Decision> decisions;
  bool faulted = false;
  Fault fault;

 private:
  void agree();
  void all_or_none(const std::function<void()>& step);
  uint64_t bytes_of_host(uint64_t mine);
  void map_memory(bool loopback);
  bool choose_loopback();
  void link_network(bool loopback);
  void make_board();
  void make_executor();
  void try_paths();
  void linger();
};

}  // namespace transload
