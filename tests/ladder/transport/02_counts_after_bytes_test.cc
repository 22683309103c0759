// Rung 02, the litmus: a count is seen only after all bytes that were put before it. Two rings, one each way, with
// credits sent back as counts; every byte is checked as soon as the counter moves.
#include "wires.h"

namespace transload::test {
namespace {

constexpr uint64_t kSlots = 24;
constexpr uint64_t kTail = 0;  // offsets in the region
constexpr uint64_t kCredit = kWordBytes;
constexpr uint64_t kRing = 4096;

struct Stream {
  uint64_t rows;
  size_t row_bytes;
  uint64_t ring_bytes() const { return kSlots * row_bytes; }
  size_t region_bytes() const { return kRing + 2 * ring_bytes(); }
};

// One rank's half of both streams.
class Half {
 public:
  Half(CrewRank& me, ScaleOut& link, Stream stream) : me_(me), link_(link), stream_(stream) {}

  void run() {
    wait_until(me_, link_, [&] {
      for (;;) {
        bool moved = send();
        moved |= receive();
        if (!moved) break;
        me_.moved();
        link_.progress();
      }
      flush();
      return sent_ == stream_.rows && got_ == stream_.rows && link_.quiet();
    });
  }

 private:
  uint64_t slot(uint64_t row) const { return kRing + row % kSlots * stream_.row_bytes; }

  bool send() {
    credit_seen_ = std::max(credit_seen_, observe(me_.region(), kCredit));  // it may have landed in part
    const uint64_t drained = std::atomic_ref<Word>(drained_).load(std::memory_order_acquire);
    if (sent_ == stream_.rows || sent_ - credit_seen_ == kSlots || sent_ - drained == kSlots) return false;
    char* const from = me_.region() + stream_.ring_bytes() + slot(sent_);
    fill(from, stream_.row_bytes, sent_);
    link_.put({from, slot(sent_), stream_.row_bytes, 1 - me_.rank(), &drained_, sent_ + 1});
    ++sent_;
    if (pattern(sent_, 1) % 3 == 0) publish(kTail, sent_, published_);
    return true;
  }

  bool receive() {
    uint64_t tail = observe(me_.region(), kTail);
    for (int look = 0; tail < tail_seen_ && look < 1000; ++look) tail = observe(me_.region(), kTail);  // the same
    require(tail >= tail_seen_ && tail <= stream_.rows, "the tail fell");
    tail_seen_ = tail;
    if (got_ == tail) return false;
    require(holds(me_.region() + slot(got_), stream_.row_bytes, got_), "a count came before its bytes");
    ++got_;
    if (pattern(got_, 2) % 4 == 0) publish(kCredit, got_, credited_);
    return true;
  }

  void publish(uint64_t word, Word count, Word& last) {
    if (count == last) return;
    link_.publish({word, 1 - me_.rank()}, count);
    last = count;
  }

  void flush() {
    publish(kTail, sent_, published_);
    publish(kCredit, got_, credited_);
  }

