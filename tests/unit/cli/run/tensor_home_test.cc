// Homes: the host's moves nothing; another's outputs come whole, with the counts that the host was not told.
#include "cli/run/tensor_home.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <list>
#include <thread>
#include <vector>

#include "runtime/call/handle.h"

namespace transload::cli {
namespace {

TEST(HostHome, NothingIsCopied) {
  const auto home = make_tensor_home({kDLCPU, 0}, 0);
  std::vector<uint16_t> rows(6, 7);
  const Tensor given = matrix(rows.data(), 2, 3, kBf16);
  EXPECT_EQ(home->put(given).data, rows.data());
  EXPECT_EQ(home->take(given).data, rows.data());
  EXPECT_EQ(home->draft(rows.data(), 12), rows.data());
  home->write(rows.data(), rows.data(), 12);
  EXPECT_EQ(rows, std::vector<uint16_t>(6, 7));
  EXPECT_EQ(home->stream().handle, nullptr);
  EXPECT_EQ(home->view(rows.data(), 2, 3, kBf16).device.device_type, kDLCPU);
}

TEST(HostHome, RoomsAreApartAndStay) {
  const auto home = make_host_home();
  auto* const first = static_cast<char*>(home->room(100));
  std::memset(first, 1, 100);
  for (int i = 0; i < 50; ++i) std::memset(home->room(1000), 2, 1000);
  const std::vector<char> ones(100, 1), twos(100, 2);
  EXPECT_EQ(std::memcmp(first, ones.data(), 100), 0);
  home->write(first, twos.data(), 100);
  home->forget();
  EXPECT_EQ(std::memcmp(first, twos.data(), 100), 0);
}

TEST(HostHome, TimeIsBetweenStartAndStop) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kNap(2);
  const auto home = make_host_home();
  const auto before = Clock::now();
  home->start();
  EXPECT_EQ(home->us(), 0);  // of a call that threw
  std::this_thread::sleep_for(kNap);
  home->stop();
  const std::chrono::duration<double, std::micro> around = Clock::now() - before;
  const double us = home->us();
  EXPECT_GE(us, 2000);  // a nap is never shorter
  EXPECT_LE(us, around.count());
  std::this_thread::sleep_for(kNap);
  EXPECT_EQ(home->us(), us);
}

TEST(HostHome, CallsAreMadeEachTime) {
  int calls = 0;
  const auto replay = make_host_home()->record([&] { ++calls; });
  EXPECT_EQ(calls, 0);
  replay();
  replay();
  EXPECT_EQ(calls, 2);
}

TEST(HostHome, EvenAnEmptyRoomIsSomewhere) {
  const auto home = make_host_home();
  EXPECT_NE(home->room(0), nullptr);
  home->reset();
  EXPECT_NE(home->room(0), home->room(0));
}

// Memory that the host must not read where it is: every byte is stored as its complement.
class Elsewhere final : public TensorHome {
 public:
  DLDevice device() const override { return {kDLCUDA, 3}; }
  Stream stream() const override { return {}; }
  Tensor put(const Tensor& host) override {
    Tensor there = host;
    there.device = device();
    there.data = room(host.bytes());
    write(there.data, host.data, host.bytes());
    return there;
  }
  void* room(size_t bytes) override { return kept_.emplace_back(bytes).data(); }
  void* draft(void*, size_t bytes) override { return room(bytes); }
  void write(void* there, const void* from, size_t bytes) override {
    for (size_t i = 0; i < bytes; ++i) static_cast<char*>(there)[i] = char(~static_cast<const char*>(from)[i]);
  }
  Tensor take(const Tensor& there) override {
    if (!there.given()) return there;
    Tensor here = put(there);
    here.device = {kDLCPU, 0};
    return here;
  }
  void forget() override {}
  void reset() override { kept_.clear(); }
  void start() override {}
  void stop() override {}
  double us() const override { return 0; }
  std::function<void()> record(const std::function<void()>& calls) override { return calls; }

 private:
  std::list<std::vector<char>> kept_;
};

struct Came {
  std::vector<uint16_t> x = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<int32_t> ids = {0, 2, -1, 0, 2, 2, 1, 1}, source = {0, 0, 0, 1, 1, 0, 1, 1};
  std::vector<float> weights = std::vector<float>(8, 0.5f), scales = {1, 2, 4, 8};

