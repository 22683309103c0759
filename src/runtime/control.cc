// The member's side of the control channel: see control.h.
#include "runtime/control.h"

#include <algorithm>

#include "base/clock.h"
#include "base/thread.h"
#include "runtime/address.h"
#include "runtime/fault.h"
#include "transport/scaleup/shm/host.h"

namespace transload {

namespace {

constexpr uint64_t kRefusedNs = 2'000 * kMillisecondNs;  // for an earlier group of this name to go
constexpr uint64_t kSendNs = 1'000 * kMillisecondNs;
constexpr uint64_t kFarewellNs = 1'000 * kMillisecondNs;

void check(bool condition, const std::string& message) {
  if (!condition) throw Error(Code::kInvalidArgument, message);
}

std::chrono::steady_clock::time_point time_of(uint64_t ns) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(ns));
}

}  // namespace

Control::Control(const Bootstrap& bootstrap, uint32_t deadline_ms, std::vector<uint32_t> node_of_rank)
    : bootstrap_(bootstrap), deadline_ms_(deadline_ms), node_of_rank_(std::move(node_of_rank)) {
  const uint32_t ranks = bootstrap_.ranks;
  check(ranks >= 1 && ranks <= kControlRanksMax,
        "bootstrap.ranks: " + std::to_string(ranks) + ", but must be 1 to " + std::to_string(kControlRanksMax));
  check(bootstrap_.rank < ranks,
        "bootstrap.rank: " + std::to_string(bootstrap_.rank) + ", but must be below ranks, " + std::to_string(ranks));
  check(bootstrap_.name.size() <= kNameBytesMax, "bootstrap.name: " + std::to_string(bootstrap_.name.size()) +
                                                     " bytes, but at most " + std::to_string(kNameBytesMax));
  check(node_of_rank_.size() == ranks, "topology: " + std::to_string(node_of_rank_.size()) +
                                           " ranks, but bootstrap.ranks is " + std::to_string(ranks));
  const uint64_t entered = now_ns();
  point_ = find_meeting_point(bootstrap_, deadline_ms_);
  join(entered);
  thread_ = start_thread([this] { run(); });
}

Control::~Control() {
  closing_ = true;
  socket_.shut_down();
  if (thread_.joinable()) thread_.join();
}

// Dials until the rendezvous is there and everybody has come. A server that goes away meanwhile belonged to an earlier
// group of rank 0's process: the next one comes.
void Control::join(uint64_t entered) {
  uint64_t until = entered + deadline_ms_ * kMillisecondNs;
  uint64_t refused_since = 0;
  uint64_t pause = 10 * kMillisecondNs;
  while (true) {
    refused_ = false;
    for (const std::string& host : point_.hosts) {
      if (try_join(host, until) == Joined::kYes) return;
    }
    const uint64_t now = now_ns();
    if (!refused_) refused_since = 0;
    if (refused_ && refused_since == 0) refused_since = now;
    if (refused_ && (now - refused_since >= kRefusedNs || now >= until)) throw Error(Code::kInvalidArgument, why_not_);
    if (now >= until) break;
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(pause, until - now)));
    if (const uint64_t slept = now_ns() - now; slept >= pause + kSilenceNs) until += slept;  // stopped
    pause = std::min(2 * pause, 200 * kMillisecondNs);
  }
  const std::string where = with_port(point_.hosts.front(), point_.port);
  Fault fault = this->fault({FaultKind::kAbsent, 0, "no rendezvous at " + where + ": " + why_not_}, "create", entered);
  fault.waiting_for = "the rendezvous at " + where;
  throw Error(fault);
}

// While this process was stopped its deadline was, too.
FrameSocket::Got Control::answer(FrameType& type, std::string& body, uint64_t& until) {
  while (true) {
    const uint64_t asked = now_ns();
    const FrameSocket::Got got = socket_.receive(type, body, std::min(until + kGraceNs, asked + kHeartbeatNs));
    const uint64_t now = now_ns();
    if (now - asked >= kSilenceNs) until += now - asked;
    if (got != FrameSocket::Got::kNothing || now >= until + kGraceNs) return got;
  }
}

