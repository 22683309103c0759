// The ladder on CudaWarp: the rungs of tests/ladder/rungs, and those of a GPU alone, by warps of two GPUs, or of one,
// as agents. The first red rung is the place to look.
//
//   ladder_check [--spoil] [RUNG...]     a line a rung; exits 1 if one failed, 77 without a GPU
//
// RUNG: how the names of the rungs begin that are to run; none: all.
// --spoil: the first comparison of every thread must come out wrong, and every rung must be red: none is green by
// itself.
#include <functional>

#include "tests/gpu/ladder_ends.cuh"
#include "tests/gpu/ladder_rails.cuh"
#include "tests/ladder/rungs/any.h"
#include "tests/ladder/rungs/claim.h"
#include "tests/ladder/rungs/credit.h"
#include "tests/ladder/rungs/ends.h"
#include "tests/ladder/rungs/moves.h"
#include "tests/ladder/rungs/publish.h"
#include "tests/ladder/rungs/reduce.h"
#include "tests/ladder/rungs/turns.h"
#include "tests/ladder/rungs/values.h"

namespace transload::gpu {
namespace {

bool run_rung(Stage& stage, const char* name, const std::function<void(Stage&)>& body) {
  rungs::Ledger& ledger = stage.ledger;
  const bool spoil = ledger.spoil;
  ledger = {};
  ledger.spoil = spoil;
  stage.clear();
  body(stage);
  const bool good = ledger.wrong == 0 && ledger.done > 0;
  std::printf("%s %s: %llu comparisons", good ? "ok    " : "FAILED", name, (unsigned long long)ledger.done);
  if (ledger.done == 0) std::printf(", and a rung that compares nothing is red");
  if (ledger.wrong != 0) std::printf(", %llu wrong; %s", (unsigned long long)ledger.wrong, ledger.first.c_str());
  std::printf("\n");
  std::fflush(stdout);
  return good;
}

struct NamedRung {
  const char* name;
  void (*body)(Stage&);
};

constexpr NamedRung kRungs[] = {
    {"01 sets", rungs::sets_rung<Stage>},
    {"02 values", rungs::values_rung<Stage>},
    {"03 scatter", rungs::scatter_rung<Stage>},
    {"03 scatter of scales", rungs::scales_rung<Stage>},
    {"03 scatters in a row", rungs::scatters_rung<Stage>},
    {"03 copy", rungs::copy_rung<Stage>},
    {"04 reduce", rungs::reduce_rung<Stage>},
    {"05 publish", rungs::publish_rung<Stage>},
    {"05 settle", rungs::settle_rung<Stage>},
    {"06 credit", rungs::credit_rung<Stage>},
    {"06 forwarded", rungs::forward_rung<Stage>},
    {"06 more marks than a warp holds", rungs::marks_rung<Stage>},
    {"07 any of many streams", rungs::any_rung<Stage>},
    {"07 poll", rungs::poll_rung<Stage>},
    {"08 many waits", rungs::turns_rung<Stage>},
    {"09 claim", rungs::claim_rung<Stage>},
    {"09 the last to arrive speaks for all", rungs::arrive_rung<Stage>},
    {"10 a deadline", rungs::deadline_rung<Stage>},
    {"10 a deadline of a wait for its own rank too", deadline_of_own_rung},
    {"10 a deadline among warps of a rank", rungs::own_rung<Stage>},
    {"10 a broken promise", rungs::broken_rung<Stage>},
    {"11 the host's abort", rungs::abort_rung<Stage>},
    {"12 rows along rails, by proxies", rails_rung},
    {"12 a proxy that stands still", still_proxy_rung},
    {"13 checks of every verb", checks_rung},
};

bool wanted(const NamedRung& rung, const std::vector<std::string>& names) {
  const std::string name = rung.name;
  return names.empty() || std::any_of(names.begin(), names.end(),
                                      [&](const std::string& n) { return name.compare(0, n.size(), n) == 0; });
}

int run_ladder(bool spoil, const std::vector<std::string>& names) {
  const int gpus = gpus_for_stage();
  if (gpus == 0) {
    std::printf("skipped: no GPU here\n");
    return 77;
  }
  Stage stage(gpus);
  std::printf("%d GPU%s two sides\n", gpus, gpus == 1 ? " plays" : "s play");
  stage.ledger.spoil = spoil;
  int rungs = 0, green = 0;
  for (const NamedRung& rung : kRungs) {
    if (!wanted(rung, names)) continue;
    if (rung.body == checks_rung && !checks::kOn) {
      std::printf("skipped %s: this build has no checks (preset gpu_debug has)\n", rung.name);
      continue;
    }
    ++rungs;
    green += run_rung(stage, rung.name, rung.body);
  }
  std::printf("skipped 11 stopped: a GPU is not stopped by a signal\n");
  std::printf("%d rungs, %d red%s\n", rungs, rungs - green, spoil ? ", and all of them should be" : "");
  return rungs > 0 && green == (spoil ? 0 : rungs) ? 0 : 1;
}

}  // namespace
}  // namespace transload::gpu

int main(int argc, char** argv) {
  setenv("CUDA_MODULE_LOADING", "EAGER", 1);  // nothing is loaded while kernels wait for each other
  std::vector<std::string> names(argv + 1, argv + argc);
  const bool spoil = !names.empty() && names[0] == "--spoil";
  if (spoil) names.erase(names.begin());
  return transload::gpu::run_ladder(spoil, names);
}
