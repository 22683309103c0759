// How a proxy takes commands, and when it sleeps.
#include "runtime/network/proxy.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <exception>
#include <utility>

#include "base/time_units.h"
#include "os/clock.h"
#include "os/host.h"
#include "os/thread.h"
#include "transload/status.h"

namespace transload {

namespace {

constexpr uint32_t kCommandsOfATurn = 64;  // the most commands before the network is moved again
// How long naps are, where nobody rings for a replay of a graph: short while replays follow each other, and later long
// enough to cost an idle proxy less than a twentieth of a core.
constexpr long kNapNs = 50'000, kNapMostNs = 2'000'000;
constexpr uint64_t kReplaysNs = 20'000'000;  // the longest time between replays that follow each other
constexpr uint64_t kNapShare = 20;           // a nap lasts this many times the processor time that it costs
constexpr uint64_t kNapsSeen = 8;            // fewer naps in a row do not tell what one costs
constexpr long kSleepNs = 50'000'000;        // the longest sleep, after which the network is moved again
constexpr uint32_t kTurnsBeforeSleep = 256;  // turns that found nothing to do

// Nanoseconds of a processor that this thread has used.
uint64_t ran_ns() {
  timespec ran{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ran);
  return uint64_t(ran.tv_sec) * kSecondNs + uint64_t(ran.tv_nsec);
}

}  // namespace

Proxy::Proxy(ScaleOut& link, const Place& place, std::function<bool()> naps,
             std::function<void(const std::exception&)> broken)
    : link_(link),
      place_(place),
      naps_(std::move(naps)),
      broken_(std::move(broken)),
      taker_({place.queue.slot_count}),
      bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!bell_)
    throw Error(Code::kOutOfMemory, "group: the eventfd that wakes the proxy cannot be made: " + text_of_error(errno));
  thread_ = start_thread<std::jthread>([this](std::stop_token stop) { run(stop); });
}

Proxy::~Proxy() {
  thread_.request_stop();
  wake();
}

void Proxy::orphan() {
  const std::lock_guard lock(mutex_);
  orphaned_ = true;
  rest(wakes());
}

bool Proxy::end(uint64_t until) {
  thread_.request_stop();
  wake();
  while (!ended_.load(std::memory_order_acquire)) {
    if (now_ns() > until) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

void Proxy::wake() {
  wakes_.fetch_add(1, std::memory_order_acq_rel);
  const uint64_t one = 1;
  (void)!::write(bell_.get(), &one, sizeof(one));
}

bool Proxy::lost(LostPeer& peer) {
  const std::lock_guard lock(mutex_);
  if (lost_.empty()) return false;
  peer = std::move(lost_.front());
  lost_.pop_front();
  return true;
}

void Proxy::run(std::stop_token stop) {
  pthread_setname_np(pthread_self(), "transload-proxy");
  prctl(PR_SET_TIMERSLACK, 1000);  // one microsecond; by default the system lets a nap last twice as long
  try {
    for (uint32_t idle = 0; !stop.stop_requested();) {
      const Taker::Took took = turn();
      if (took == Taker::Took::kSome) {
        idle = 0;
        idle_since_ = now_ns();
      } else if (++idle <= kTurnsBeforeSleep || took != Taker::Took::kNoneAndOver) {
        sched_yield();
      } else {
        sleep();  // one turn follows, and another sleep if it finds nothing to do
      }
    }
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex_);
    if (!orphaned_) broken_(error);
  }
  ended_.store(true, std::memory_order_release);
}

// Takes commands and moves the network. kSome: one of the two had something to do.
Proxy::Taker::Took Proxy::turn() {
  turns_.fetch_add(1, std::memory_order_relaxed);
  const Taker::Took took = taker_.turn(*this, kCommandsOfATurn);
  const bool moved = link_.progress() || took == Taker::Took::kSome;
  for (LostPeer peer; link_.lost(peer);) {
    const std::lock_guard lock(mutex_);
    lost_.push_back(peer);
  }
  if (moved) return Taker::Took::kSome;
  quiet_.store(link_.quiet(), std::memory_order_release);
  return took;
}

CommandSlot Proxy::look(uint32_t slot) const {
  CommandSlot copy;
  for (uint32_t i = 0; i < CommandSlot::kWords; ++i)
    copy.words[i] = std::atomic_ref<Word>(place_.queue.slots[slot].words[i]).load(std::memory_order_acquire);
  return copy;
}

void Proxy::show_taken(Word count) {
  taken_.store(count, std::memory_order_release);
  std::atomic_ref<Word>(*place_.taken).store(count, std::memory_order_release);
}

void Proxy::carry(const RailCommand& c) {
  quiet_.store(false, std::memory_order_release);
  const RailWord to{c.to, c.rank};
  switch (c.verb) {
    case RailVerb::kPut:
      return link_.put(put_of(c, place_.network));
    case RailVerb::kPublish:
      return link_.publish(to, c.count);
    case RailVerb::kCredit:
      return link_.credit(to, c.count);
  }
}

long Proxy::nap_ns(uint64_t now) const {
  if (now - idle_since_ < kReplaysNs) return kNapNs;
  return std::clamp(long(kNapShare * nap_cost_ns_), kNapNs, kNapMostNs);
}

// Between naps the proxy looks at the queue alone, because asking the network costs more than a nap lasts.
void Proxy::sleep() {
  if (!link_.may_sleep()) return;
  const bool silent = link_.arrives_silently();
  bool naps = silent;
  if (!naps) {
    const std::lock_guard lock(mutex_);
    naps = orphaned_ || naps_();
  }
  pollfd fds[] = {{.fd = bell_.get(), .events = POLLIN, .revents = 0},
                  {.fd = link_.wait_fd(), .events = POLLIN, .revents = 0}};
  const uint64_t until = now_ns() + kSleepNs, ran = ran_ns();
  uint64_t times = 0;
  for (uint64_t now = now_ns(); now < until; now = now_ns()) {
    const timespec most{.tv_sec = 0, .tv_nsec = naps ? nap_ns(now) : kSleepNs};
    ++times;
    if (::ppoll(fds, 2, &most, nullptr) != 0 || !naps || silent || taker_.waits(*this)) break;
  }
  if (times >= kNapsSeen) nap_cost_ns_ = (ran_ns() - ran) / times;
  uint64_t rung = 0;
  (void)!::read(bell_.get(), &rung, sizeof(rung));
}

}  // namespace transload
