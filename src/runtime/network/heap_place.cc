// How ranks come to a world of NVSHMEM, and to a block of its heap.
#include "runtime/network/heap_place.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/time_units.h"
#include "os/clock.h"
#include "runtime/said.h"
#include "transport/scaleout/nvshmem/queues.h"
#include "transport/scaleout/nvshmem/settings.h"

namespace transload {

namespace {

void refuse_shared_processes(GroupMaking& group) {
  const ProcessIdentity me = process_identity();
  const std::vector<ProcessIdentity> all = group.gather(ProcessSaid::pack(me), ProcessSaid::unpack);
  std::map<ProcessIdentity, uint32_t> seen;
  for (uint32_t r = 0; r < all.size(); ++r)
    if (const auto [first, fresh] = seen.emplace(all[r], r); !fresh)
      throw Error(Code::kInvalidArgument, kOfNvshmem + ranks_text(first->second, r) +
                                              " are in one process, must each be in a process of its own");
}

// What place_in_heap does, step by step, all of them collective.
class HeapSearch {
 public:
  HeapSearch(GroupMaking& group, NvshmemWorld& world, const HeapHome& home)
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
  uint32_t members() const { return world_size(worlds_, root_); }
  int my_pe() const { return int(std::count(worlds_.begin(), worlds_.begin() + state_.map.me, root_)); }
  Error no_room() const;
  void reach(HeapBlock& block) const;

  GroupMaking& group_;
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
  if (library_ == nullptr) throw Error(Code::kNotSupported, kOfNvshmem + why);
  if (!world_.started() && world_.lost().empty() && library_->status() != 0)
    throw Error(Code::kNotSupported, std::string(kOfNvshmem) +
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
    throw Error(Code::kNotSupported, std::string(kOfNvshmem) + "a network region of " +
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
  if (const std::string why = heap_refusal(facts_, worlds_); !why.empty())
    throw Error(Code::kNotSupported, kOfNvshmem + why);
}

// NVSHMEM waits without a deadline, and names nobody. So the ranks tell each other in rounds who is still in the call,
// until all have returned or one has failed. A rank that failed hears why when it asks for the result.
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
  throw Error(Code::kNotSupported, kOfNvshmem + std::string("its ") + what + " has not returned after " +
                                       std::to_string(deadline_ms) + " ms on ranks " + ranks + " of " +
                                       std::to_string(said.size()));
}

void HeapSearch::start() {
  if (std::none_of(facts_.begin(), facts_.end(), [](const HeapFacts& facts) { return facts.number == 0; })) return;
  // All have come this far: whoever is late was named by a gather, and no rank waits inside of NVSHMEM for it.
  struct Joining {
    NvshmemId id;
    NvshmemStart start;
  };
  const auto joining = std::make_shared<Joining>();
  const bool fresh = !world_.started(), first = fresh && root_ == state_.map.me;
  WorldSaid mine;
  group_.all_or_none([&] {
    if (fresh) set_environment(settings_);
    if (!first) return;
    mine.number = random_word();
    if (const int error = library_->get_id(&mine.id); error != 0)
      throw Error(
          Code::kNotSupported,
          std::string(kOfNvshmem) + "its call that makes an id for a world failed with error " + std::to_string(error));
  });
  const std::vector<WorldSaid> said = group_.gather(mine.pack(), WorldSaid::unpack);
  if (const std::string why = world_refusal(facts_, worlds_, said); !why.empty())
    throw Error(Code::kInvalidArgument, kOfNvshmem + why);
  joining->id = said[root_].id;
  try {
    const LibraryCall call(
        [fresh, joining, library = library_, home = home_, &world = world_, rank = my_pe(), ranks = int(members())] {
          if (!fresh) return;
          library->set_id(rank, ranks, &joining->id, &joining->start);
          home.there(home.device, [&] { world.start(*library, joining->start); });
        });
    in_all("init", call);
    group_.all_or_none([&] { (void)call.returned(0); });
  } catch (const Error& error) {
    if (fresh) world_.lose(std::string("it could not be started before (") + error.what() + ")");
    throw;
  }
  if (fresh) world_.join(said[root_].number, home_.device, *library_);
  for (const NvshmemSetting& s : settings_)
    if (const std::string value = s.user != nullptr ? s.user : s.value; !value.empty())
      state_.decide(s.name, value, s.user != nullptr ? "the user's" : s.rule);
}

Error HeapSearch::no_room() const {
  uint64_t used = 0;
  for (const NvshmemWorld::HeapPart& block : world_.blocks()) used += block.bytes;
  const char* const size = getenv("NVSHMEM_SYMMETRIC_SIZE");
  return {Code::kOutOfMemory, kOfNvshmem + std::string("its heap has no room for a network region of ") +
                                  std::to_string(state_.network_bytes()) + " bytes" +
                                  (home_.maps_rails ? "" : ", twice as long by queues of a NIC") +
                                  ": NVSHMEM_SYMMETRIC_SIZE is " + (size != nullptr ? size : "not set") +
                                  ", of which groups have " + std::to_string(used)};
}

void HeapSearch::reach(HeapBlock& block) const {
  std::vector<char*> mapped(state_.map.ranks, nullptr);
  for (const uint32_t r : state_.counterparts()) {
    mapped[r] = static_cast<char*>(library_->reach(block.base(), block.pes()[r]));
    if (mapped[r] == nullptr)
      throw Error(Code::kNotSupported, kOfNvshmem + std::string("rank ") + std::to_string(r) +
                                           " shares no peer memory with rank " + std::to_string(state_.map.me) +
                                           ", must, because all ranks are on one host");
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
  const std::vector<uint32_t> pe_of = group_.gather(PeSaid::pack(world_.pe()), PeSaid::unpack);
  if (const std::string why = pe_refusal(pe_of, worlds_); !why.empty())
    throw Error(Code::kInvalidArgument, kOfNvshmem + why);
  group_.all_or_none([&] {
    block->set_pes({pe_of.begin(), pe_of.end()});
    if (home_.maps_rails) reach(*block);
    home_.zero(home_.device, block->base(), block->bytes());
  });
  state_.decide("network memory", "NVSHMEM's heap",
                std::to_string(block->bytes() >> 20) + " MiB of it, as PE " + std::to_string(world_.pe()) + " of " +
                    std::to_string(world_.pes()) + "; on a GPU it takes about 1.1 GiB beside its heap");
  return block;
}

}  // namespace

std::unique_ptr<HeapBlock> place_in_heap(GroupMaking& group, const HeapHome& home) {
  refuse_shared_processes(group);
  NvshmemWorld& world = NvshmemWorld::here();
  const NvshmemTurn turn(world, group.state().options.create_deadline_ms * kMillisecondNs);
  group.all_or_none([&] {
    if (!turn.mine())
      throw Error(Code::kNotSupported, std::string(kOfNvshmem) +
                                           "another group of this process is still being made over it, after " +
                                           std::to_string(group.state().options.create_deadline_ms) + " ms");
  });
  HeapSearch search(group, world, home);
  search.look();
  search.start();
  return search.take();
}

}  // namespace transload
