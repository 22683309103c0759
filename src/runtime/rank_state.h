// What a group is made of, apart from who runs it: arithmetic and memory layout of one rank, and the choices it made.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "channel/board.h"
#include "layout/placement.h"
#include "layout/rank_map.h"
#include "layout/regions.h"
#include "layout/token.h"
#include "runtime/arena.h"
#include "transload/group.h"
#include "transport/scaleup/neighbours.h"

namespace transload {

constexpr uint64_t kPageBytes = 4096;

// The longest token of a first dispatch that the options allow.
TokenShape longest_token(const GroupOptions& options);

// Words of ring positions in all channels together, by kind of ring: at its producers, and at its consumers.
struct RingEnds {
  uint64_t producers, consumers;
};
struct RingWords {
  RingEnds dispatch_up, dispatch_rail, combine_up, combine_rail;
};

// Where the memory of a group lies, as one rank reaches it.
struct Mappings {
  char* network = nullptr;  // my network region, network_bytes() long
  struct Peer {
    char* base;      // start of the peer's scale-up region
    uint64_t bytes;  // bytes from `base` to the end of the peer's slabs
  };
  std::vector<Peer> scale_up;  // [peers] my own included
  std::vector<char*> mapped;   // [ranks] network regions that I may store to directly, else null; empty: none
  std::shared_ptr<Arena> arena;
};

struct RankState {
  // Throws Error{kInvalidArgument}.
  explicit RankState(const GroupOptions& given);
  RankState(const RankState&) = delete;
  RankState& operator=(const RankState&) = delete;

  // Plans the network region. On GPUs it has no send halves if rails are mapped, and is no part of the region that is
  // shared with others if it lies apart (in memory that a network brings or registers). The constructor guesses both
  // from the options; this is called again once the ranks have chosen a network.
  void plan_network(bool mapped_rails, bool apart);
  // Settles options.rail_batch, for rails that are not mapped, once it is known who carries their puts.
  void choose_rail_batch(bool by_queues);
  // Takes the addresses at which the memory lies, and makes the board of them.
  void place(Mappings given);
  uint64_t network_bytes() const { return round_up(board.net.bytes, kPageBytes); }
  uint64_t scale_up_bytes() const { return round_up(board.up.bytes, kPageBytes); }
  RegionParts region_parts(uint32_t rank, uint64_t slab_bytes) const;  // of any rank; slab_bytes is its option
  std::vector<uint32_t> counterparts() const;                          // ranks at the other ends of my rails, ascending
  std::vector<uint32_t> neighbours(bool rails_mapped) const;           // ranks whose memory I store to, ascending

  uint64_t grant_bytes() const;
  RingWords ring_words() const;
  // Memory of the rank's own for its calls; scales and headers grow with tokens_max.
  uint64_t scales_bytes() const;
  uint64_t headers_bytes() const;
  uint64_t private_bytes() const;
  uint32_t channels_of(uint32_t asked) const { return asked == 0 ? options.channels : asked; }
  void decide(const std::string& what, const std::string& choice, const std::string& why);
  // Notes that the group is lost: every later call throws this, and nothing in the slabs is lent again.
  void set_fault(const Fault& reported);
  void refuse_if_poisoned() const {
    if (fault) throw Error(*fault);
  }
  Lease lease(size_t bytes);
  // What this rank's memory is, but for private_bytes and host_bytes, which whoever made the group knows.
  MemoryReport memory() const;
  // The Error for memory that only the slabs have, and not enough; `what`: such as "a lease".
  Error no_room(const char* what, uint64_t bytes) const;

  const uint64_t id;       // unique in this process for good; a handle names its owner by it
  uint64_t common_id = 0;  // rank 0's id, which in cards tells handles of two groups apart
  GroupOptions options;
  std::unique_ptr<RankTable> ranks;
  std::unique_ptr<PlacementTable> placement;
  RankMap map{};
  Placement experts{};
  Geometry geometry{};
  Board board{};
  std::vector<char*> peer_base, mapped_base;  // tables of the board, as are `always`, rails and sources
  std::vector<uint64_t> peer_bytes;
  Word always = ~Word(0);
  bool network_apart = false;  // the network region lies in memory of its own
  std::vector<Counterpart> rails, sources;
  std::shared_ptr<Arena> arena;
  std::vector<Decision> decisions;
  std::optional<Fault> fault;
};

}  // namespace transload
