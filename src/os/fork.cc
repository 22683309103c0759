// Notices a copy of the process, and closes what the copy must not have.
#include "os/fork.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <set>
#include <utility>

namespace transload {

namespace {

struct Abandoned {
  std::shared_ptr<void> what;
  Abandoned* next;
};

// What the whole process owns. It is never destroyed, because groups may outlive static objects.
struct Owned {
  std::mutex mutex;  // held across a fork, so that the copy finds it free and the set whole
  std::set<int> fds;
  std::atomic<uint64_t> generation{1};
  std::atomic<Abandoned*> abandoned{nullptr};
};

Owned& owned();

void before_fork() { owned().mutex.lock(); }
void in_original() { owned().mutex.unlock(); }
void in_copy() {
  Owned& all = owned();
  for (const int fd : all.fds) ::close(fd);
  all.fds.clear();
  ++all.generation;
  all.mutex.unlock();
}

Owned& owned() {
  static Owned& all = *new Owned;
  [[maybe_unused]] static const int asked = ::pthread_atfork(before_fork, in_original, in_copy);
  return all;
}

}  // namespace

void close_in_copies(int fd) {
  Owned& all = owned();
  const std::lock_guard lock(all.mutex);
  all.fds.insert(fd);
}

bool keep_in_copies(int fd) {
  Owned& all = owned();
  const std::lock_guard lock(all.mutex);
  return all.fds.erase(fd) == 1;
}

void abandon(std::shared_ptr<void> what) {
  std::atomic<Abandoned*>& head = owned().abandoned;
  auto* const one = new Abandoned{std::move(what), head.load()};
  while (!head.compare_exchange_weak(one->next, one)) {
  }
}

Origin::Origin() : generation_(owned().generation) {}
bool Origin::here() const { return generation_ == owned().generation; }

}  // namespace transload
