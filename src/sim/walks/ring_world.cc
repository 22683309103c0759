// The two ends of one ring, as a tiny world that can be walked.
#include "sim/walks/ring_world.h"

#include <algorithm>

#include "protocol/dispatch/sender.h"

namespace transload {
namespace {

using W = WalkWarp;

uint64_t most_bytes(const RingPlan& plan) {
  uint64_t most = 0;
  for (const RingPlan::RingCall& call : plan.calls) most = std::max(most, call.bytes);
  return most;
}

size_t words_of(const RingPlan& plan) {
  size_t words = 0;
  for (const RingPlan::RingCall& call : plan.calls) words += call.tokens * call.bytes / 8;
  return words;
}

TinyWorldPlan world_plan(const RingPlan& plan) {
  TinyWorldPlan world;
  if (plan.rail)
    world.node_sizes = {1, 1};
  else
    world.node_sizes = {2};
  world.slots = plan.slots;
  world.row_bytes = most_bytes(plan);
  world.private_words = 2 * words_of(plan);
  world.publish_every = plan.publish_every;
  return world;
}

// Rank 0 sends, rank 1 takes.
class RingWorld final : public TinyWorld {
 public:
  explicit RingWorld(const RingPlan& plan)
      : TinyWorld(world_plan(plan)),
        ring_(plan),
        sent_(take_private(words_of(plan))),
        taken_(take_private(words_of(plan))) {}
  ~RingWorld() override { stop(); }

 private:
  std::vector<Task> call(uint32_t rank, uint32_t number) override {
    if (number == ring_.calls.size()) return {};
    size_t first = 0;  // index of the first word of this call
    for (uint32_t i = 0; i < number; ++i) first += ring_.calls[i].tokens * ring_.calls[i].bytes / 8;
    const RingPlan::RingCall call = ring_.calls[number];
    const size_t words = call.tokens * call.bytes / 8;
    if (rank == 0)
      for (size_t i = 0; i < words; ++i) sent_[first + i] = value(first + i);
    const int member = member_of(rank);
    if (ring_.rail)
      return {[=, this](W& w) {
        if (rank == 0)
          send(w, toward_nodes(rank), member, CallTokens{first, call});
        else
          take(w, from_sources(rank), member, CallTokens{first, call});
      }};
    return {[=, this](W& w) {
      if (rank == 0)
        send(w, peers(rank), member, CallTokens{first, call});
      else
        take(w, peers(rank), member, CallTokens{first, call});
    }};
  }

  struct CallTokens {
    size_t first;
    RingPlan::RingCall call;
  };
  static Word value(size_t i) { return 0xA0000000 + i; }

  int member_of(uint32_t rank) {
    if (ring_.rail) return rank == 0 ? 1 : int(board(1).map.slot_of(0, 1));
    return int((1 - rank) * kDispatchStreams + kFromSender);
  }

  template <class Link>
  void send(W& w, const Link& link, int member, const CallTokens& tokens) {
    w.enter(Role::kSender, 0);
    Outbox<W, Link> out(w, link);
    const Members mine = Members::only(member);
    out.begin(w, 0, mine);
    for (uint32_t i = 0; i < tokens.call.tokens && !w.failed(); ++i) {
      if (ring_.publish_every == 1) {
        const std::initializer_list<uint64_t> state{tokens.first, i, out.mark(member).count, out.credited_seen(member),
                                                    out.drained_seen(member)};
        stands_at(0, 0, state);
      }
      make_room(w, Set::only(0), out, [&](Lane) { return member; });
      if (w.failed()) break;
      const char* const token = reinterpret_cast<const char*>(sent_ + tokens.first) + i * tokens.call.bytes;
      w.scatter(TokenPieces{token, tokens.call.bytes, nullptr, 0}, Set::only(0), [&](Lane) {
        return Destination{out.next(member), nullptr, out.staged(member)};
      });
      if constexpr (std::is_same_v<Link, RailLink>)
        w.put(mine, [&](Lane m) { return out.put(m.i, tokens.call.bytes); });
      out.advance(member);
      w.publish(mine, [&](Lane m) { return out.mark(m); });
    }
    if (ring_.publish_every == 1) stands_at(0, 0, {tokens.first, tokens.call.tokens, out.mark(member).count});
    out.keep(w, mine);
    w.settle();
  }

  template <class Link>
  void take(W& w, const Link& link, int member, const CallTokens& tokens) {
    w.enter(Role::kReceiver, 0);
    Inbox<W, Link> in(w, link);
    const Members mine = Members::only(member);
    in.begin(w, 0, mine);
    auto seen = w.template table<Word>(int(link.members()), [](Lane) { return Word(0); });
    seen[member] = in.seen(member);
    char* const to = reinterpret_cast<char*>(taken_ + tokens.first);
    uint32_t i = 0;
    while (i < tokens.call.tokens && !w.failed()) {
      if (ring_.publish_every == 1) stands_at(1, 0, {tokens.first, i, in.mark(member).count, seen[member]});
      w.wait_any(
          mine, [&](Lane m) { return in.need(m); }, seen);
      in.seen(member) = seen[member];
      for (; i < tokens.call.tokens && in.arrived(member) && !w.failed(); ++i) {
        w.scatter(TokenPieces{in.first(member), tokens.call.bytes, nullptr, 0}, Set::only(0), [&](Lane) {
          return Destination{to + i * tokens.call.bytes, nullptr, false};
        });
        in.advance(member);
        w.credit(mine, [&](Lane m) { return in.mark(m); });
      }
    }
    if (ring_.publish_every == 1) stands_at(1, 0, {tokens.first, tokens.call.tokens, in.mark(member).count});
    in.keep(w, mine);
    w.settle();
  }

  void check(uint32_t rank, uint32_t number) override {
    if (rank == 0) return;
    size_t first = 0;
    for (uint32_t i = 0; i < number; ++i) first += ring_.calls[i].tokens * ring_.calls[i].bytes / 8;
    for (size_t i = 0, n = ring_.calls[number].tokens * ring_.calls[number].bytes / 8; i < n; ++i)
      if (taken_[first + i] != value(first + i)) {
        say(rank, Checker::kContent, "word " + std::to_string(i) + " of a call's tokens is not what was sent");
        return;
      }
  }

  const RingPlan ring_;
  Word* const sent_;
  Word* const taken_;
};

}  // namespace

std::unique_ptr<TinyWorld> ring_world(const RingPlan& plan) { return std::make_unique<RingWorld>(plan); }

}  // namespace transload