  CrewRank& me_;
  ScaleOut& link_;
  const Stream stream_;
  Word drained_ = 0;
  Word sent_ = 0, got_ = 0, published_ = 0, credited_ = 0, tail_seen_ = 0, credit_seen_ = 0;
};

class Rung02CountsAfterBytes : public TransportLadder {
 protected:
  void stream(Stream stream) {
    if (kSlow) stream.rows /= 4;
    EXPECT_EQ("", run({.ranks = 2, .as = {}, .region_bytes = stream.region_bytes(), .victim = -1}, [&](CrewRank& me) {
                const auto link = open_link(GetParam(), me);
                Half(me, *link, stream).run();
                finish(me, *link);
              }));
  }
};

TEST_P(Rung02CountsAfterBytes, Rows64) { stream({12'000, 64}); }
TEST_P(Rung02CountsAfterBytes, Rows128) { stream({8'000, 128}); }
TEST_P(Rung02CountsAfterBytes, Rows512) { stream({8'000, 512}); }
TEST_P(Rung02CountsAfterBytes, Rows14K) { stream({3'000, 14336}); }

INSTANTIATE_TEST_SUITE_P(Wires, Rung02CountsAfterBytes, ::testing::ValuesIn(all_wires()), name_of);
INSTANTIATE_TEST_SUITE_P(Scrambled, Rung02CountsAfterBytes, ::testing::ValuesIn(scrambled_wires()), name_of);

// A transport that breaks one promise, over loopback: the litmus has to notice.
class Broken : public LoopbackLink {
 public:
  enum class Promise { kBytesFirst, kDrained };
  Broken(std::vector<char*> bases, Promise promise) : LoopbackLink(std::move(bases)), promise_(promise) {}

  void put(const Put& put) override {
    if (++puts_ % 50 != 0) return LoopbackLink::put(put);
    if (promise_ == Promise::kDrained) {  // says that it has read, and reads later
      std::atomic_ref<Word>(*put.drained).store(put.drained_count);
      late_.push_back(put);
      late_.back().drained = nullptr;
    } else {
      late_.push_back(put);
    }
  }
  bool progress() override {
    if (late_.empty() || ++calls_ % 8 != 0) return false;
    for (const Put& put : late_) LoopbackLink::put(put);
    late_.clear();
    return true;
  }

 private:
  const Promise promise_;
  uint64_t puts_ = 0, calls_ = 0;
  std::vector<Put> late_;
};

void expect_noticed(Broken::Promise promise) {
  const Stream stream{20'000, 256};
  const CrewOptions options{.ranks = 2, .as = As::kProcesses, .region_bytes = stream.region_bytes(), .victim = -1};
  const std::string wrong = run_crew(options, [&](CrewRank& me) {
    Broken link(me.regions(), promise);
    me.meet();
    Half(me, link, stream).run();
  });
  EXPECT_NE(wrong.find("a count came before its bytes"), std::string::npos) << wrong;
}

TEST(Rung02Canary, CountsThatComeFirstAreNoticed) { expect_noticed(Broken::Promise::kBytesFirst); }
TEST(Rung02Canary, SourcesThatAreReadLateAreNoticed) { expect_noticed(Broken::Promise::kDrained); }

// The scrambled fabric breaks what it promises: the same litmus, through the whole of the link. Without a hand of its
// own, so that for the thread sanitizer no other thread writes what is read too early.
TEST(Rung02Spoiled, CompletionsThatComeBeforeTheBytesAreNoticed) {
  const Wire wire{Kind::kScrambled, As::kProcesses, 0, 0, "127.0.0.1", "spoils,software"};
  if (const std::string why = scramble(wire.settings); !why.empty()) GTEST_SKIP() << why;
  const Stream stream{20'000, 256};
  const CrewOptions options{.ranks = 2, .as = As::kProcesses, .region_bytes = stream.region_bytes(), .victim = -1};
  const std::string wrong = run_crew(options, [&](CrewRank& me) {
    const auto link = open_link(wire, me);
    Half(me, *link, stream).run();
  });
  EXPECT_NE(wrong.find("a count came before its bytes"), std::string::npos) << wrong;
}

// A NIC lets some writes land behind the count that follows them in their queue.
TEST(Rung02Spoiled, WritesThatLandBehindTheirCountAreNoticed) {
  const Wire wire{Kind::kSoftNic, As::kThreads, 0, 0, "127.0.0.1", "spoils"};
  const Stream stream{20'000, 256};
  const CrewOptions options{.ranks = 2, .as = wire.as, .region_bytes = stream.region_bytes(), .victim = -1};
  if (kLandedByAThread != nullptr) GTEST_SKIP() << "the thread sanitizer finds it first";
  const std::string wrong = run_crew(options, [&](CrewRank& me) {
    const auto link = open_link(wire, me);
    Half(me, *link, stream).run();
  });
  EXPECT_NE(wrong.find("a count came before its bytes"), std::string::npos) << wrong;
}

}  // namespace
}  // namespace transload::test
