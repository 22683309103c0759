// What a Group is apart from its processes, files and clocks: arithmetic, memory layout and the state of its calls. Its
// Crew runs the warps, whose type is W, and judges.
#pragma once
#include <algorithm>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/canary.h"
#include "base/situations.h"
#include "layout/plan.h"
#include "protocol/call.h"
#include "protocol/hello.h"
#include "protocol/notify.h"
#include "protocol/tables.h"
#include "runtime/call/check_inputs.h"
#include "runtime/call/handle.h"
#include "runtime/call/whole_call.h"
#include "runtime/host/crew.h"
#include "runtime/rank_state.h"

namespace transload {

// Positions of the rings of one kind, kept from call to call.
struct RingPositions {
  std::vector<Word> sent, taken, drained;
  Word* drained_at = nullptr;  // where a proxy reaches the drained words; null: in `drained`
  RingPositions() = default;
  RingPositions(uint64_t producers, uint64_t consumers) : sent(producers), taken(consumers), drained(producers) {}
  Positions view() { return {sent.data(), taken.data(), drained_at != nullptr ? drained_at : drained.data()}; }
};

template <class W>
struct HostCalls : RankState {
  using Plants = typename W::Plants;
  using Task = typename Crew<W>::Task;

  // Throws Error{kInvalidArgument}. `crew` is kept; calls come only after reserve() and place().
  HostCalls(const GroupOptions& given, Crew<W>& crew);
  // Makes the buffers of calls. Throws Error{kOutOfMemory}.
  void reserve();
  // Makes the drained words of rails all ones for good, because this network sets none: its credits free sources, too.
  void free_by_credits();
  // Exercises every directed pair that a call may use: rails are not symmetric when node sizes differ, and connect
  // lazily.
  void try_paths();

  // How much a crew must provide: warps, and near memory for each.
  int warps_max() const { return int(crew.warps_of_role() * 3 + 2); }
  uint64_t near_bytes() const { return most_tables_bytes(map); }  // near memory for the tables of one warp

  // Calls. Both throw the fault that ended the group, if any.
  DispatchOutputs dispatch(const DispatchInputs& in);  // dispatch_call.h
  CombineOutputs combine(const CombineInputs& in);     // combine_call.h
  // Notes that the group is lost: every later call throws this fault, too. Throws it.
  [[noreturn]] void poison(const Fault& reported);

  // Steps of a call.

  // Runs the body as one call: whole_call.h says how an error leaves it.
  template <class Body>
  auto whole_call(const char* operation, Body body);
  // Takes an epoch, fills the card's common fields and sets the counters of the warps to 0.
  void begin_call(Call& call, Phase at, uint64_t rows_total, uint32_t deadline_ms);
  // Sends counts_to_peers and counts_to_nodes. Returns the parity of the mailboxes where counts of others lie.
  uint32_t exchange_counts(const Call& call);
  // The lowest rank that refused the call whose counts lie in these mailboxes: all ranks find the same.
  std::optional<Refusal> refusal(uint32_t parity) const;
  // Refuses a dispatch that would make a handle: this rank takes part until all ranks know. Throws `mine`.
  [[noreturn]] void refuse_alike(const Error& mine);  // refuse_alike.h
  // Writes the grants for all peers, with the row bases of `row_base` ([ranks + 1]).
  void write_grants(const Call& call, const GrantOffer& offer, const std::vector<uint64_t>& row_base);
  // Runs warps until all end, and with `last` ends the call. Throws the Fault if the group is faulted meanwhile.
  void run(const std::vector<Task>& tasks, const char* operation, bool last);
  // Ends a call. All that it has put has been read, so others count on nothing more of it.
  void end_call(const char* operation);
  void set_phase(Phase at, uint64_t rows_total);
  uint32_t warps_of(uint32_t channels) const { return std::min(channels, crew.warps_of_role()); }
  // Cards that one call shows, as Progress counts them.
  uint64_t cards_shown() const;
  // Records and cards that a notify sends, as Progress counts them.
  uint64_t records_to_send() const;

  Crew<W>& crew;
  RingPositions dispatch_up, dispatch_rail, combine_up, combine_rail;

  // Buffers of calls, as long as the group allows.
  std::unique_ptr<char[]> scales, headers;  // no page of them is touched before a token needs it
  std::vector<char> grants, counts_to_peers, counts_to_nodes;
  Word arrivals = 0;
  Word claims[kClaims] = {};
  Card card{};

