// The core of a group, made without a host: its rails agree at both ends, and a fault stays.
#include "runtime/host/host_calls.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "base/type_names.h"
#include "control/fault.h"
#include "protocol/call/grants.h"
#include "runtime/host/combine_call.h"
#include "runtime/host/dispatch_call.h"
#include "tests/support/plain_memory.h"

namespace transload::test {
namespace {

using PlainCore = HostCalls<PlainWarp::Warp>;

// Runs nothing: says how a run is to end.
struct IdleCrew final : Crew<PlainWarp::Warp> {
  bool run(const std::vector<Task>&) override { return runs_end_well; }
  bool finish_network() override { return true; }
  void set_deadline(uint32_t) override {}
  void note(uint64_t, Phase, uint64_t) override {}
  [[noreturn]] void give_up(const char* operation, const std::string&) override { fail(operation); }
  [[noreturn]] void fail(const char* operation) override {
    core->poison(fault_of({FaultKind::kLost, 1, "gone"}, {0, operation, 5'000'000, true},
                          {true, Role::kForwarder, 3, Waiting::kTokens, 2, 7, 9, 0}));
  }
  bool runs_end_well = true;
  PlainCore* core = nullptr;
};

GroupOptions options_of(const std::vector<uint32_t>& node_sizes, uint32_t rank) {
  GroupOptions options;
  options.topology.node_sizes = node_sizes;
  options.bootstrap.rank = rank;
  options.bootstrap.ranks = std::accumulate(node_sizes.begin(), node_sizes.end(), 0u);
  options.tokens_max = 4;
  options.row_bytes_max = 64;
  options.slab_bytes = 4096;
  return options;
}

struct Cores {
  explicit Cores(const std::vector<uint32_t>& node_sizes) {
    for (uint32_t rank = 0; rank == 0 || rank < all[0]->map.ranks; ++rank)
      all.push_back(std::make_unique<PlainCore>(options_of(node_sizes, rank), crew));
  }
  IdleCrew crew;
  std::vector<std::unique_ptr<PlainCore>> all;
};

const std::vector<std::vector<uint32_t>> kTopologies = {{1}, {4}, {2, 2}, {3, 5}, {5, 2, 1}, {1, 1, 1}};

// Contract 7.8.
TEST(HostCalls, BothEndsOfARailAgree) {
  for (const auto& sizes : kTopologies) {
    const Cores cores(sizes);
    for (const auto& core : cores.all) {
      for (uint32_t n = 0; n < core->map.nodes; ++n) {
        const Counterpart rail = core->rails[n];
        EXPECT_EQ(rail.rank == kNobody, n == core->map.node);
        if (rail.rank == kNobody) continue;
        const Counterpart back = cores.all[rail.rank]->sources[rail.index];
        EXPECT_EQ(back.rank, core->map.me);
        EXPECT_EQ(back.index, n);
        EXPECT_EQ(cores.all[rail.rank]->map.node, n);
      }
    }
  }
}

TEST(HostCalls, NeighboursAreMutual) {
  for (const auto& sizes : kTopologies) {
    const Cores cores(sizes);
    for (bool mapped : {false, true}) {
      for (const auto& core : cores.all) {
        const std::vector<uint32_t> mine = core->neighbours(mapped);
        EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
        EXPECT_EQ(mine.size(), core->map.peers - 1 + (mapped ? core->counterparts().size() : 0));
        for (uint32_t r : mine) {
          const std::vector<uint32_t> theirs = cores.all[r]->neighbours(mapped);
          EXPECT_TRUE(std::binary_search(theirs.begin(), theirs.end(), core->map.me));
        }
      }
    }
  }
}

// Contract 8.9.
TEST(HostCalls, EveryCallAfterAFaultThrowsIt) {
  IdleCrew crew;
  PlainCore core(options_of({1}, 0), crew);
  crew.core = &core;
  std::vector<char> memory(core.network_bytes() + core.scale_up_bytes() + 4096 + 128);
  Mappings place;
  place.network = memory.data() + (128 - reinterpret_cast<uintptr_t>(memory.data()) % 128);
  place.scale_up = {{place.network + core.network_bytes(), core.scale_up_bytes() + 4096}};
  place.arena = std::make_shared<Arena>(place.scale_up[0].base + core.scale_up_bytes(), 4096, nullptr);
  core.reserve();
  core.place(place);
  EXPECT_TRUE(core.lease(64).registered());
  EXPECT_NO_THROW(core.run({}, "dispatch", true));
  crew.runs_end_well = false;
  std::string first;
  try {
    core.run({}, "dispatch", true);
    FAIL() << "no fault";
  } catch (const Error& error) {
    first = error.what();
    EXPECT_EQ(error.code(), Code::kFault);
  }
  EXPECT_EQ(first,
            "rank 1 is lost (gone); rank 0 was in dispatch as forwarder of channel 3 and waited for tokens of rank 2, "
            "whose count is 7 and must be 9, after 5 ms");
  for (int call = 0; call < 2; ++call) {
    try {
      call == 0 ? void(core.dispatch({})) : void(core.combine({}));
      FAIL() << "no fault";
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), first);
    }
  }
  EXPECT_FALSE(core.lease(64).registered());
}

