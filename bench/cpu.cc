// The trip on CPU ranks beside what one would do without it, in one run: permute, MPI_Alltoallv, and for combine the
// way back and a sum of the rows. Measures the floor too: cli/run/floor.h on one node, and on two nodes of one size the
// bytes that cross, over sockets (bench/sockets.h).
//   ./dev bench cpu, or mpirun -n RANKS build/host/bin/bench_cpu [options of `transload run`]
//
// Every result is compared with the reference before any time is taken. Cases take turns within an iteration; a time is
// that of the slowest rank from a common start. MPI's trip knows its counts, so it is compared with a cached dispatch.
#include <mpi.h>
#include <pthread.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/sockets.h"
#include "cli/options.h"
#include "cli/run/floor.h"
#include "cli/run/workload.h"
#include "executor/simd/simd.h"
#include "os/clock.h"
#include "reference/reference.h"
#include "transload/transload.h"

namespace transload::bench {
namespace {

using cli::RowKind;

void must(int error, const char* call) {
  if (error != MPI_SUCCESS) throw std::runtime_error(std::string(call) + ": error " + std::to_string(error));
}

// A barrier of this host's ranks, which they leave together. A rank sleeps in it, since MPI's own barrier spins.
class Barrier {
 public:
  explicit Barrier(uint32_t rank, uint32_t ranks) {
    MPI_Aint bytes = 0;
    int unit = 0;
    must(MPI_Win_allocate_shared(rank == 0 ? sizeof *barrier_ : 0, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &barrier_,
                                 &window_),
         "MPI_Win_allocate_shared");
    must(MPI_Win_shared_query(window_, 0, &bytes, &unit, &barrier_), "MPI_Win_shared_query");
    pthread_barrierattr_t shared;
    pthread_barrierattr_init(&shared);
    pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    if (rank == 0) pthread_barrier_init(barrier_, &shared, ranks);
    pthread_barrierattr_destroy(&shared);
    must(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier");
  }
  ~Barrier() { MPI_Win_free(&window_); }
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;
  void wait() { pthread_barrier_wait(barrier_); }

 private:
  pthread_barrier_t* barrier_ = nullptr;
  MPI_Win window_ = MPI_WIN_NULL;
};

// What this rank sends, and the reference's outputs.
class Expected {
 public:
  Expected(const cli::Options& options, const cli::Workload& workload, uint32_t rank)
      : options_(options),
        workload_(workload),
        rank_(rank),
        received_(reference::received_by(workload.problem(), rank)) {
    flat_ = workload.problem();
    flat_.node_sizes = {options.ranks()};
  }

  int64_t rows() const { return int64_t(received_.source.size()); }

  void check_rows(const char* who, const char* rows) const {
    std::vector<uint16_t> want(options_.hidden);
    for (int64_t m = 0; m < this->rows(); ++m) {
      workload_.make_row(RowKind::kTokens, received_.source[size_t(m)], want.data());
      if (std::memcmp(rows + size_t(m) * options_.row_bytes(), want.data(), options_.row_bytes()) != 0)
        throw std::runtime_error(std::string(who) + ": row " + std::to_string(m) + " of rank " + std::to_string(rank_) +
                                 " is wrong");
    }
  }

  // Checks sums where experts give back what they get. `in_nodes`: each node is summed by itself first, else not.
  void check_sums(const char* who, const char* sums, bool in_nodes) const {
    std::vector<uint16_t> row(options_.hidden), want(options_.hidden);
    for (int64_t t = 0; t < options_.tokens[rank_]; ++t) {
      workload_.make_row(RowKind::kTokens, {rank_, t}, row.data());
      reference::sum(
          in_nodes ? workload_.problem() : flat_, {.token = {rank_, t}, .columns = int64_t(options_.hidden)},
          [&](uint32_t, reference::Source) { return row.data(); }, want.data());
      if (std::memcmp(sums + size_t(t) * options_.row_bytes(), want.data(), options_.row_bytes()) != 0)
        throw std::runtime_error(std::string(who) + ": the sum of token " + std::to_string(t) + " of rank " +
                                 std::to_string(rank_) + " is wrong");
    }
  }

