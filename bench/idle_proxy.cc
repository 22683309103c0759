// What a proxy with nothing to do costs, and how soon it takes a command for which nobody woke it, as kernels of a
// graph wake nobody. Two proxies over links of one kind, and no GPU. One JSON line a case.
//   bench_idle_proxy [--provider NAME]
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/time_units.h"
#include "bench/proxy_time.h"
#include "channel/command.h"
#include "os/clock.h"
#include "runtime/network/proxy.h"
#include "transport/scaleout/libfabric/link.h"

namespace transload {
namespace {

constexpr uint32_t kSlots = 64;
constexpr uint64_t kRegionBytes = 1 << 16, kWordAt = 4096;
constexpr uint64_t kPatienceNs = 5 * kSecondNs;

struct Side {
  std::vector<char> region = std::vector<char>(kRegionBytes);
  std::vector<CommandSlot> slots = std::vector<CommandSlot>(kSlots);
  alignas(kWordBytes) Word taken = 0;
  Word next = 0;
  std::unique_ptr<LibfabricLink> link;
  std::unique_ptr<Proxy> proxy;
};

class Pair {
 public:
  explicit Pair(const std::string& provider) {
    std::vector<std::string> addresses;
    for (uint32_t s = 0; s < 2; ++s) {
      sides_[s].link = std::make_unique<LibfabricLink>(LibfabricOptions{.rank = s,
                                                                        .ranks = 2,
                                                                        .provider = provider,
                                                                        .source_address = "127.0.0.1",
                                                                        .region = sides_[s].region.data(),
                                                                        .region_bytes = kRegionBytes,
                                                                        .counterparts = {1 - s}});
      addresses.push_back(sides_[s].link->address());
    }
    for (Side& side : sides_) {
      side.link->connect(addresses);
      const RailQueue queue{.slots = side.slots.data(), .taken = &side.taken, .slot_count = kSlots};
      side.proxy = std::make_unique<Proxy>(
          *side.link, Proxy::Place{side.region.data(), queue, &side.taken}, [this] { return naps.load(); },
          [](const std::exception& error) { std::fprintf(stderr, "bench_idle_proxy: %s\n", error.what()); });
    }
  }
  std::string network() const { return sides_[0].link->name(); }

  // Microseconds until the proxy has taken a count that nobody rang for.
  double us_to_take() {
    Side& side = sides_[0];
    const CommandRoom room{kSlots};
    const Word count = ++side.next;
    const CommandSlot slot =
        encode({.verb = RailVerb::kPublish, .rank = 1, .to = kWordAt, .count = count}, room.lap(count - 1));
    for (uint32_t i = CommandSlot::kWords; i-- > 0;)
      std::atomic_ref<Word>(side.slots[room.slot(count - 1)].words[i]).store(slot.words[i], std::memory_order_release);
    const uint64_t begin = now_ns();
    while (side.proxy->taken() < count) {
      if (now_ns() - begin > kPatienceNs) throw std::runtime_error("a proxy takes no command");
      std::this_thread::yield();
    }
    return double(now_ns() - begin) * 1e-3;
  }

  std::atomic<bool> naps{false};

 private:
  Side sides_[2];
};

void idle(Pair& pair, bool naps) {
  pair.naps = naps;
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const uint64_t ran = proxies_ran_ns(), begin = now_ns();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  std::printf("{\"case\":\"idle\",\"network\":\"%s\",\"graphs\":%s,\"share_of_a_core_each\":%.4f}\n",
              pair.network().c_str(), naps ? "true" : "false",
              double(proxies_ran_ns() - ran) / double(now_ns() - begin) / 2);
}

void take(Pair& pair, std::chrono::milliseconds gap, size_t times) {
  std::vector<double> us;
  pair.us_to_take();
  for (size_t i = 0; i < times; ++i) {
    std::this_thread::sleep_for(gap);
    us.push_back(pair.us_to_take());
  }
  std::sort(us.begin(), us.end());
  std::printf(
      "{\"case\":\"take\",\"network\":\"%s\",\"idle_ms_before\":%d,\"us\":{\"min\":%.1f,\"median\":%.1f,"
      "\"p90\":%.1f,\"max\":%.1f}}\n",
      pair.network().c_str(), int(gap.count()), us.front(), us[us.size() / 2], us[us.size() * 9 / 10], us.back());
}

}  // namespace
}  // namespace transload

int main(int count, char** arguments) {
  using namespace transload;
  std::string provider = "tcp;ofi_rxm";
  if (count == 3 && std::string(arguments[1]) == "--provider") {
    provider = arguments[2];
  } else if (count != 1) {
    std::fprintf(stderr, "bench_idle_proxy [--provider NAME]\n");
    return 2;
  }
  try {
    Pair pair(provider);
    idle(pair, false);
    idle(pair, true);
    for (const auto& [gap, times] : {std::pair{0, 200}, {1, 200}, {5, 200}, {15, 100}, {100, 30}, {400, 10}})
      take(pair, std::chrono::milliseconds(gap), size_t(times));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_idle_proxy: %s\n", error.what());
    return 1;
  }
}