  DispatchOutputs in(TensorHome& home) {
    DispatchOutputs out;
    out.rows = out.rows_needed = 4;
    out.x = home.put(matrix(x.data(), 4, 2, kBf16));
    out.topk_idx = home.put(matrix(ids.data(), 4, 2, kI32));
    out.topk_weights = home.put(matrix(weights.data(), 4, 2, kF32));
    out.source = home.put(matrix(source.data(), 4, 2, kI32));
    out.landing = Landing::kRing;
    return out;
  }
};

TEST(SeenByHost, TensorsComeAndCountsStay) {
  Elsewhere home;
  Came came;
  DispatchOutputs out = came.in(home);
  out.expert_counts = {2, 2, 3};
  out.scale_out_rows = 5;
  out.handle = std::make_shared<const HandleData>();
  const DispatchOutputs seen = seen_by_host(home, out);
  EXPECT_EQ(seen.x.device.device_type, kDLCPU);
  EXPECT_EQ(seen.x.rows(), 4);
  EXPECT_EQ(std::memcmp(seen.x.data, came.x.data(), 16), 0);
  EXPECT_EQ(std::memcmp(seen.topk_idx.data, came.ids.data(), 32), 0);
  EXPECT_EQ(std::memcmp(seen.topk_weights.data, came.weights.data(), 32), 0);
  EXPECT_EQ(std::memcmp(seen.source.data, came.source.data(), 32), 0);
  EXPECT_FALSE(seen.scales.given());
  EXPECT_EQ(seen.rows, 4);
  EXPECT_EQ(seen.rows_needed, 4);
  EXPECT_EQ(seen.handle, out.handle);
  EXPECT_EQ(seen.expert_counts, (std::vector<int64_t>{2, 2, 3}));
  EXPECT_EQ(seen.scale_out_rows, 5);
  EXPECT_EQ(seen.landing, Landing::kRing);
  EXPECT_TRUE(seen.status.ok());
  out.scales = home.put(matrix(came.scales.data(), 4, 1, kF32));
  const DispatchOutputs scaled = seen_by_host(home, out);
  ASSERT_TRUE(scaled.scales.given());
  EXPECT_EQ(std::memcmp(scaled.scales.data, came.scales.data(), 16), 0);
}

TEST(SeenByHost, AStatusComes) {
  Elsewhere home;
  Came came;
  DispatchOutputs out = came.in(home);
  out.status = {Code::kBadExpertId, "token 1"};
  EXPECT_EQ(seen_by_host(home, out).status.code, Code::kBadExpertId);
}

TEST(SeenByHost, CompletedByAReport) {
  Elsewhere home;
  Came came;
  const DispatchReport report{7, 3, 9, {2, 0, 3}, {1, 3}, 5, {Code::kTooManyRows, "said"}};
  DispatchOutputs first = seen_by_host(home, came.in(home));
  complete(first, report);
  EXPECT_EQ(first.source_rows, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(first.rows, 3);
  EXPECT_EQ(first.rows_needed, 9);
  EXPECT_EQ(first.x.rows(), 4);
  EXPECT_EQ(first.expert_counts, (std::vector<int64_t>{2, 0, 3}));
  EXPECT_EQ(first.scale_out_rows, 5);
  EXPECT_EQ(first.status.message, "said");
  DispatchOutputs given = came.in(home);
  given.topk_idx = Tensor{};  // cached: its handle's counts are not its own
  DispatchOutputs cached = seen_by_host(home, given);
  complete(cached, report);
  EXPECT_EQ(cached.rows, 3);
  EXPECT_TRUE(cached.expert_counts.empty());
}

TEST(SeenByHost, SumsCome) {
  Elsewhere home;
  Came came;
  CombineOutputs out;
  out.x = home.put(matrix(came.x.data(), 4, 2, kBf16));
  out.source = CombineSource::kPush;
  out.scale_out_rows = 6;
  const CombineOutputs seen = seen_by_host(home, out);
  EXPECT_EQ(std::memcmp(seen.x.data, came.x.data(), 16), 0);
  EXPECT_FALSE(seen.topk_weights.given());
  EXPECT_EQ(seen.source, CombineSource::kPush);
  EXPECT_EQ(seen.scale_out_rows, 6);
  out.topk_weights = home.put(matrix(came.weights.data(), 4, 2, kF32));
  const CombineOutputs weighted = seen_by_host(home, out);
  ASSERT_TRUE(weighted.topk_weights.given());
  EXPECT_EQ(std::memcmp(weighted.topk_weights.data, came.weights.data(), 32), 0);
}

}  // namespace
}  // namespace transload::cli
