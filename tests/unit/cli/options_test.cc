// Options of ranks on GPUs: what is refused, what is completed, which rank sits where.
#include "cli/options.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "cli/launch/gpus.h"
#include "cli/show/usage.h"
#include "control/launchers.h"

namespace transload::cli {
namespace {

RunArguments on_gpus(const char* node_sizes) {
  RunArguments arguments;
  arguments.node_sizes = node_sizes;
  arguments.device = "cuda";
  return arguments;
}

// What the one line says, or "" if nothing is refused.
std::string refusal(const RunArguments& arguments) {
  try {
    checked(arguments);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}
std::string refusal(Options options, const Gpus& gpus, bool joined = false) {
  try {
    assign_gpus(options, gpus, joined);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Options, NumbersAreWholeAndInTheirPlace) {
  const auto said = [](std::string RunArguments::*argument, const char* text) {
    RunArguments arguments;
    arguments.node_sizes = "2,2";
    arguments.*argument = text;
    return refusal(arguments);
  };
  EXPECT_EQ(said(&RunArguments::tokens, "1,2,3,4"), "");
  EXPECT_EQ(said(&RunArguments::tokens, "1,2,3"), "--tokens: 3 numbers: must be one, or one for each of the 4 ranks");
  EXPECT_EQ(said(&RunArguments::tokens, "1,2,3,4,5"),
            "--tokens: 5 numbers: must be one, or one for each of the 4 ranks");
  for (const char* text : {"7x", "7 ", " 7", "1e3", "-1", "", "4294967296000000000000"})
    EXPECT_EQ(said(&RunArguments::iterations, text),
              "--iterations: '" + std::string(text) + "': must be a whole number from 1 to 1000000");
  EXPECT_EQ(said(&RunArguments::hidden, "20"), "--hidden: 20: must be a multiple of 8 (16 bytes)");
}

TEST(Options, LaunchersAreTheLibrarys) {
  RunArguments arguments;
  EXPECT_EQ(checked(arguments).launcher, "");
  for (const std::string& name : launcher_names()) {
    arguments.launcher = name;
    EXPECT_EQ(checked(arguments).launcher, name);
  }
  arguments.launcher = "lsf";
  EXPECT_EQ(refusal(arguments), "--launcher: 'lsf': must be one of auto, env, torchrun, mpi, pmi, slurm, none");
}

TEST(Options, DefaultsAreOfTheDevice) {
  const GroupOptions group;
  const Options cpu = checked(RunArguments());
  EXPECT_FALSE(cpu.cuda);
  EXPECT_EQ(cpu.rings().channels, 4u);
  EXPECT_EQ(cpu.rings().slots, 16u);
  EXPECT_EQ(cpu.rings().peer_slots, 16u);
  EXPECT_EQ(cpu.ranks_per_process(), 1u);
  EXPECT_EQ(cpu.device_of(3).device_type, kDLCPU);
  RunArguments arguments = on_gpus("4");
  EXPECT_EQ(checked(arguments).group.sms, group.sms);
  EXPECT_EQ(checked(arguments).rings().channels, 16 * group.sms);
  EXPECT_EQ(checked(arguments).rings().slots, 4u);
  EXPECT_EQ(checked(arguments).rings().peer_slots, 1u);
  EXPECT_EQ(checked(on_gpus("2,2")).rings().channels, 4 * group.sms) << "another choice over a network";
  EXPECT_EQ(checked(on_gpus("2,2")).rings().slots, 16u);
  arguments.passed_on["sms"] = "132";
  EXPECT_EQ(checked(arguments).rings().channels, limits().channels_max);
  arguments.passed_on["channels"] = "5";
  arguments.passed_on["slots"] = "9";
  arguments.passed_on["peer_slots"] = "3";
  EXPECT_EQ(checked(arguments).rings().channels, 5u);
  EXPECT_EQ(checked(arguments).rings().slots, 9u);
  EXPECT_EQ(checked(arguments).rings().peer_slots, 3u);
}

TEST(Options, AGraphIsKept) {
  RunArguments arguments = on_gpus("4");
  arguments.rows_max = "7";
  EXPECT_FALSE(checked(arguments).graph);
  arguments.graph = true;
  EXPECT_TRUE(checked(arguments).graph);
}

TEST(Options, WhatGpusCannotDoIsRefusedByName) {
  const auto with = [](auto change) {
    RunArguments arguments = on_gpus("2,2");
    change(arguments);
    return refusal(arguments);
  };
  EXPECT_EQ(with([](RunArguments&) {}), "");
  EXPECT_EQ(with([](RunArguments& a) { a.graph = true, a.rows_max = "7"; }), "");
  EXPECT_EQ(with([](RunArguments& a) { a.scale_out = "loopback"; }), "");
  EXPECT_EQ(with([](RunArguments& a) { a.scale_out = "libfabric", a.provider = "tcp"; }), "");
  EXPECT_EQ(with([](RunArguments& a) { a.network_memory = "gpu"; }), "");
  EXPECT_EQ(with([](RunArguments& a) { a.network_memory = "ram"; }),
            "--network-memory: 'ram': must be auto, gpu or pinned");
  EXPECT_NE(with([](RunArguments& a) { a.graph = true; }).find("--graph: is allowed only with --rows-max"),
            std::string::npos);
  EXPECT_EQ(with([](RunArguments& a) { a.passed_on["sms"] = "0"; }).find("--sms: '0'"), 0u);
  EXPECT_EQ(with([](RunArguments& a) { a.gpus = "0"; }).find("--gpus: '0'"), 0u);
  EXPECT_EQ(with([](RunArguments& a) { a.ranks_per_gpu = "0"; }).find("--ranks-per-gpu: '0'"), 0u);
  EXPECT_EQ(with([](RunArguments& a) { a.ranks_per_gpu = "5"; }).find("--ranks-per-gpu: '5'"), 0u);
  EXPECT_EQ(with([](RunArguments& a) { a.fault = "kill:1@1"; }).find("--fault: 'kill:1@1'"), 0u);
  EXPECT_EQ(with([](RunArguments& a) { a.floor = true; }).find("--floor"), 0u);
}

TEST(Options, WhatOnlyGpusDoIsRefusedOnTheCpu) {
  const auto with = [](auto change) {
    RunArguments arguments;
    change(arguments);
    return refusal(arguments);
  };
  EXPECT_EQ(with([](RunArguments& a) { a.passed_on["sms"] = "4"; }).find("--sms: '4': is allowed only with"), 0u);
  EXPECT_EQ(with([](RunArguments& a) { a.gpus = "1"; }).find("--gpus: '1': is allowed only with"), 0u);
  EXPECT_EQ(with([](RunArguments& a) { a.ranks_per_gpu = "1"; }).find("--ranks-per-gpu: '1': is allowed only with"),
            0u);
  EXPECT_EQ(
      with([](RunArguments& a) { a.network_memory = "gpu"; }).find("--network-memory: 'gpu': is allowed only with"),
      0u);
  EXPECT_EQ(with([](RunArguments& a) { a.network_memory = "pinned"; }), "");
  EXPECT_EQ(
      with([](RunArguments& a) { a.graph = true, a.rows_max = "7"; }).find("--graph: is allowed only with --device"),
      0u);
}

TEST(Gpus, RanksSitNextToEachOther) {
  Options options = checked(on_gpus("1,4"));
  assign_gpus(options, {"", 2, 132}, false);
  EXPECT_EQ(options.gpus, 2u);
  EXPECT_EQ(options.ranks_per_gpu, 3u);
  EXPECT_EQ(options.ranks_per_process(), 3u);
  const int32_t expected[] = {0, 0, 0, 1, 1};
  for (uint32_t r = 0; r < 5; ++r) {
    EXPECT_EQ(options.device_of(r).device_type, kDLCUDA);
    EXPECT_EQ(options.device_of(r).device_id, expected[r]) << r;
  }
}

TEST(Gpus, NoMoreAreUsedThanRanksNeed) {
  Options few = checked(on_gpus("2"));
  assign_gpus(few, {"", 8, 132}, false);
  EXPECT_EQ(few.gpus, 2u);
  EXPECT_EQ(few.ranks_per_gpu, 1u);
  RunArguments arguments = on_gpus("4,4");
  arguments.ranks_per_gpu = "4";
  Options packed = checked(arguments);
  assign_gpus(packed, {"", 8, 132}, false);
  EXPECT_EQ(packed.gpus, 2u);
  EXPECT_EQ(packed.device_of(7).device_id, 1);
}

TEST(Gpus, WhatDoesNotFitIsRefusedByName) {
  RunArguments arguments = on_gpus("4,4");
  EXPECT_EQ(refusal(checked(arguments), {"no GPU: asleep", 0, 0}), "--device: 'cuda': no GPU: asleep");
  EXPECT_EQ(refusal(checked(arguments), {"", 1, 128}), "");  // 8 ranks of 16 SMs
  EXPECT_EQ(refusal(checked(arguments), {"", 1, 127}).find("--sms: 16 for each of 8 ranks"), 0u);
  arguments.gpus = "3";
  EXPECT_EQ(refusal(checked(arguments), {"", 2, 132}), "--gpus: 3: must be at most 2, as many as this process sees");
  EXPECT_EQ(refusal(checked(arguments), {"", 3, 132}), "");
  arguments.ranks_per_gpu = "2";
  EXPECT_EQ(refusal(checked(arguments), {"", 3, 132}).find("--ranks-per-gpu: 2: must be at least 3"), 0u);
}

TEST(Gpus, NoThreadOfAProcessIsKilledOrStopped) {
  RunArguments arguments = on_gpus("1,1");
  for (const char* fault : {"kill:1@3/expert", "stop:0@1/expert"}) {
    arguments.fault = fault;
    EXPECT_EQ(refusal(checked(arguments), {"", 2, 132}).find("--fault: kill and stop need ranks that are processes"),
              0u);
    EXPECT_EQ(refusal(checked(arguments), {"", 2, 132}, true), "") << "under a launcher each rank is a process";
  }
  arguments.fault = "absent:1@3";
  EXPECT_EQ(refusal(checked(arguments), {"", 2, 132}), "");
  for (const char* fault : {"kill:1@3", "stop:1@3/combine"}) {
    arguments.fault = fault;
    EXPECT_EQ(refusal(arguments), "--fault: '" + std::string(fault) +
                                      "': a rank on a GPU halts between its calls only: PHASE must be expert");
  }
}

TEST(Options, CreationHasItsOwnDeadline) {
  RunArguments arguments;
  arguments.passed_on["deadline_ms"] = "700";
  EXPECT_EQ(checked(arguments).rings().create_deadline_ms, 700u);
  arguments.passed_on["create_deadline_ms"] = "600000";
  EXPECT_EQ(checked(arguments).rings().create_deadline_ms, 600'000u);
  EXPECT_EQ(checked(arguments).group.deadline_ms, 700u);
}

TEST(Gpus, ALauncherChoosesByLocalRank) {
  RunArguments arguments = on_gpus("4,4");
  {
    Options options = checked(arguments);
    options.local_rank = 2;
    assign_gpus(options, {"", 2, 132}, true);
    EXPECT_EQ(options.device_of(7).device_id, 0);  // by rank it would be 1
    EXPECT_EQ(options.ranks_per_process(), 1u);
  }
  {
    Options options = checked(arguments);  // nobody says: by rank
    assign_gpus(options, {"", 3, 132}, true);
    EXPECT_EQ(options.device_of(7).device_id, 1);
  }
  arguments.ranks_per_gpu = "2";
  EXPECT_EQ(refusal(checked(arguments), {"", 2, 132}, true).find("--ranks-per-gpu: 2: must be 1 under"), 0u);
}

}  // namespace
}  // namespace transload::cli
