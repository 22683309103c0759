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

// Whether the loss of a rank is told. Libfabric's layer of connections over TCP says nothing where one ends with no
// write under way: later writes are put off, for ever, and the control channel alone knows.
enum class Tells { kNever, kAtTimes, kAlways };

Tells tells_of(const Wire& wire) {
  if (wire.kind == Kind::kLoopback) return Tells::kNever;
  return wire.kind == Kind::kOrdered || wire.kind == Kind::kUnordered ? Tells::kAtTimes : Tells::kAlways;
}

// All its threads are in this state: each stops by itself.
bool is_in_state(pid_t process, char state) {
  const std::string sign = std::string(") ") + state + ' ';
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
    std::ifstream stat(thread.path() / "stat");
    std::string text;
    if (!std::getline(stat, text) || text.find(sign) == std::string::npos) return false;
  }
  return true;
}
bool is_stopped(pid_t process) { return is_in_state(process, 'T'); }
bool is_dead(pid_t process) { return is_in_state(process, 'Z'); }

bool is_told_lost(ScaleOut& link) {
  LostPeer peer{};
  if (!link.lost(peer)) return false;
  require(peer.rank == 1 && !peer.reason.empty(), "the wrong rank is told lost");
  require(!link.lost(peer), "told twice");
  return true;
}

// Puts of one row to rank 1, again and again, but never more at once than `kAtOnce`.
class Flood {
 public:
  static constexpr Word kAtOnce = 64;
  Flood(CrewRank& me, ScaleOut& link) : me_(me), link_(link) {}

  void put() {
    if (full()) return;
    ++sent_;
    link_.put({me_.region() + 8192, 8192, kRow, 1, &drained_, sent_});
    link_.publish({0, 1}, sent_);
  }
  bool full() const { return sent_ - drained() == kAtOnce; }
  Word sent() const { return sent_; }
  Word drained() const { return std::atomic_ref<const Word>(drained_).load(std::memory_order_acquire); }

 private:
  CrewRank& me_;
  ScaleOut& link_;
  alignas(kWordBytes) Word drained_ = 0;
  Word sent_ = 0;
};

// Puts to rank 1, which says in the note which process it is and dies of itself, until that is told; or nothing moves
// any more and nobody tells. Whether it is told.
bool flood_until_lost(CrewRank& me, ScaleOut& link, Flood& flood, Tells tells) {
  me.moved();
  for (int idle = 0; !is_told_lost(link);) {
    const auto victim = pid_t(me.note().load());
    const bool gone = victim != 0 && is_dead(victim);
    if (gone && tells == Tells::kNever) return false;
    if (gone && tells == Tells::kAtTimes && idle > 300) return false;
    flood.put();
    if (link.progress()) {
      idle = 0;
      if (!gone) me.moved();
    } else {
      ++idle;
      me.check();
      nap(link);
    }
  }
  require(tells != Tells::kNever, "told by a transport that notices nothing");
  return true;
}

TEST_P(Rung08PeerDies, KilledInTheMiddle) {
  EXPECT_EQ("", run({.ranks = 3, .as = {}, .region_bytes = kRegion, .victim = 1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              if (me.rank() == 1) {
                wait_until(me, *link, [&] { return observe(me.region(), 0) >= 20; });
                me.note().store(uint64_t(getpid()));
                raise(SIGKILL);
              }
              Flood flood(me, *link);
              bool awaits_none = true;  // that will never be told drained
              if (me.rank() == 0) {
                const Tells tells = tells_of(GetParam());
                awaits_none = flood_until_lost(me, *link, flood, tells) || tells == Tells::kNever;
                Word more = 0;
                for (int i = 1; i <= 500 && awaits_none; ++i) {
                  link->put({me.region() + 8192, 8192, kRow, 1, &more, Word(i)});
                  link->publish({0, 1}, Word(i));
                }
                wait_until(me, *link, [&] { return !awaits_none || link->quiet(); });
                require(!awaits_none || std::atomic_ref<Word>(more).load() == 500,
                        "sources for a lost rank are never freed");
              }
              // The two that are left continue.
              const uint32_t other = 2 - me.rank();
              const auto quiet = [&] { return !awaits_none || link->quiet(); };
              for (Word i = 1; i <= 200; ++i) {
                fill(me.region() + 65536, kRow, i * 3 + me.rank());
                link->put({me.region() + 65536, 131072, kRow, other, nullptr, 0});
                link->publish({kWordBytes, other}, i);
                wait_until(me, *link, [&] { return observe(me.region(), kWordBytes) >= i; });
                require(holds(me.region() + 131072, kRow, i * 3 + other), "wrong bytes after a loss");
                link->publish({2 * kWordBytes, other}, i);  // I have looked
                wait_until(me, *link, [&] { return observe(me.region(), 2 * kWordBytes) >= i && quiet(); });
              }
              wait_until(me, *link, quiet);
              me.meet([&] { link->progress(); }, 2);
            }));
}

// It reads nothing any more, so that its death finds writes under way: every network tells.
TEST_P(Rung08PeerDies, KilledWithWritesUnderWay) {
  if (tells_of(GetParam()) == Tells::kNever) GTEST_SKIP() << "loopback stores, and notices nothing";
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = kRegion, .victim = 1}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              if (me.rank() == 1) {
                wait_until(me, *link, [&] { return observe(me.region(), 0) >= 1; });
                me.note().store(uint64_t(getpid()));
                wait_until(me, *link, [] { return false; });
              }
              Flood flood(me, *link);
              flood.put();
              wait_until(me, *link, [&] { return me.note().load() != 0 && link->quiet(); });
              const auto victim = pid_t(me.note().load());
              kill(victim, SIGSTOP);
              wait_until(me, *link, [&] { return is_stopped(victim); });
              // A NIC reads for it: there is no end then.
              for (int idle = 0; idle < 100 && flood.sent() < 4000; idle = flood.full() ? idle + 1 : 0) {
                flood.put();
                if (!link->progress()) nap(*link);
              }
              kill(victim, SIGKILL);
              wait_until(me, *link, [&] {
                flood.put();
                return is_told_lost(*link);
              });
              wait_until(me, *link, [&] { return link->quiet(); });
              require(flood.drained() == flood.sent(), "sources for a lost rank are never freed");
            }));
}

TEST_P(Rung08PeerDies, StoppedAndLeftBehind) {
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = kRegion, .victim = 1}, [&](CrewRank& me) {
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
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = kRegion, .victim = 1}, [&](CrewRank& me) {
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
  EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = kRegion, .victim = 1}, [&](CrewRank& me) {
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

// For a sanitizer one of each link.
std::vector<Wire> dying_wires() {
  return kSlow ? std::vector<Wire>{kProcessWires.front(), kProcessWires[4], kProcessWires.back()} : kProcessWires;
}

INSTANTIATE_TEST_SUITE_P(Wires, Rung08PeerDies, ::testing::ValuesIn(dying_wires()), name_of);
INSTANTIATE_TEST_SUITE_P(Scrambled, Rung08PeerDies, ::testing::ValuesIn(scrambled_wires()), name_of);

}  // namespace
}  // namespace transload::test
