// The control channel of one group in virtual time. It runs the verdict machine that ships, carries its messages as
// control/control.cc and control/rendezvous.cc do, and can have the faults of a process or a network.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/verdict.h"
#include "sim/world/timeline.h"

namespace transload {

struct ControlSetup {
  std::vector<uint32_t> node_of_rank;
  bool arbiter_in_rank_0 = true;  // false: the arbiter is in a launcher's process
  uint64_t latency_ns = 50'000;   // latency of the fastest connection; the slowest takes twice as long
  uint64_t seed = 0;              // decides who beats when, whose connection is fast, which thread wakes first
  uint64_t busy_ns = 0;           // one message of four is late by at most this, as on a busy host; the order stays
};

// Everything happens on the timeline. A rank makes its calls here only while it is neither dead nor stopped.
class SimControl {
 public:
  SimControl(Timeline& timeline, const ControlSetup& setup);
  ~SimControl() { close(); }
  SimControl(const SimControl&) = delete;
  SimControl& operator=(const SimControl&) = delete;

  // These do what the functions of Control with the same names do.
  void note(uint32_t rank, const Heartbeat& where);
  [[nodiscard]] bool suspect(uint32_t rank, Suspicion suspicion, uint64_t since);
  void withdraw(uint32_t rank);
  void give_up(uint32_t rank);
  bool suspecting(uint32_t rank) const { return seats_[rank].member.suspecting(); }
  void mismatch(uint32_t rank, uint32_t culprit, const std::string& argument, bool certain = false);
  void failed(uint32_t rank, const std::string& reason);
  const Verdict& verdict(uint32_t rank) const { return seats_[rank].member.verdict(); }
  bool said_goodbye(uint32_t rank, uint32_t other) const { return seats_[rank].member.said_goodbye(other); }
  // The rank leaves. If rank 0 holds the arbiter, its goodbye ends the arbiter too.
  void goodbye(uint32_t rank);
  // The hooks are called when a rank learns its verdict, and when its suspicion is answered. They must not destroy this
  // object.
  void on_verdict(std::function<void(uint32_t rank)> hook) { hook_ = std::move(hook); }
  void on_answer(std::function<void(uint32_t rank)> hook) { answer_hook_ = std::move(hook); }

  // The process of the rank ends. Without notice (its host lost power) nobody is told.
  void die(uint32_t rank, bool notice);
  // The process of the rank stands still: it says nothing, and what comes for it waits until go_on().
  void stop(uint32_t rank);
  void go_on(uint32_t rank);
  // The launcher's process ends, or stands still for ever.
  void end_launcher() { end_arbiter(true); }
  void stop_launcher() { launcher_stopped_ = true; }
  // Nothing passes between these ranks and the others any more, for ever, and nobody is told.
  void cut(const std::vector<uint32_t>& ranks);
  // Ends the channel: what is still on the timeline does nothing.
  void close() { *open_ = false; }

 private:
  using Act = Timeline::Act;
  struct ControlRank {
    ControlRank(const MemberSeat& seat, uint64_t now) : member(seat, now) { where.rank = seat.rank; }
    Member member;
    Heartbeat where;
    uint64_t latency_ns = 0;
    uint64_t heard_at = 0;   // when the rank's last message arrives; the next one comes no earlier
    uint64_t beat_at = 0;    // when the rank's next heartbeat is due
    uint64_t answer_by = 0;  // until when the rank's call waits for an answer to its suspicion
    bool dead = false;
    bool stopped = false;
    bool cut = false;
    bool leaving = false;
    bool gone = false;  // its connection was ended, by the rank or by the arbiter
    bool here = true;   // the arbiter has heard of no goodbye or loss
    std::vector<Act> mail;
  };

  void at(uint64_t when, Act act);
  uint64_t draw();
  bool running(const ControlRank& seat) const { return !seat.dead && !seat.stopped && !seat.leaving; }
  bool judged(const ControlRank& seat) const { return seat.member.verdict().kind != FaultKind::kNone; }
  bool holds_arbiter(uint32_t rank) const { return setup_.arbiter_in_rank_0 && rank == 0; }
  bool arbiter_stopped() const { return launcher_stopped_ || (setup_.arbiter_in_rank_0 && seats_[0].stopped); }

  void apply(uint32_t rank, const Reaction& reaction);
  void to_arbiter(uint32_t rank, Act act);
  void to_member(uint32_t rank, std::function<Reaction(Member&)> act);
  void hear(uint32_t rank, const Message& message);
  void lose(uint32_t rank);
  void farewell(uint32_t rank);
  void tell(const std::vector<Message>& messages);
  void end_arbiter(bool notice);

  void keep_stepping();
  void step();
  void step_member(uint32_t rank);
  void step_arbiter();
  void give_up_if_due(uint32_t rank);

  Timeline& timeline_;
  const ControlSetup setup_;
  std::vector<ControlRank> seats_;
  Arbiter arbiter_;
  std::vector<Act> arbiter_mail_;
  uint64_t arbiter_ticked_ = 0;
  uint64_t arbiter_beat_ = 0;
  bool arbiter_over_ = false;
  bool launcher_stopped_ = false;
  bool stepping_ = false;
  uint64_t draws_ = 0;
  std::function<void(uint32_t)> hook_, answer_hook_;
  std::shared_ptr<bool> open_ = std::make_shared<bool>(true);  // events on the timeline may outlive me
};

}  // namespace transload
