// Rung 08: a rank is killed or stopped. The transport says so or says nothing; it never hangs, crashes or harms others.
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "wires.h"

namespace transload::test {
namespace {

constexpr size_t kRow = 14336;
constexpr size_t kRegion = 1 << 20;

class Rung08PeerDies : public TransportLadder {};  // of processes only: a thread does not die alone

// Puts to rank 1 until it is told lost, or long enough to have been.
bool stream_until_lost(Member& me, ScaleOut& link, bool tells, Word* drained) {
  const auto start = std::chrono::steady_clock::now();
  LostPeer peer{};
  for (Word sent = 0; std::chrono::steady_clock::now() - start < std::chrono::seconds(10);) {
    if (link.lost(peer)) {
      require(peer.rank == 1 && !peer.reason.empty(), "the wrong rank is told lost");
      require(!link.lost(peer), "told twice");
      return true;
    }
    if (sent - std::atomic_ref<Word>(*drained).load(std::memory_order_acquire) < 64) {
      ++sent;
      link.put({me.region() + 8192, 8192, kRow, 1, drained, sent});
      link.publish({0, 1}, sent);
    }
    if (!link.progress()) nap(link);
    if (!tells && sent > 1000) return false;
  }
  return false;
}

// All its threads: each stops by itself.
bool is_stopped(pid_t process) {
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
    std::ifstream stat(thread.path() / "stat");
    std::string text;
    if (!std::getline(stat, text) || text.find(") T ") == std::string::npos) return false;
  }
  return true;
}

TEST_P(Rung08PeerDies, KilledInTheMiddle) {
  const bool tells = GetParam().kind != Kind::kLoopback;
  EXPECT_EQ("", run({.ranks = 3, .as = {}, .region_bytes = kRegion, .victim = 1}, [&](Member& me) {
              const auto link = open_link(GetParam(), me);
              if (me.rank() == 1) {
                wait_until(me, *link, [&] { return observe(me.region(), 0) >= 20; });
                raise(SIGKILL);
              }
              if (me.rank() == 0) {
                Word drained = 0, more = 0;
                require(stream_until_lost(me, *link, tells, &drained) == tells, "not what this transport can notice");
                for (int i = 1; i <= 500; ++i) {
                  link->put({me.region() + 8192, 8192, kRow, 1, &more, Word(i)});
                  link->publish({0, 1}, Word(i));
                }
                wait_until(me, *link, [&] { return link->quiet(); });
                require(std::atomic_ref<Word>(more).load() == 500, "sources for a lost rank are never freed");
              }
              // The two that are left continue.
              const uint32_t other = 2 - me.rank();
              for (Word i = 1; i <= 200; ++i) {
                fill(me.region() + 65536, kRow, i * 3 + me.rank());
                link->put({me.region() + 65536, 131072, kRow, other, nullptr, 0});
                link->publish({kWordBytes, other}, i);
                wait_until(me, *link, [&] { return observe(me.region(), kWordBytes) >= i; });
                require(holds(me.region() + 131072, kRow, i * 3 + other), "wrong bytes after a loss");
                link->publish({2 * kWordBytes, other}, i);  // I have looked
                wait_until(me, *link, [&] { return observe(me.region(), 2 * kWordBytes) >= i && link->quiet(); });
              }
              wait_until(me, *link, [&] { return link->quiet(); });
              me.meet([&] { link->progress(); }, 2);
            }));
}

TEST_P(Rung08PeerDies, StoppedAndLeftBehind) {
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = kRegion, .victim = 1}, [&](Member& me) {
              const auto link = open_link(GetParam(), me);
              if (me.rank() == 1) {
                wait_until(me, *link, [&] { return observe(me.region(), 0) >= 1; });
                me.note().store(1);
                raise(SIGSTOP);
              }
              link->publish({0, 1}, 1);
              wait_until(me, *link, [&] { return me.note().load() == 1; });
              for (Word i = 2; i < 4000; ++i) {
                link->put({me.region() + 8192, 8192, kRow, 1, nullptr, 0});
                link->publish({0, 1}, i);
                link->progress();
              }
              for (int i = 0; i < 50; ++i) {
                link->progress();
                nap(*link);
              }
              LostPeer peer{};
              require(!link->lost(peer), "a stopped rank is not a lost one");
            }));
}

// Stopped only when nothing of it is awaited: what it has landed and not confirmed would be awaited for ever.
TEST_P(Rung08PeerDies, KilledWithNothingLeftToSend) {
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = kRegion, .victim = 1}, [&](Member& me) {
              const auto link = open_link(GetParam(), me);
              if (me.rank() == 1) {
                me.note().store(uint64_t(getpid()));
                wait_until(me, *link, [] { return false; });
              }
              link->publish({0, 1}, 1);
              wait_until(me, *link, [&] { return me.note().load() != 0 && link->quiet(); });
              const auto victim = pid_t(me.note().load());
              kill(victim, SIGSTOP);
              wait_until(me, *link, [&] { return is_stopped(victim); });
              link->put({me.region() + 8192, 8192, 1024, 1, nullptr, 0});  // so few that all of it leaves
              link->publish({0, 1}, 2);
              for (int i = 0; i < 50; ++i) {
                link->progress();
                nap(*link);
              }
              kill(victim, SIGKILL);
              wait_until(me, *link, [&] { return link->quiet(); });
            }));
}

TEST_P(Rung08PeerDies, GoneBeforeItWasReached) {
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = kRegion, .victim = 1}, [&](Member& me) {
              const auto link = open_link(GetParam(), me);
              if (me.rank() == 1) raise(SIGKILL);
              usleep(50'000);
              for (Word i = 1; i < 100; ++i) {
                link->put({me.region() + 8192, 8192, kRow, 1, nullptr, 0});
                link->publish({0, 1}, i);
                if (!link->progress()) nap(*link);
              }
            }));
}

INSTANTIATE_TEST_SUITE_P(Wires, Rung08PeerDies, ::testing::ValuesIn(kProcessWires), name_of);
INSTANTIATE_TEST_SUITE_P(Scrambled, Rung08PeerDies, ::testing::ValuesIn(kScrambledWires), name_of);

}  // namespace
}  // namespace transload::test
