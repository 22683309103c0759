// Groups of one process keep their names apart.
#pragma once
#include <string>

#include "transload/bootstrap.h"

namespace transload {

// Held by a group from before it says hello until it is freed or judged. A rank of another process cannot tell two
// groups of one name apart, whatever it counts: with threads, the first of one rank may be the second of another. So a
// process has one at a time, and says so at once. Then two groups are never mixed: a name is reserved again only after
// its group said goodbye or was judged, and the rendezvous gives the next hello a new party. Nothing is counted, so
// ranks that made the group in vain more often than others, or survivors, meet under the old name.
class NameReservation {
 public:
  // Throws Error{kInvalidArgument} if a group of this process has the name, and disputes that one's reservation.
  explicit NameReservation(const Bootstrap& bootstrap);
  ~NameReservation() { release(); }
  NameReservation(const NameReservation&) = delete;
  NameReservation& operator=(const NameReservation&) = delete;
  // The group is made: its reservation cannot be disputed any more. Throws what the second one threw if there was one:
  // the other ranks may have met either.
  void settle();
  // Any thread, more than once.
  void release();

 private:
  const std::string key_;
  const std::string why_;
};

}  // namespace transload
