// The proxy's end of the queue of commands: it takes them in the order of their tickets and hands them to the network.
// It waits for nothing else, so a warp that waits for room in the queue needs no other rank.
#pragma once
#include <cstdint>

#include "base/canary.h"
#include "channel/command.h"

namespace transload {

// Host is who owns queue and network: a thread of a rank's host, or an agent of a simulated world.
//   calls_over()      whether no warp of this rank gives commands now; what they gave before is seen by a later look()
//   look(slot)        the words of that slot, each loaded with acquire
//   carry(command)    hands it to the network, which sets its drained word once the source is read
//   show_taken(n)     stores with release how many were taken: their slots may be written again
template <class Host>
class CommandTaker {
 public:
  enum class Took : uint8_t { kSome, kNone, kNoneAndOver };

  explicit CommandTaker(CommandRoom room) : room_(room) {}

  // Takes at most `most` commands. After kNoneAndOver the proxy may sleep until a call begins, if the network needs no
  // hand.
  Took turn(Host& host, uint32_t most) {
    // This is asked first: a command given before the calls ended is then found below.
    const bool over = host.calls_over();
    uint32_t took = 0;
    for (RailCommand command; took < most && arrived(host, command); ++took) {
      host.carry(command);
      ++taken_;
    }
    if (took > 0) {
      host.show_taken(taken_);
      return Took::kSome;
    }
    return over || (planted<Plants>(Canary::kProxySleeps) && host.calls_over()) ? Took::kNoneAndOver : Took::kNone;
  }

  // Says whether the next command is here. A proxy that wakes from a nap asks this.
  bool waits(Host& host) const {
    RailCommand command;
    return arrived(host, command);
  }

 private:
  using Plants = typename Host::Plants;

  bool arrived(Host& host, RailCommand& command) const {
    return decode(host.look(room_.slot(taken_)), room_.lap(taken_), command);
  }

  const CommandRoom room_;
  Word taken_ = 0;
};

}  // namespace transload
