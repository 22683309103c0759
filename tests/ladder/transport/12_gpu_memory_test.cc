// Rung 12: a network region that is memory of a GPU. What libfabric is told of it is checked by the fabric of
// tests/scrambled, which reaches the region by that alone; the link itself can touch none of it. No GPU is here, so
// whether one agrees is not asked.
#include <rdma/fi_domain.h>

#include <transload/status.h>

#include "tests/support/hidden_memory.h"
#include "transport/scaleout/libfabric/try_region.h"
#include "wires.h"

namespace transload::test {
namespace {

constexpr int kGpu = 3;
constexpr size_t kRegionBytes = 1 << 18, kRowBytes = 6000, kRingSlots = 4, kTailAt = kRingSlots * kRowBytes * 2,
                 kCreditAt = kTailAt + 128;
constexpr Word kRowsThere = 300;
const char* const kOld = "the header of libfabric that this was built with knows no dma-buf";

#ifdef FI_MR_DMABUF
constexpr bool kHasDmaBuf = true;
#else
constexpr bool kHasDmaBuf = false;
#endif

DeviceInfo able_gpu() {
  DeviceInfo gpu;
  gpu.device = kGpu;
  gpu.gpu_direct = gpu.writes_in_order = gpu.dma_buf = true;
  return gpu;
}

class Rung12GpuMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kLandedByAThread != nullptr) GTEST_SKIP() << kLandedByAThread;
    if (const std::string why = scramble(""); !why.empty()) GTEST_SKIP() << why;
  }
  static std::string over(const std::string& settings, uint32_t ranks, const std::function<void(CrewRank&)>& body) {
    setenv("SCRAMBLED_FABRIC", settings.c_str(), 1);
    return run_crew({.ranks = ranks, .as = As::kProcesses, .region_bytes = 4096, .victim = -1}, body);
  }
  static LibfabricOptions options_of(const CrewRank& me) {
    LibfabricOptions options;
    options.rank = me.rank();
    options.ranks = 2;
    options.counterparts = {1 - me.rank()};
    options.source_address = "127.0.0.1";
    return options;
  }
  static void lie(const HiddenMemory& memory, RegionPlace place, LibfabricOptions& options) {
    require(memory.there(), "no memory");
    options.region = memory.at();
    options.region_bytes = memory.bytes();
    options.device = {.cuda = kGpu};
    if (place != RegionPlace::kDmaBuf) return;
    options.device.dma_buf = memory.file();
    options.device.dma_buf_at = memory.before();
  }
  static RegionChoice try_hidden(const CrewRank& me, const DeviceInfo& gpu) {
    const HiddenMemory memory(kRegionBytes, 8192);
    return try_region(options_of(me), gpu,
                      [&](RegionPlace place, LibfabricOptions& options) { lie(memory, place, options); });
  }
  // That the answer is this place, with these words.
  static void expect_choice(const std::string& settings, const DeviceInfo& gpu, RegionPlace place,
                            const std::string& words) {
    EXPECT_EQ("", over(settings, 1, [&](CrewRank& me) {
                const RegionChoice choice = try_hidden(me, gpu);
                require(choice.place == place, "place " + std::to_string(int(choice.place)) + ": " + choice.why);
                require(choice.why.find(words) != std::string::npos, choice.why);
              }));
  }
  static std::string refusal(const LibfabricOptions& options) {
    try {
      LibfabricLink link(options);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

Word word_of(const HiddenMemory& memory, size_t at) { return observe(memory.view(), at); }

// Rows of a ring from each rank to the other, each looked at as soon as its count is seen.
void exchange_rows(CrewRank& me, RegionPlace place) {
  const HiddenMemory memory(kRegionBytes, 8192);
  LibfabricOptions options;
  options.rank = me.rank();
  options.ranks = 2;
  options.counterparts = {1 - me.rank()};
  options.source_address = "127.0.0.1";
  options.region = memory.at();
  options.region_bytes = memory.bytes();
  options.device = {.cuda = kGpu};
  if (place == RegionPlace::kDmaBuf)
    options.device.dma_buf = memory.file(), options.device.dma_buf_at = memory.before();
  LibfabricLink link(options);
  link.connect(me.gather(link.address()));
  const uint32_t other = 1 - me.rank();
  Word drained = 0, sent = 0, taken = 0;
  const auto drained_now = [&] { return std::atomic_ref<Word>(drained).load(std::memory_order_acquire); };
  wait_until(me, link, [&] {
    while (sent < kRowsThere && sent < std::min(drained_now(), word_of(memory, kCreditAt)) + kRingSlots) {
      const size_t slot = sent % kRingSlots * kRowBytes;
      fill(memory.view() + slot, kRowBytes, sent * 2 + me.rank());
      ++sent;
      link.put({.from = memory.at() + slot,
                .offset = kRingSlots * kRowBytes + slot,
                .bytes = kRowBytes,
                .rank = other,
                .drained = &drained,
                .drained_count = sent});
      link.publish({kTailAt, other}, sent);
    }
    for (const Word tail = word_of(memory, kTailAt); taken < tail;) {
      const char* const row = memory.view() + (kRingSlots + taken % kRingSlots) * kRowBytes;
      require(holds(row, kRowBytes, taken * 2 + other),
              "row " + std::to_string(taken) + " was wrong when its count came");
      link.publish({kCreditAt, other}, ++taken);
    }
    return taken == kRowsThere && word_of(memory, kCreditAt) == kRowsThere;
  });
  finish(me, link);
}

TEST_F(Rung12GpuMemory, RowsUnderCountsByTheirAddress) {
  EXPECT_EQ("",
            over("gpu=3,version=1.18,tears", 2, [](CrewRank& me) { exchange_rows(me, RegionPlace::kCudaAddress); }));
}

TEST_F(Rung12GpuMemory, RowsUnderCountsByADmaBuf) {
  if (!kHasDmaBuf) GTEST_SKIP() << kOld;
  EXPECT_EQ("", over("gpu=3,refuses=address", 2, [](CrewRank& me) { exchange_rows(me, RegionPlace::kDmaBuf); }));
}

TEST_F(Rung12GpuMemory, TheBestIsTriedFirst) {
  expect_choice("gpu=3,version=1.20", able_gpu(), kHasDmaBuf ? RegionPlace::kDmaBuf : RegionPlace::kCudaAddress,
                "scrambled registers it, ");
  expect_choice("gpu=3,version=1.19", able_gpu(), RegionPlace::kCudaAddress, "libfabric is 1.19");
}

TEST_F(Rung12GpuMemory, OneThatIsRefusedLeavesTheOther) {
  if (!kHasDmaBuf) GTEST_SKIP() << kOld;
  expect_choice("gpu=3,refuses=dma_buf", able_gpu(), RegionPlace::kCudaAddress,
                "refused as a dma-buf: libfabric scrambled");
}

TEST_F(Rung12GpuMemory, WithoutAnyItIsPinned) {
  expect_choice("gpu=3,version=1.18,refuses=dma_buf|address", able_gpu(), RegionPlace::kPinned,
                "did not register GPU memory by its CUDA address: libfabric scrambled: registration: ");
  expect_choice("gpu=2,version=1.18", able_gpu(), RegionPlace::kPinned, "did not register GPU memory");
  expect_choice("", able_gpu(), RegionPlace::kPinned, "scrambled registers no GPU memory (it lacks FI_HMEM)");
}

TEST_F(Rung12GpuMemory, WhoKeepsItsCudaCallsDoesNotGetIt) {
  expect_choice("gpu=3,keeps_cuda,version=1.18", able_gpu(), RegionPlace::kPinned, "needs CUDA calls for GPU memory");
  expect_choice("gpu=3,version=1.17", able_gpu(), RegionPlace::kPinned, "cannot be kept from calling CUDA");
}

TEST_F(Rung12GpuMemory, NoMemoryIsTakenInVain) {
  EXPECT_EQ("", over("gpu=3,keeps_cuda,version=1.18", 1, [](CrewRank& me) {
              bool asked = false;
              try_region(options_of(me), able_gpu(), [&](RegionPlace, LibfabricOptions&) { asked = true; });
              require(!asked, "memory was asked for that cannot be used");
            }));
}

// What it was not told of is no GPU's for the fabric, and what it was told of must be.
TEST_F(Rung12GpuMemory, HostAndGpuAreNotConfused) {
  EXPECT_EQ("", over("gpu=3,version=1.18", 1, [](CrewRank& me) {
              const HiddenMemory memory(kRegionBytes);
              LibfabricOptions options = options_of(me);
              lie(memory, RegionPlace::kCudaAddress, options);
              options.device = {};
              const std::string as_host = refusal(options);
              require(as_host.find("registration: Bad address") != std::string::npos, as_host);
              lie(memory, RegionPlace::kCudaAddress, options);
              options.region = memory.view();
              const std::string as_gpu = refusal(options);
              require(as_gpu.find("registration: Bad address") != std::string::npos, as_gpu);
            }));
}

TEST_F(Rung12GpuMemory, ALinkWithoutItRefuses) {
  EXPECT_EQ("", over("", 1, [](CrewRank& me) {
              const HiddenMemory memory(kRegionBytes);
              LibfabricOptions options = options_of(me);
              lie(memory, RegionPlace::kCudaAddress, options);
              const std::string why = refusal(options);
              require(why == "libfabric scrambled registers no GPU memory", why);
            }));
}

}  // namespace
}  // namespace transload::test
