// The transports that the ladder climbs, and what its rungs share: making a link, waiting without spinning, observing.
#pragma once
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <iterator>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "channel/scaleout.h"
#include "control/address.h"
#include "tests/support/crew.h"
#include "tests/support/proxied_link.h"
#include "tests/support/sanitized.h"
#include "tests/support/soft_nic_link.h"
#include "transport/scaleout/libfabric/link.h"
#include "transport/scaleout/loopback/loopback.h"

namespace transload::test {

// kScrambled: libfabric's link over the fabric of tests/scrambled, which has no order and is late with everything.
// kSoftNic: queues of a NIC that is a thread, filled as a GPU fills them.
enum class Kind { kLoopback, kOrdered, kUnordered, kScrambled, kSoftNic, kCount };

inline bool by_libfabric(Kind kind) { return kind != Kind::kLoopback && kind != Kind::kSoftNic; }

struct Wire {
  Kind kind;
  As as;
  size_t piece_bytes = 0;
  uint32_t window = 0;
  const char* source = "127.0.0.1";
  const char* settings = "";  // of the scrambled fabric, or of the soft NIC
  bool proxied = false;       // by the rank's proxy, as for a GPU
};

inline bool is_v6(const Wire& wire) { return std::string(wire.source).find(':') != std::string::npos; }

inline std::string name_of(const ::testing::TestParamInfo<Wire>& info) {
  const Wire& wire = info.param;
  const char* const kinds[] = {"loopback", "ordered", "unordered", "scrambled", "soft_nic"};
  static_assert(std::size(kinds) == size_t(Kind::kCount));
  return std::string(kinds[int(wire.kind)]) + (wire.as == As::kThreads ? "_threads" : "_processes") +
         (wire.piece_bytes != 0 ? "_pieces" : "") + (is_v6(wire) ? "_v6" : "") + (wire.proxied ? "_proxied" : "");
}
// How GoogleTest shows a wire.
inline void PrintTo(const Wire& wire, std::ostream* to) { *to << name_of({wire, 0}); }

// The last two cut puts into small pieces and keep few in flight.
inline const std::vector<Wire> kProcessWires = {{Kind::kLoopback, As::kProcesses},
                                                {Kind::kOrdered, As::kProcesses},
                                                {Kind::kUnordered, As::kProcesses},
                                                {Kind::kOrdered, As::kProcesses, 1000, 16},
                                                {Kind::kUnordered, As::kProcesses, 1000, 16},
                                                {Kind::kSoftNic, As::kProcesses, 0, 0, "127.0.0.1", "depth=32"}};
inline const std::vector<Wire> kThreadWires = {{Kind::kLoopback, As::kThreads},
                                               {Kind::kOrdered, As::kThreads},
                                               {Kind::kUnordered, As::kThreads},
                                               {Kind::kSoftNic, As::kThreads, 0, 0, "127.0.0.1", "seed=2,depth=128"}};
inline const std::vector<Wire> kProxiedWires = {
    {.kind = Kind::kOrdered, .as = As::kThreads, .proxied = true},
    {.kind = Kind::kUnordered, .as = As::kProcesses, .piece_bytes = 1000, .window = 16, .proxied = true}};

// Where ranks are threads a sanitizer sees all that it sees where they are processes, at both ends of a link.
inline std::vector<Wire> all_wires() {
  std::vector<Wire> wires = kProcessWires;
  if (kSlow) wires = {{Kind::kUnordered, As::kThreads, 1000, 16}};
  wires.insert(wires.end(), kThreadWires.begin(), kThreadWires.end());
  wires.insert(wires.end(), kProxiedWires.begin(), kProxiedWires.end());
  return wires;
}

// In suites of their own, so that no process has them and libfabric.
inline const std::vector<Wire> kScrambledWires = {
    {Kind::kScrambled, As::kProcesses, 0, 0, "127.0.0.1", "seed=1"},
    {Kind::kScrambled, As::kProcesses, 1000, 16, "127.0.0.1", "seed=2,software"},
    {.kind = Kind::kScrambled, .as = As::kProcesses, .settings = "seed=3", .proxied = true}};
inline std::vector<Wire> scrambled_wires() {
  return {kScrambledWires.begin() + (kSlow ? 1 : 0), kScrambledWires.end()};
}

// Whether a thread lands what another process has sent, and not the receiver's own hand.
inline bool landed_by_a_thread(const Wire& wire) {
  if (wire.kind == Kind::kSoftNic) return wire.as == As::kProcesses;
  return wire.proxied || (wire.kind == Kind::kScrambled && std::strstr(wire.settings, "software") == nullptr);
}

// The scrambled fabric is what this process and its copies load as libfabric. Returns why not, "" if it is.
inline std::string scramble(const std::string& settings) {
  char own[4096] = {};
  if (readlink("/proc/self/exe", own, sizeof(own) - 1) < 0) return "this program does not know where it is";
  const std::string folder = std::string(own).substr(0, std::string(own).rfind('/'));
  setenv("SCRAMBLED_FABRIC", settings.c_str(), 1);
  const void* const fabric = dlopen((folder + "/scrambled/libfabric.so.1").c_str(), RTLD_NOW | RTLD_LOCAL);
  if (fabric == nullptr) return dlerror();
  const bool taken = dlopen("libfabric.so.1", RTLD_NOW | RTLD_NOLOAD) == fabric;
  return taken ? "" : "libfabric is in this process already: run this suite alone";
}

// Asked by a copy of this process: some providers refuse copies of one that has asked them.
inline std::string why_no_libfabric() {
  return run_crew({.ranks = 1, .as = As::kProcesses, .region_bytes = 4096, .victim = -1}, [](CrewRank&) {
    std::string why;
    require(libfabric_available(2, why), why);
  });
}

class TransportLadder : public ::testing::TestWithParam<Wire> {
 protected:
  void SetUp() override {
    std::string why;
    if (GetParam().kind == Kind::kScrambled) why = scramble(GetParam().settings);
    if (kLandedByAThread != nullptr && landed_by_a_thread(GetParam())) why = kLandedByAThread;
    if (by_libfabric(GetParam().kind) && why.empty()) why = why_no_libfabric();
    if (!why.empty()) GTEST_SKIP() << why;
    if (is_v6(GetParam()) && !is_own(GetParam().source)) GTEST_SKIP() << "this host has no IPv6";
  }
  // Runs body on every rank of this wire.
  std::string run(CrewOptions options, const std::function<void(CrewRank&)>& body) {
    options.as = GetParam().as;
    return run_crew(options, body);
  }
};

inline LibfabricOptions options_of(const Wire& wire, const CrewRank& me) {
  LibfabricOptions options;
  options.rank = me.rank();
  options.ranks = me.ranks();
  options.source_address = wire.source;
  options.region = me.region();
  options.region_bytes = me.region_bytes();
  for (uint32_t rank = 0; rank < me.ranks(); ++rank)
    if (rank != me.rank()) options.counterparts.push_back(rank);
  options.assume_unordered = wire.kind == Kind::kUnordered;
  options.piece_bytes = wire.piece_bytes;
  options.window = wire.window;
  return options;
}

// Collective.
inline std::unique_ptr<ScaleOut> open_link(const Wire& wire, CrewRank& me) {
  if (wire.kind == Kind::kLoopback) {
    auto link = std::make_unique<LoopbackLink>(me.regions());
    me.meet();
    return link;
  }
  if (wire.kind == Kind::kSoftNic) {
    SoftNic::Setup setup{.rank = me.rank(),
                         .regions = me.regions(),
                         .region_bytes = me.region_bytes(),
                         .processes = {},
                         .settings = soft_nic_settings(wire.settings)};
    for (const std::string& process : me.gather(std::to_string(getpid())))
      setup.processes.push_back(pid_t(std::stol(process)));
    return std::make_unique<SoftNicLink>(std::move(setup), false);
  }
  auto link = std::make_unique<LibfabricLink>(options_of(wire, me));
  require(link->ordered() == (wire.kind == Kind::kOrdered), "the provider does not order as this rung wants");
  require((link->name() == "libfabric scrambled") == (wire.kind == Kind::kScrambled), "not the fabric of this rung");
  link->connect(me.gather(link->address()));
  if (wire.proxied) return std::make_unique<ProxiedLink>(std::move(link));
  return link;
}

inline Word observe(const char* region, uint64_t offset) {
  Word& word = *reinterpret_cast<Word*>(const_cast<char*>(region) + offset);
  return std::atomic_ref<Word>(word).load(std::memory_order_acquire);
}

// Sleeps until something may have arrived, `most_ms` at most; false if nothing woke it. Asking may_sleep() can itself
// land bytes, so it comes before the last look.
template <class Ready>
bool nap(ScaleOut& link, Ready ready, int most_ms = 2) {
  if (link.wait_fd() < 0 || link.arrives_silently()) return usleep(50) == 0;
  if (!link.may_sleep() || ready()) return true;
  pollfd waited{link.wait_fd(), POLLIN, 0};
  return poll(&waited, 1, most_ms) == 1;
}
inline void nap(ScaleOut& link) {
  nap(link, [] { return false; });
}

// Makes progress until `ready()`, which says me.moved() where it does a part of what is waited for. Throws when the
// crew's patience is over.
template <class Ready>
void wait_until(CrewRank& me, ScaleOut& link, Ready ready) {
  me.moved();
  for (int idle = 0; !ready();) {
    if (link.progress()) {
      me.moved();
      idle = 0;
      continue;
    }
    if (ready()) return;
    if (++idle < 20) {
      sched_yield();
    } else {
      me.check();
      nap(link, ready);
    }
  }
}

// All meet, while the network moves on.
inline void meet(CrewRank& me, ScaleOut& link) {
  me.meet([&] { link.progress(); });
}

// Every put and count of mine is locally complete, then all meet: nobody leaves while others still need its progress.
inline void finish(CrewRank& me, ScaleOut& link) {
  wait_until(me, link, [&] { return link.quiet(); });
  meet(me, link);
}

// A pattern that tells which row, and where in it, an eight-byte word belongs.
inline uint64_t pattern(uint64_t row, uint64_t i) {
  uint64_t x = row * 0x9E3779B97F4A7C15u + i * 0xBF58476D1CE4E5B9u + 1;
  x ^= x >> 29;
  return x * 0x94D049BB133111EBu;
}

inline void fill(char* at, size_t bytes, uint64_t row) {
  for (size_t i = 0; i < bytes; i += 8) {
    const uint64_t value = pattern(row, i);
    std::memcpy(at + i, &value, 8);
  }
}

inline bool holds(const char* at, size_t bytes, uint64_t row) {
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t value;
    std::memcpy(&value, at + i, 8);
    if (value != pattern(row, i)) return false;
  }
  return true;
}

}  // namespace transload::test
