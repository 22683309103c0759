// How ranks come to a world of NVSHMEM, and to a block of its heap.
#include "runtime/heap_place.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "base/bytes.h"
#include "base/time_units.h"
#include "os/clock.h"
#include "transport/scaleout/nvshmem/queues.h"
#include "transport/scaleout/nvshmem/settings.h"

namespace transload {

namespace {

constexpr const char* kWho = "scale_out: nvshmem: ";

std::string ranks_text(uint32_t one, uint32_t other) {
  return "ranks " + std::to_string(one) + " and " + std::to_string(other);
}

// The first line in which two texts of as many lines differ.
std::string difference(const std::string& one, const std::string& other) {
  for (size_t at = 0; at < one.size();) {
    const size_t end = one.find('\n', at), there = other.find('\n', at);
    const std::string mine = one.substr(at, end - at), theirs = other.substr(at, there - at);
    if (mine != theirs) return mine + ", elsewhere " + theirs;
    at = end + 1;
  }
  return "";
}

void refuse_shared_processes(Group::Impl& group) {
  const ProcessIdentity me = process_identity();
  const auto all = group.gather(ByteWriter().u32(me.pid).u64(me.nonce).take(), [](std::string_view said) {
    ByteReader reader(said);
    const uint32_t pid = reader.u32();
    const std::pair process{pid, reader.u64()};
    if (!reader.done()) throw malformed("its process");
    return process;
  });
  std::map<std::pair<uint32_t, uint64_t>, uint32_t> seen;
  for (uint32_t r = 0; r < all.size(); ++r)
    if (const auto [first, fresh] = seen.emplace(all[r], r); !fresh)
      throw Error(Code::kInvalidArgument,
                  kWho + ranks_text(first->second, r) + " are of one process, must be one rank a process");
}

// What place_in_heap does, step by step, all of them collective.
class HeapSearch {
 public:
  HeapSearch(Group::Impl& group, NvshmemWorld& world, const HeapHome& home)
      : group_(group),
        state_(group.state()),
        world_(world),
        home_(home),
        worlds_(rail_worlds(state_.map)),
        root_(worlds_[state_.map.me]) {}

  void look();
  void start();
  std::unique_ptr<HeapBlock> take();

 private:
  NvshmemNeeds needs() const;
  void check_process();
  void in_all(const char* what, const LibraryCall& call);
  uint32_t members() const { return uint32_t(std::count(worlds_.begin(), worlds_.end(), root_)); }
  int seat() const { return int(std::count(worlds_.begin(), worlds_.begin() + state_.map.me, root_)); }
  Error no_room() const;
  void check_pes(const std::vector<int>& pe_of) const;
  void reach(HeapBlock& block) const;