Control::Joined Control::try_join(const std::string& host, uint64_t& until) {
  const uint64_t entered = now_ns();
  if (!socket_.dial(host, point_.port, until, why_not_)) return Joined::kRetry;
  const uint64_t left_ms = until > entered ? (until - entered) / kMillisecondNs : 0;
  const Hello hello{bootstrap_.name,          bootstrap_.rank,   bootstrap_.ranks, point_.server,
                    process_identity().nonce, uint32_t(left_ms), node_of_rank_,    point_.note};
  if (!socket_.send(pack(hello), until)) return Joined::kRetry;
  FrameType type{};
  std::string body;
  while (true) {
    const FrameSocket::Got got = answer(type, body, until);
    if (got == FrameSocket::Got::kEnd) {
      why_not_ = "it closed the connection";
      return Joined::kRetry;
    }
    if (got == FrameSocket::Got::kNothing) {
      why_not_ = "it does not answer";
      return Joined::kRetry;
    }
    const std::optional<Message> message = type == FrameType::kMessage ? unpack_message(body) : std::nullopt;
    if (got == FrameSocket::Got::kFrame && message) {
      const auto* verdict = std::get_if<Verdict>(&*message);
      if (verdict == nullptr) continue;
      Fault fault = this->fault(*verdict, "create", entered);
      if (verdict->culprit != kNobody) fault.waiting_for = "rank " + std::to_string(verdict->culprit) + " to come";
      throw Error(fault);
    }
    if (got == FrameSocket::Got::kFrame && type == FrameType::kRefused) {
      const std::optional<Refused> refused = unpack_refused(body);
      if (refused && !refused->retry) throw Error(Code::kInvalidArgument, refused->why);
      if (refused) {
        refused_ = true;
        why_not_ = refused->why;
        return Joined::kRetry;
      }
    }
    const std::optional<Welcome> welcome = type == FrameType::kWelcome ? unpack_welcome(body) : std::nullopt;
    if (got == FrameSocket::Got::kFrame && welcome) {
      member_.emplace(MemberSeat{bootstrap_.rank, node_of_rank_, welcome->arbiter_in_rank_0}, now_ns());
      return Joined::kYes;
    }
    throw Error(Code::kInvalidArgument,
                "what listens at " + with_port(host, point_.port) + " is not a rendezvous of this version");
  }
}

// Lets the member act under the lock, then does what it asks for without it.
template <class Act>
void Control::react(Act act) {
  Reaction reaction;
  {
    std::lock_guard lock(mutex_);
    reaction = act(*member_);
  }
  apply(reaction);
}

void Control::apply(const Reaction& reaction) {
  for (const Message& message : reaction.to_arbiter) socket_.send(pack(message), now_ns() + kSendNs);
  if (!reaction.verdict) return;
  std::lock_guard hook_lock(hook_mutex_);
  abort_word_.store(1, std::memory_order_release);
  {
    std::lock_guard lock(mutex_);  // whoever waits has either not looked yet, or sleeps
  }
  changed_.notify_all();
  if (hook_) hook_();
}

Heartbeat Control::heartbeat() const {
  const uint64_t note = note_.load(std::memory_order_relaxed);
  Heartbeat beat;
  beat.rank = bootstrap_.rank;
  beat.epoch = note >> 24;
  beat.phase = uint32_t(note >> 21 & 7);
  beat.waiting = note >> 20 & 1;
  const uint64_t whom = note & kWhomMask;
  beat.waiting_for = whom < bootstrap_.ranks ? uint32_t(whom) : kNobody;
  beat.sent = now_ns();
  return beat;
}

void Control::run() {
  uint64_t beat_at = 0;
  FrameType type{};
  std::string body;
  while (!closing_) {
    uint64_t now = now_ns();
    bool live = false, suspecting = false;
    {
      std::lock_guard lock(mutex_);
      live = member_->verdict().kind == FaultKind::kNone && !leaving_;
      suspecting = member_->suspecting();
    }
    if (live && now >= beat_at) {
      socket_.send(pack(Message(heartbeat())), now + kSendNs);
      beat_at = now + kHeartbeatNs;
    }
    const uint64_t wake_at = live ? std::min(beat_at, suspecting ? now + kWatchNs : beat_at) : now + kHeartbeatNs;
    const FrameSocket::Got got = socket_.receive(type, body, wake_at);
    now = now_ns();
    if (got == FrameSocket::Got::kFrame) hear(type, body);
    if (got == FrameSocket::Got::kEnd || got == FrameSocket::Got::kGarbage) break;
    react([&](Member& member) { return member.tick(now); });
  }
  if (closing_) return;
  react([&](Member& member) {
    gone_ = true;
    return leaving_ ? Reaction{} : member.arbiter_gone(now_ns());
  });
  changed_.notify_all();
}

void Control::hear(FrameType type, const std::string& body) {
  if (type == FrameType::kMessage) {
    if (const std::optional<Message> message = unpack_message(body))
      react([&](Member& member) { return member.take(*message, now_ns()); });
  } else if (type == FrameType::kGathered) {
    if (std::optional<Gathered> gathered = unpack_gathered(body)) take_gathered(std::move(*gathered));
  } else if (type == FrameType::kFarewell) {
    std::lock_guard lock(mutex_);
    farewell_ = true;
    changed_.notify_all();
  }
}

