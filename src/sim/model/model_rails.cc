// How the puts and counts of a warp go out where its rails have a proxy, or queues of a NIC.
#include "base/check.h"
#include "channel/nic_queue.h"
#include "sim/model/model_memory.h"

namespace transload {

RailCommand ModelMemory::command_here(const Put& put) const {
  for (const void* at : {static_cast<const void*>(put.from), static_cast<const void*>(put.drained)})
    TRANSLOAD_CHECK(at == nullptr || (s_.space->holds(at) && s_.space->region_of(at) == region()));
  return command_of(put, s_.space->region(region()));
}

// Gives a command to the proxy: takes a ticket, waits for room for it, and stores its words, which land in any order.
void ModelMemory::give(int w, const RailCommand& command) {
  const Word ticket = rail_.tickets++;
  if (!wait_for_room(w, ticket)) return;
  const uint32_t slot = rail_.room.slot(ticket);
  const CommandSlot filled = encode(command, rail_.room.lap(ticket));
  rail_.asked[slot] = s_.flights->asked_by(agent(w));
  for (uint32_t i = 0; i < CommandSlot::kWords; ++i) {
    if (!step(w)) return;
    s_.flights->command(agent(w), &rail_.slots[slot].words[i], filled.words[i], true);
  }
}

// The warp looks again only if what it last saw leaves no room. False if its rank has failed.
bool ModelMemory::wait_for_room(int w, Word ticket) {
  WarpOfRail& mine = warps_[size_t(w)];
  while (!rail_.room.fits(ticket, mine.taken)) {
    const Word before = mine.taken, now = look(w, rail_.taken, true);
    if (now > before) {
      mine.taken = now;
      continue;
    }
    Need need{rail_.taken, ticket + 1 - rail_.room.slots, me_.rank, Waiting::kRoom};
    Park room{.needs = &need, .count = 1, .all = true, .role = mine.role, .channel = mine.channel};
    if (!park(w, room)) return false;
  }
  return !gone_;
}

// Adds to a word what is new since its ring was last told of. The ring has one writer at a time, though it may be
// another warp in each call, so the rank keeps that count.
void ModelMemory::add(int w, const RailWord& to, Word count) {
  const uint32_t region = me_.first_region + to.rank;
  Word& told = told_.try_emplace({to.rank, to.offset}, to.queue == 0 ? 0 : me_.counts_from).first->second;
  s_.flights->mark(agent(w), {.word = reinterpret_cast<Word*>(s_.space->region(region) + to.offset),
                              .count = count,
                              .region = region,
                              .release = true,
                              .far = true,
                              .queue = to.queue,
                              .adds = true,
                              .added = added_to(told, count)});
}

Word ModelMemory::look_as_proxy(const Word* word) { return s_.flights->observe(rail_.proxy, word, true); }

void ModelMemory::carry(AskedBy asked, const RailCommand& command) {
  if (asked.runs != rail_.runs) {
    rail_.runs = asked.runs;
    rail_.run = s_.flights->latest();
  }
  asked.run = rail_.run;
  char* const mine = s_.space->region(region());
  const uint32_t to = me_.first_region + command.rank;
  if (command.verb != RailVerb::kPut) {
    Word* const word = reinterpret_cast<Word*>(s_.space->region(to) + command.to);
    s_.flights->mark(asked, {.word = word, .count = command.count, .region = to, .release = true, .far = true});
    return;
  }
  s_.flights->put_by(rail_.proxy, asked, put_of(command, mine), to);
}

void ModelMemory::show_taken(Word count) {
  s_.flights->mark(
      rail_.proxy,
      {.word = rail_.taken, .count = count, .region = region(), .release = true, .far = false, .at_home = true});
}

}  // namespace transload
