// The member's side of the control channel: see control.h.
#include "control/control.h"

#include <algorithm>
#include <new>

#include "control/address.h"
#include "control/fault.h"
#include "control/secret.h"
#include "os/clock.h"
#include "os/host.h"
#include "os/thread.h"

namespace transload {

namespace {

constexpr uint64_t kRefusedNs = 2'000 * kMillisecondNs;  // time for an earlier group of this name to go
constexpr uint64_t kSendNs = 1'000 * kMillisecondNs;
constexpr uint64_t kAskNs = 40 * kMillisecondNs;  // time between two questions to the program
constexpr uint64_t kFarewellNs = 1'000 * kMillisecondNs;

void check(bool condition, const std::string& message) {
  if (!condition) throw Error(Code::kInvalidArgument, message);
}

std::string whom(const Verdict& verdict) {
  return verdict.kind == FaultKind::kRendezvous ? "the rendezvous" : "rank " + std::to_string(verdict.culprit);
}

std::chrono::steady_clock::time_point time_of(uint64_t ns) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(ns));
}

}  // namespace

Control::Control(const Bootstrap& bootstrap, ControlWaits waits, std::vector<uint32_t> node_of_rank)
    : bootstrap_(bootstrap),
      waits_(std::move(waits)),
      wait_ms_(waits_.create_deadline_ms),
      node_of_rank_(std::move(node_of_rank)),
      round_(bootstrap.ranks) {
  const uint32_t ranks = bootstrap_.ranks;
  check(ranks >= 1 && ranks <= kControlRanksMax,
        "bootstrap.ranks: " + std::to_string(ranks) + ", but must be 1 to " + std::to_string(kControlRanksMax));
  check(bootstrap_.rank < ranks,
        "bootstrap.rank: " + std::to_string(bootstrap_.rank) + ", but must be below ranks, " + std::to_string(ranks));
  check(bootstrap_.name.size() <= kNameBytesMax, "bootstrap.name: " + std::to_string(bootstrap_.name.size()) +
                                                     " bytes, but at most " + std::to_string(kNameBytesMax));
  check(bootstrap_.job.size() <= kNameBytesMax, "bootstrap.job: " + std::to_string(bootstrap_.job.size()) +
                                                    " bytes, but at most " + std::to_string(kNameBytesMax));
  check(node_of_rank_.size() == ranks, "topology: " + std::to_string(node_of_rank_.size()) +
                                           " ranks, but bootstrap.ranks is " + std::to_string(ranks));
  const uint64_t entered = now_ns();
  reservation_.emplace(bootstrap_);
  point_ = find_meeting_point(bootstrap_, wait_ms_);
  join(entered);
  thread_ = start_thread([this] { serve(); });
}

Control::~Control() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  socket_.shut_down();
  if (thread_.joinable()) thread_.join();
}

// Dials until the rendezvous is there and everybody has come. A server that goes away meanwhile belonged to an earlier
// group of rank 0's process: the next one comes.
void Control::join(uint64_t entered) {
  uint64_t until = entered + wait_ms_ * kMillisecondNs;
  uint64_t refused_since = 0;
  uint64_t pause = 10 * kMillisecondNs;
  std::string earlier;  // the last refusal, by a server that may have gone since
  while (true) {
    refused_.clear();
    for (const std::string& host : point_.hosts) {
      if (try_join(host, until) == Joined::kYes) return;
    }
    const uint64_t now = now_ns();
    if (refused_.empty()) refused_since = 0;
    if (!refused_.empty()) earlier = "; before that " + refused_;
    if (!refused_.empty() && refused_since == 0) refused_since = now;
    if (!refused_.empty() && (now - refused_since >= kRefusedNs || now >= until))
      throw Error(Code::kInvalidArgument, refused_);
    if (now >= until) break;
    pause_joining(std::min(pause, until - now), entered);
    if (const uint64_t slept = now_ns() - now; slept >= pause + kSilenceNs) until += slept;  // the process was stopped
    pause = std::min(2 * pause, 200 * kMillisecondNs);
  }
  const std::string where = with_port(point_.hosts.front(), point_.port);
  const bool rank_0 = bootstrap_.rank == 0;  // if this is rank 0, rank 0 cannot be the one that is missing
  Fault fault = this->fault({rank_0 ? FaultKind::kRendezvous : FaultKind::kAbsent, rank_0 ? kNobody : 0,
                             "no rendezvous at " + where + ": " + why_not_ + earlier +
                                 (rank_0 ? "; bootstrap.serve is false here (or TRANSLOAD_SERVED is 1), so another "
                                           "process must serve it"
                                         : "")},
                            "create", entered);
  fault.waiting_for = "the rendezvous at " + where;
  throw Error(fault);
}

