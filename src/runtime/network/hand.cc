// When the hand moves its network, and when it sleeps.
#include "runtime/network/hand.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <exception>

#include "os/host.h"
#include "os/thread.h"
#include "transload/status.h"

namespace transload {
namespace {

constexpr int kNapMs = 1;  // the longest sleep where arrivals wake nobody

}  // namespace

Hand::Hand(ScaleOut& network) : network_(network), bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!bell_)
    throw Error(Code::kOutOfMemory,
                "group: the eventfd that wakes the thread of its network cannot be made: " + text_of_error(errno));
  thread_ = start_thread<std::jthread>([this](const std::stop_token& stop) { run(stop); });
}

Hand::~Hand() {
  thread_.request_stop();
  ring();
}

// If the network fails the thread ends. The rank hears why in its next call, when it moves the network itself.
void Hand::run(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "transload-hand");
  try {
    for (;;) {
      bool moved = false;
      {
        std::unique_lock lock(mutex_);
        if (!back_.wait(lock, stop, [this] { return !away_.load(std::memory_order_relaxed); })) return;
        if (stop.stop_requested()) return;
        moved = network_.progress() || !network_.may_sleep();
      }
      if (!moved) sleep();
    }
  } catch (const std::exception&) {
  }
}

void Hand::sleep() {
  pollfd fds[] = {{.fd = bell_.get(), .events = POLLIN, .revents = 0},
                  {.fd = network_.wait_fd(), .events = POLLIN, .revents = 0}};
  ::poll(fds, 2, network_.arrives_silently() ? kNapMs : -1);
  uint64_t rung = 0;
  (void)!::read(bell_.get(), &rung, sizeof(rung));
}

void Hand::ring() {
  const uint64_t one = 1;
  (void)!::write(bell_.get(), &one, sizeof(one));
}

// Sets away_ before it asks for the mutex, so that the thread does not take the mutex again and again.
void Hand::stay_away() {
  away_.store(true, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
}

void Hand::come_back() {
  {
    const std::lock_guard lock(mutex_);
    away_.store(false, std::memory_order_relaxed);
  }
  back_.notify_one();
  ring();
}

}  // namespace transload
