// All schedules of a tiny world: depth first, each new one made by running the world again from its start.
//
// What is walked. A schedule is the order of all actions. An action is that a warp proceeds by one primitive (a look at
// a word or at bytes, a move, a put, a count, a fence, a drain, a settle, a claim, an arrival), that a flight lands,
// that the source of a put is free, or that a rank hears of a fault. Warps are switched before every primitive, flights
// land at any time, and the source of a put is free at any time, before it lands or after. So a credit may come before
// its drained word or after it. Flights land whole: whoever touches bytes of which only some have landed breaks the
// same rule as if none had. They land once: a put that may land again is under way until a count covers it, as one that
// lands late is. Counts stay below 256, so a torn one would be a whole one. The lanes of a verb go in order.
//
// What is left out, and why that leaves out no outcome:
//   merged   A state that was walked before is not walked again: what follows depends on the state alone. A state is
//            the shared and private bytes, all flights, who has been told of which stores (see state_print.h), and of
//            each warp all that its Memory ever told it, of which its stack is a function. States are compared by
//            128-bit prints. Numbers that only name things (of flights, landings, fibers) are not part of a state,
//            because they are only ever compared; the results of the comparisons are part of it.
//   private  A warp proceeds at once, before all others, if nobody else can see its next primitive and the primitive
//            sees nobody else. Such primitives are: its start; a count (it allows new landings, but changes nothing
//            that is there; what it covers and tells is of its own warp, and earlier counts and flights do not depend
//            on it); the end of a wait that is over; a fence, which counts only for what its warp does later; a drain
//            or settle with nothing near under way. Each commutes with all that others could do before it, and they
//            cannot make it impossible. So for every schedule there is one with the same outcome in which it comes now.
//            As nothing runs for ever, nobody is put off for ever. The begin of a move, sum or put proceeds at once
//            too. It asks what is on its way to its source and target, who has still to read them, and whether its warp
//            was told of what its source holds. The last can change only by a look of this warp, which is not looking,
//            or by a store of another to the source. So the begin commutes with all but another's store to, or read of,
//            the same bytes. If such a pair breaks a rule in one order it does in the other: neither waits for the
//            other, so both orders are schedules; and if the begin comes first, its bytes are under way, or landed
//            unseen, or still to be read, when the other comes to them. (If a store comes to the source first, it is
//            under way, or has landed and was told to nobody here, when the move begins.) No rule is broken only if the
//            other is over before the begin, and that is walked only where something makes it so. A landing that would
//            make a begin clean does not hide a broken rule, since the begin could have come before it.
//   early    Bytes land when a count that covers them lands, when their own warp settles or reads them, or when
//            nothing else can happen. Landing earlier wakes nobody and tells nobody, and only takes away what a rule
//            could find under way; nobody may read what landed before he observed a count that covers it. Where no
//            rule is broken the bytes at the end are the same, because sources are private rows that stay as they are,
//            or cells that nobody may store to before they are free. The source of a put without a drained word is
//            free as late, because nothing tells of it; that of a put with one is free at any time.
// "private" and "early" keep whether a rule can be broken, and all final states where none is, but not which rule is
// broken first.
//
// While a rank may still hear of a fault, nothing that its warps do is private.
//
// A bound on preemptions serves worlds that are too large. With it states are merged only if as much of the bound is
// left, and nothing is private.
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "sim/walks/tiny_world.h"

namespace transload {

struct WalkLimits {
  static constexpr uint32_t kAll = ~uint32_t(0);
  uint32_t preemptions = kAll;  // how often another warp may run although the last one could go on
  double seconds = 600;
  uint64_t states = uint64_t(1) << 25;
  bool merged = true;    // walks no known state again
  bool hastened = true;  // lets private primitives come first, and no bytes land early
  bool to_first = true;  // ends at the first violation
};

struct Walked {
  bool complete = false;  // every schedule within the bound was walked
  double schedules = 0;   // schedules that were walked, counted apart even where they share states
  uint64_t ended = 0;     // schedules that were walked to their ends
  uint64_t states = 0;    // different states in which there was a choice
  uint64_t merged = 0;    // schedules that came to a state that was known
  uint64_t early = 0;     // landings of bytes not taken because nothing made them land yet
  uint64_t put_off = 0;   // choices not taken because a private one came first
  uint64_t beyond = 0;    // choices not taken because they lie beyond the bound
  uint64_t actions = 0;   // all of them, also those of running a world again
  uint64_t deepest = 0;   // actions of the longest schedule
  double seconds = 0;
  Violation violation;             // the first one
  std::vector<std::string> story;  // the last actions before the violation
  std::set<Print> outcomes;        // prints of final states and of violations
};

Walked walk(TinyWorld& world, const WalkLimits& limits);

}  // namespace transload
