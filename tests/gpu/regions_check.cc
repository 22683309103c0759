// GPU memory that peers map, on a machine with a GPU: each way, processes and threads, one and two devices, peers that
// drop first or are killed. Prints a line for each case; exit code 0: all right, 1: not, 77: skipped, no GPU here.
//
// regions_check [part of a case's name]: only the cases that hold it
#include <cuda_runtime_api.h>
#include <sys/eventfd.h>

#include <barrier>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include "gpu/cuda_error.h"
#include "gpu/device_block.h"
#include "gpu/driver.h"
#include "tests/support/child.h"
#include "transport/scaleup/neighbours.h"
#include "transport/scaleup/nvlink/device_region.h"
#include "transport/scaleup/shm/shared_region.h"

namespace transload {
namespace {

constexpr size_t kBytes = (size_t(3) << 20) + 4096;  // no multiple of what pages come in
constexpr size_t kPart = kBytes / 8;                 // part 0 is its rank's own, part 1 + r is written by rank r

void require(bool right, const std::string& what) {
  if (!right) throw std::runtime_error(what);
}

std::vector<uint32_t> pattern(uint32_t seed) {
  std::vector<uint32_t> words(kPart / 4);
  for (size_t i = 0; i < words.size(); ++i) words[i] = uint32_t(i * 2654435761u) ^ (seed << 8);
  return words;
}

void put(int device, char* at, uint32_t seed) {
  OnDevice here(device);
  const std::vector<uint32_t> words = pattern(seed);
  check_cuda(cudaMemcpy(at, words.data(), kPart, cudaMemcpyHostToDevice), "cudaMemcpy to the device", device);
  check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize", device);
}

void expect(int device, const char* at, uint32_t seed, const std::string& what) {
  OnDevice here(device);
  std::vector<uint32_t> words(kPart / 4);
  check_cuda(cudaMemcpy(words.data(), at, kPart, cudaMemcpyDeviceToHost), "cudaMemcpy to the host", device);
  require(words == pattern(seed), "wrong bytes: " + what);
}

void expect_zeros(int device, const char* at, size_t bytes, const std::string& what) {
  OnDevice here(device);
  std::vector<char> read(bytes, 1);
  check_cuda(cudaMemcpy(read.data(), at, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy to the host", device);
  require(read == std::vector<char>(bytes), what + " is not zero when made");
}

// One rank: its region holds a pattern of its own from the start.
struct Side {
  Side(uint32_t me, int on, MemoryWay way)
      : rank(me),
        device(on),
        bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        region(std::make_shared<DeviceRegion>(on, kBytes, way)),
        neighbours(std::make_unique<Neighbours>(me, region, bell.get())) {
    expect_zeros(device, region->base(), kBytes, "a region");
    put(device, region->base(), 10 + rank);
  }
  void drop() {
    neighbours.reset();
    region.reset();
  }
  void write_to(uint32_t peer) {
    char* const there = neighbours->base(peer);
    require(there != nullptr && neighbours->bytes(peer) == kBytes, "the peer's region is not mapped whole");
    expect(device, there, 10 + peer, "the peer's own part, through the mapping");
    put(device, there + (1 + rank) * kPart, 100 * peer + rank);
  }
  void written_by(uint32_t peer) {
    expect(device, region->base() + (1 + peer) * kPart, 100 * rank + peer, "what the peer wrote into my region");
  }
  // After the peer has dropped its region, or died.
  void still_mapped(uint32_t peer) {
    char* const there = neighbours->base(peer);
    expect(device, there, 10 + peer, "the peer's own part, after it went");
    expect(device, there + (1 + rank) * kPart, 100 * peer + rank, "my part, after the peer went");
    put(device, there + kPart * 7, 7);
    expect(device, there + kPart * 7, 7, "what I wrote after the peer went");
  }
  // That the context is whole: new memory, a copy, and no error kept.
  void usable() {
    DeviceBlock block(device, kPart);
    put(device, block.base(), 9);
    expect(device, block.base(), 9, "new memory");
    OnDevice here(device);
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize", device);
    check_cuda(cudaGetLastError(), "the last error", device);
  }

  const uint32_t rank;
  const int device;
  Descriptor bell;
  std::shared_ptr<DeviceRegion> region;
  std::unique_ptr<Neighbours> neighbours;
};

using Children = std::vector<std::unique_ptr<Child>>;

std::vector<RegionOffer> hear_offers(int line, uint32_t ranks) {
  std::vector<RegionOffer> offers;
  for (uint32_t rank = 0; rank < ranks; ++rank) offers.push_back(RegionOffer::unpack(hear(line)));
  return offers;
}

std::vector<uint32_t> all_of(uint32_t ranks) {
  std::vector<uint32_t> all;
  for (uint32_t rank = 0; rank < ranks; ++rank) all.push_back(rank);
  return all;
}

// The parent's part: each child offers `each` regions and hears all of them.
void spread(const Children& children, uint32_t each) {
  std::vector<std::string> offers;
  for (const auto& child : children)
    for (uint32_t i = 0; i < each; ++i) offers.push_back(hear(child->line()));
  for (const auto& child : children)
    for (const std::string& offer : offers) say(child->line(), offer);
}

void await(Child& child, const std::string& word) {
  const std::string heard = hear(child.line());
  require(heard == word, "a process said '" + heard + "' instead of '" + word + "'");
}

void all_end_well(const Children& children) {
  for (const auto& child : children) {
    const int status = child->wait();
    require(status == 0, "a process ended with " + std::to_string(status));
  }
}

struct Pair {
  MemoryWay way;
  int device[2];
};

// Both ranks write into each other. Then `first` drops all that it has; the other still uses its mapping.
void processes(const Pair& pair, uint32_t first) {
  Children children;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    children.push_back(std::make_unique<Child>([&pair, first, rank](int line) {
      Side side(rank, pair.device[rank], pair.way);
      say(line, side.neighbours->offer().pack());
      side.neighbours->connect(hear_offers(line, 2), {0, 1}, 30'000);
      side.write_to(1 - rank);
      say(line, "written");
      if (hear(line) != "check") return 2;
      side.written_by(1 - rank);
      say(line, "checked");
      if (hear(line) != "drop") return 3;
      if (rank != first) side.still_mapped(1 - rank);
      side.drop();
      side.usable();
      say(line, "dropped");
      return 0;
    }));
  }
  spread(children, 1);
  for (const auto& child : children) await(*child, "written");
  for (const auto& child : children) say(child->line(), "check");
  for (const auto& child : children) await(*child, "checked");
  for (const uint32_t rank : {first, 1 - first}) {
    say(children[rank]->line(), "drop");
    await(*children[rank], "dropped");
  }
  all_end_well(children);
}

void killed(const Pair& pair) {
  Children children;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    children.push_back(std::make_unique<Child>([&pair, rank](int line) {
      Side side(rank, pair.device[rank], pair.way);
      say(line, side.neighbours->offer().pack());
      side.neighbours->connect(hear_offers(line, 2), {0, 1}, 30'000);
      side.write_to(1 - rank);
      say(line, "written");
      if (hear(line) != "killed") return 2;  // rank 1 never hears it
      side.still_mapped(1 - rank);
      side.written_by(1 - rank);
      side.usable();
      side.drop();
      side.usable();
      return 0;
    }));
  }
  spread(children, 1);
  for (const auto& child : children) await(*child, "written");
  ::kill(children[1]->pid(), SIGKILL);
  require(children[1]->wait() == -SIGKILL, "rank 1 ended before it was killed");
  say(children[0]->line(), "killed");
  require(children[0]->wait() == 0, "the survivor failed");
}

// In a process of their own, so that this one never starts CUDA.
void in_child(const std::function<void()>& body) {
  Child child([&](int) {
    body();
    return 0;
  });
  const int status = child.wait();
  require(status == 0, "the process ended with " + std::to_string(status));
}

void threads(const Pair& pair, uint32_t first) {
  std::vector<RegionOffer> offers(2);
  std::barrier both(2);
  std::string wrong[2];
  const auto rank_of = [&](uint32_t rank) {
    const auto step = [&](const std::function<void()>& body) {  // nobody is left waiting at the barrier
      try {
        if (wrong[rank].empty()) body();
      } catch (const std::exception& error) {
        wrong[rank] = error.what();
      }
      both.arrive_and_wait();
    };
    std::unique_ptr<Side> side;
    step([&] {
      side = std::make_unique<Side>(rank, pair.device[rank], pair.way);
      offers[rank] = side->neighbours->offer();
    });
    step([&] { side->neighbours->connect(offers, {0, 1}, 30'000); });
    step([&] {
      require(uint64_t(reinterpret_cast<uintptr_t>(side->neighbours->base(1 - rank))) == offers[1 - rank].base,
              "a thread's region is not reached by its plain pointer");
      side->write_to(1 - rank);
    });
    step([&] { side->written_by(1 - rank); });
    step([&] {
      if (rank == first) side->drop();
    });
    step([&] {
      if (rank != first) side->still_mapped(1 - rank);
    });
    step([&] {
      side->drop();
      side->usable();
    });
  };
  std::thread other(rank_of, 1);
  rank_of(0);
  other.join();
  require(wrong[0].empty() && wrong[1].empty(), wrong[0] + " | " + wrong[1]);
}

// Two processes of two ranks each, on both devices: every rank writes into every region.
void two_by_two(const Pair& pair) {
  constexpr uint32_t kRanks = 4;
  Children children;
  for (uint32_t process = 0; process < 2; ++process) {
    children.push_back(std::make_unique<Child>([&pair, process](int line) {
      std::vector<std::unique_ptr<Side>> sides;
      for (uint32_t i = 0; i < 2; ++i)
        sides.push_back(std::make_unique<Side>(process * 2 + i, pair.device[i], pair.way));
      for (const auto& side : sides) say(line, side->neighbours->offer().pack());
      const std::vector<RegionOffer> offers = hear_offers(line, kRanks);
      std::string wrong[2];
      const auto connect = [&](uint32_t i) {
        try {
          sides[i]->neighbours->connect(offers, all_of(kRanks), 30'000);
        } catch (const std::exception& error) {
          wrong[i] = error.what();
        }
      };
      std::thread other(connect, 1);
      connect(0);
      other.join();
      require(wrong[0].empty() && wrong[1].empty(), wrong[0] + " | " + wrong[1]);
      for (const auto& side : sides)
        for (uint32_t peer = 0; peer < kRanks; ++peer)
          if (peer != side->rank) side->write_to(peer);
      say(line, "written");
      if (hear(line) != "check") return 2;
      for (const auto& side : sides)
        for (uint32_t peer = 0; peer < kRanks; ++peer)
          if (peer != side->rank) side->written_by(peer);
      for (const auto& side : sides) side->drop();
      for (const auto& side : sides) side->usable();
      return 0;
    }));
  }
  spread(children, 2);
  for (const auto& child : children) await(*child, "written");
  for (const auto& child : children) say(child->line(), "check");
  all_end_well(children);
}

// Runs `body`, which must throw an Error of this code whose text holds all parts.
void refused(Code code, const std::vector<std::string>& parts, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    bool right = error.code() == code;
    for (const std::string& part : parts) right = right && std::string(error.what()).find(part) != std::string::npos;
    require(right, "refused otherwise than expected: " + std::string(error.what()));
    return;
  }
  throw std::runtime_error("not refused: " + parts.front());
}

void plain_in_two_processes(const Pair& pair) {
  Children children;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    children.push_back(std::make_unique<Child>([&pair, rank](int line) {
      Side side(rank, pair.device[rank], pair.way);
      say(line, side.neighbours->offer().pack());
      const std::vector<RegionOffer> offers = hear_offers(line, 2);
      const std::string both[] = {"device " + std::to_string(pair.device[0]),
                                  "device " + std::to_string(pair.device[1])};
      refused(Code::kNotSupported, {both[0], both[1], "of rank 0", "of rank 1"}, [&] {
        side.neighbours->connect(offers, {0, 1}, 5000);
      });
      side.usable();
      return 0;
    }));
  }
  spread(children, 1);
  all_end_well(children);
}

// Rank 1 offers more than it passes.
void liar(MemoryWay way) {
  Children children;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    children.push_back(std::make_unique<Child>([way, rank](int line) {
      Side side(rank, 0, way);
      RegionOffer mine = side.neighbours->offer();
      if (rank == 1) mine.bytes += uint64_t(1) << 30;
      say(line, mine.pack());
      const std::vector<RegionOffer> offers = hear_offers(line, 2);
      if (rank == 1) {
        try {
          side.neighbours->connect(offers, {0, 1}, 30'000);
        } catch (const Error&) {
        }
      } else {
        refused(Code::kFault, {"rank 1", "not what it offered"}, [&] {
          side.neighbours->connect(offers, {0, 1}, 30'000);
        });
        side.usable();
      }
      return 0;
    }));
  }
  spread(children, 1);
  all_end_well(children);
}

void refusals() {
  const int count = device_count();
  for (const MemoryWay way : {MemoryWay::kVmm, MemoryWay::kIpc, MemoryWay::kPlain}) {
    refused(Code::kOutOfMemory, {"1125899906842624 bytes wanted, but only ", " are free on device 0"},
            [&] { DeviceRegion region(0, size_t(1) << 50, way); });
    refused(Code::kInvalidArgument, {"0 bytes, but must be at least 1"}, [&] { DeviceRegion region(0, 0, way); });
    refused(Code::kInvalidArgument,
            {"device: " + std::to_string(count) + ", but must be 0 to " + std::to_string(count - 1)},
            [&] { DeviceRegion region(count, 4096, way); });
    refused(Code::kInvalidArgument, {"device: -1, but must be 0 to "}, [&] { DeviceRegion region(-1, 4096, way); });
  }
  refused(Code::kOutOfMemory, {"1125899906842624 bytes wanted"}, [] { DeviceBlock block(0, size_t(1) << 50); });
  refused(Code::kOutOfMemory, {"1125899906842624 bytes needed"}, [] { PinnedBlock block(0, size_t(1) << 50); });
  Side device(0, 0, MemoryWay::kPlain);
  Descriptor bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Neighbours host(1, std::make_shared<SharedRegion>(kBytes), bell.get());
  const std::vector<RegionOffer> offers{device.neighbours->offer(), host.offer()};
  const std::vector<std::string> parts{"rank 0 shares device memory, but rank 1 shares host memory"};
  refused(Code::kInvalidArgument, parts, [&] { device.neighbours->connect(offers, {0, 1}, 1000); });
  refused(Code::kInvalidArgument, parts, [&] { host.connect(offers, {0, 1}, 1000); });
  device.usable();
}

// What is dropped is free again: more is made one after another than the device has.
void nothing_is_kept() {
  OnDevice here(0);
  size_t before = 0, after = 0, total = 0;
  { Side warm(0, 0, MemoryWay::kVmm); }
  check_cuda(cudaMemGetInfo(&before, &total), "cudaMemGetInfo", 0);
  const size_t bytes = before / 4;
  for (const MemoryWay way : {MemoryWay::kVmm, MemoryWay::kIpc, MemoryWay::kPlain})
    for (int i = 0; i < 6; ++i) DeviceRegion region(0, bytes, way);
  for (int i = 0; i < 6; ++i) DeviceBlock block(0, bytes);
  check_cuda(cudaMemGetInfo(&after, &total), "cudaMemGetInfo", 0);
  require(after + bytes / 2 > before, std::to_string(before) + " bytes were free, then " + std::to_string(after));
}

struct Told {
  uint64_t from_host, from_device;
};

void private_memory(int device) {
  DeviceBlock block(device, kPart * 2);
  expect_zeros(device, block.base(), block.bytes(), "a block");
  DeviceBlock moved = std::move(block);
  require(block.base() == nullptr && moved.base() != nullptr, "a block did not move");
  put(device, moved.base() + kPart, 5);
  expect(device, moved.base() + kPart, 5, "a block");
  PinnedBlock pinned(device, 3 * sizeof(Told));
  auto* const here_words = reinterpret_cast<Told*>(pinned.host());
  auto* const there_words = reinterpret_cast<Told*>(pinned.on_device());
  for (int i = 0; i < 3; ++i)
    require(here_words[i].from_host == 0 && here_words[i].from_device == 0, "pinned words are not zero when made");
  here_words[2].from_host = 77;
  OnDevice here(device);
  check_cuda(cudaMemcpy(moved.base(), &there_words[2].from_host, 8, cudaMemcpyDefault), "cudaMemcpy", device);
  check_cuda(cudaMemcpy(&there_words[1].from_device, moved.base(), 8, cudaMemcpyDefault), "cudaMemcpy", device);
  check_cuda(cudaMemset(&there_words[0].from_device, 0x11, 8), "cudaMemset", device);
  check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize", device);
  require(here_words[1].from_device == 77, "a device did not read or write pinned words");
  require(here_words[0].from_device == 0x1111111111111111, "a device did not set pinned words");
  require(here_words[0].from_host == 0, "a device wrote beside its pinned words");
}

void print_devices() {
  const Devices found = find_devices();
  std::printf("driver %d, runtime %d, %zu devices\n", found.driver_version, found.runtime_version,
              found.devices.size());
  for (const DeviceInfo& info : found.devices) {
    std::printf("device %d: %s %s, sm_%d%d, %u SMs, %llu bytes, %llu shared bytes a block, vmm by fd %d, ipc %d, peers",
                info.device, info.name.c_str(), info.uuid.c_str(), info.major, info.minor, info.sms,
                (unsigned long long)info.memory_bytes, (unsigned long long)info.shared_bytes_max, info.vmm_by_fd,
                info.ipc);
    for (size_t peer = 0; peer < found.devices.size(); ++peer)
      std::printf(" %d", int(found.peer[size_t(info.device)][peer]));
    for (const bool one_process : {false, true}) {
      const WayChoice choice = choose_way(info.device, one_process);
      std::printf("; %s: %s (%s)", one_process ? "threads" : "processes", name_of(choice.way), choice.reason.c_str());
    }
    std::printf("\n");
  }
  std::fflush(stdout);
}

class Cases {
 public:
  explicit Cases(std::string wanted) : wanted_(std::move(wanted)) {}
  void run(const std::string& name, const std::function<void()>& body) {
    if (name.find(wanted_) == std::string::npos) return;
    const auto begin = std::chrono::steady_clock::now();
    std::string wrong;
    try {
      body();
    } catch (const std::exception& error) {
      wrong = error.what();
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("%-6s %-44s %5.1f s%s%s\n", wrong.empty() ? "ok" : "WRONG", name.c_str(), seconds,
                wrong.empty() ? "" : ": ", wrong.c_str());
    std::fflush(stdout);
    ++ran_;
    wrong_ += !wrong.empty();
  }
  int end() const {
    std::printf("regions_check: %d cases, %d wrong\n", ran_, wrong_);
    return ran_ > 0 && wrong_ == 0 ? 0 : 1;
  }

 private:
  const std::string wanted_;
  int ran_ = 0, wrong_ = 0;
};

int run(const std::string& wanted) {
  // This process never starts CUDA: a child could not go on with it.
  std::string count_text;
  {
    Child asker([](int line) {
      const int count = device_count();
      say(line, std::to_string(count));
      if (count == 0) say(line, find_devices().reason);
      if (count > 0) print_devices();
      return 0;
    });
    count_text = hear(asker.line());
    if (count_text == "0") {
      std::printf("skipped: %s\n", hear(asker.line()).c_str());
      return 77;
    }
    if (asker.wait() != 0 || count_text.empty()) {
      std::printf("WRONG: the devices cannot be described\n");
      return 1;
    }
  }
  const int devices = std::stoi(count_text);
  Cases cases(wanted);
  for (int second = 0; second < std::min(devices, 2); ++second) {
    const std::string on = " devices 0," + std::to_string(second);
    for (const MemoryWay way : {MemoryWay::kVmm, MemoryWay::kIpc, MemoryWay::kPlain}) {
      const Pair pair{way, {0, second}};
      const std::string name = name_of(way) + on;
      if (way == MemoryWay::kPlain) {
        cases.run(name + " processes are refused", [&] { plain_in_two_processes(pair); });
      } else {
        for (const uint32_t first : {0u, 1u})
          cases.run(name + " processes, " + std::to_string(first) + " drops first", [&] { processes(pair, first); });
        cases.run(name + " processes, 1 is killed", [&] { killed(pair); });
        cases.run(name + " two processes of two threads", [&] { two_by_two(pair); });
      }
      for (const uint32_t first : {0u, 1u})
        cases.run(name + " threads, " + std::to_string(first) + " drops first",
                  [&] { in_child([&] { threads(pair, first); }); });
    }
    cases.run("private memory on device " + std::to_string(second), [&] { in_child([&] { private_memory(second); }); });
  }
  cases.run("vmm: more offered than passed", [] { liar(MemoryWay::kVmm); });
  cases.run("refusals", [] { in_child(refusals); });
  cases.run("nothing is kept", [] { in_child(nothing_is_kept); });
  return cases.end();
}

}  // namespace
}  // namespace transload

int main(int argc, char** argv) { return transload::run(argc > 1 ? argv[1] : ""); }
