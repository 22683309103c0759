// A rank's place in its group's control channel: gathers, heartbeats, suspicions, the verdict.
#pragma once
#include <transload/bootstrap.h>
#include <transload/group.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/frame_socket.h"
#include "runtime/meeting_point.h"
#include "runtime/verdict.h"

namespace transload {

class Control {
 public:
  // Collective: returns when all ranks of that name have come. Throws Error: kFault (operation "create") naming the
  // lowest rank that did not come, kInvalidArgument if the rendezvous refuses this rank or cannot be opened.
  Control(const Bootstrap& bootstrap, uint32_t deadline_ms, std::vector<uint32_t> node_of_rank);
  // Without a goodbye before it, the others hear that this rank is lost.
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  // Collective: `mine` of every rank, by rank. Throws Error{kFault}, after which the group is judged.
  std::vector<std::string> gather(const std::string& mine, const char* operation = "create");
  // The address of the interface that reaches the rendezvous; on its own host, the one by which other hosts reach it.
  // Meaningful after the first gather.
  std::string local_address() const;

  // Where the call stands: one relaxed store.
  void note(uint64_t epoch, Phase phase, bool waiting, uint32_t waiting_for) {
    const uint64_t whom = waiting_for & kWhomMask;
    note_.store(epoch << 24 | uint64_t(phase) << 21 | uint64_t(waiting) << 20 | whom, std::memory_order_relaxed);
  }

  // A wait that began at `since` (now_ns()) expired. False: it did so only because this process was stopped: nobody was
  // accused, and the wait must be started anew.
  bool suspect(const Suspicion& suspicion, uint64_t since);
  void mismatch(uint32_t culprit, const std::string& argument);
  // Blocks until there is one if a suspicion or mismatch is open (a second at most); else kNone, or the one there is.
  Verdict verdict();
  // Turns non-zero, with release, once there is a verdict.
  std::atomic<uint32_t>& abort_word() { return abort_word_; }
  // This rank leaves in peace. Returns once the others can know, or after a second.
  void goodbye();
  bool said_goodbye(uint32_t rank) const;
  // The fault that this rank reports for a verdict. The caller adds what it waited for.
  Fault fault(const Verdict& verdict, const std::string& operation, uint64_t since) const;

 private:
  friend class OnVerdict;
  static constexpr uint64_t kWhomMask = (1 << 20) - 1;
  enum class Joined : uint8_t { kYes, kRetry };

  void join(uint64_t entered);
  Joined try_join(const std::string& host, uint64_t until);
  void start_thread();
  void run();
  void hear(FrameType type, const std::string& body);
  void take_gathered(Gathered gathered);
  void apply(const Reaction& reaction);
  Heartbeat heartbeat() const;
  template <class Act>
  void react(Act act);
  void on_verdict(std::function<void()> hook);

  const Bootstrap bootstrap_;
  const uint32_t deadline_ms_;
  const std::vector<uint32_t> node_of_rank_;
  MeetingPoint point_;
  FrameSocket socket_;
  std::string why_not_;   // the last reason for which joining failed
  bool refused_ = false;  // that reason came from the rendezvous

  mutable std::mutex mutex_;  // guards what follows, up to the thread
  std::condition_variable changed_;
  std::optional<Member> member_;
  std::vector<std::optional<std::string>> parts_;  // of the round that is gathered
  uint32_t parts_count_ = 0;
  uint32_t round_ = 0;
  std::string reach_;
  bool leaving_ = false;
  bool farewell_ = false;
  bool gone_ = false;

  std::mutex hook_mutex_;
  std::function<void()> hook_;
  std::atomic<uint32_t> abort_word_{0};
  std::atomic<uint64_t> note_{0};
  std::atomic<bool> closing_{false};
  std::thread thread_;
};

// While it lives, `hook` is called right after the abort word has turned, once, mostly on the control thread; at once
// if that has happened. Once it is gone the hook is not running and never will: whoever owns what the hook touches owns
// this after it, in the order of members. One at a time for a Control, which outlives it.
class OnVerdict {
 public:
  OnVerdict() = default;
  OnVerdict(Control& control, std::function<void()> hook) : control_(&control) { control.on_verdict(std::move(hook)); }
  ~OnVerdict() { reset(); }
  OnVerdict(OnVerdict&& other) noexcept : control_(std::exchange(other.control_, nullptr)) {}
  OnVerdict& operator=(OnVerdict&& other) noexcept {
    if (this == &other) return *this;
    reset();
    control_ = std::exchange(other.control_, nullptr);
    return *this;
  }
  void reset() {
    if (Control* const control = std::exchange(control_, nullptr)) control->on_verdict(nullptr);
  }

 private:
  Control* control_ = nullptr;
};

}  // namespace transload