  uint64_t epoch = 0, notify_uses = 0;
  Phase phase = Phase::kIdle;
};

template <class W>
HostCalls<W>::HostCalls(const GroupOptions& given, Crew<W>& crew_of_group) : RankState(given), crew(crew_of_group) {}

template <class W>
void HostCalls<W>::free_by_credits() {
  for (RingPositions* positions : {&dispatch_rail, &combine_rail})
    std::fill(positions->drained.begin(), positions->drained.end(), always);
}

template <class W>
void HostCalls<W>::reserve() try {
  const RingWords words = ring_words();
  const auto positions = [](const RingEnds& ends) { return RingPositions{ends.producers, ends.consumers}; };
  dispatch_up = positions(words.dispatch_up);
  dispatch_rail = positions(words.dispatch_rail);
  combine_up = positions(words.combine_up);
  combine_rail = positions(words.combine_rail);
  scales = std::make_unique_for_overwrite<char[]>(scales_bytes());
  headers = std::make_unique_for_overwrite<char[]>(headers_bytes());
  grants.resize(map.peers * grant_bytes());
  counts_to_peers.resize(map.peers * geometry.counts_bytes());
  counts_to_nodes.resize(map.nodes * geometry.node_counts_bytes());
} catch (const std::bad_alloc&) {
  throw Error(Code::kOutOfMemory, "tokens_max and channels: " + std::to_string(private_bytes()) +
                                      " bytes of private memory for calls cannot be allocated");
}

template <class W>
template <class Body>
auto HostCalls<W>::whole_call(const char* operation, Body body) {
  struct Owed {
    HostCalls& group;
    const uint64_t epoch_before;

    bool counted_on() const { return !group.fault && group.phase != Phase::kIdle; }
    bool begun() const { return group.epoch != epoch_before; }
    void give_up(const char* call, const std::string& reason) { group.crew.give_up(call, reason); }
  };
  Owed owed{*this, epoch};
  return transload::whole_call(owed, operation, body);
}

template <class W>
uint64_t HostCalls<W>::cards_shown() const {
  uint64_t sum = map.peers;
  bool stages = false;  // some ranks are not mapped, so the card is staged, once for all of them
  for (const auto* list : {&rails, &sources})
    for (const Counterpart& c : *list) {
      if (c.rank == kNobody) continue;
      sum += !board.staged(c.rank);
      stages = stages || board.staged(c.rank);
    }
  return sum + stages;
}

template <class W>
void HostCalls<W>::begin_call(Call& call, Phase at, uint64_t rows_total, uint32_t deadline_ms) {
  crew.set_deadline(deadline_ms == 0 ? options.deadline_ms : deadline_ms);
  card.epoch = ++epoch;
  call.board = &board;
  call.card = card;
  call.card_bytes = &card;
  call.grants = grants.data();
  call.grant_bytes = grant_bytes();
  call.arrivals = &arrivals;
  call.claims = claims;
  set_phase(at, rows_total);
}

template <class W>
void HostCalls<W>::set_phase(Phase at, uint64_t rows_total) {
  arrivals = 0;
  std::fill(std::begin(claims), std::end(claims), 0);
  phase = at;
  crew.note(epoch, at, rows_total);
}

template <class W>
void HostCalls<W>::write_grants(const Call& call, const GrantOffer& offer, const std::vector<uint64_t>& row_base) {
  TRANSLOAD_CHECK(grants.size() == map.peers * call.grant_bytes && row_base.size() == map.ranks + 1);
  for (uint32_t p = 0; p < map.peers; ++p) {
    auto* grant = reinterpret_cast<Grant*>(grants.data() + p * call.grant_bytes);
    *grant = offer.grant(call.epoch(), call.card.digest());
    const RankMap theirs = map.as_peer(p);
    for (uint32_t s = 0; s < map.sources(); ++s) {
      const uint32_t source = theirs.source_rank(s);
      grant->row_base()[s] = source == kNobody ? 0 : row_base[source];
    }
  }
}

template <class W>
void HostCalls<W>::run(const std::vector<Task>& tasks, const char* operation, bool last) {
  if (!crew.run(tasks)) crew.fail(operation);
  if (last) end_call(operation);
}

template <class W>
void HostCalls<W>::end_call(const char* operation) {
  if (!crew.finish_network()) crew.fail(operation);
  set_phase(Phase::kIdle, 0);
}

template <class W>
uint64_t HostCalls<W>::records_to_send() const {
  uint64_t sum = cards_shown() + map.peers;
  for (const Counterpart& c : rails) sum += c.rank != kNobody;
  for (const Counterpart& c : sources) sum += c.rank != kNobody ? map.peers : 0;
  return sum;
}

template <class W>
uint32_t HostCalls<W>::exchange_counts(const Call& call) {
  const NotifyTrip trip{.call = call,
                        .use = ++notify_uses,
                        .to_peers = counts_to_peers.data(),
                        .to_nodes = counts_to_nodes.data(),
                        .channels_max = geometry.channels};
  const std::vector<Task> tasks{[&](W& w) { run_notify(w, trip); }};
  run(tasks, "dispatch", false);
  for (uint32_t s = 0; s < map.ranks; ++s)
    crew.reads(board.mine() + board.up.counts.at(trip.parity(), s), geometry.counts_bytes());
  return trip.parity();
}

template <class W>
std::optional<Refusal> HostCalls<W>::refusal(uint32_t parity) const {
  for (uint32_t s = 0; s < map.ranks; ++s)
    if (auto said = Refusal::in(s, CountsRecord::at(board.mine() + board.up.counts.at(parity, s)))) return said;
  return std::nullopt;
}

template <class W>
void HostCalls<W>::poison(const Fault& reported) {
  if (phase == Phase::kNotify) reached<Plants>(Situation::kAbortInNotify);
  if (phase == Phase::kDispatch) reached<Plants>(Situation::kAbortInDispatch);
  if (phase == Phase::kCombine) reached<Plants>(Situation::kAbortInCombine);
  set_fault(reported);
  throw Error(reported);
}

template <class W>
void HostCalls<W>::try_paths() {
  if (map.nodes == 1) return;
  const std::vector<Task> tasks{[&](W& w) {
    w.enter(Role::kOpener, -1);
    run_hello(w, board);
  }};
  run(tasks, "create", true);
}

}  // namespace transload
