// Groups of one process keep their names apart.
#pragma once
#include <string>

#include "transload/bootstrap.h"

namespace transload {

// A group holds one from before it says hello until it is freed or judged. A rank of another process cannot tell two
// groups of one name apart: with threads, the first group of one rank may be the second of another. So a process may
// have one group of a name at a time, and a second is refused at once. Then groups are never mixed: a name is reserved
// again only after its group said goodbye or was judged, and the rendezvous gives the next hello a new party. Nothing
// is counted, so survivors, or ranks that have tried more often than others, meet under the old name.
class NameReservation {
 public:
  // Throws Error{kInvalidArgument} if a group of this process has the name, whose reservation then is disputed.
  explicit NameReservation(const Bootstrap& bootstrap);
  ~NameReservation() { release(); }
  NameReservation(const NameReservation&) = delete;
  NameReservation& operator=(const NameReservation&) = delete;
  // The group is made: its reservation cannot be disputed any more. Throws if it was disputed before, because the other
  // ranks may have met the second group instead.
  void settle();
  // Any thread may call this, and more than once.
  void release();

 private:
  const std::string key_;
  const std::string why_;
};

}  // namespace transload