  Group::Impl& group_;
  RankState& state_;
  NvshmemWorld& world_;
  const HeapHome& home_;
  const std::vector<uint32_t> worlds_;
  const uint32_t root_;
  const NvshmemLibrary* library_ = nullptr;
  std::vector<NvshmemSetting> settings_;
  std::vector<HeapFacts> facts_;
};

NvshmemNeeds HeapSearch::needs() const {
  return {.channels = state_.options.channels,
          .slots = state_.options.slots,
          .region_bytes = state_.network_bytes(),
          .by_queues = !home_.maps_rails,
          .interface = interface_of(group_.control->local_address())};
}

void HeapSearch::check_process() {
  std::string why;
  library_ = nvshmem_library(why);
  if (library_ == nullptr) throw Error(Code::kNotSupported, kWho + why);
  if (!world_.started() && world_.lost().empty() && library_->status() != 0)
    throw Error(Code::kNotSupported, std::string(kWho) +
                                         "it is already started in this process, by somebody else or by the process "
                                         "that this one is a copy of (fork); must not be");
  if (world_.started() && world_.device() != home_.device)
    throw Error(Code::kInvalidArgument, std::string("device: cuda ") + std::to_string(home_.device) + ", must be " +
                                            std::to_string(world_.device()) +
                                            " for nvshmem: this process has started it there");
  if (!home_.maps_rails && !state_.options.nic.empty())
    throw Error(Code::kInvalidArgument, "nic: " + state_.options.nic +
                                            ", must be empty for nvshmem, which takes the NIC of each process itself "
                                            "(NVSHMEM_HCA_PE_MAPPING)");
  if (!home_.maps_rails && state_.network_bytes() > kNvshmemKeyBytesMost)
    throw Error(Code::kNotSupported, std::string(kWho) + "a network region of " +
                                         std::to_string(state_.network_bytes()) + " bytes, must be at most " +
                                         std::to_string(kNvshmemKeyBytesMost) + ", which one key of its heap reaches");
  if (world_.started()) return;
  settings_ = nvshmem_settings(needs());
  if (why = unfit_setting(settings_); !why.empty()) throw Error(Code::kInvalidArgument, why);
}

void HeapSearch::look() {
  group_.all_or_none([&] { check_process(); });
  const HeapFacts mine{.lost = world_.lost(),
                       .number = world_.number(),
                       .pes = uint32_t(world_.pes()),
                       .blocks = world_.blocks(),
                       .settings = text_of(settings_)};
  facts_ = group_.gather(mine.pack(), HeapFacts::unpack);
  if (const std::string why = heap_refusal(facts_, worlds_); !why.empty()) throw Error(Code::kNotSupported, kWho + why);
}

// NVSHMEM waits without a deadline, and names nobody. So the ranks say to each other, by turns, who is still in it,
// until all have returned or one has failed; that one hears why when it asks for the result.
void HeapSearch::in_all(const char* what, const LibraryCall& call) {
  constexpr uint32_t kTurns = 8;
  constexpr uint64_t kLookNs = 40 * kMillisecondNs;
  const uint32_t deadline_ms = state_.options.create_deadline_ms;
  std::vector<std::string> said;
  const auto is_in = [](const std::string& text) { return text == "in"; };
  for (uint32_t turn = 0; turn < kTurns; ++turn) {
    bool back = false, failed = false;
    const uint64_t until = now_ns() + deadline_ms * kMillisecondNs / kTurns;
    while (!back && now_ns() < until && group_.control->abort_word().load(std::memory_order_acquire) == 0) {
      try {
        back = call.returned(kLookNs);
      } catch (const Error&) {
        back = failed = true;
      }
      group_.control->heed_interrupt();
    }
    said = group_.control->gather(failed ? "failed" : back ? "back" : "in");
    if (std::none_of(said.begin(), said.end(), is_in)) return;
    if (std::find(said.begin(), said.end(), "failed") != said.end()) return;
  }
  std::string ranks;
  for (uint32_t r = 0; r < said.size(); ++r)
    if (is_in(said[r])) ranks += (ranks.empty() ? "" : ", ") + std::to_string(r);
  throw Error(Code::kNotSupported, kWho + std::string("its ") + what + " has not returned after " +
                                       std::to_string(deadline_ms) + " ms on ranks " + ranks + " of " +
                                       std::to_string(said.size()));
}

void HeapSearch::start() {
  if (std::none_of(facts_.begin(), facts_.end(), [](const HeapFacts& facts) { return facts.number == 0; })) return;
  // All have come this far: whoever is late was named by a gather, and no rank waits inside of NVSHMEM for it.
  struct Seat {
    NvshmemId id;
    NvshmemStart start;
  };
  const auto seat = std::make_shared<Seat>();
  const bool fresh = !world_.started(), first = fresh && root_ == state_.map.me;
  std::string mine(sizeof(NvshmemId), 0);
  uint64_t number = 0;
  group_.all_or_none([&] {
    if (fresh) set_environment(settings_);
    if (!first) return;
    number = random_word();
    if (const int error = library_->get_id(&seat->id); error != 0)
      throw Error(Code::kNotSupported, std::string(kWho) + "it gives no id for a world: " + std::to_string(error));
    std::memcpy(mine.data(), &seat->id, sizeof(NvshmemId));
  });
  const auto ids = group_.gather(ByteWriter().u64(number).text(mine).take(), [](std::string_view said) {
    ByteReader reader(said);
    const uint64_t of = reader.u64();
    std::pair id{of, reader.text()};
    if (!reader.done() || id.second.size() != sizeof(NvshmemId)) throw malformed("its world");
    return id;
  });
  std::memcpy(&seat->id, ids[root_].second.data(), sizeof(NvshmemId));
  try {
    const LibraryCall call(
        [fresh, seat, library = library_, home = home_, &world = world_, rank = this->seat(), ranks = int(members())] {
          if (!fresh) return;
          library->take_seat(rank, ranks, &seat->id, &seat->start);
          home.there(home.device, [&] { world.start(*library, seat->start); });
        });
    in_all("init", call);
    group_.all_or_none([&] { (void)call.returned(0); });
  } catch (const Error& error) {
    if (fresh) world_.lose(std::string("it could not be started before (") + error.what() + ")");
    throw;
  }
  if (fresh) world_.join(ids[root_].first, home_.device, *library_);
  for (const NvshmemSetting& s : settings_)
    if (const std::string value = s.user != nullptr ? s.user : s.value; !value.empty())
      state_.decide(s.name, value, s.user != nullptr ? "the user's" : s.rule);
}

Error HeapSearch::no_room() const {
  uint64_t used = 0;
  for (const NvshmemWorld::HeapPart& block : world_.blocks()) used += block.bytes;
  const char* const size = getenv("NVSHMEM_SYMMETRIC_SIZE");
  return {Code::kOutOfMemory, kWho + std::string("its heap has no room for a network region of ") +
                                  std::to_string(state_.network_bytes()) + " bytes" +
                                  (home_.maps_rails ? "" : ", twice as long by queues of a NIC") +
                                  ": NVSHMEM_SYMMETRIC_SIZE is " + (size != nullptr ? size : "not set") +
                                  ", of which groups have " + std::to_string(used)};
}

void HeapSearch::check_pes(const std::vector<int>& pe_of) const {
  for (const uint32_t r : state_.counterparts())
    if (pe_of[r] < 0 || pe_of[r] >= world_.pes()) throw malformed("its PE");
}

void HeapSearch::reach(HeapBlock& block) const {
  std::vector<char*> mapped(state_.map.ranks, nullptr);
  for (const uint32_t r : state_.counterparts()) {
    mapped[r] = static_cast<char*>(library_->reach(block.base(), block.pes()[r]));
    if (mapped[r] == nullptr)
      throw Error(Code::kNotSupported, kWho + std::string("rank ") + std::to_string(r) +
                                           " shares no peer memory with rank " + std::to_string(state_.map.me) +
                                           ", must where all are on one host");
  }
  block.set_mapped(std::move(mapped));
}

std::unique_ptr<HeapBlock> HeapSearch::take() {
  const uint64_t bytes = nvshmem_block_bytes(needs());
  size_t at = free_block(facts_, worlds_, root_, bytes);
  const bool fresh = at == facts_[root_].blocks.size();
  const auto made = std::make_shared<void*>(nullptr);
  try {
    const LibraryCall call([fresh, made, bytes, library = library_, home = home_] {
      if (fresh) home.there(home.device, [&] { *made = library->allocate(bytes); });
    });
    in_all("malloc", call);
    group_.all_or_none([&] { (void)call.returned(0); });
  } catch (const Error& error) {
    world_.lose(std::string("a call of it failed before (") + error.what() + ")");
    throw;
  }
  if (*made != nullptr) at = world_.add(static_cast<char*>(*made), bytes);
  group_.all_or_none([&] {
    if (fresh && *made == nullptr) throw no_room();
  });
  auto block = std::make_unique<HeapBlock>(world_, at);
  const std::vector<int> pe_of = group_.gather(ByteWriter().u32(uint32_t(world_.pe())).take(), [](std::string_view pe) {
    ByteReader reader(pe);
    const int value = int(reader.u32());
    if (!reader.done()) throw malformed("its PE");
    return value;
  });
  group_.all_or_none([&] {
    check_pes(pe_of);
    block->set_pes(pe_of);
    if (home_.maps_rails) reach(*block);
    home_.zero(home_.device, block->base(), block->bytes());
  });
  state_.decide("network memory", "NVSHMEM's heap",
                std::to_string(block->bytes() >> 20) + " MiB of it, as PE " + std::to_string(world_.pe()) + " of " +
                    std::to_string(world_.pes()) + "; on a GPU it takes about 1.1 GiB beside its heap");
  return block;
}

}  // namespace

std::vector<uint32_t> rail_worlds(const RankMap& map) {
  std::vector<uint32_t> root(map.ranks);
  for (uint32_t r = 0; r < map.ranks; ++r) root[r] = r;
  const auto root_of = [&](uint32_t r) {
    while (root[r] != r) r = root[r];
    return r;
  };
  for (uint32_t r = 0; r < map.ranks; ++r)
    for (uint32_t n = 0; n < map.nodes; ++n) {
      if (n == map.node_of[r]) continue;
      const uint32_t one = root_of(r), other = root_of(map.rail_of(r, n));
      root[std::max(one, other)] = std::min(one, other);
    }
  for (uint32_t r = 0; r < map.ranks; ++r) root[r] = root_of(r);
  return root;
}

std::string HeapFacts::pack() const {
  ByteWriter said;
  said.text(lost).u64(number).u32(pes).text(settings).u32(uint32_t(blocks.size()));
  for (const NvshmemWorld::HeapPart& block : blocks) said.u64(block.bytes).u8(block.taken);
  return said.take();
}

HeapFacts HeapFacts::unpack(std::string_view said) {
  ByteReader reader(said);
  HeapFacts facts;
  facts.lost = reader.text();
  facts.number = reader.u64();
  facts.pes = reader.u32();
  facts.settings = reader.text();
  for (uint32_t left = reader.u32(); left > 0 && reader.ok(); --left) {
    const uint64_t bytes = reader.u64();
    facts.blocks.push_back({nullptr, bytes, reader.u8() != 0});
  }
  if (!reader.done()) throw malformed("its heap");
  return facts;
}

std::string heap_refusal(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds) {
  for (uint32_t r = 0; r < facts.size(); ++r)
    if (!facts[r].lost.empty())
      return "it is lost to the process of rank " + std::to_string(r) + " for good: " + facts[r].lost;
  for (uint32_t r = 0; r < facts.size(); ++r) {
    const uint32_t root = worlds[r];
    const HeapFacts &mine = facts[r], &first = facts[root];
    if (mine.number != first.number)
      return ranks_text(root, r) + " are not of one world, and a process joins one for its life: must be " +
             (first.number == 0 || mine.number == 0 ? "both new to it" : "of the same");
    const auto joined = uint32_t(std::count(worlds.begin(), worlds.end(), root));
    if (mine.number != 0 && mine.pes != joined)
      return "rank " + std::to_string(r) + " is of a world of " + std::to_string(mine.pes) +
             " processes, for its life, and rails of this group join " + std::to_string(joined) +
             " of them; must be all";
    if (mine.number == 0 && mine.settings != first.settings)
      return difference(first.settings, mine.settings) + " (" + ranks_text(root, r) + "); must be alike";
    if (mine.blocks.size() != first.blocks.size()) return ranks_text(root, r) + " have heaps of different blocks";
  }
  return "";
}

std::string heap_offset_refusal(const std::vector<uint64_t>& offsets, const std::vector<uint32_t>& worlds) {
  for (uint32_t r = 0; r < offsets.size(); ++r)
    if (const uint32_t root = worlds[r]; offsets[r] != offsets[root])
      return ranks_text(root, r) + " have their regions " + std::to_string(offsets[root]) + " and " +
             std::to_string(offsets[r]) + " bytes into its heap; must be alike";
  return "";
}

size_t free_block(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds, uint32_t root,
                  uint64_t bytes) {
  const size_t count = facts[root].blocks.size();
  for (size_t b = 0; b < count; ++b) {
    bool free = facts[root].blocks[b].bytes >= bytes;
    for (size_t r = 0; r < facts.size() && free; ++r) free = worlds[r] != root || !facts[r].blocks[b].taken;
    if (free) return b;
  }
  return count;
}

std::unique_ptr<HeapBlock> place_in_heap(Group::Impl& group, const HeapHome& home) {
  refuse_shared_processes(group);
  NvshmemWorld& world = NvshmemWorld::here();
  const NvshmemTurn turn(world, group.state().options.create_deadline_ms * kMillisecondNs);
  group.all_or_none([&] {
    if (!turn.mine())
      throw Error(Code::kNotSupported, std::string(kWho) +
                                           "another group of this process is still being made over it, after " +
                                           std::to_string(group.state().options.create_deadline_ms) + " ms");
  });
  HeapSearch search(group, world, home);
  search.look();
  search.start();
  return search.take();
}

}  // namespace transload
