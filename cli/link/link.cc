// The options of `transload link`.
#include "cli/link/link.h"

#include <CLI/CLI.hpp>

#include "cli/link/measure.h"
#include "cli/number.h"
#include "cli/parser.h"
#include "cli/show/usage.h"
#include "runtime/group_options.h"

namespace transload::cli {
namespace {

constexpr uint64_t kRowsMost = 1 << 28, kRowBytesMost = 1 << 20;

LinkJob job_of(const LinkArguments& a) {
  LinkJob job{a.provider, number("--rows", a.rows, {1, kRowsMost}), {}, a.spoil};
  job.row_bytes = numbers("--row-bytes", a.row_bytes, {kTokenUnit, kRowBytesMost});
  for (const uint64_t bytes : job.row_bytes)
    if (bytes % kTokenUnit != 0) refuse("--row-bytes: {}: must be a multiple of {}", bytes, kTokenUnit);
  return job;
}

}  // namespace

void add_link_options(CLI::App& app, LinkArguments& a) {
  add_text(app, {"--provider", "NAME", "libfabric's provider [the best that opens]"}, a.provider);
  add_text(app, {"--rows", "N", "rows that each rank sends, of each size"}, a.rows);
  add_text(app, {"--row-bytes", "N,N,..", "the sizes of rows to try, in bytes; multiples of 16"}, a.row_bytes);
  add_text(app, {"--deadline-ms", "MS", "milliseconds that each wait may take"}, a.deadline_ms);
  add_flag(app, "--spoil", a.spoil, "send counts before their rows, a fault that must be found, with exit status 1");
}

int measure_link(const LinkArguments& a) {
  [[maybe_unused]] const LinkJob job = job_of(a);
  const OptionFacts deadline = option_facts("deadline_ms");
  [[maybe_unused]] const auto deadline_ms =
      uint32_t(number("--deadline-ms", a.deadline_ms, {deadline.least, deadline.most}));
  if (!Bootstrap::has_environment())
    refuse("link: no launcher: must be two ranks or more, half of them on each host (tools/network_check starts them)");
  Bootstrap bootstrap = Bootstrap::from_environment();
  if (bootstrap.ranks < 2 || bootstrap.ranks % 2 != 0 || bootstrap.ranks > kRanksMax)
    refuse("link: {} ranks ({}): must be an even number from 2 to {}", bootstrap.ranks, bootstrap.origin, kRanksMax);
  bootstrap.name = "link";
#ifdef TRANSLOAD_LIBFABRIC
  LinkEnds ends(bootstrap, deadline_ms);
  return measure(ends, job);
#else
  throw Error(Code::kNotSupported, "link: this build has no libfabric");
#endif
}

}  // namespace transload::cli