 private:
  const cli::Options& options_;
  const cli::Workload& workload_;
  const uint32_t rank_;
  const reference::Received received_;
  reference::Problem flat_;
};

class Ours {
 public:
  Ours(const cli::Options& o, const cli::Workload& workload, const std::vector<uint16_t>& x) : tokens_(x) {
    const Bootstrap bootstrap = Bootstrap::from_environment("mpi");
    const reference::Routes& routes = workload.problem().routes[bootstrap.rank];
    GroupOptions options = o.group;
    options.bootstrap = bootstrap;
    options.tokens_max = uint64_t(o.tokens_max());
    options.row_bytes_max = o.row_bytes();
    options.top_k_max = o.top_k;
    options.slab_bytes = slab_bytes_needed(options);
    group_ = std::make_unique<Group>(options);
    first_.x = matrix(tokens_.data(), routes.tokens, int64_t(o.hidden), kBf16);
    first_.topk_idx = matrix(routes.ids.data(), routes.tokens, o.top_k, kI32);
    first_.topk_weights = matrix(routes.weights.data(), routes.tokens, o.top_k, kF32);
    const DispatchOutputs out = group_->dispatch(first_);
    cached_.x = first_.x;
    cached_.handle = back_.handle = out.handle;
    back_.wire = o.group.combine_wire;
    rows_ = group_->lease(std::max<size_t>(out.x.bytes(), 16));
    std::memcpy(rows_.data(), out.x.data, out.x.bytes());
    back_.x = matrix(rows_.data(), out.rows, int64_t(o.hidden), kBf16);
  }

  void check(const Expected& expected) {
    const DispatchOutputs out = group_->dispatch(cached_);
    if (out.rows != expected.rows()) throw std::runtime_error("transload: another number of rows");
    expected.check_rows("transload", out.x.as<char>());
    expected.check_sums("transload", group_->combine(back_).x.as<char>(), true);
  }
  void first_dispatch() { first_out_ = group_->dispatch(first_); }
  void dispatch() { first_out_ = group_->dispatch(cached_); }
  void combine() { combine_out_ = group_->combine(back_); }
  // Frees outputs between calls, as a program does.
  void let_go() {
    first_out_ = {};
    combine_out_ = {};
  }
  std::string network() const { return group_->scale_out_name(); }

 private:
  const std::vector<uint16_t>& tokens_;
  std::unique_ptr<Group> group_;
  DispatchInputs first_, cached_;
  CombineInputs back_;
  Lease rows_;
  DispatchOutputs first_out_;
  CombineOutputs combine_out_;
};

// The trip as one would write it with MPI: a token sends a row to each rank that owns one of its choices.
class Theirs {
 public:
  Theirs(const cli::Options& o, const cli::Workload& workload, const std::vector<uint16_t>& x, uint32_t rank)
      : row_bytes_(o.row_bytes()), hidden_(o.hidden), x_(reinterpret_cast<const char*>(x.data())) {
    const reference::Problem& problem = workload.problem();
    const uint32_t ranks = o.ranks();
    std::vector<std::vector<int64_t>> to(ranks);
    for (int64_t t = 0; t < o.tokens[rank]; ++t)
      for (const auto& node : reference::owners_by_node(problem, {rank, t}))
        for (const uint32_t owner : node) to[owner].push_back(t);
    places_.resize(size_t(o.tokens[rank]));
    for (uint32_t r = 0; r < ranks; ++r) {
      send_at_.push_back(int(from_.size()));
      send_count_.push_back(int(to[r].size()));
      for (const int64_t t : to[r]) {
        places_[size_t(t)].push_back(from_.size());
        from_.push_back(t);
      }
    }
    receive_count_.resize(ranks);
    must(MPI_Alltoall(send_count_.data(), 1, MPI_INT, receive_count_.data(), 1, MPI_INT, MPI_COMM_WORLD),
         "MPI_Alltoall");
    size_t rows = 0;
    for (const int count : receive_count_) {
      receive_at_.push_back(int(rows));
      rows += size_t(count);
    }
    sent_.resize(from_.size() * row_bytes_);
    received_.resize(rows * row_bytes_);
    sums_.resize(places_.size() * row_bytes_);
    must(MPI_Type_contiguous(int(row_bytes_), MPI_BYTE, &row_), "MPI_Type_contiguous");
    must(MPI_Type_commit(&row_), "MPI_Type_commit");
  }
  ~Theirs() { MPI_Type_free(&row_); }
  Theirs(const Theirs&) = delete;
  Theirs& operator=(const Theirs&) = delete;