// Nothing that wraps comes of it.
TEST(HostCalls, RingsThatNoMachineHasRoomForAreRefused) {
  IdleCrew crew;
  GroupOptions options = options_of({1024}, 0);
  options.channels = 1024;
  options.slots = 65536;
  options.row_bytes_max = 1 << 24;
  EXPECT_THROW(PlainCore(options, crew), Error);
}

TEST(HostCalls, NoTwoHaveTheSameId) {
  IdleCrew crew;
  std::vector<uint64_t> ids;
  for (int i = 0; i < 100; ++i) ids.push_back(PlainCore(options_of({1}, 0), crew).id);
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end());
}

// What a rank of two knows once rank 1 has granted `rows` rows at `offset`: the promises that rank 1 has broken by it.
std::vector<BrokenRecord> broken_by(Operation operation, uint64_t offset, Word rows) {
  IdleCrew crew;
  PlainCore core(options_of({2}, 0), crew);
  const uint64_t bytes = core.network_bytes() + core.scale_up_bytes() + 4096;
  std::vector<char> memory(2 * bytes + 128);
  char* const mine = memory.data() + (128 - reinterpret_cast<uintptr_t>(memory.data()) % 128);
  Mappings place;
  place.network = mine;
  for (uint32_t p = 0; p < 2; ++p)
    place.scale_up.push_back({mine + p * bytes + core.network_bytes(), bytes - core.network_bytes()});
  place.arena = std::make_shared<Arena>(place.scale_up[0].base + core.scale_up_bytes(), 4096, nullptr);
  core.reserve();
  core.place(place);
  core.card.operation = operation;
  core.card.row_bytes = 64;
  core.card.top_k = 2;
  Call call{};
  core.begin_call(call, Phase::kDispatch, 0, 0);
  const Board& b = core.board;
  for (uint32_t p = 0; p < 2; ++p) {
    auto* const grant = reinterpret_cast<Grant*>(b.mine() + b.up.grant.at(call.parity(), p));
    *grant = {call.epoch(), call.card.digest(), 1, b.up.bytes, 0, b.up.bytes, 1};
    if (p == 1) *grant = {call.epoch(), call.card.digest(), 1, offset, 0, b.up.bytes, rows};
    *reinterpret_cast<Word*>(b.mine() + b.up.grant_word.at(p)) = call.epoch();
  }
  PlainWarp over;
  const Grants<PlainWarp::Warp> grants(*over, call);
  return over.memory.broken_promises;
}

TEST(HostCalls, AGrantEndsWithThePeersMemory) {
  IdleCrew crew;
  const PlainCore core(options_of({2}, 0), crew);
  const uint64_t end = core.scale_up_bytes() + 4096;
  for (const Operation operation : {Operation::kCachedDispatch, Operation::kCombine}) {
    EXPECT_TRUE(broken_by(operation, end - 3 * 64, 3).empty());
    EXPECT_TRUE(broken_by(operation, end, 0).empty());
    const std::vector<BrokenRecord> broken = broken_by(operation, end - 3 * 64, 4);
    ASSERT_EQ(broken.size(), 1u);
    EXPECT_EQ(broken[0].what, Broken::kGrant);
    EXPECT_EQ(broken[0].rank, 1u);
    EXPECT_EQ(broken[0].seen, 4u);
    EXPECT_EQ(broken[0].expected, 3u);
    EXPECT_EQ(broken_by(operation, ~uint64_t(0) - 63, 1).size(), 1u);    // before its region
    EXPECT_EQ(broken_by(operation, end - 3 * 64, ~Word(0)).size(), 1u);  // rows without end
  }
  // The headers of a first dispatch are long: they end first.
  EXPECT_TRUE(broken_by(Operation::kDispatch, end - 3 * 64, 3).empty());
  EXPECT_EQ(broken_by(Operation::kDispatch, core.board.up.bytes, 63).size(), 0u);
}