bool Control::interrupted() {
  if (!waits_.interrupted || !interrupt_.empty()) return !interrupt_.empty();
  const uint64_t now = now_ns();
  if (now - asked_ < kAskNs) return false;
  asked_ = now;
  try {
    if (waits_.interrupted()) interrupt_ = "interrupted by its caller";
  } catch (const std::exception& error) {
    interrupt_ = std::string("interrupted by its caller: ") + error.what();
  } catch (...) {
    interrupt_ = "interrupted by its caller, which threw no std::exception";
  }
  return !interrupt_.empty();
}

void Control::heed_interrupt() {
  if (interrupted()) failed(interrupt_);
}

// Throws if the program interrupts. Others cannot be told yet, so they learn of it by the end of the connection.
void Control::refuse_if_interrupted(uint64_t entered) {
  if (interrupted()) throw Error(fault({FaultKind::kFailed, bootstrap_.rank, interrupt_, true}, "create", entered));
}

void Control::pause_joining(uint64_t ns, uint64_t entered) {
  for (uint64_t left = ns; left > 0;) {
    const uint64_t some = std::min(left, kAskNs);
    std::this_thread::sleep_for(std::chrono::nanoseconds(some));
    left -= some;
    refuse_if_interrupted(entered);
  }
}

// Waits for the next frame of a rendezvous that this rank has not joined yet. If false, why_not_ says why there is
// none. Moves `until` on by the time for which this process was stopped.
bool Control::next_frame(const std::string& where, uint64_t& until, FrameType& type, std::string& body) {
  FrameSocket::Got got = FrameSocket::Got::kNothing;
  for (uint64_t now = now_ns(); got == FrameSocket::Got::kNothing && now < until + kGraceNs;) {
    refuse_if_interrupted(now);
    const uint64_t asked = now;
    got = socket_.receive(type, body, std::min(until + kGraceNs, asked + kAskNs));
    now = now_ns();
    if (now - asked >= kSilenceNs) until += now - asked;
  }
  check(got != FrameSocket::Got::kGarbage, "what listens at " + where + " is not a rendezvous");
  if (got == FrameSocket::Got::kFrame) return true;
  why_not_ = got == FrameSocket::Got::kNothing ? "it does not answer" : "it closed the connection";
  return false;
}

// Answers the challenge that a rendezvous begins with; `nonce` is the one that its own proof must cover.
bool Control::say_hello(const std::string& where, uint64_t& until, std::string& nonce) {
  FrameType type{};
  std::string body;
  if (!next_frame(where, until, type, body)) return false;
  const std::optional<Versions> versions = type == FrameType::kChallenge ? unpack_versions(body) : std::nullopt;
  check(versions.has_value(), "what listens at " + where + " is not a rendezvous");
  check(*versions == Versions{}, "the rendezvous at " + where + " has " + text_of(*versions) + ", this rank has " +
                                     text_of(Versions{}) + ": all ranks must run one build");
  const std::optional<Challenge> challenge = unpack_challenge(body);
  check(challenge.has_value(), "what listens at " + where + " is not a rendezvous");
  const uint64_t now = now_ns();
  Hello hello;
  hello.name = bootstrap_.name;
  hello.rank = bootstrap_.rank;
  hello.ranks = bootstrap_.ranks;
  hello.server = point_.server;
  hello.process = process_identity().nonce;
  hello.note = point_.note;
  hello.deadline_ms = until > now ? uint32_t((until - now) / kMillisecondNs) : 0;
  hello.node_of_rank = node_of_rank_;
  hello.job = bootstrap_.job;
  hello.nonce = nonce = random_nonce();
  hello.proof = proof(point_.secret, {Prover::kMember, challenge->nonce, said_in(hello)});
  return socket_.send(pack(hello), until);
}