  void dispatch() {
    for (size_t i = 0; i < from_.size(); ++i)
      std::memcpy(sent_.data() + i * row_bytes_, x_ + size_t(from_[i]) * row_bytes_, row_bytes_);
    must(MPI_Alltoallv(sent_.data(), send_count_.data(), send_at_.data(), row_, received_.data(), receive_count_.data(),
                       receive_at_.data(), row_, MPI_COMM_WORLD),
         "MPI_Alltoallv");
  }
  // Sends back the rows that came, as if experts had changed nothing, and sums.
  void combine() {
    must(MPI_Alltoallv(received_.data(), receive_count_.data(), receive_at_.data(), row_, sent_.data(),
                       send_count_.data(), send_at_.data(), row_, MPI_COMM_WORLD),
         "MPI_Alltoallv");
    const simd::Kernels& kernels = simd::kernels();
    std::vector<const char*> rows;
    for (size_t t = 0; t < places_.size(); ++t) {
      rows.clear();
      for (const size_t place : places_[t]) rows.push_back(sent_.data() + place * row_bytes_);
      simd::SumJob job{};
      job.into = sums_.data() + t * row_bytes_;
      job.elements = hidden_;
      job.here = {rows.data(), int(rows.size())};
      job.streamed = true;
      kernels.sum_rows(job);
    }
    simd::stream_fence();
  }
  void check(const Expected& expected) {
    dispatch();
    expected.check_rows("open mpi", received_.data());
    combine();
    expected.check_sums("open mpi", sums_.data(), false);
  }

 private:
  const size_t row_bytes_;
  const uint64_t hidden_;
  const char* const x_;
  std::vector<int64_t> from_;                // [rows sent] the token of each
  std::vector<std::vector<size_t>> places_;  // [tokens] its rows among those sent, by owner ascending
  std::vector<int> send_count_, send_at_, receive_count_, receive_at_;
  std::vector<char> sent_, received_, sums_;
  MPI_Datatype row_ = MPI_DATATYPE_NULL;
};

struct Case {
  const char* who;
  const char* what;
  std::function<void()> run;
  std::vector<double> us;  // of the slowest rank, by iteration
};

class Bench {
 public:
  Bench(cli::Options options, uint32_t rank)
      : options_(std::move(options)),
        rank_(rank),
        workload_(options_),
        x_(workload_.make_rows(RowKind::kTokens, rank)) {}