// The counts of one dispatch are what a test lays into the mailboxes of its rank; roles run over plain memory.
struct CountsCrew final : Crew<PlainWarp::Warp> {
  bool run(const std::vector<Task>& tasks) override {
    if (std::exchange(in_notify, false)) {
      receive();
      return true;
    }
    PlainWarp over;
    if (tasks.size() == 1) tasks[0](*over);
    broken = over.memory.broken_promises;
    return broken.empty();
  }
  bool finish_network() override { return true; }
  void set_deadline(uint32_t) override {}
  void note(uint64_t, Phase, uint64_t) override {}
  [[noreturn]] void give_up(const char* operation, const std::string& reason) override {
    core->poison(fault_of({FaultKind::kFailed, 0, reason}, {0, operation, 0, true}));
  }
  [[noreturn]] void fail(const char* operation) override {
    const bool told = broken.size() == 1;
    core->poison(fault_of({FaultKind::kMismatch, told ? broken[0].rank : kNobody, told ? text_of(broken[0], 0) : ""},
                          {0, operation, 0, true}));
  }
  std::function<void()> receive;
  bool in_notify = true;
  std::vector<BrokenRecord> broken;
  PlainCore* core = nullptr;
};

// What becomes of a dispatch of rank 0 of two, on these nodes, to which rank 1 sends two tokens of its two, with one of
// two channels each, and then `lies` changes its record for rank 0 or, if there are two nodes, that for node 0.
std::string told_of(const std::vector<uint32_t>& node_sizes, bool of_node,
                    const std::function<void(uint32_t* words)>& lies) {
  CountsCrew crew;
  GroupOptions options = options_of(node_sizes, 0);
  options.channels = 2;
  options.experts = 2;
  options.top_k_max = 1;
  PlainCore core(options, crew);
  crew.core = &core;
  const uint64_t slab = 1 << 16, bytes = core.network_bytes() + core.scale_up_bytes() + slab;
  std::vector<char> memory(2 * bytes + 128);
  char* const mine = memory.data() + (128 - reinterpret_cast<uintptr_t>(memory.data()) % 128);
  Mappings place;
  place.network = mine;
  for (uint32_t p = 0; p < core.map.peers; ++p)
    place.scale_up.push_back({mine + p * bytes + core.network_bytes(), bytes - core.network_bytes()});
  place.arena = std::make_shared<Arena>(place.scale_up[0].base + core.scale_up_bytes(), slab, nullptr);
  core.reserve();
  core.place(place);
  crew.receive = [&] {
    const Board& b = core.board;
    const auto honest = [](char* record, bool node) {
      auto* const words = reinterpret_cast<uint32_t*>(record);
      words[CountsRecord::kSourceTokens] = words[CountsRecord::kTokens] = 2;
      words[CountsRecord::kByChannel] = words[CountsRecord::kByChannel + 1] = 1;
      if (!node) words[CountsRecord::expert_word(2)] = 2;
      return words;
    };
    uint32_t* words = honest(b.mine() + b.up.counts.at(1, 1), false);
    if (node_sizes.size() == 2) {
      uint32_t slot = 0;
      while (core.sources[slot].rank != 1) ++slot;
      char* const record = b.network + b.net.counts.at(1, slot);
      honest(record + core.geometry.counts().of_peer(0), false);
      uint32_t* const node = honest(record, true);
      if (of_node) words = node;
    }
    lies(words);
  };
  std::vector<char> nothing(64);
  DispatchInputs in;
  in.x = matrix(nothing.data(), 0, 32, kBf16);
  in.topk_idx = matrix(nothing.data(), 0, 1, kI64);
  in.topk_weights = matrix(nothing.data(), 0, 1, kF32);
  try {
    return "rows: " + std::to_string(core.dispatch(in).rows);
  } catch (const Error& error) {
    return error.what();
  }
}

