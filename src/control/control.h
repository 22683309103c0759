// A rank's place in its group's control channel: gathers, heartbeats, suspicions, the verdict.
#pragma once
#include <transload/bootstrap.h>
#include <transload/group.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "control/frame_socket.h"
#include "control/gather_round.h"
#include "control/meeting_point.h"
#include "control/name_reservation.h"
#include "control/verdict.h"

namespace transload {

// How long a member waits, and who may end that sooner.
struct ControlWaits {
  ControlWaits(uint32_t ms, uint32_t ms_until_made = 0, std::function<bool()> ends_it = nullptr)
      : deadline_ms(ms), create_deadline_ms(ms_until_made != 0 ? ms_until_made : ms), interrupted(std::move(ends_it)) {}
  uint32_t deadline_ms;
  uint32_t create_deadline_ms;        // deadline of every wait until made()
  std::function<bool()> interrupted;  // null: nobody may interrupt
};

class Control {
 public:
  // Collective: returns when all ranks of that name have come. Throws Error: kFault (operation "create") naming the
  // lowest rank that did not come, kInvalidArgument if the rendezvous refuses this rank or cannot be opened.
  Control(const Bootstrap& bootstrap, ControlWaits waits, std::vector<uint32_t> node_of_rank);
  // Unless goodbye() came before, the others hear that this rank is lost.
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  // The group is made now. Throws Error{kInvalidArgument} if its name was reserved a second time meanwhile.
  void made();
  // Collective: returns `mine` of every rank, by rank. Throws Error{kFault}, after which the group is judged.
  std::vector<std::string> gather(const std::string& mine, const char* operation = "create");
  // The address of the interface that reaches the rendezvous; on the rendezvous's own host, the one by which other
  // hosts reach it. Meaningful after the first gather.
  std::string local_address() const;
  // How members are told from strangers.
  Decision trust() const;

  // Notes where a call stands, and the time if it is a new call. One thread at a time calls this; it never blocks.
  void note(uint64_t epoch, Phase phase, bool waiting, uint32_t waiting_for);

  // Tells the arbiter that a wait which began at `since` (now_ns()) has expired. False: it expired only because this
  // process was stopped; nobody was accused, and the wait must be started again.
  [[nodiscard]] bool suspect(const Suspicion& suspicion, uint64_t since);
  // Does what suspect() does, for a wait that was given up and cannot be started again.
  void accuse(const Suspicion& suspicion, uint64_t since);
  // Takes the suspicion back, because the wait has ended as it should.
  void withdraw();
  // Accuses `culprit`. `certain`: this rank has seen it break a promise; else the two only differ in `argument`.
  void mismatch(uint32_t culprit, const std::string& argument, bool certain = false);
  // Tells the others that this rank leaves its call, for a reason of its own.
  void failed(const std::string& reason);
  // Whether the program wants waits to end, for good once it has said so: asks ControlWaits::interrupted, every 40 ms
  // at most. Only the thread that makes calls may call this.
  bool interrupted();
  // If interrupted(), this rank leaves the call that it is in, and all hear it: the abort word turns within a second.
  void heed_interrupt();
  // Blocks until no suspicion, mismatch or answer to a withdrawal is open any more, a second at most. Returns the
  // verdict; kNone: nobody is at fault.
  Verdict settled();
  // The verdict on a call that failed. Blocks as settled() does. Never kNone: if nobody judged, it is this rank's view.
  Verdict verdict();
  // Turns non-zero, with release, once there is a verdict.
  std::atomic<uint32_t>& abort_word() { return abort_word_; }
  // To be called where a thread of the group's own fails. The others are told, or, if that fails too, see this rank's
  // connection end; calls of this rank end either way.
  void break_down(const std::exception& error) noexcept;
  // Tells the others that this rank leaves in peace. Returns once they can know, or after a second.
  void goodbye() noexcept;
  bool said_goodbye(uint32_t rank) const;
  // The fault that this rank reports for a verdict. The caller adds what it waited for.
  Fault fault(const Verdict& verdict, const std::string& operation, uint64_t since) const;

 private:
  friend class OnVerdict;
  static constexpr uint64_t kWhomMask = (1 << 20) - 1;
  enum class Joined : uint8_t { kYes, kRetry };

  void join(uint64_t entered);
  Joined try_join(const std::string& host, uint64_t& until);
  void pause_joining(uint64_t ns, uint64_t entered);
  void refuse_if_interrupted(uint64_t entered);
  bool next_frame(const std::string& where, uint64_t& until, FrameType& type, std::string& body);
  bool say_hello(const std::string& where, uint64_t& until, std::string& nonce);
  void heed_early_verdict(const std::string& where, const std::string& body, uint64_t entered) const;
  void serve() noexcept;
  void run();
  void outlive_arbiter(bool garbled);
  void say_goodbye();
  bool hear(FrameType type, const std::string& body);
  bool take_gathered(Gathered gathered);
  void apply(const Reaction& reaction);
  Heartbeat heartbeat() const;
  template <class Act>
  void react(Act act);
  void on_verdict(std::function<void()> hook);

  const Bootstrap bootstrap_;
  const ControlWaits waits_;
  uint32_t wait_ms_;       // how long a gather waits; may be longer until the group is made
  std::string interrupt_;  // why the program interrupts; "": it does not interrupt
  uint64_t asked_ = 0;     // now_ns() when the program was asked last
  const std::vector<uint32_t> node_of_rank_;
  std::optional<NameReservation> reservation_;
  MeetingPoint point_;
  FrameSocket socket_;
  std::string why_not_;  // the last reason for which joining failed
  std::string refused_;  // why the rendezvous refused this rank; "": not refused

  mutable std::mutex mutex_;  // guards the members from here to gone_
  std::condition_variable changed_;
  std::optional<Member> member_;
  GatherRound round_;
  bool leaving_ = false;   // goodbye() was called
  bool farewell_ = false;  // the rendezvous has heard the goodbye
  bool gone_ = false;      // the connection to the rendezvous has ended

  std::mutex hook_mutex_;
  std::function<void()> hook_;
  std::atomic<uint32_t> abort_word_{0};  // the thread that hears the verdict sets it; the rank's warps read it
  std::atomic<uint64_t> note_{0};        // the latest note(), in one word; the caller writes, the control thread reads
  // [epoch % 4] now_ns() when the call was entered; the caller writes, the control thread reads.
  std::atomic<uint64_t> entered_[4]{};
  std::atomic<bool> closing_{false};      // the destructor sets it; the control thread then ends
  std::atomic<bool> broken_down_{false};  // the control thread has failed once; it alone uses this
  std::thread thread_;
};

// While it lives, `hook` is called once, right after the abort word has turned, mostly on the control thread; if it has
// turned already, the hook is called at once. Once it is gone the hook neither runs nor will run: so declare it after
// what the hook touches. A Control has one at a time, and outlives it.
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
