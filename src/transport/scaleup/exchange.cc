// A pair exchanges three messages. The caller proves that it knows the secret of the rank that it calls. The answer
// proves that of the caller, and brings descriptors: a bell, and perhaps a region's. Then the caller passes its own.
//
// Before a word is said the caller asks the kernel who listens: an abstract name belongs to whoever binds it first.
#include "transport/scaleup/exchange.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "base/time_units.h"
#include "os/clock.h"
#include "transload/status.h"
#include "transport/scaleup/greeting.h"

namespace transload {

namespace {

constexpr int kRetryMs = 5;  // ms until a step that failed for now is tried again
constexpr int kLookMs = 50;  // time between looks at whether the group has been lost
// How many ranks one rank calls, or is called by, at a time: this bounds its sockets, and the descriptors on their way.
constexpr size_t kCallsMost = 4;
constexpr size_t kCallersMost = 8;

socklen_t address_of(uint64_t region, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  // A leading zero byte: the abstract name space, which no file system sees.
  const int length = std::snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "transload-%016llx",
                                   (unsigned long long)(region));
  return socklen_t(offsetof(sockaddr_un, sun_path) + 1 + size_t(length));
}

Descriptor new_socket() { return Descriptor(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

std::string of_limit(const char* what, int error) {
  return std::string("shared region: ") + what + ": " + text_of_error(error);
}

// What an error of a socket says of the rank at its other end.
enum class Trouble : uint8_t { kLater, kGone, kOther };
Trouble trouble_of(int error) {
  switch (error) {
    case EAGAIN:
    case EINTR:
    case ENOBUFS:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ETOOMANYREFS:  // an ordinary user may have as many descriptors on their way as RLIMIT_NOFILE says
      return Trouble::kLater;
    case ECONNREFUSED:
    case ECONNRESET:
    case ENOTCONN:
    case EPIPE:
      return Trouble::kGone;
    default:
      return Trouble::kOther;
  }
}

// The user of the process at the other end of a socket (the one that listened, or that called), as the kernel knows it.
std::optional<uid_t> user_behind(int fd) {
  ucred who{};
  socklen_t size = sizeof who;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return std::nullopt;
  return who.uid;
}

class NodeExchange {
 public:
  NodeExchange(const ExchangeSides& sides, const std::vector<uint32_t>& wanted) : sides_(sides) {
    for (const uint32_t rank : wanted) (rank > sides.rank ? to_call_ : awaited_).push_back(rank);
  }

  std::map<uint32_t, std::shared_ptr<Neighbour>> run() {
    const uint64_t patience = sides_.deadline_ms * kMillisecondNs;
    uint64_t until = now_ns() + patience;
    while (true) {
      call_some();
      pass_to_all();
      if (to_call_.empty() && lines_.empty() && awaited_.empty()) return std::move(done_);
      if (sides_.watch.judged && sides_.watch.judged())
        fail(FaultKind::kAbsent, lowest_missing(), "the group was lost meanwhile");
      wait(until);
      const uint64_t now = now_ns();
      // A rank that lacks something says so before others take it for absent.
      if (!hindrance_.empty() && now + patience / 2 >= until) throw Error(Code::kOutOfMemory, hindrance_);
      if (now >= until) {
        expire();
        until = now_ns() + patience;
      }
    }
  }

 private:
  enum class LineStep : uint8_t {
    kCalled,    // I called it, and await its descriptors
    kToPass,    // I called it, have its descriptors, and have still to pass mine
    kStranger,  // a caller that has not said who it is
    kToAnswer,  // a caller that I have to pass my descriptors to
    kAnswered,  // a caller whose descriptors I await
  };
  struct Listening {
    Descriptor fd;
    LineStep step;
    uint32_t rank;  // the rank at the other end; not known of a stranger
  };

  [[noreturn]] void fail(FaultKind kind, uint32_t rank, const std::string& detail) const {
    Fault fault;
    fault.kind = kind;
    fault.rank = sides_.rank;
    fault.culprit_rank = rank;
    fault.operation = "create";
    fault.waiting_for = "the memory of rank " + std::to_string(rank);
    fault.detail = detail;
    throw Error(fault);
  }

  // Throws a fault of the lowest rank that is missing, unless watch.expired() says that the time did not count.
  void expire() const {
    const uint32_t whom = lowest_missing();
    if (sides_.watch.expired && !sides_.watch.expired(whom)) return;
    fail(FaultKind::kAbsent, whom, "it did not pass its memory within the deadline");
  }

  uint32_t lowest_missing() const {
    uint32_t lowest = ~uint32_t(0);
    for (const uint32_t rank : to_call_) lowest = std::min(lowest, rank);
    for (const uint32_t rank : awaited_) lowest = std::min(lowest, rank);
    for (const Listening& line : lines_)
      if (line.step != LineStep::kStranger) lowest = std::min(lowest, line.rank);
    return lowest;
  }

  Greeting greeting_for(uint32_t rank) const {
    return {sides_.offers[rank].secret, sides_.offers[sides_.rank].region, sides_.rank, 0};
  }

  // True if what failed may succeed later. Throws if it never will.
  bool later(int error, uint32_t rank, const char* what) {
    const Trouble trouble = trouble_of(error);
    if (trouble == Trouble::kGone) fail(FaultKind::kLost, rank, "its process is gone");
    if (trouble == Trouble::kOther)
      throw Error(Code::kNotSupported, of_limit(what, error) + " (rank " + std::to_string(rank) + ")");
    if (error != EAGAIN && error != EINTR) hindrance_ = of_limit(what, error);
    retry_ = true;
    return true;
  }

  void call_some() {
    retry_ = false;
    size_t calls = calls_made();
    const auto called = [&](uint32_t rank) {
      if (calls >= kCallsMost || !call(rank)) return false;
      ++calls;
      return true;
    };
    to_call_.erase(std::remove_if(to_call_.begin(), to_call_.end(), called), to_call_.end());
  }

  size_t calls_made() const {
    return size_t(std::count_if(lines_.begin(), lines_.end(), [](const Listening& line) {
      return line.step == LineStep::kCalled || line.step == LineStep::kToPass;
    }));
  }

  bool call(uint32_t rank) {
    Descriptor fd = new_socket();
    if (!fd) return !later(errno, rank, "a socket cannot be made");
    sockaddr_un address;
    const socklen_t size = address_of(sides_.offers[rank].region, address);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0)
      return !later(errno, rank, "cannot call a peer");
    const std::optional<uid_t> user = user_behind(fd.get());
    if (user != ::geteuid())
      fail(FaultKind::kMismatch, rank,
           "a process of user " + (user ? std::to_string(*user) : "?") + " answers in its place, and not one of user " +
               std::to_string(::geteuid()) + ", who I am");
    if (const int error = send_greeting(fd.get(), greeting_for(rank), nullptr); error != 0)
      return !later(error, rank, "cannot greet a peer");
    lines_.push_back({std::move(fd), LineStep::kCalled, rank});
    hindrance_.clear();
    return true;
  }

  // Passes my descriptors to whom they are due.
  void pass_to_all() {
    const GreetingFds mine{sides_.mine.bell.get(), sides_.mine.region->fd()};
    for (size_t i = lines_.size(); i-- > 0;) {
      Listening& line = lines_[i];
      if (line.step != LineStep::kToPass && line.step != LineStep::kToAnswer) continue;
      const int error = send_greeting(line.fd.get(), greeting_for(line.rank), &mine);
      if (error != 0 && later(error, line.rank, "cannot pass my memory on")) continue;
      hindrance_.clear();
      if (line.step == LineStep::kToAnswer)
        line.step = LineStep::kAnswered;
      else
        drop(i);
    }
  }

  void drop(size_t i) { lines_.erase(lines_.begin() + long(i)); }

  void wait(uint64_t until) {
    const uint64_t now = now_ns();
    const uint64_t most_ms = retry_ || !accepting_ ? kRetryMs : kLookMs;
    const uint64_t left_ms = until > now ? (until - now) / kMillisecondNs + 1 : 0;
    std::vector<pollfd> ready{{accepting_ && room_for_callers() ? sides_.listener : -1, POLLIN, 0}};
    accepting_ = true;
    for (const Listening& line : lines_) {
      const bool due = line.step == LineStep::kToPass || line.step == LineStep::kToAnswer;  // nothing comes yet
      ready.push_back({line.fd.get(), short(due ? 0 : POLLIN), 0});
    }
    if (::poll(ready.data(), ready.size(), int(std::min(left_ms, most_ms))) <= 0) return;
    for (size_t i = lines_.size(); i-- > 0;)  // back to front: lines that are done are dropped
      if (ready[1 + i].revents != 0) hear(i);
    if (ready[0].revents != 0) accept_callers();
  }

  bool room_for_callers() const { return lines_.size() - calls_made() < kCallersMost; }

  void accept_callers() {
    while (room_for_callers()) {
      Descriptor fd(::accept4(sides_.listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd && (errno == EMFILE || errno == ENFILE)) {
        hindrance_ = of_limit("a socket for a caller cannot be made", errno);
        accepting_ = false;  // the caller stays in the socket's queue
      }
      if (!fd) return;
      hindrance_.clear();
      if (user_behind(fd.get()) == ::geteuid()) lines_.push_back({std::move(fd), LineStep::kStranger, 0});
    }
  }

  void hear(size_t i) {
    switch (lines_[i].step) {
      case LineStep::kStranger:
        return meet(i);
      case LineStep::kCalled:
      case LineStep::kAnswered:
        return take(i);
      default:
        return;  // the other side has ended: passing my memory to it says so
    }
  }

  // Hears who a caller is, and drops one that is not awaited or does not know my secret.
  void meet(size_t i) {
    Greeting greeting{};
    const Heard heard = receive_greeting(lines_[i].fd.get(), greeting, nullptr);
    if (heard == Heard::kNothing) return;
    const auto awaited = std::find(awaited_.begin(), awaited_.end(), greeting.rank);
    if (heard == Heard::kEnd || greeting.secret != sides_.offers[sides_.rank].secret || awaited == awaited_.end())
      return drop(i);
    awaited_.erase(awaited);
    lines_[i].rank = greeting.rank;
    lines_[i].step = LineStep::kToAnswer;
  }

  void take(size_t i) {
    Listening& line = lines_[i];
    Greeting greeting{};
    Passed passed;
    const Heard heard = receive_greeting(line.fd.get(), greeting, &passed);
    if (heard == Heard::kNothing) return;
    if (heard == Heard::kEnd) fail(FaultKind::kLost, line.rank, "its process ended, or refused what I passed");
    const bool ours = greeting.secret == sides_.offers[sides_.rank].secret && greeting.rank == line.rank;
    if (!ours || !keep(greeting, std::move(passed))) fail(FaultKind::kMismatch, line.rank, kNotAsOffered);
    if (line.step == LineStep::kCalled)
      line.step = LineStep::kToPass;
    else
      drop(i);
  }

  bool keep(const Greeting& greeting, Passed passed) {
    const RegionOffer& offer = sides_.offers[greeting.rank];
    if (greeting.region != offer.region) return false;
    auto neighbour = std::make_shared<Neighbour>();
    neighbour->bell = std::move(passed.bell);
    neighbour->region = sides_.mine.region->map(offer.peer(greeting.rank), std::move(passed.region));
    // A bell that blocks would let a peer hold me up.
    const int flags = ::fcntl(neighbour->bell.get(), F_GETFL);
    if (neighbour->region == nullptr || flags < 0 || (flags & O_NONBLOCK) == 0) return false;
    done_[greeting.rank] = std::move(neighbour);
    return true;
  }

  const ExchangeSides& sides_;
  std::vector<uint32_t> to_call_, awaited_;
  std::vector<Listening> lines_;
  bool retry_ = false;     // something of mine could not be done at once
  bool accepting_ = true;  // the last caller got a descriptor
  std::string hindrance_;  // what this machine has lacked since a step last succeeded
  std::map<uint32_t, std::shared_ptr<Neighbour>> done_;
};

}  // namespace

Descriptor listen_for(uint64_t region) {
  Descriptor fd = new_socket();
  if (!fd) throw Error(Code::kOutOfMemory, of_limit("a socket cannot be made", errno));
  sockaddr_un address;
  const socklen_t size = address_of(region, address);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd.get(), SOMAXCONN) != 0)
    throw Error(Code::kOutOfMemory, std::string("shared region: cannot listen for peers: ") + std::strerror(errno));
  return fd;
}

std::map<uint32_t, std::shared_ptr<Neighbour>> exchange(const ExchangeSides& sides,
                                                        const std::vector<uint32_t>& wanted) {
  return NodeExchange(sides, wanted).run();
}

}  // namespace transload