// Nothing is made as long as they say: who sent them is named, and not who reads them.
TEST(HostCalls, CountsThatCannotBeNameWhoSentThem) {
  using R = CountsRecord;
  struct Lie {
    uint32_t word, value;
    const char* told;
  };
  const Lie common[] = {{R::kSourceTokens, 4'000'000'000, "4000000000 where there can be at most 4"},
                        {R::kSourceTokens, 1, "2 where there can be at most 1"},
                        {R::kTokens, 4'000'000'000, "4000000000 where there can be at most 2"},
                        {R::kTokens, 1, "2 where there can be at most 1"},
                        {R::kByChannel, 4'000'000'000, "4000000001 where there can be at most 2"},
                        {R::kByChannel, 0, "2 where there can be at most 1"}};
  const Lie of_experts[] = {{R::expert_word(2), 4'000'000'000, "4000000000 where there can be at most 2"},
                            {R::expert_word(2), 1, "2 where there can be at most 1"}};
  for (const std::vector<uint32_t>& nodes : {std::vector<uint32_t>{2}, {1, 1}}) {
    for (const bool of_node : {false, true}) {
      if (of_node && nodes.size() == 1) continue;
      EXPECT_EQ(told_of(nodes, of_node, [](uint32_t*) {}), "rows: 2");
      std::vector<Lie> lies(std::begin(common), std::end(common));
      if (!of_node) lies.insert(lies.end(), std::begin(of_experts), std::end(of_experts));
      for (const Lie& lie : lies) {
        const std::string told = told_of(nodes, of_node, [&](uint32_t* words) { words[lie.word] = lie.value; });
        EXPECT_EQ(told.rfind("rank 1 called something else (counts: rank 1 sent " + std::string(lie.told), 0), 0u)
            << told;
      }
    }
  }
}

// What a node's record says of my own part cannot be more than what comes to the node.
TEST(HostCalls, CountsOfAPeerAreWithinThoseOfItsNode) {
  const std::string told = told_of({1, 1}, true, [](uint32_t* node) {
    const CountsShape shape{2, 1};
    node[shape.of_peer(0) / 4 + CountsRecord::kTokens] = 3;
  });
  EXPECT_NE(told.find("counts: rank 1 sent 3 where there can be at most 2"), std::string::npos) << told;
}

TEST(Fault, SaysWhatItsWarpsWaitedForInACall) {
  const WaitRecord wait{true, Role::kSender, 1, Waiting::kCredit, 6, 1, 2, 0};
  const Verdict alone{FaultKind::kUnreachable, 6, "no word", true};
  const Fault in_call = fault_of(alone, {4, "combine", 0, true}, wait);
  EXPECT_EQ(in_call.waiting_for, "a free slot at rank 6");
  EXPECT_TRUE(in_call.own_view);
  EXPECT_EQ(in_call.to_string().rfind("rank 6 is unreachable (no word), says rank 4 alone; ", 0), 0u)
      << in_call.to_string();
  const Fault outside = fault_of(alone, {4, "create", 0, false}, wait);
  EXPECT_EQ(outside.culprit_rank, 6u);
  EXPECT_EQ(outside.waiting_for, "");
}

// "No fault, culprit 0" is told to nobody.
TEST(Fault, IsMadeOfNoOpenVerdict) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(fault_of({}, {4, "combine", 0, true}), "verdict.kind != FaultKind::kNone");
}

TEST(Fault, ABrokenPromiseNamesBothRanks) {
  EXPECT_EQ(text_of({Role::kOpener, -1, Broken::kTopK, 3, 8, 4}, 1), "top-k: 8 on rank 3, 4 on rank 1");
  auto said = [](Broken what, Word seen, Word expected) {
    return text_of({Role::kOpener, -1, what, 3, seen, expected}, 1);
  };
  EXPECT_EQ(said(Broken::kOperation, Word(Operation::kCombine), Word(Operation::kDispatch)),
            "operation: a combine on rank 3, a dispatch on rank 1");
  EXPECT_EQ(said(Broken::kDtype, packed(kF8E4m3), packed(kBf16)), "dtype: float8_e4m3fn on rank 3, bfloat16 on rank 1");
  EXPECT_EQ(said(Broken::kWire, 1, 0), "wire: fp32 on rank 3, bf16 on rank 1");
  EXPECT_EQ(said(Broken::kWeights, 4, 0), "topk_weights: given on rank 3, not given on rank 1");
  EXPECT_EQ(said(Broken::kHandle, 4, 5), "handle: rank 3 and rank 1 use those of different dispatches");
  EXPECT_EQ(said(Broken::kHeader, 4, 5), "token header: rank 3 sent token 4, which rank 1 did not expect");
  EXPECT_EQ(text_of({Role::kForwarder, 3, Broken::kLanes, 1, 5, 0}, 1),
            "lanes: rank 1 (forwarder, channel 3) calls a verb with other arguments in lane 5 of a warp than in 0");
  EXPECT_EQ(text_of({Role::kSender, 0, Broken::kBounds, 1, 4096, 64}, 1),
            "bounds: rank 1 (sender, channel 0) stores 64 bytes at 4096, outside all memory that it may write");
  EXPECT_EQ(text_of({Role::kSender, 0, Broken::kGrant, 2, 4096, 12}, 1),
            "grant: rank 2 grants room for 4096 rows, but its memory holds 12 there");
}

}  // namespace
}  // namespace transload::test