// Reads a message that comes before everybody is there: throws if it is the verdict, and ignores any other.
void Control::heed_early_verdict(const std::string& where, const std::string& body, uint64_t entered) const {
  const std::optional<Message> message = unpack_message(body);
  check(message && is_for_members(*message, bootstrap_.ranks),
        "what listens at " + where + " is not a rendezvous of this version");
  const auto* verdict = std::get_if<Verdict>(&*message);
  if (verdict == nullptr) return;
  Fault fault = this->fault(*verdict, "create", entered);
  fault.waiting_for = whom(*verdict) + " to come";
  throw Error(fault);
}

Control::Joined Control::try_join(const std::string& host, uint64_t& until) {
  const uint64_t entered = now_ns();
  const std::string where = with_port(host, point_.port);
  std::string nonce, body;
  if (!socket_.dial(host, point_.port, until, why_not_) || !say_hello(where, until, nonce)) return Joined::kRetry;
  FrameType type{};
  while (next_frame(where, until, type, body)) {
    if (type == FrameType::kMessage) {
      heed_early_verdict(where, body, entered);
      continue;
    }
    if (const auto refused = type == FrameType::kRefused ? unpack_refused(body) : std::nullopt) {
      refused_ = where + ": " + refused->why;
      check(refused->retry, refused_);
      return Joined::kRetry;
    }
    const std::optional<Welcome> welcome = type == FrameType::kWelcome ? unpack_welcome(body) : std::nullopt;
    check(welcome.has_value(), "what listens at " + where + " is not a rendezvous of this version");
    check(proves(welcome->proof, point_.secret, {Prover::kServer, nonce, said_in(*welcome)}),
          "what listens at " + where +
              " does not prove the job's secret (TRANSLOAD_SECRET or TRANSLOAD_SECRET_FILE, bootstrap.secret)");
    member_.emplace(MemberSeat{bootstrap_.rank, node_of_rank_, welcome->arbiter_in_rank_0}, now_ns());
    return Joined::kYes;
  }
  return Joined::kRetry;
}

// Lets the member act under the lock, then does what it asks for without it.
template <class Act>
void Control::react(Act act) {
  Reaction reaction;
  bool answered = false;
  {
    const std::lock_guard lock(mutex_);
    const bool asked = member_->suspecting();
    reaction = act(*member_);
    answered = asked && !member_->suspecting();
    if (reaction.verdict) reservation_->release();  // before ranks hear the verdict: survivors may reuse the name
  }
  if (answered) changed_.notify_all();
  apply(reaction);
}

void Control::apply(const Reaction& reaction) {
  for (const Message& message : reaction.to_arbiter) socket_.send(pack(message), now_ns() + kSendNs);
  if (!reaction.verdict) return;
  reservation_->release();
  const std::lock_guard hook_lock(hook_mutex_);
  abort_word_.store(1, std::memory_order_release);
  {
    const std::lock_guard lock(mutex_);  // a thread that waits for the verdict has either not looked yet, or sleeps
  }
  changed_.notify_all();
  if (hook_) hook_();
}

void Control::note(uint64_t epoch, Phase phase, bool waiting, uint32_t waiting_for) {
  const uint64_t whom = waiting_for & kWhomMask;
  if (note_.load(std::memory_order_relaxed) >> 24 != epoch)
    entered_[epoch & 3].store(now_ns(), std::memory_order_release);
  note_.store(epoch << 24 | uint64_t(phase) << 21 | uint64_t(waiting) << 20 | whom, std::memory_order_release);
}

Heartbeat Control::heartbeat() const {
  uint64_t note, entered, before;
  do {  // repeated until all three values belong to one call
    note = note_.load(std::memory_order_acquire);
    entered = entered_[note >> 24 & 3].load(std::memory_order_acquire);
    before = entered_[((note >> 24) - 1) & 3].load(std::memory_order_acquire);
  } while (note_.load(std::memory_order_relaxed) >> 24 != note >> 24);
  Heartbeat beat;
  beat.entered = entered;
  beat.entered_before = before;
  beat.rank = bootstrap_.rank;
  beat.epoch = note >> 24;
  beat.phase = uint32_t(note >> 21 & 7);
  beat.waiting = note >> 20 & 1;
  const uint64_t whom = note & kWhomMask;
  beat.waiting_for = whom < bootstrap_.ranks ? uint32_t(whom) : kNobody;
  beat.sent = now_ns();
  return beat;
}

