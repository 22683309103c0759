// All schedules of a tiny world: depth first, each new one made by running the world again from its start.
//
// What is walked. A schedule is the order of all actions: a warp proceeds by one primitive (a look at a word or at
// bytes, a move, a put, a count, a fence, a drain, a settle, a claim, an arrival), a flight lands, the source of a put
// is free, a rank hears of a fault. Warps are switched before every primitive, flights land at any time, and the source
// of a put is free at any time, before it lands or after: so a credit comes before its drained word, and the other way
// round. Flights land whole: whoever touches bytes of which only some have landed breaks a rule, and the same one as if
// none had. They land once: a put that may land again is under way until a count covers it, as one that lands late is.
// And counts stay below 256, so that their lowest byte is all that could be torn. The lanes of a verb go in order.
//
// What is left out, and why that leaves out no outcome:
//   merged   A state that was walked before is not walked again: what follows depends on the state alone. A state is
//            the shared and private bytes, all flights, who has been told of which stores (see state_print.h), and of
//            each warp all that its Memory ever told it, of which its stack is a function. States are compared by
//            128-bit prints. Numbers that only name things (of flights, landings, fibers) are not part of it: they
//            are used only to be compared, and what the comparisons give is.
//   private  A warp whose next primitive nobody else can see, and which sees nobody, proceeds at once, before all
//            others: its start; a count (it changes what may happen, but nothing that is there; what it covers and
//            tells is of its own warp, and counts and flights that came earlier do not depend on it); the end of a
//            wait that is over; a fence, which counts only for what its warp does later; a drain or settle with
//            nothing near under way. Each commutes with all that others could do before it, and cannot be made
//            impossible by them, so every schedule has one with the same outcome in which it comes now; and as
//            nothing runs for ever, nobody is put off for ever. So does the begin of a move, sum or put. It asks
//            what is on its way to its source and target, who has still to read them, and whether its warp has been
//            told of what its source holds. The last changes only by what this warp looks at, and it is not looking;
//            or by a store of another to the source. So another's store to, or read of, the same bytes is all that it
//            does not commute with, and that breaks a rule here if it does there: neither waits for the other, so
//            both orders are schedules; and begun first its bytes are under way, or landed unseen, or still to be
//            read, when the other comes to them. (A store that comes to the source first is under way, or has landed
//            and was told to nobody here, when the move begins.) The one order without a broken rule is that the
//            other is over before it begins, and that is only walked where something makes it so. A landing that
//            would make a begin clean breaks a rule before it: the begin could have come first.
//   early    Bytes land when a count that covers them lands, when their own warp settles or reads them, or when
//            nothing else can happen. Earlier landing wakes nobody and tells nobody, and takes away only what a rule
//            could find under way; nobody may read what landed before he observed a count that covers it. Where no
//            rule is broken the bytes at the end are the same, for sources are private rows that stay as they are, or
//            cells that nobody may store to before they are free. The source of a put without a drained word is free
//            as late, for nothing tells; that of one with it at any time.
// The last two keep whether a rule can be broken, and all final states where none is; not which rule it is first.
//
// Where a rank may yet hear of a fault, nothing of it is private.
//
// With a bound on preemptions, which is for what is too large, states are merged only with what is left of the bound,
// and nothing is private.
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "sim/walks/tiny_world.h"

namespace transload {

struct WalkLimits {
  static constexpr uint32_t kAll = ~uint32_t(0);
  uint32_t preemptions = kAll;  // times that another warp runs though the last one could run on
  double seconds = 600;
  uint64_t states = uint64_t(1) << 25;
  bool merged = true;    // states that are known are not walked again
  bool hastened = true;  // what is private comes first, and no bytes land early
  bool to_first = true;  // ends at the first violation
};

struct Walked {
  bool complete = false;  // every schedule within the bound
  double schedules = 0;   // that were walked, those that share states counted apart
  uint64_t ended = 0;     // walked to their ends
  uint64_t states = 0;    // different ones, where something was to choose
  uint64_t merged = 0;    // schedules that came to a state that was known
  uint64_t early = 0;     // landings of bytes not taken because nothing made them land yet
  uint64_t put_off = 0;   // choices not taken because a private one came first
  uint64_t beyond = 0;    // choices not taken because of the bound
  uint64_t actions = 0;   // all, those of running again included
  uint64_t deepest = 0;   // actions of the longest schedule
  double seconds = 0;
  Violation violation;             // the first
  std::vector<std::string> story;  // the last actions before it
  std::set<Print> outcomes;        // final states and violations, without what only names things
};

Walked walk(TinyWorld& world, const WalkLimits& limits);

}  // namespace transload
