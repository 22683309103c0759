// What a copy of this process (fork) must not have of it. A copy has no threads of the original, and everything that it
// says on its sockets is said in the original's name.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>

namespace transload {

// Copies of this process close `fd` before they do anything else.
void close_in_copies(int fd);
// Takes back close_in_copies(fd). Returns false if `fd` is not on the list, as in a copy, which has closed it already.
bool keep_in_copies(int fd);

// Keeps for ever what would talk to others, or wait for threads, if it were freed.
void abandon(std::shared_ptr<void> what);

// Tells which process made the object that has this as a member. here() is true in that process, and false in a copy of
// it.
class Origin {
 public:
  Origin();
  bool here() const;

 private:
  uint64_t generation_;
};

// The one T of this process, never destroyed. A copy of the process gets a new T: in the original's, a lock may have
// been held by another thread when the copy was made, and would never be released in the copy.
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

// A descriptor that somebody else owns. Copies of this process that are made while the object lives close it.
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
