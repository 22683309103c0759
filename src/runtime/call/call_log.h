// Which thread of this process calls which rank of a group. A call that waits on the host would wait in vain for ranks
// whose calls its own thread has still to make.
#pragma once
#include <cstdint>

namespace transload {

// One rank's part of the log, as long as the rank lives.
class CallLog {
 public:
  CallLog() = default;
  // `group` is the same for all ranks of a group, and for no other; not 0.
  CallLog(uint64_t group, uint32_t rank);
  ~CallLog() { leave(); }
  CallLog(CallLog&& other) noexcept { *this = static_cast<CallLog&&>(other); }
  CallLog& operator=(CallLog&& other) noexcept;

  // Notes that this thread begins the next collective call of the rank.
  void called();
  // The lowest rank whose next call this thread must still make, as far as the log can tell: the thread makes that
  // rank's calls as well as this rank's, and has not yet made there the call that it is about to make here. kNobody:
  // no such rank is known.
  uint32_t owed() const;
  // True if that rank is of this process and has begun fewer calls than this one.
  bool behind(uint32_t rank) const;

 private:
  void leave();

  uint64_t group_ = 0;  // 0: the log is of no group
  uint32_t rank_ = 0;
};

}  // namespace transload