  void run(const std::string& command) {
    Barrier barrier(rank_, options_.ranks());
    const Expected expected(options_, workload_, rank_);
    Ours ours(options_, workload_, x_);
    Theirs theirs(options_, workload_, x_, rank_);
    ours.check(expected);
    theirs.check(expected);
    std::vector<Case> cases{{"transload", "dispatch", [&] { ours.dispatch(); }, {}},
                            {"openmpi", "dispatch", [&] { theirs.dispatch(); }, {}},
                            {"transload", "combine", [&] { ours.combine(); }, {}},
                            {"openmpi", "combine", [&] { theirs.combine(); }, {}},
                            {"transload", "dispatch_first", [&] { ours.first_dispatch(); }, {}}};
    std::optional<Sockets> sockets;
    if (Sockets::fit(options_)) {
      sockets.emplace(options_, workload_, rank_);
      cases.push_back({"floor", "dispatch", [&] { sockets->dispatch(); }, {}});
      cases.push_back({"floor", "combine", [&] { sockets->combine(); }, {}});
    }
    for (uint64_t i = 0; i < options_.warmup + options_.iterations; ++i)
      for (Case& one : cases) {
        const double us = time_us(barrier, one.run);
        ours.let_go();
        if (i >= options_.warmup) one.us.push_back(us);
      }
    const std::string network = ours.network();
    if (rank_ == 0) {
      if (options_.node_sizes().size() == 1) add_floor(cases);
      for (const Case& one : cases) print(one, network, command);
    }
    barrier.wait();
  }

 private:
  double time_us(Barrier& barrier, const std::function<void()>& run) {
    barrier.wait();
    const uint64_t begin_ns = now_ns();
    run();
    const double mine = double(now_ns() - begin_ns) * 1e-3;
    barrier.wait();
    double slowest = 0;
    must(MPI_Allreduce(&mine, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD), "MPI_Allreduce");
    return slowest;
  }

  void add_floor(std::vector<Case>& cases) {
    cli::FloorTimes floor;
    cli::measure_floor(options_, workload_, floor);
    cases.push_back({"floor", "dispatch", {}, floor.dispatch_us});
    cases.push_back({"floor", "combine", {}, floor.combine_us});
  }

  void print(const Case& one, const std::string& network, const std::string& command) const {
    const cli::Span span = cli::span_of(one.us);
    std::string sizes;
    for (const uint32_t size : options_.node_sizes()) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    std::printf(
        "{\"who\":\"%s\",\"case\":\"%s\",\"executor\":\"cpu\",\"node_sizes\":[%s],\"scale_out\":\"%s\",\"tokens\":%lld,"
        "\"hidden\":%llu,\"iterations\":%zu,\"ms\":{\"min\":%.2f,\"median\":%.2f,\"max\":%.2f},\"command\":\"%s\"}\n",
        one.who, one.what, sizes.c_str(), network.c_str(), (long long)options_.tokens_max(),
        (unsigned long long)options_.hidden, one.us.size(), span.min * 1e-3, span.median * 1e-3, span.max * 1e-3,
        command.c_str());
  }

  cli::Options options_;
  const uint32_t rank_;
  const cli::Workload workload_;
  const std::vector<uint16_t> x_;
};

int run(int argc, char** argv) {
  int rank = 0, ranks = 0;
  must(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
  must(MPI_Comm_size(MPI_COMM_WORLD, &ranks), "MPI_Comm_size");
  CLI::App app("CPU ranks beside Open MPI");
  cli::RunArguments arguments;
  cli::add_run_options(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return rank == 0 ? app.exit(error) : error.get_exit_code();
  }
  cli::Options options = cli::checked(arguments);
  if (options.ranks() != uint32_t(ranks))
    throw std::runtime_error("--node-sizes: " + std::to_string(options.ranks()) + " ranks, must be those of mpirun, " +
                             std::to_string(ranks));
  if (options.cuda || options.payload.fp8 || options.rows_max > 0)
    throw std::runtime_error("--device, --dtype, --rows-max: must be left out");
  std::string command = "mpirun -n " + std::to_string(ranks) + " bench_cpu";
  for (int i = 1; i < argc; ++i) command += std::string(" ") + argv[i];
  Bench(std::move(options), uint32_t(rank)).run(command);
  return 0;
}

}  // namespace
}  // namespace transload::bench

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int status = 1;
  try {
    status = transload::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_cpu: %s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return status;
}
