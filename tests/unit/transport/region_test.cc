// The exchange with memory that is not shared memory: what a region tells, passes, refuses, and shares in a process.
#include "transport/scaleup/region.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <thread>

#include "tests/support/child.h"
#include "transload/status.h"
#include "transport/scaleup/neighbours.h"
#include "transport/scaleup/shm/shared_region.h"

namespace transload {
namespace {

// A region whose bytes are its handle: nothing is passed unless it has a descriptor.
class ToldRegion final : public Region {
 public:
  ToldRegion(std::string told, uint64_t scope) : told_(std::move(told)), scope_(scope) {
    base_ = told_.data();
    bytes_ = told_.size();
  }
  const char* kind() const override { return "told"; }
  std::string handle() const override { return told_; }
  int fd() const override { return fd_.get(); }
  void close_fd() override { fd_.reset(); }
  void check(uint32_t rank, const PeerRegion& peer, bool same_process) const override {
    if (peer.handle == "leper" || told_ == "leper")
      throw Error(Code::kNotSupported, std::to_string(rank) + (same_process ? " here" : " there"));
  }
  std::shared_ptr<Region> map(const PeerRegion& peer, Descriptor fd) const override {
    if (bool(fd) != (peer.handle == "with descriptor")) return nullptr;
    return std::make_shared<ToldRegion>("mapped " + std::string(peer.handle), scope_);
  }
  void reach(const Region& theirs) const override { reached = reached + "[" + theirs.base() + "]"; }
  uint64_t scope() const override { return scope_; }
  void pass(Descriptor fd) { fd_ = std::move(fd); }

  mutable std::string reached;

