// Stackful fibers of one thread: made once, then used for any number of runs. A fiber must not wait inside a catch
// handler: exceptions in flight belong to the thread, not to the fiber.
#pragma once
#include <cstddef>
#include <memory>

namespace transload {

class Fibers {
 public:
  using Entry = void (*)(void* argument);

  // Throws Error{kOutOfMemory} if the stacks cannot be had. Their pages are touched only as they are used.
  explicit Fibers(int count);
  ~Fibers();  // no fiber may be in the middle of its entry
  Fibers(const Fibers&) = delete;
  Fibers& operator=(const Fibers&) = delete;

  int count() const { return count_; }

  // Fiber i will call entry(argument) when it is resumed next. It must be idle.
  void start(int i, Entry entry, void* argument);

  // Runs fiber i until it suspends (true) or its entry has returned (false). It is not called from inside a fiber.
  bool resume(int i);

  // Called inside a fiber: goes back to the caller of resume().
  void suspend();

 private:
  struct Fiber;
  static void run_all(Fiber& fiber);
  void leave(Fiber& fiber, bool for_good);

  int count_;
  size_t slot_bytes_;  // bytes of a stack with its guard page
  char* arena_ = nullptr;
  Fiber* running_ = nullptr;
  std::unique_ptr<Fiber[]> fibers_;
};

}  // namespace transload
