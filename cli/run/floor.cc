// The single-copy floor.
#include "cli/run/floor.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "cli/run/status_page.h"
#include "executor/simd/simd.h"
#include "os/clock.h"

namespace transload::cli {
namespace {

// One token and where its rows are.
struct Job {
  const char* row;
  char* sum;
  std::vector<char*> places;  // where the token's owners have its row, ascending by owner
};

struct Buffer {
  explicit Buffer(size_t bytes) : data(new char[bytes]) {}
  std::unique_ptr<char[]> data;
};

// Threads claim tokens in turn, so that one that loses its processor does not hold up the rest.
double time_us(size_t jobs, const std::function<void(size_t)>& one) {
  constexpr size_t kClaim = 16;
  const size_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::atomic<size_t> next{0};
  std::vector<std::thread> running;
  const uint64_t begin_ns = now_ns();
  for (size_t n = 0; n < threads; ++n)
    running.emplace_back([&] {
      for (size_t i; (i = next.fetch_add(kClaim)) < jobs;)
        for (const size_t end = std::min(i + kClaim, jobs); i < end; ++i) one(i);
      simd::stream_fence();
    });
  for (std::thread& thread : running) thread.join();
  return double(now_ns() - begin_ns) * 1e-3;
}

}  // namespace

Span span_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return {values.front(), (values[(n - 1) / 2] + values[n / 2]) / 2, values.back()};
}

void measure_floor(const Options& options, const Workload& workload, FloorTimes& times) {
  const reference::Problem& problem = workload.problem();
  const RunTraffic traffic = traffic_of(problem);
  const size_t bytes = options.row_bytes(), ranks = options.ranks();
  std::vector<std::vector<uint16_t>> rows;
  std::vector<Buffer> received, sums;
  for (uint32_t r = 0; r < ranks; ++r) {
    rows.push_back(workload.make_rows(RowKind::kTokens, r));
    received.emplace_back(size_t(traffic.received[r]) * bytes);
    sums.emplace_back(size_t(options.tokens[r]) * bytes);
  }
  std::vector<Job> jobs;
  std::vector<size_t> next(ranks, 0);
  for (uint32_t r = 0; r < ranks; ++r)
    for (int64_t t = 0; t < options.tokens[r]; ++t) {
      const size_t at = size_t(t) * bytes;
      jobs.push_back({reinterpret_cast<const char*>(rows[r].data()) + at, sums[r].data.get() + at, {}});
      for (const auto& node : reference::owners_by_node(problem, {r, t}))
        for (const uint32_t owner : node)
          jobs.back().places.push_back(received[owner].data.get() + bytes * next[owner]++);
    }
  const simd::Kernels& kernels = simd::kernels();
  const auto dispatch = [&](size_t i) {
    for (char* place : jobs[i].places) kernels.stream_copy(place, jobs[i].row, bytes);
  };
  const auto combine = [&](size_t i) {
    simd::SumJob job{};
    job.into = jobs[i].sum;
    job.elements = options.hidden;
    job.here = {jobs[i].places.data(), int(jobs[i].places.size())};
    job.streamed = true;
    kernels.sum_rows(job);
  };
  for (uint64_t round = 0; round <= options.iterations; ++round) {
    const double dispatch_us = time_us(jobs.size(), dispatch), combine_us = time_us(jobs.size(), combine);
    if (round == 0) continue;  // the first round touched the pages
    times.dispatch_us.push_back(dispatch_us);
    times.combine_us.push_back(combine_us);
  }
}

}  // namespace transload::cli
