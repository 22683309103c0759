// One program of calls, made of a shape and a seed, and who makes them: ranks that get what the reference says, a group
// on the CPU, worlds of the simulator under several schedules, a group on GPUs. Every output of every rank has the same
// digest.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <numeric>
#include <thread>

#include "sim/scenario/group_options.h"
#include "sim/world/world.h"
#include "tests/support/agree/group_caller.h"
#include "tests/support/agree/outputs.h"
#include "tests/support/agree/reference_group.h"
#include "tests/support/agree/shapes.h"
#include "tests/support/behind_proxies.h"
#include "tests/support/with_soft_nics.h"
#include "transport/scaleout/libfabric/link.h"

namespace transload::test {
namespace {

constexpr uint32_t kDeadlineMs = 60000;     // of a host's clock: the scenario's is virtual
constexpr uint64_t kHandleRoom = 32 << 20;  // on a GPU a handle lies in the slabs

// A program by all ranks of a group, each a thread.
struct Played {
  const Scenario& scenario;
  uint64_t seed;
  const char* by;
  bool judged = true;  // what the program itself finds wrong is a failure, and so is a call that throws
  std::string of(uint32_t rank) const {
    return scenario.name + ", seed " + std::to_string(seed) + ", " + by + ": rank " + std::to_string(rank) + ": ";
  }
};

void each_rank(const Played& played, const std::function<void(uint32_t)>& body) {
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < played.scenario.ranks; ++rank)
    threads.emplace_back([&played, &body, rank] {
      try {
        body(rank);
      } catch (const std::exception& error) {
        if (played.judged) ADD_FAILURE() << played.of(rank) << error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
}

void run_program(const Played& played, Caller& caller, Outputs& outputs) {
  const uint64_t seed = group_seed(played.seed);
  Routings routings(played.scenario, played.scenario.node_sizes, seed);
  const auto wrong = [&](Checker checker, const std::string& what) {
    if (played.judged) ADD_FAILURE() << played.of(caller.rank()) << kCheckerNames[int(checker)] << ": " << what;
  };
  const auto goes_on = [] { return false; };
  Program(caller,
          {&played.scenario, &routings, seed, wrong, goes_on, [](uint32_t) { return CallerTurn::kCalls; }, &outputs})
      .run();
}

Outputs by_reference(const Scenario& scenario, uint64_t seed) {
  const Played played{scenario, seed, "the reference"};
  Outputs outputs(scenario.ranks);
  ReferenceGroup group(scenario);
  each_rank(played, [&](uint32_t rank) {
    const std::unique_ptr<Caller> caller = group.caller(rank);
    run_program(played, *caller, outputs);
  });
  return outputs;
}

GroupOptions options_for(const Scenario& scenario, uint32_t rank, DLDevice device) {
  std::vector<uint32_t> all(scenario.ranks);
  std::iota(all.begin(), all.end(), 0u);
  GroupOptions options = options_of(scenario, scenario.node_sizes, all, rank);
  options.deadline_ms = kDeadlineMs;
  options.scale_out = ScaleOutChoice::kLoopback;
  options.device = device;
  if (device.device_type == kDLCUDA) {
    if (const char* const provider = network_of_gpus()) {
      options.scale_out = ScaleOutChoice::kLibfabric;
      options.provider = provider;
    }
    options.slab_bytes += kHandleRoom;
    options.sms = std::clamp(120 / ranks_on_gpu(scenario.ranks), 1u, 8u);
  }
  return options;
}

enum class Ranks : uint8_t { kCpu, kProxied, kSoftNic, kGpu };

// `spoiled_ms`: over a network that breaks its promise the deadline is short, and nothing is judged.
Outputs by_group(const Scenario& scenario, uint64_t seed, Ranks ranks, uint32_t spoiled_ms = 0) {
  const bool on_gpus = ranks == Ranks::kGpu;
  const Played played{scenario, seed, on_gpus ? "the GPUs" : "the CPU", spoiled_ms == 0};
  Outputs outputs(scenario.ranks);
  Rendezvous rendezvous;
  each_rank(played, [&](uint32_t rank) {
    const std::unique_ptr<TensorHome> host = on_gpus ? nullptr : cli::make_host_home();
    TensorHome& side = on_gpus ? side_of(rank) : *host;
    GroupOptions options = options_for(scenario, rank, side.device());
    options.bootstrap.port = rendezvous.port();
    options.bootstrap.name = "agree";
    if (spoiled_ms != 0) options.deadline_ms = spoiled_ms;
    if (ranks == Ranks::kProxied) options.scale_out = ScaleOutChoice::kLibfabric;
    Group group(options);
    if (ranks == Ranks::kProxied && scenario.node_sizes.size() > 1) {
      EXPECT_NE(group.scale_out_name().find(", by a proxy"), std::string::npos) << group.scale_out_name();
    }
    EXPECT_EQ(group.scale_out_name() == "soft NIC", ranks == Ranks::kSoftNic);
    EXPECT_EQ(group.scale_out_name() == "soft NIC, by GPUs",
              on_gpus && WithSoftNics::drive_gpus() && scenario.node_sizes.size() > 1);
    GroupCaller caller(group, side);
    run_program(played, caller, outputs);
  });
  return outputs;
}

Outputs by_world(const Scenario& scenario, uint64_t seed, uint64_t schedule) {
  const std::string by = "schedule " + std::to_string(schedule);
  const Played played{scenario, seed, by.c_str()};
  Outputs outputs(scenario.ranks);
  WorldOptions options;
  options.seed = seed;
  options.schedule_seed = schedule;
  options.audience = &outputs;
  World world;
  const WorldResult result = world.run(scenario, options);
  EXPECT_TRUE(result.passed()) << played.of(result.violation.rank) << kCheckerNames[int(result.violation.checker)]
                               << ": " << result.violation.what;
  return outputs;
}

class Agree : public testing::TestWithParam<Shape> {
 protected:
  const Scenario& scenario() const { return GetParam().scenario; }
  // The reference's outputs, which all others must have.
  void begin(uint64_t seed) {
    seed_ = seed;
    wanted_ = by_reference(scenario(), seed);
    said_ = "the reference";
  }
  void same(const std::string& who, const Outputs& outputs) {
    EXPECT_EQ(outputs.difference(wanted_), "") << GetParam().name << ", seed " << seed_ << ", " << who;
    said_ += ", " + who;
  }
  bool differs(const Outputs& outputs) const { return !outputs.difference(wanted_).empty(); }
  void say() const {
    std::printf("%s, seed %d: %zu outputs of %u ranks by %s\n", GetParam().name.c_str(), int(seed_), wanted_.count(),
                scenario().ranks, said_.c_str());
  }

 private:
  uint64_t seed_ = 0;
  Outputs wanted_{0};
  std::string said_;
};

// Contract 3.6.
TEST_P(Agree, CpuAndWorlds) {
  begin(1);
  same("the CPU", by_group(scenario(), 1, Ranks::kCpu));
  for (uint64_t schedule = 101; schedule <= 102; ++schedule)
    same("schedule " + std::to_string(schedule), by_world(scenario(), 1, schedule));
  say();
}

INSTANTIATE_TEST_SUITE_P(Each, Agree, testing::ValuesIn(shapes()), [](const auto& info) { return info.param.name; });

#ifdef TRANSLOAD_LIBFABRIC
// Their rails go through the queue of commands that GPUs have, and a proxy each, over a network. The simulator's own
// scenarios are worlds of it with proxies in tests/program/sim_seeds.py.
// Contract 3.6.
TEST_P(Agree, CpuBehindProxies) {
  if (GetParam().of_simulator) GTEST_SKIP() << "made for worlds of the simulator";
  if (scenario().node_sizes.size() == 1) GTEST_SKIP() << "one node has no rails";
  std::string why;
  if (!libfabric_available(scenario().ranks, why)) GTEST_SKIP() << why;
  put_networks_behind_proxies();
  begin(2);
  same("the CPU, by proxies", by_group(scenario(), 2, Ranks::kProxied));
  say();
}
#endif

// They fill the queues of a NIC each, as ranks on GPUs would, by the same code; the NIC is a thread.
// Contract 3.6.
TEST_P(Agree, CpuBySoftNics) {
  if (scenario().node_sizes.size() == 1) GTEST_SKIP() << "one node has no rails";
  const WithSoftNics soft("depth=8");
  begin(3);
  same("the CPU, by soft NICs", by_group(scenario(), 3, Ranks::kSoftNic));
  say();
}

TEST(Gpus, AreThere) {
  if (!on_gpus()) GTEST_SKIP() << "nothing runs on GPUs: TRANSLOAD_TEST_GPUS does not say how many there are";
}

class GpusAgree : public Agree {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GpusAgree);

// Contract 3.6.
TEST_P(GpusAgree, CpuAndWorld) {
  if (GetParam().not_on_gpus != nullptr) GTEST_SKIP() << GetParam().not_on_gpus;
  if (!fit_on_gpus(scenario().ranks)) GTEST_SKIP() << kTooManyRanks;
  begin(1);
  // Where GPUs have NICs, loopback is theirs.
  if (!WithSoftNics::drive_gpus()) same("the CPU", by_group(scenario(), 1, Ranks::kCpu));
  same("a world", by_world(scenario(), 1, 101));
  same("the GPUs", by_group(scenario(), 1, Ranks::kGpu));
  say();
}

INSTANTIATE_TEST_SUITE_P(Each, GpusAgree, testing::ValuesIn(on_gpus() ? shapes() : std::vector<Shape>{}),
                         [](const auto& info) { return info.param.name; });

class Payload : public Agree {};

// A NIC that lands rows behind the count that speaks of them is found in every payload: by an output that is another
// one, or by a call that ends in a fault.
TEST_P(Payload, OfASpoiledNicIsFound) {
  if (const char* const why = WithSoftNics::not_here()) GTEST_SKIP() << why;
  const Ranks ranks = on_gpus() ? Ranks::kGpu : Ranks::kSoftNic;
  constexpr uint32_t kSpoiledMs = 3000;
  begin(1);
  {
    const WithSoftNics soft("depth=8");
    same("soft NICs", by_group(scenario(), 1, ranks));
  }
  bool found = false;
  for (int seed = 1; seed <= 5 && !found; ++seed) {
    const WithSoftNics soft("depth=8,spoils,seed=" + std::to_string(seed));
    found = differs(by_group(scenario(), 1, ranks, kSpoiledMs));
  }
  EXPECT_TRUE(found);
}

INSTANTIATE_TEST_SUITE_P(Each, Payload, testing::ValuesIn(payloads()),
                         [](const auto& info) { return info.param.name; });

// One bit of one output of one rank, in one call.
struct Spoil {
  std::string output;
  std::function<void(DispatchOutputs&)> dispatched;
  std::function<void(CombineOutputs&)> combined = nullptr;
};

void flip(const Tensor& tensor) { tensor.as<char>()[tensor.row_bytes() - 1] ^= 1; }

class SpoiledCaller final : public Caller {
 public:
  SpoiledCaller(std::unique_ptr<Caller> caller, const Spoil& spoil) : caller_(std::move(caller)), spoil_(spoil) {}
  uint32_t rank() const override { return caller_->rank(); }
  DispatchOutputs dispatch(const DispatchInputs& in) override {
    DispatchOutputs out = caller_->dispatch(in);
    if (rank() == 1 && spoil_.dispatched) spoil_.dispatched(out);
    return out;
  }
  CombineOutputs combine(const CombineInputs& in) override {
    CombineOutputs out = caller_->combine(in);
    if (rank() == 1 && spoil_.combined) spoil_.combined(out);
    return out;
  }
  ExpertRoom room(size_t bytes, bool leased) override { return caller_->room(bytes, leased); }

 private:
  const std::unique_ptr<Caller> caller_;
  const Spoil& spoil_;
};

TEST(Outputs, OneBitOfAnyIsNamed) {
  Scenario scenario = read_scenario("rows_max_drop");
  scenario.calls.resize(2);
  scenario.calls[0].rows_max = std::vector<uint32_t>(scenario.ranks, 5);
  const Outputs wanted = by_reference(scenario, 1);
  EXPECT_EQ(by_reference(scenario, 1).difference(wanted), "");
  EXPECT_NE(by_reference(scenario, 2).difference(wanted), "");
  const auto of_dispatch = [](Tensor DispatchOutputs::*tensor) {
    return [tensor](DispatchOutputs& out) { flip(out.*tensor); };
  };
  const auto of_combine = [](Tensor CombineOutputs::*tensor) {
    return [tensor](CombineOutputs& out) { flip(out.*tensor); };
  };
  for (const Spoil& spoil :
       std::vector<Spoil>{{"dispatch.rows ", [](DispatchOutputs& out) { out.rows ^= 1; }},
                          {"dispatch.rows_needed ", [](DispatchOutputs& out) { out.rows_needed ^= 1; }},
                          {"dispatch.scale_out_rows ", [](DispatchOutputs& out) { out.scale_out_rows ^= 1; }},
                          {"dispatch.status ", [](DispatchOutputs& out) { out.status = {}; }},
                          {"dispatch.x ", of_dispatch(&DispatchOutputs::x)},
                          {"dispatch.x ", [](DispatchOutputs& out) { out.x.dtype = kU8; }},
                          {"dispatch.scales ", of_dispatch(&DispatchOutputs::scales)},
                          {"dispatch.topk_idx ", of_dispatch(&DispatchOutputs::topk_idx)},
                          {"dispatch.topk_weights ", of_dispatch(&DispatchOutputs::topk_weights)},
                          {"dispatch.source ", of_dispatch(&DispatchOutputs::source)},
                          {"dispatch.expert_counts ", [](DispatchOutputs& out) { out.expert_counts.at(0) ^= 1; }},
                          {"combine.scale_out_rows ", nullptr, [](CombineOutputs& out) { out.scale_out_rows ^= 1; }},
                          {"combine.x ", nullptr, of_combine(&CombineOutputs::x)},
                          {"combine.topk_weights ", nullptr, of_combine(&CombineOutputs::topk_weights)}}) {
    const Played played{scenario, 1, "spoiled", false};
    Outputs outputs(scenario.ranks);
    ReferenceGroup group(scenario);
    each_rank(played, [&](uint32_t rank) {
      SpoiledCaller caller(group.caller(rank), spoil);
      run_program(played, caller, outputs);
    });
    const std::string call = spoil.output.rfind("combine", 0) == 0 ? "1" : "0";
    EXPECT_EQ(outputs.difference(wanted).rfind("rank 1: " + spoil.output + "of call " + call, 0), 0u)
        << spoil.output << outputs.difference(wanted);
  }
}

}  // namespace
}  // namespace transload::test
