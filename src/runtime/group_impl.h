// The inside of a Group: how one rank made it, and whoever runs its calls.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "channel/scaleout.h"
#include "os/fork.h"
#include "runtime/group_making.h"
#include "transload/group.h"

namespace transload {

class HeapBlock;
class Neighbours;
class Region;
struct RegionOffer;

// A path by which another rank sets a word of my network region.
struct AwaitedPath {
  uint32_t rank;
  const Word* word;
};

// The memory that a rank shares, once ranks have mapped each other's.
struct MappedMemory {
  std::shared_ptr<Region> region;  // the region of this rank
  const Neighbours& neighbours;
  char* network;          // my network region
  bool rails_mapped;      // rails map each other's network regions
  const HeapBlock* heap;  // the block in which the network regions lie; null: they lie in no block
};
Mappings mappings_of(const RankState& state, const MappedMemory& memory);

struct Group::Impl : GroupMaking {
  Impl() = default;
  virtual ~Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  virtual DispatchOutputs dispatch(const DispatchInputs& inputs) = 0;
  virtual CombineOutputs combine(const CombineInputs& inputs) = 0;
  // Tells the others that this rank leaves in peace, and after which call.
  virtual void say_goodbye() noexcept { control->goodbye(); }
  // What every call starts with: throws the fault that ended the group, if any.
  virtual void refuse_if_faulted() = 0;
  // Returns once the calls given to the stream are done; throws their fault.
  virtual void wait(const Stream&) {}
  virtual DispatchReport report(const Handle& handle, const Stream& stream) = 0;
  virtual MemoryReport memory() const = 0;
  virtual std::string scale_up_name() const = 0;
  virtual std::string scale_out_name() const = 0;
  // A word of my network region, which others write.
  virtual Word net_word(const Word* at) const;

  // To be called while a network should make its connections, and has not for `waited_ms`. If this process lacks what
  // they need, all hear it.
  void heed_lack(const ScaleOut* network, double waited_ms);

  const Origin origin;

 protected:
  // Opens the control channel and compares options; throws on every rank alike.
  void meet();
  // Collective: maps the memory of ranks that I store to, peers, and rails too if they are mapped. A fault is judged
  // before it is thrown. All ranks must have returned before one of them leaves, so gather once more.
  std::unique_ptr<Neighbours> share_memory(std::shared_ptr<Region> region, int bell_fd, bool rails_mapped);
  // Waits until the words of all these paths are set and the network has handed mine over; this thread moves the
  // network. A rank that does not come within create_deadline_ms is suspected; throws Error{kFault}.
  void await_paths(ScaleOut& network, std::vector<AwaitedPath> open);
  // Whether the ranks of `others` have credited all that I put, but for those that has_taken_all() says need not.
  // `sent`: [channel][member] of these rings, as Positions have it.
  bool all_credited(const RailRings& rings, const std::vector<Counterpart>& others, const Word* sent);
  virtual bool has_taken_all(uint32_t rank) const { return control->said_goodbye(rank); }
  // Collective: the sum of `mine` over the ranks of my host.
  uint64_t sum_on_host(uint64_t mine);

 private:
  void connect(Neighbours& neighbours, const std::vector<RegionOffer>& offers, const std::vector<uint32_t>& wanted);
};

// Collective. Makes a group on the host or on GPUs, as options.device says.
std::unique_ptr<Group::Impl> make_host_group(const GroupOptions& options);
std::unique_ptr<Group::Impl> make_cuda_group(const GroupOptions& options);

}  // namespace transload
