// Ranks meet before and after each timed call, so that its time is that of the call alone: no rank still checks the
// last one, and none already checks this one, while another needs the processor.
#pragma once
#include <cstdint>

#include "cli/run/status_page.h"

namespace transload::cli {

class Meeting {
 public:
  Meeting(const StatusBoard& board, uint32_t rank, uint32_t ranks, uint32_t deadline_ms)
      : board_(board), rank_(rank), ranks_(ranks), deadline_ms_(deadline_ms) {}

  // Returns when all ranks have come, however long their checks take; or when one has ended or shows no work for a
  // deadline: the call that follows will name it. `at_once`: all continue within microseconds.
  void meet(Group& group, bool at_once);

 private:
  bool wait_for_all(bool asleep);
  bool wait_for(uint32_t other, uint64_t arrivals, bool asleep) const;

  const StatusBoard board_;
  const uint32_t rank_, ranks_, deadline_ms_;
  uint64_t arrivals_ = 0;
};

}  // namespace transload::cli
