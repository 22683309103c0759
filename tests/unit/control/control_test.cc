// The control channel over real sockets: ranks as threads and as processes, bad guests, and every way of ending.
#include "control/control.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <barrier>
#include <cstring>
#include <thread>

#include "control/rendezvous.h"
#include "os/clock.h"
#include "tests/support/control_ranks.h"

namespace transload {
namespace {

using namespace meet;

TEST(Control, GathersManyRounds) {
  Rendezvous rendezvous;
  as_threads(5, [&](uint32_t rank) {
    Control control(place(rank, 5, rendezvous.port()), kDeadlineMs, one_node(5));
    for (uint32_t round = 0; round < 20; ++round) {
      const auto part = [&](uint32_t of) { return std::string(of * 1000 + round, char('a' + of)); };
      const std::vector<std::string> all = control.gather(part(rank));
      ASSERT_EQ(all.size(), 5u);
      for (uint32_t of = 0; of < 5; ++of) EXPECT_EQ(all[of], part(of));
    }
    EXPECT_EQ(control.local_address(), "127.0.0.1");
    EXPECT_EQ(control.settled().kind, FaultKind::kNone);
    control.goodbye();
  });
}

TEST(Control, ManyThreads) {
  constexpr uint32_t kRanks = 130;
  Rendezvous rendezvous;
  as_threads(kRanks, [&](uint32_t rank) {
    Control control(place(rank, kRanks, rendezvous.port()), kDeadlineMs, one_node(kRanks));
    const std::vector<std::string> all = control.gather(std::to_string(rank));
    for (uint32_t of = 0; of < kRanks; ++of) EXPECT_EQ(all[of], std::to_string(of));
    control.gather("");
    control.goodbye();
  });
}

TEST(Control, Rank0Serves) {
  // A port that was free a moment ago.
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  for (int again = 0; again < 5; ++again) {
    as_threads(3, [&](uint32_t rank) {
      Bootstrap bootstrap = place(rank, 3, port);
      bootstrap.serve = rank == 0;
      // Groups follow each other at once, and another one shares the server.
      for (const char* name : {"first", "second"}) {
        bootstrap.name = name;
        Control control(bootstrap, kDeadlineMs, one_node(3));
        EXPECT_EQ(control.gather(std::to_string(rank))[2], "2");
        control.goodbye();
      }
    });
  }
  EXPECT_TRUE(is_free(port));
}

TEST(Control, CallersOwnAllGather) {
  constexpr uint32_t kRanks = 4;
  std::vector<char> shared;
  std::barrier all_here(kRanks);
  std::mutex mutex;
  as_threads(kRanks, [&](uint32_t rank) {
    Bootstrap bootstrap = place(rank, kRanks, 0);
    bootstrap.all_gather = [&, rank](const void* mine, size_t bytes, void* all) {
      {
        std::lock_guard lock(mutex);
        shared.resize(bytes * kRanks);
        std::memcpy(shared.data() + rank * bytes, mine, bytes);
      }
      all_here.arrive_and_wait();
      std::memcpy(all, shared.data(), bytes * kRanks);
      all_here.arrive_and_wait();
    };
    Control control(bootstrap, kDeadlineMs, one_node(kRanks));
    EXPECT_EQ(control.gather(std::to_string(rank))[3], "3");
    control.goodbye();
  });
}

TEST(Control, OneRankNeedsNothing) {
  Control control(place(0, 1, 0), kDeadlineMs, one_node(1));
  EXPECT_EQ(control.gather("me").at(0), "me");
  control.goodbye();
}

TEST(Control, RefusesWhatCannotBe) {
  Rendezvous rendezvous;
  const uint16_t port = rendezvous.port();
  EXPECT_NE(refusal_of([&] { Control(place(0, 0, port), 100, {}); }).find("bootstrap.ranks: 0"), std::string::npos);
  EXPECT_NE(refusal_of([&] { Control(place(2, 2, port), 100, one_node(2)); }).find("bootstrap.rank: 2"),
            std::string::npos);
  EXPECT_NE(refusal_of([&] { Control(place(0, 2, port), 100, one_node(3)); }).find("topology: 3"), std::string::npos);
  EXPECT_NE(refusal_of([&] { Control(place(0, 2, 0), 100, one_node(2)); }).find("bootstrap.port"), std::string::npos);
  Bootstrap taken = place(0, 2, port);
  taken.serve = true;
  EXPECT_NE(refusal_of([&] { Control(taken, 100, one_node(2)); }).find(std::to_string(port)), std::string::npos);
  EXPECT_NE(refusal_of([&] { Rendezvous again("127.0.0.1", port); }).find("127.0.0.1"), std::string::npos);
  EXPECT_NE(refusal_of([&] { Rendezvous nowhere("192.0.2.1"); }).find("192.0.2.1"), std::string::npos);
}

TEST(Control, RefusesOtherNumberOfRanks) {
  Rendezvous rendezvous;
  std::thread first([&] {
    Control control(place(0, 2, rendezvous.port()), kDeadlineMs, one_node(2));
    control.gather("");
    control.goodbye();
  });
  ::usleep(500'000);  // it is there first
  const std::string why = refusal_of([&] { Control(place(1, 3, rendezvous.port()), kDeadlineMs, one_node(3)); });
  EXPECT_NE(why.find("rank 1 of group \"g\" gave ranks 3"), std::string::npos) << why;
  Control right(place(1, 2, rendezvous.port()), kDeadlineMs, one_node(2));
  right.gather("");
  right.goodbye();
  first.join();
}

// Contract 8.1.
TEST(Control, NamesWhoDoesNotCome) {
  Rendezvous rendezvous;
  std::barrier all_here(3);
  as_threads(4, [&](uint32_t rank) {
    if (rank == 2) return;
    all_here.arrive_and_wait();
    const Fault fault = fault_of([&] { Control(place(rank, 4, rendezvous.port()), 2000, one_node(4)); });
    EXPECT_EQ(fault.culprit_rank, 2u);
    EXPECT_EQ(fault.kind, FaultKind::kAbsent);
    EXPECT_EQ(fault.operation, "create");
    EXPECT_EQ(fault.rank, rank);
  });
}

TEST(Control, NamesWhereNobodyListens) {
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  const Fault fault = fault_of([&] { Control(place(1, 2, port), 200, one_node(2)); });
  EXPECT_EQ(fault.culprit_rank, 0u);
  EXPECT_NE(fault.to_string().find("127.0.0.1:" + std::to_string(port)), std::string::npos) << fault.to_string();
}

TEST(Control, NamesWhoDoesNotGather) {
  Rendezvous rendezvous;
  std::barrier done(3), made(3);
  as_threads(3, [&](uint32_t rank) {
    Control control(place(rank, 3, rendezvous.port()), {2000, kDeadlineMs}, one_node(3));
    control.made();
    made.arrive_and_wait();
    if (rank == 1) return done.arrive_and_wait();
    const Fault fault = fault_of([&] { control.gather("x"); });
    EXPECT_EQ(fault.culprit_rank, 1u);
    EXPECT_EQ(fault.kind, FaultKind::kAbsent);
    EXPECT_EQ(fault_of([&] { control.gather("x"); }).culprit_rank, 1u);  // for good
    done.arrive_and_wait();
  });
}

TEST(Control, SurvivesStrangers) {
  Rendezvous rendezvous;
  std::vector<int> strangers;
  for (const std::string& words :
       {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), std::string("\xFF\xFF\xFF\xFF\x01", 5),
        std::string("\x05\0\0\0\x01"
                    "hello",
                    10),
        std::string("\x16\x03\x01\x02", 4), std::string()}) {
    strangers.push_back(connect_raw(rendezvous.port()));
    EXPECT_EQ(::send(strangers.back(), words.data(), words.size(), MSG_NOSIGNAL), ssize_t(words.size()));
  }
  ::close(strangers[3]);
  strangers.erase(strangers.begin() + 3);
  as_threads(2, [&](uint32_t rank) {
    Control control(place(rank, 2, rendezvous.port()), kDeadlineMs, one_node(2));
    EXPECT_EQ(control.gather("x").size(), 2u);
    control.goodbye();
  });
  for (int i = 0; i < 3; ++i) {  // shown out; the one that said nothing may stay for a while
    pollfd ready{strangers[size_t(i)], POLLIN, 0};
    EXPECT_EQ(::poll(&ready, 1, kPatienceMs), 1) << i;
  }
  for (int fd : strangers) ::close(fd);
}

TEST(Control, NotARendezvous) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  std::thread server([&] {
    const int fd = ::accept(listener, nullptr, nullptr);
    const std::string words = "HTTP/1.1 400 Bad Request\r\n\r\n";
    EXPECT_GT(::send(fd, words.data(), words.size(), MSG_NOSIGNAL), 0);
    char byte;
    while (::recv(fd, &byte, 1, 0) > 0) {
    }
    ::close(fd);
  });
  const std::string why = refusal_of([&] { Control(place(0, 2, ntohs(address.sin_port)), kDeadlineMs, one_node(2)); });
  EXPECT_NE(why.find("not a rendezvous"), std::string::npos) << why;
  server.join();
  ::close(listener);
}

TEST(Control, GoodbyeIsToldAndIsNoFault) {
  Rendezvous rendezvous;
  std::barrier step(3);
  as_threads(3, [&](uint32_t rank) {
    {
      Control control(place(rank, 3, rendezvous.port()), kDeadlineMs, one_node(3));
      control.gather("");
      EXPECT_FALSE(control.said_goodbye(1));
      step.arrive_and_wait();
      if (rank != 1) {
        EXPECT_TRUE(eventually([&] { return control.said_goodbye(1); }));
        EXPECT_EQ(control.settled().kind, FaultKind::kNone);
        EXPECT_EQ(control.abort_word().load(), 0u);
      }
      control.goodbye();
    }
    // The same name once more, while others may still be leaving.
    Control again(place(rank, 3, rendezvous.port()), kDeadlineMs, one_node(3));
    EXPECT_EQ(again.gather("").size(), 3u);
    again.goodbye();
  });
}

TEST(Control, LeavingWithoutGoodbyeIsLost) {
  Rendezvous rendezvous;
  std::atomic<int> rung{0};
  as_threads(3, [&](uint32_t rank) {
    auto control = std::make_unique<Control>(place(rank, 3, rendezvous.port()), kDeadlineMs, one_node(3));
    OnVerdict ring(*control, [&] { ++rung; });
    control->gather("");
    if (rank == 2) {
      ring.reset();
      return control.reset();
    }
    ASSERT_TRUE(aborted(*control));
    EXPECT_EQ(control->verdict().kind, FaultKind::kLost);
    EXPECT_EQ(control->verdict().culprit, 2u);
    bool late = false;
    ring = OnVerdict();
    ring = OnVerdict(*control, [&] { late = true; });  // it has happened: at once
    EXPECT_TRUE(late);
    ring.reset();
    control->goodbye();
  });
  EXPECT_EQ(rung, 2);
}

// As members of a group lie: what the hook touches goes after it, whoever throws in between and whenever the verdict
// comes.
TEST(Control, AHookIsOverBeforeWhatItTouchesGoes) {
  struct Member {
    std::unique_ptr<Control> control;
    std::unique_ptr<std::atomic<uint32_t>> touched = std::make_unique<std::atomic<uint32_t>>(7);
    OnVerdict hook;
  };
  for (int round = 0; round < 4; ++round) {
    Rendezvous rendezvous;
    std::barrier step(2);
    as_threads(2, [&](uint32_t rank) {
      std::atomic<bool> running{false}, ended{false};
      {
        Member member;
        member.control = std::make_unique<Control>(place(rank, 2, rendezvous.port()), kDeadlineMs, one_node(2));
        member.control->gather("");
        if (rank == 1) {
          step.arrive_and_wait();
          return;  // without a goodbye: the other hears of it while its members go
        }
        member.hook = OnVerdict(*member.control, [&, touched = member.touched.get()] {
          running = true;
          ::usleep(20'000);
          EXPECT_EQ(touched->load(), 7u);
          ended = true;
        });
        step.arrive_and_wait();
        if (round % 2 == 0) eventually([&] { return running.load(); });
      }
      EXPECT_EQ(running, ended);
    });
  }
}

// Two ranks that have met, neither of which leaves before the other is done.
void in_a_pair(const std::function<void(Control&, uint32_t rank)>& body) {
  Rendezvous rendezvous;
  std::barrier step(2);
  as_threads(2, [&](uint32_t rank) {
    Control control(place(rank, 2, rendezvous.port()), kDeadlineMs, one_node(2));
    control.gather("");
    body(control, rank);
    step.arrive_and_wait();
    control.goodbye();
  });
}

TEST(Control, SuspicionIsJudged) {
  Rendezvous rendezvous;
  std::barrier step(3);
  as_threads(3, [&](uint32_t rank) {
    Control control(place(rank, 3, rendezvous.port()), kDeadlineMs, one_node(3));
    control.gather("");
    const uint64_t since = now_ns();
    if (rank == 0) control.note(1, Phase::kDispatch, true, 1);
    if (rank == 1) control.note(1, Phase::kDispatch, true, 2);
    if (rank == 2) control.note(0, Phase::kIdle, false, kNobody);
    ::usleep(kManyBeatsUs);
    step.arrive_and_wait();
    if (rank == 0) {
      EXPECT_TRUE(control.suspect({0, 1, 1, 0, 1}, since));
    }
    if (rank != 0) {
      EXPECT_TRUE(aborted(control));
    }
    EXPECT_EQ(control.verdict().culprit, 2u);
    EXPECT_EQ(control.verdict().kind, FaultKind::kAbsent);
    step.arrive_and_wait();
  });
}

// What was suspected ends by itself: the rank takes it back, hears that this is known, and nobody is at fault.
TEST(Control, ASuspicionIsTakenBack) {
  in_a_pair([](Control& control, uint32_t rank) {
    if (rank == 0) {
      for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE(control.suspect({0, 0, 1, 0, 1}, now_ns()));
        control.withdraw();
        EXPECT_EQ(control.settled().kind, FaultKind::kNone);
      }
      ::usleep(600'000);  // a verdict would have come
      EXPECT_EQ(control.abort_word().load(), 0u);
    }
  });
}

// A call that failed gets a reason, even where nobody was accused.
TEST(Control, AFailureHasAReason) {
  in_a_pair([](Control& control, uint32_t rank) {
    if (rank == 1) {
      EXPECT_NE(control.verdict().kind, FaultKind::kNone);
      EXPECT_TRUE(control.verdict().own_view);
    }
  });
}

TEST(Control, MismatchIsTold) {
  in_a_pair([](Control& control, uint32_t rank) {
    if (rank == 0) control.mismatch(1, "arguments: top-k 8, but rank 1 gave 4");
    EXPECT_TRUE(aborted(control));
    EXPECT_EQ(control.verdict().culprit, 0u);  // the lower one: nobody knows which is wrong
    EXPECT_EQ(control.verdict().detail, "arguments: top-k 8, but rank 1 gave 4; which of them is wrong is not known");
  });
}

// Rank 2 is another process; ranks 0 and 1 are threads here.
TEST(Control, KilledProcess) {
  PortChild child([](uint16_t port) {
    Control control(place(2, 3, port), kDeadlineMs, one_node(3));
    control.gather("");
    ::pause();
    return 0;
  });
  Rendezvous rendezvous;
  child.go(rendezvous.port());
  as_threads(2, [&](uint32_t rank) {
    Control control(place(rank, 3, rendezvous.port()), kDeadlineMs, one_node(3));
    control.gather("");
    if (rank == 0) child.kill(SIGKILL);
    ASSERT_TRUE(aborted(control));
    EXPECT_EQ(control.verdict().kind, FaultKind::kLost);
    EXPECT_EQ(control.verdict().culprit, 2u);
  });
}

TEST(Control, StoppedProcess) {
  PortChild child([](uint16_t port) {
    Control control(place(2, 3, port), kDeadlineMs, one_node(3));
    control.gather("");
    control.note(1, Phase::kDispatch, true, 0);
    const uint64_t since = now_ns();
    ::usleep(100'000);
    ::raise(SIGSTOP);
    // It slept for longer than its wait: it does not accuse, and hears what it was accused of.
    if (control.suspect({2, 1, 0, 0, 1}, since) && control.abort_word().load() == 0) return 3;
    if (!aborted(control)) return 4;
    return control.verdict().culprit == 2 && control.verdict().kind == FaultKind::kSilent ? 0 : 5;
  });
  Rendezvous rendezvous;
  child.go(rendezvous.port());
  std::barrier judged(2);
  as_threads(2, [&](uint32_t rank) {
    Control control(place(rank, 3, rendezvous.port()), kDeadlineMs, one_node(3));
    control.gather("");
    control.note(1, Phase::kDispatch, true, 2);
    const uint64_t since = now_ns();
    if (rank == 0) child.wait_until_stopped();
    judged.arrive_and_wait();
    ::usleep(700'000);
    EXPECT_TRUE(control.suspect({rank, 1, 2, 0, 1}, since));
    EXPECT_EQ(control.verdict().kind, FaultKind::kSilent);
    EXPECT_EQ(control.verdict().culprit, 2u);
    EXPECT_TRUE(aborted(control));
    judged.arrive_and_wait();
    if (rank == 0) {
      child.kill(SIGCONT);
      EXPECT_EQ(child.wait(), 0);
    }
  });
}

// Rank 0, with the rendezvous inside, is killed or stopped.
class Rank0Ends : public testing::TestWithParam<int> {};

TEST_P(Rank0Ends, IsNamedByAll) {
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  PortChild child([](uint16_t port) {
    Bootstrap bootstrap = place(0, 3, port);
    bootstrap.serve = true;
    Control control(bootstrap, kDeadlineMs, {0, 0, 1});
    control.gather("");
    ::pause();
    return 0;
  });
  child.go(port);
  std::barrier gathered(2);
  as_threads(3, [&](uint32_t rank) {
    if (rank == 0) return;
    Control control(place(rank, 3, port), kDeadlineMs, {0, 0, 1});
    control.gather("");
    gathered.arrive_and_wait();
    const uint64_t since = now_ns();
    if (rank == 1) child.kill(GetParam());
    if (GetParam() == SIGSTOP) {
      if (rank == 1) child.wait_until_stopped();
      gathered.arrive_and_wait();
      ::usleep(500'000);
      EXPECT_TRUE(control.suspect({rank, 1, 0, 0, 1}, since));
    }
    EXPECT_EQ(aborted(control), true);
    EXPECT_EQ(control.verdict().culprit, 0u);
    const FaultKind stopped = rank == 1 ? FaultKind::kSilent : FaultKind::kUnreachable;
    EXPECT_EQ(control.verdict().kind, GetParam() == SIGKILL ? FaultKind::kLost : stopped);
    EXPECT_EQ(control.verdict().own_view, GetParam() == SIGSTOP);
  });
}

INSTANTIATE_TEST_SUITE_P(Control, Rank0Ends, testing::Values(SIGKILL, SIGSTOP));

TEST(Control, RendezvousGoesAway) {
  auto rendezvous = std::make_unique<Rendezvous>();
  std::barrier step(2);
  as_threads(2, [&](uint32_t rank) {
    Control control(place(rank, 2, rendezvous->port()), kDeadlineMs, {0, 1});
    control.gather("");
    step.arrive_and_wait();
    if (rank == 0) rendezvous.reset();
    step.arrive_and_wait();
    const Fault fault = fault_of([&] { control.gather(""); });
    EXPECT_EQ(fault.kind, FaultKind::kRendezvous);
    EXPECT_EQ(fault.culprit_rank, kNobody);
    EXPECT_FALSE(fault.own_view);
    EXPECT_EQ(fault.to_string().rfind("the rendezvous failed", 0), 0u) << fault.to_string();
    control.goodbye();
  });
}

// The process ends by exit() while a group lives: nothing keeps it.
TEST(Control, ExitWithoutFreeing) {
  PortChild child([](uint16_t port) {
    auto* control = new Control(place(0, 1, port), kDeadlineMs, one_node(1));
    control->gather("");
    ::exit(7);
    return 0;
  });
  Rendezvous rendezvous;
  child.go(rendezvous.port());
  EXPECT_EQ(child.wait(), 7);
}

// What this process starts inherits none of its sockets.
TEST(Control, DescriptorsAreCloseOnExec) {
  Rendezvous rendezvous;
  Control control(place(0, 1, rendezvous.port()), kDeadlineMs, one_node(1));
  control.gather("");
  for (int fd = 3; fd < 200; ++fd) {
    sockaddr_storage address;
    socklen_t size = sizeof address;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0 || address.ss_family == AF_UNIX) continue;
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0) << fd;
  }
  control.goodbye();
}

TEST(Control, SaysWhereItLookedForARendezvous) {
  const uint16_t port = [] { return RendezvousServer({}).port(); }();
  const Fault fault = fault_of([&] { Control(place(1, 2, port), 100, one_node(2)); });
  EXPECT_EQ(fault.waiting_for, "the rendezvous at 127.0.0.1:" + std::to_string(port));
}

// What ends after it is no fault of its group, and what it would say comes too late.
TEST(Control, WhoHasSaidGoodbyeIsOutOfIt) {
  Rendezvous rendezvous;
  std::barrier step(2);
  as_threads(2, [&](uint32_t rank) {
    Control control(place(rank, 2, rendezvous.port()), kDeadlineMs, one_node(2));
    control.gather("");
    if (rank == 1) {
      control.goodbye();  // and its connection ends
      EXPECT_NE(refusal_of([&] { control.gather(""); }).find("has said goodbye"), std::string::npos);
      for (int i = 0; i < 100 && control.abort_word().load() == 0; ++i) ::usleep(1000);
      EXPECT_EQ(control.abort_word().load(), 0u);
    }
    step.arrive_and_wait();
    control.goodbye();
  });
}

// Its wait began before the whole process stood still: it begins anew.
TEST(Control, AStoppedProcessWaitsAgain) {
  PortChild child([](uint16_t port) {
    Control control(place(0, 1, port), kDeadlineMs, one_node(1));
    control.gather("");
    const uint64_t since = now_ns();
    ::raise(SIGSTOP);
    return control.suspect({0, 1, 0, 0, 1}, since) ? 3 : 0;
  });
  Rendezvous rendezvous;
  child.go(rendezvous.port());
  child.wait_until_stopped();
  ::usleep(1'000'000);
  child.kill(SIGCONT);
  EXPECT_EQ(child.wait(), 0);
}

// A rank enters a call once, however often it says what it does there.
TEST(Control, ARankThatIsBusyIsNotLate) {
  Rendezvous rendezvous;
  std::barrier step(2);
  as_threads(2, [&](uint32_t rank) {
    Control control(place(rank, 2, rendezvous.port()), kDeadlineMs, one_node(2));
    control.gather("");
    control.note(1, Phase::kDispatch, rank == 0, rank == 0 ? 1 : kNobody);
    ::usleep(kManyBeatsUs);
    if (rank == 1) control.note(1, Phase::kDispatch, false, kNobody);
    step.arrive_and_wait();
    if (rank == 0) {
      EXPECT_TRUE(control.suspect({0, 1, 1, 0, 1, 0, 300 * kMillisecondNs}, now_ns() - 1000 * kMillisecondNs));
    }
    EXPECT_TRUE(aborted(control));
    EXPECT_EQ(control.verdict().kind, FaultKind::kSilent) << control.verdict().detail;
    step.arrive_and_wait();
  });
}

}  // namespace
}  // namespace transload