 private:
  std::string told_;
  const uint64_t scope_;
  Descriptor fd_;
};

struct ToldSide {
  ToldSide(uint32_t rank, std::shared_ptr<Region> shared)
      : bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        region(std::move(shared)),
        neighbours(rank, region, bell.get()) {}
  ToldSide(uint32_t rank, const std::string& told, uint64_t scope = 0)
      : ToldSide(rank, std::make_shared<ToldRegion>(told, scope)) {}
  const ToldRegion& told() const { return static_cast<const ToldRegion&>(*region); }
  Descriptor bell;
  std::shared_ptr<Region> region;
  Neighbours neighbours;
};

Error refusal_of_offers(ToldSide& side, const std::vector<RegionOffer>& offers) {
  try {
    side.neighbours.connect(offers, {0, 1}, 2000);
  } catch (const Error& error) {
    return error;
  }
  return Error(Code::kOk, "nothing was thrown");
}

TEST(Region, HandlesTravelInOffers) {
  ToldSide side(0, std::string("a\0b", 3));
  const RegionOffer same = RegionOffer::unpack(side.neighbours.offer().pack());
  EXPECT_EQ(same.kind, "told");
  EXPECT_EQ(same.handle, std::string("a\0b", 3));
  EXPECT_EQ(same.peer(7).rank, 7u);
  EXPECT_EQ(same.peer(7).bytes, 3u);
}

// Each passes its bell; the second a descriptor too, which the first must not get from anybody else.
TEST(Region, WithAndWithoutDescriptors) {
  for (const uint32_t me : {0u, 1u}) {  // whether I call or am called
    Child child([me](int line) {
      ToldSide side(1 - me, "with descriptor");
      static_cast<ToldRegion&>(*side.region).pass(Descriptor(::memfd_create("any", MFD_CLOEXEC)));
      say(line, side.neighbours.offer().pack());
      std::vector<RegionOffer> offers(2, side.neighbours.offer());
      offers[me] = RegionOffer::unpack(hear(line));
      side.neighbours.connect(offers, {0, 1}, 20'000);
      const bool closed = side.region->fd() == -1;
      return closed && std::string(side.neighbours.base(me)) == "mapped without" &&
                     ::eventfd_write(side.neighbours.bell_fd(me), 1) == 0
                 ? 0
                 : 1;
    });
    ToldSide side(me, "without");
    std::vector<RegionOffer> offers(2, side.neighbours.offer());
    offers[1 - me] = RegionOffer::unpack(hear(child.line()));
    say(child.line(), side.neighbours.offer().pack());
    side.neighbours.connect(offers, {0, 1}, 20'000);
    EXPECT_STREQ(side.neighbours.base(1 - me), "mapped with descriptor");
    EXPECT_EQ(side.told().reached, "");
    EXPECT_EQ(child.wait(), 0);
    eventfd_t rings = 0;
    EXPECT_EQ(::eventfd_read(side.bell.get(), &rings), 0);
  }
}

TEST(Region, PassingLessThanOffered) {
  Child child([](int line) {
    ToldSide side(1, "with descriptor");  // and it has none
    say(line, side.neighbours.offer().pack());
    const RegionOffer theirs = RegionOffer::unpack(hear(line));
    side.neighbours.connect({theirs, side.neighbours.offer()}, {0, 1}, 20'000);
    return 0;
  });
  ToldSide side(0, "without");
  say(child.line(), side.neighbours.offer().pack());
  const Error error = refusal_of_offers(side, {side.neighbours.offer(), RegionOffer::unpack(hear(child.line()))});
  EXPECT_EQ(error.code(), Code::kFault);
  EXPECT_EQ(error.fault().kind, FaultKind::kMismatch);
  EXPECT_EQ(error.fault().culprit_rank, 1u);
}

TEST(Region, TwoKindsAreRefused) {
  ToldSide host(0, std::make_shared<SharedRegion>(4096)), told(1, "told");
  const std::vector<RegionOffer> offers{host.neighbours.offer(), told.neighbours.offer()};
  const Error first = refusal_of_offers(host, offers), second = refusal_of_offers(told, offers);
  EXPECT_EQ(first.code(), Code::kInvalidArgument);
  EXPECT_STREQ(first.what(), "group: rank 0 shares host memory, but rank 1 shares told");
  EXPECT_STREQ(second.what(), first.what());
}

TEST(Region, RefusesBeforeAnythingIsPassed) {
  ToldSide a(0, "leper"), b(1, "sound");
  const std::vector<RegionOffer> offers{a.neighbours.offer(), b.neighbours.offer()};
  EXPECT_STREQ(refusal_of_offers(a, offers).what(), "0 here");
  EXPECT_STREQ(refusal_of_offers(b, offers).what(), "1 here");
  EXPECT_EQ(a.told().reached + b.told().reached, "");
}

TEST(Region, RanksOfOneProcessReachEachOther) {
  ToldSide a(0, "a"), b(1, "b");
  const std::vector<RegionOffer> offers{a.neighbours.offer(), b.neighbours.offer()};
  a.neighbours.connect(offers, {0, 1}, 1000);
  b.neighbours.connect(offers, {0, 1}, 1000);
  EXPECT_EQ(a.told().reached, "[b]");
  EXPECT_EQ(b.told().reached, "[a]");
  EXPECT_EQ(a.neighbours.base(1), b.region->base());
}

// Three ranks here map one of another process: two of one scope share a mapping, the third has its own.
TEST(Region, OneMappingForEachScope) {
  constexpr uint32_t kRanks = 4;
  Child child([](int line) {
    ToldSide side(3, "far");
    say(line, side.neighbours.offer().pack());
    std::vector<RegionOffer> offers;
    for (uint32_t rank = 0; rank < kRanks; ++rank) offers.push_back(RegionOffer::unpack(hear(line)));
    side.neighbours.connect(offers, {0, 1, 2, 3}, 20'000);
    return hear(line) == "go" ? 0 : 1;
  });
  ToldSide a(0, "a", 1), b(1, "b", 1), c(2, "c", 2);
  const std::vector<RegionOffer> offers{a.neighbours.offer(), b.neighbours.offer(), c.neighbours.offer(),
                                        RegionOffer::unpack(hear(child.line()))};
  for (const RegionOffer& offer : offers) say(child.line(), offer.pack());
  std::vector<std::thread> threads;
  for (ToldSide* side : {&a, &b, &c})
    threads.emplace_back([&, side] { side->neighbours.connect(offers, {3}, 20'000); });
  for (std::thread& thread : threads) thread.join();
  say(child.line(), "go");
  EXPECT_EQ(child.wait(), 0);
  EXPECT_STREQ(a.neighbours.base(3), "mapped far");
  EXPECT_EQ(a.neighbours.base(3), b.neighbours.base(3));
  EXPECT_NE(a.neighbours.base(3), c.neighbours.base(3));
}

}  // namespace
}  // namespace transload
