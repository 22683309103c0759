// Turns, naps and sleep of a simulated proxy.
#include "sim/world/sim_proxy.h"

#include "base/time_units.h"

namespace transload {
namespace {

constexpr uint64_t kNapNs = 50'000;  // the longest nap; a real proxy naps as long while replays follow each other

}  // namespace

void SimProxy::run() {
  using Taker = CommandTaker<SimProxy>;
  fiber_ = world_.seeded->running();
  Taker taker(memory_.rail().room);
  while (!ended()) {
    news_ = false;
    const Taker::Took took = stopped_ ? Taker::Took::kNoneAndOver : taker.turn(*this, world_.commands_of_a_turn);
    if (took == Taker::Took::kNoneAndOver) {
      asleep_ = true;
      world_.on_sleep(false);
      while (!ended() && (stopped_ || !calls_)) wait();
      asleep_ = false;
      world_.on_sleep(true);
    } else if (took == Taker::Took::kNone && !news_) {
      wait();
    }
  }
}

// Naps at times for no reason, as a thread that the system keeps waiting.
void SimProxy::be_late() {
  if (ended() || !world_.shared.chance->in_256(world_.nap_in_256)) return;
  const uint64_t nap = ++naps_;
  const uint64_t until = world_.timeline->now() + world_.shared.chance->next() % kNapNs;
  world_.timeline->at(until, [this, nap] {
    if (nap == naps_) wake();
  });
  while (!ended() && world_.timeline->now() < until) wait();
  ++naps_;
}

void SimProxy::wait() {
  blocked_ = true;
  world_.seeded->block();
  blocked_ = false;
}

void SimProxy::wake() {
  if (blocked_) world_.seeded->wake(fiber_);
}

void SimProxy::begin_calls() {
  calls_ = true;
  wake();
}

void SimProxy::end_calls() {
  calls_ = false;
  stir();
}

void SimProxy::stir() {
  news_ = true;
  if (!asleep_) wake();
}

void SimProxy::stop() { stopped_ = true; }

void SimProxy::vanish() { wake(); }

CommandSlot SimProxy::look(uint32_t slot) {
  CommandSlot seen{};
  slot_ = slot;
  for (uint32_t i = 0; i < CommandSlot::kWords; ++i) {
    if (world_.shared.chance->in_256(world_.shared.manners->switches)) world_.seeded->yield();
    if (ended()) return {};
    seen.words[i] = memory_.look_as_proxy(&memory_.rail().slots[slot].words[i]);
  }
  be_late();
  return seen;
}

void SimProxy::carry(const RailCommand& command) {
  if (!ended()) memory_.carry(memory_.rail().asked[slot_], command);
}

}  // namespace transload