void Control::take_gathered(Gathered gathered) {
  std::lock_guard lock(mutex_);
  if (gathered.round != round_ || parts_.empty()) return;
  if (!gathered.reach.empty()) reach_ = gathered.reach;
  for (size_t i = 0; i < gathered.parts.size() && gathered.first + i < parts_.size(); ++i) {
    std::optional<std::string>& part = parts_[gathered.first + i];
    if (!part) ++parts_count_;
    part = std::move(gathered.parts[i]);
  }
  if (parts_count_ == parts_.size()) changed_.notify_all();
}

std::vector<std::string> Control::gather(const std::string& mine, const char* operation) {
  const size_t most = gather_bytes_max(bootstrap_.ranks);
  check(mine.size() <= most, "gather: " + std::to_string(mine.size()) + " bytes of one rank, but at most " +
                                 std::to_string(most) + " with " + std::to_string(bootstrap_.ranks) + " ranks");
  const uint64_t entered = now_ns();
  uint64_t since = entered;
  std::unique_lock lock(mutex_);
  check(!leaving_, "gather: this rank has said goodbye");
  parts_.assign(bootstrap_.ranks, std::nullopt);
  parts_count_ = 0;
  const Gather request{round_, deadline_ms_, mine};
  const auto done = [&] {
    return parts_count_ == parts_.size() || member_->verdict().kind != FaultKind::kNone || gone_;
  };
  lock.unlock();
  socket_.send(pack(request), entered + deadline_ms_ * kMillisecondNs);
  lock.lock();
  while (!changed_.wait_until(lock, time_of(since + deadline_ms_ * kMillisecondNs + kGraceNs), done)) {
    if (!member_->stopped_since(since, now_ns())) break;
    since = now_ns();
  }
  if (parts_count_ < parts_.size()) {
    const Reaction reaction = member_->give_up(now_ns());
    const Verdict verdict = member_->verdict();
    lock.unlock();
    apply(reaction);
    Fault fault = this->fault(verdict, operation, entered);
    if (verdict.culprit != kNobody) fault.waiting_for = "rank " + std::to_string(verdict.culprit) + " in a gather";
    throw Error(fault);
  }
  ++round_;
  std::vector<std::string> all;
  for (std::optional<std::string>& part : parts_) all.push_back(std::move(*part));
  parts_.clear();
  return all;
}

std::string Control::local_address() const {
  std::lock_guard lock(mutex_);
  const std::string here = socket_.here();
  const bool same_host = here == socket_.there() || is_loopback(here);
  return same_host && !reach_.empty() ? reach_ : here;
}

bool Control::suspect(const Suspicion& suspicion, uint64_t since) {
  bool wait_again = false;
  react([&](Member& member) {
    Suspicion mine = suspicion;
    mine.rank = bootstrap_.rank;
    Reaction reaction = member.expired(mine, since, now_ns());
    wait_again = reaction.wait_again;
    return reaction;
  });
  return !wait_again;
}

void Control::mismatch(uint32_t culprit, const std::string& argument) {
  react([&](Member& member) { return member.mismatch({bootstrap_.rank, culprit, argument}, now_ns()); });
}

Verdict Control::verdict() {
  std::unique_lock lock(mutex_);
  const uint64_t until = now_ns() + kAnswerNs + kGraceNs;
  if (changed_.wait_until(lock, time_of(until), [&] { return !member_->suspecting(); })) return member_->verdict();
  const Reaction reaction = member_->give_up(now_ns());
  const Verdict verdict = member_->verdict();
  lock.unlock();
  apply(reaction);
  return verdict;
}

void Control::on_verdict(std::function<void()> hook) {
  std::lock_guard lock(hook_mutex_);
  hook_ = std::move(hook);
  if (hook_ && abort_word_.load(std::memory_order_acquire) != 0) hook_();
}

void Control::goodbye() {
  std::unique_lock lock(mutex_);
  if (leaving_ || gone_ || member_->verdict().kind != FaultKind::kNone) return;
  leaving_ = true;
  lock.unlock();
  if (!socket_.send(pack(Message(Goodbye{bootstrap_.rank})), now_ns() + kSendNs)) return;
  lock.lock();
  changed_.wait_until(lock, time_of(now_ns() + kFarewellNs), [&] { return farewell_ || gone_; });
}

bool Control::said_goodbye(uint32_t rank) const {
  std::lock_guard lock(mutex_);
  return member_->said_goodbye(rank);
}

Fault Control::fault(const Verdict& verdict, const std::string& operation, uint64_t since) const {
  return fault_of(verdict, {bootstrap_.rank, operation, now_ns() - since, false});
}

}  // namespace transload