// Runs once more after a failure, because the verdict on what went wrong may still come.
void Control::serve() noexcept {
  for (int tries = 0; tries < 2; ++tries) {
    try {
      return run();
    } catch (const std::exception& error) {
      break_down(error);
    }
  }
}

void Control::run() {
  uint64_t beat_at = 0;
  bool garbled = false;
  FrameType type{};
  std::string body;
  while (!closing_) {
    uint64_t now = now_ns();
    bool live = false, suspecting = false;
    {
      const std::lock_guard lock(mutex_);
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
    garbled = got == FrameSocket::Got::kGarbage || (got == FrameSocket::Got::kFrame && !hear(type, body));
    if (got == FrameSocket::Got::kEnd || garbled) break;
    react([&](Member& member) { return member.tick(heartbeat(), now); });
  }
  if (!closing_) outlive_arbiter(garbled);
}

// Runs once the connection to the arbiter has ended. If that is no fault, rank 0 has left with the arbiter, and later
// calls hear it here.
void Control::outlive_arbiter(bool garbled) {
  if (garbled) socket_.shut_down();  // the other ranks then hear that this rank listens no more
  react([&](Member& member) {
    gone_ = true;
    if (garbled && !leaving_) return member.arbiter_garbled(now_ns());
    return leaving_ ? Reaction{} : member.arbiter_gone(now_ns());
  });
  changed_.notify_all();
  const auto over = [&] { return closing_ || leaving_ || member_->verdict().kind != FaultKind::kNone; };
  std::unique_lock lock(mutex_);
  while (!changed_.wait_until(lock, time_of(now_ns() + kHeartbeatNs), over)) {
    lock.unlock();
    react([&](Member& member) { return member.tick(heartbeat(), now_ns()); });
    lock.lock();
  }
}

// Takes a frame. False if no rendezvous of this version sends it to a member.
bool Control::hear(FrameType type, const std::string& body) {
  if (type == FrameType::kMessage) {
    const std::optional<Message> message = unpack_message(body);
    if (!message || !is_for_members(*message, bootstrap_.ranks)) return false;
    react([&](Member& member) { return member.take(*message, now_ns()); });
    return true;
  }
  if (type == FrameType::kGathered) {
    std::optional<Gathered> gathered = unpack_gathered(body);
    return gathered && take_gathered(std::move(*gathered));
  }
  if (type != FrameType::kFarewell || !body.empty()) return false;
  const std::lock_guard lock(mutex_);
  farewell_ = true;
  changed_.notify_all();
  return true;
}

bool Control::take_gathered(Gathered gathered) {
  const std::lock_guard lock(mutex_);
  const bool heard = round_.take(std::move(gathered));
  if (round_.whole()) changed_.notify_all();
  return heard;
}

void Control::made() {
  reservation_->settle();
  wait_ms_ = waits_.deadline_ms;
}

std::vector<std::string> Control::gather(const std::string& mine, const char* operation) {
  const size_t most = gather_bytes_max(bootstrap_.ranks);
  check(mine.size() <= most, "gather: " + std::to_string(mine.size()) + " bytes of one rank, but at most " +
                                 std::to_string(most) + " with " + std::to_string(bootstrap_.ranks) + " ranks");
  const uint64_t entered = now_ns();
  uint64_t since = entered;
  std::unique_lock lock(mutex_);
  check(!leaving_, "gather: this rank has said goodbye");
  round_.begin();
  const Gather request{round_.number(), wait_ms_, mine};
  const auto done = [&] { return round_.whole() || member_->verdict().kind != FaultKind::kNone || gone_; };
  lock.unlock();
  socket_.send(pack(request), entered + wait_ms_ * kMillisecondNs);
  lock.lock();
  for (uint64_t until = 0; !changed_.wait_until(lock, time_of(until), done);) {
    lock.unlock();
    heed_interrupt();
    lock.lock();
    const uint64_t now = now_ns(), end = since + wait_ms_ * kMillisecondNs + kGraceNs;
    if (now >= end && !member_->stopped_since(since, now)) break;
    if (now >= end) since = now;
    until = std::min(now + kAskNs, since + wait_ms_ * kMillisecondNs + kGraceNs);
  }
  if (!round_.whole() || !interrupt_.empty()) {
    const Reaction reaction = member_->give_up(now_ns());
    const Verdict verdict = member_->verdict();
    lock.unlock();
    apply(reaction);
    Fault fault = this->fault(verdict, operation, entered);
    if (verdict.culprit != bootstrap_.rank) fault.waiting_for = whom(verdict) + " in a gather";
    throw Error(fault);
  }
  return round_.end();
}

std::string Control::local_address() const {
  const std::lock_guard lock(mutex_);
  const std::string here = socket_.here();
  const bool same_host = here == socket_.there() || is_loopback(here);
  return same_host && !round_.reach().empty() ? round_.reach() : here;
}

Decision Control::trust() const {
  if (!point_.secret.empty()) return {"members", "proved", "each has shown that it knows the job's secret"};
  const std::string where = with_port(point_.hosts.front(), point_.port);
  return {"members", "trusted", "no secret was given: whoever reaches " + where + " can join"};
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

void Control::accuse(const Suspicion& suspicion, uint64_t since) {
  react([&](Member& member) {
    Suspicion mine = suspicion;
    mine.rank = bootstrap_.rank;
    return member.gave_up(mine, since, now_ns());
  });
}

void Control::withdraw() {
  react([&](Member& member) { return member.withdraw(now_ns()); });
}

void Control::mismatch(uint32_t culprit, const std::string& argument, bool certain) {
  react([&](Member& member) { return member.mismatch({bootstrap_.rank, culprit, argument, certain}, now_ns()); });
}

void Control::failed(const std::string& reason) {
  react([&](Member& member) { return member.failed(reason, now_ns()); });
}

void Control::break_down(const std::exception& error) noexcept {
  try {
    const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
    if (!broken_down_.exchange(true)) return failed(memory ? "out of memory" : error.what());
  } catch (const std::exception&) {
  }
  socket_.shut_down();
  {
    const std::lock_guard lock(mutex_);
    gone_ = true;
  }
  const std::lock_guard hook_lock(hook_mutex_);
  abort_word_.store(1, std::memory_order_release);
  changed_.notify_all();
  if (hook_) hook_();
}

Verdict Control::settled() {
  std::unique_lock lock(mutex_);
  const uint64_t until = now_ns() + kAnswerNs + kGraceNs;
  changed_.wait_until(lock, time_of(until), [&] { return !member_->suspecting(); });
  return member_->verdict();
}

Verdict Control::verdict() {
  const Verdict said = settled();
  if (said.kind != FaultKind::kNone) return said;
  std::unique_lock lock(mutex_);
  const Reaction reaction = member_->give_up(now_ns());
  const Verdict verdict = member_->verdict();
  lock.unlock();
  apply(reaction);
  return verdict;
}

void Control::on_verdict(std::function<void()> hook) {
  const std::lock_guard lock(hook_mutex_);
  hook_ = std::move(hook);
  if (hook_ && abort_word_.load(std::memory_order_acquire) != 0) hook_();
}

void Control::goodbye() noexcept {
  try {
    say_goodbye();
  } catch (const std::exception&) {  // the other ranks then see the connection end
  }
  reservation_->release();
}

void Control::say_goodbye() {
  std::unique_lock lock(mutex_);
  if (leaving_ || gone_ || member_->verdict().kind != FaultKind::kNone) return;
  leaving_ = true;
  lock.unlock();
  if (!socket_.send(pack(Message(Goodbye{bootstrap_.rank, note_.load(std::memory_order_relaxed) >> 24})),
                    now_ns() + kSendNs))
    return;
  lock.lock();
  changed_.wait_until(lock, time_of(now_ns() + kFarewellNs), [&] { return farewell_ || gone_; });
}

bool Control::said_goodbye(uint32_t rank) const {
  const std::lock_guard lock(mutex_);
  return member_->said_goodbye(rank);
}

Fault Control::fault(const Verdict& verdict, const std::string& operation, uint64_t since) const {
  return fault_of(verdict, {bootstrap_.rank, operation, now_ns() - since, false});
}

}  // namespace transload
