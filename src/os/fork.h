// What a copy of this process (fork) must not have of it. A copy has no threads of the original, and everything that it
// says on its sockets is said in the original's name.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>

namespace transload {

// Copies of this process close it before they do anything else.
void close_in_copies(int fd);
// Copies close it no longer. False if nobody asked for it in this process: in a copy it is closed already.
bool keep_in_copies(int fd);

// Keeps for ever what would talk to others, or wait for threads, if it were freed.
void abandon(std::shared_ptr<void> what);

// Which process made the object that has it: the one that asks, or the original of which that is a copy.
class Origin {
 public:
  Origin();
  bool here() const;

 private:
  uint64_t generation_;
};

// The one T of this process, never destroyed. A copy has a new one: in the original's another thread may have held a
// lock when the copy was made, and there it is held for ever.
template <class T>
T& one_per_process() {
  struct One {
    const Origin origin;
    T value;
    One* original = nullptr;
  };
  static std::atomic<One*> one{new One};
  One* at = one.load();
  if (at->origin.here()) return at->value;
  One* const fresh = new One;
  fresh->original = at;
  if (one.compare_exchange_strong(at, fresh)) return fresh->value;
  delete fresh;
  return at->value;
}

// A descriptor that somebody else owns and copies close.
class ClosedInCopies {
 public:
  explicit ClosedInCopies(int fd) : fd_(fd) { close_in_copies(fd_); }
  ~ClosedInCopies() { keep_in_copies(fd_); }
  ClosedInCopies(const ClosedInCopies&) = delete;
  ClosedInCopies& operator=(const ClosedInCopies&) = delete;

 private:
  const int fd_;
};

}  // namespace transload
