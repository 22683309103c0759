// Streams and devices of the caller: default streams, handles that come again, a thread whose current device is
// another one, streams and GPUs that other work keeps.
#ifdef TRANSLOAD_CUDA
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/team.h"

namespace transload::test {
namespace {

constexpr int64_t kTokens = 24;

void must(cudaError_t error, const char* call) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(call) + ": " + cudaGetErrorString(error));
}

// Work on a stream that is not the group's: it ends when it is let go, or by itself, so that a test ends.
class Plug {
 public:
  explicit Plug(cudaStream_t stream) {
    must(cudaLaunchHostFunc(
             stream, [](void* state) { wait(state); }, new std::shared_ptr<State>(state_)),
         "cudaLaunchHostFunc");
  }
  ~Plug() { let_go(); }
  Plug(const Plug&) = delete;

  void let_go() {
    const std::lock_guard lock(state_->mutex);
    state_->open = true;
    state_->changed.notify_all();
  }
  // It has not ended yet.
  bool holds() const {
    const std::lock_guard lock(state_->mutex);
    return !state_->open && !state_->tired;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false, tired = false;
  };
  static void wait(void* kept) {
    const std::unique_ptr<std::shared_ptr<State>> state(static_cast<std::shared_ptr<State>*>(kept));
    State& s = **state;
    std::unique_lock lock(s.mutex);
    s.tired = !s.changed.wait_for(lock, std::chrono::seconds(30), [&] { return s.open; });
  }

  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// A kernel of somebody else, on a stream of its own, that ends when it is let go, or by itself. It stays on the device,
// where a plug does not.
class HangingKernel {
 public:
  HangingKernel() {
    static constexpr char kCode[] = R"(.version 7.0
.target sm_70
.address_size 64
.visible .entry hang(.param .u64 word, .param .u64 nanoseconds) {
  .reg .u64 %rd<6>;
  .reg .u32 %r<2>;
  .reg .pred %p<3>;
  ld.param.u64 %rd1, [word];
  ld.param.u64 %rd2, [nanoseconds];
  mov.u64 %rd3, %globaltimer;
  add.u64 %rd3, %rd3, %rd2;
again:
  ld.volatile.global.u32 %r1, [%rd1];
  mov.u64 %rd4, %globaltimer;
  setp.ne.u32 %p1, %r1, 0;
  setp.gt.u64 %p2, %rd4, %rd3;
  @%p1 bra end;
  @!%p2 bra again;
end:
  ret;
})";
    must(cudaLibraryLoadData(&library_, kCode, nullptr, nullptr, 0, nullptr, nullptr, 0), "cudaLibraryLoadData");
    cudaKernel_t kernel = nullptr;
    must(cudaLibraryGetKernel(&kernel, library_, "hang"), "cudaLibraryGetKernel");
    must(cudaHostAlloc(reinterpret_cast<void**>(&word_), sizeof *word_, cudaHostAllocMapped), "cudaHostAlloc");
    *word_ = 0;
    must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    uint64_t nanoseconds = 20'000'000'000;
    void* arguments[] = {&word_, &nanoseconds};
    must(cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(1), dim3(1), arguments, 0, stream_),
         "cudaLaunchKernel");
  }
  ~HangingKernel() {
    std::atomic_ref<uint32_t>(*word_).store(1);
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
    cudaFreeHost(word_);
    cudaLibraryUnload(library_);
  }
  HangingKernel(const HangingKernel&) = delete;

  bool holds() const { return cudaStreamQuery(stream_) == cudaErrorNotReady; }

 private:
  cudaLibrary_t library_ = nullptr;
  cudaStream_t stream_ = nullptr;
  uint32_t* word_ = nullptr;
};

void on_two_threads(const std::function<void(uint32_t rank)>& rank_of) {
  std::future<void> ranks[2];
  for (uint32_t r = 0; r < 2; ++r) ranks[r] = std::async(std::launch::async, rank_of, r);
  for (std::future<void>& rank : ranks) EXPECT_NO_THROW(rank.get());
}

// Each rank has a GPU of its own: default streams of one GPU wait for each other.
World world_of_gpus() {
  World w;
  w.node_sizes = {ranks_on_gpu(2) == 1 ? 2u : 1u};
  w.tokens = {kTokens};
  return w;
}

// What a rank gives to one call: its own rows, told apart from those of others by `salt`.
struct RowsOfCall {
  const World& world;
  const reference::Received want;
  const uint64_t salt;
  std::vector<uint16_t> x;
  DispatchInputs in;

  RowsOfCall(const World& w, const reference::Problem& problem, uint32_t rank, uint64_t number)
      : world(w), want(reference::received_by(problem, rank)), salt(number) {
    TensorHome& side = side_of(rank);
    const reference::Routes& routes = problem.routes[rank];
    for (int64_t t = 0; t < routes.tokens; ++t)
      for (uint32_t c = 0; c < w.columns; ++c) x.push_back(element(salt, rank, t, c));
    in.x = side.put(matrix(x.data(), routes.tokens, w.columns, kBf16));
    in.topk_idx = side.put(matrix(routes.ids.data(), routes.tokens, w.top_k, kI32));
    in.topk_weights = side.put(matrix(routes.weights.data(), routes.tokens, w.top_k, kF32));
    in.rows_max = kTokens * w.ranks();
  }

  void check(TensorHome& side, const Tensor& there) const {
    const Tensor rows = side.take(there);
    for (size_t i = 0; i < want.source.size(); ++i)
      for (uint32_t c = 0; c < world.columns; ++c)
        ASSERT_EQ(rows.as<uint16_t>()[i * world.columns + c],
                  element(salt, want.source[i].rank, want.source[i].token, c))
            << "call " << salt << ", row " << i << ", column " << c;
  }
};

// Where the two calls of a case go. `next` is asked once the first one was given to its stream.
struct Streams {
  std::function<cudaStream_t()> first;
  std::function<cudaStream_t(cudaStream_t first)> next;
  bool other_thread = false;  // makes the second call
};

// Rank 0's first call waits for a plug. Its second one, on another stream, must wait for the first all the same.
void two_calls_in_order(const Streams& streams) {
  const World w = world_of_gpus();
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    RowsOfCall given[2] = {{w, problem, rank, 1}, {w, problem, rank, 2}};
    group.gather("given");
    std::optional<Plug> plug;
    const cudaStream_t first = streams.first();
    if (rank == 0) plug.emplace(first);
    given[0].in.stream = {first};
    const DispatchOutputs one = group.dispatch(given[0].in);
    const cudaStream_t next = streams.next(first);
    given[1].in.stream = {next};
    const auto second = [&] {
      DispatchOutputs two = group.dispatch(given[1].in);
      // Time in which it could overtake.
      const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
      while (plug && std::chrono::steady_clock::now() < until)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      if (plug) plug->let_go();
      group.wait({next});
      EXPECT_EQ(group.report(one.handle, {next}).call, 1u);
      EXPECT_EQ(group.report(two.handle, {next}).call, 2u);
      return two;
    };
    const DispatchOutputs two = streams.other_thread ? std::async(std::launch::async, second).get() : second();
    given[0].check(side_of(rank), one.x);
    given[1].check(side_of(rank), two.x);
  });
}

cudaStream_t new_stream() {
  cudaStream_t stream = nullptr;
  must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return stream;
}
cudaStream_t legacy() { return nullptr; }
cudaStream_t per_thread() { return cudaStreamPerThread; }

TEST(Streams, DefaultThenAnother) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  two_calls_in_order({legacy, [](cudaStream_t) { return new_stream(); }});
  two_calls_in_order({new_stream, [](cudaStream_t) { return legacy(); }});
  two_calls_in_order({legacy, [](cudaStream_t) { return per_thread(); }});
}

// One handle, and a stream for each thread.
TEST(Streams, DefaultOfEachThread) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  two_calls_in_order({per_thread, [](cudaStream_t) { return new_stream(); }});
  two_calls_in_order({per_thread, [](cudaStream_t) { return per_thread(); }, true});
}

// The next stream may have the handle of one that is gone, whose call is not done.
TEST(Streams, DestroyedAndMadeAgain) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  two_calls_in_order({new_stream, [](cudaStream_t first) {
                        must(cudaStreamDestroy(first), "cudaStreamDestroy");
                        cudaStream_t next = new_stream();
                        for (int i = 0; i < 64 && next != first; ++i) next = new_stream();
                        return next;
                      }});
}

// A capture asks for no order that a graph could not keep: not behind a call on another stream that is not done.
TEST(Streams, CaptureBehindAnotherStream) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  const World w = world_of_gpus();
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    TensorHome& side = side_of(rank);
    RowsOfCall given(w, problem, rank, 1);
    group.gather("given");
    Plug plug(legacy());
    const DispatchOutputs one = group.dispatch(given.in);
    DispatchInputs captured = given.in;
    captured.stream = side.stream();
    std::string text;
    try {
      side.record([&] { group.dispatch(captured); });
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidArgument);
      text = error.what();
    }
    EXPECT_EQ(text.find("stream: a capture on another stream than that of the last call"), 0u) << text;
    plug.let_go();
    group.wait({});
    group.gather("done");
    DispatchOutputs out;
    const auto replay = side.record([&] { out = group.dispatch(captured); });
    group.gather("recorded");
    replay();
    group.wait(captured.stream);
    given.check(side, one.x);
    given.check(side, out.x);
  });
}

int current_device() {
  int device = -1;
  must(cudaGetDevice(&device), "cudaGetDevice");
  return device;
}

// Every entry runs on the group's device and leaves the caller's where it was.
TEST(Streams, ThreadOfAnotherDevice) {
  if (ranks_on_gpu(2) != 1) GTEST_SKIP() << "it asks for two GPUs";
  World w = world_of_gpus();
  const reference::Problem problem = problem_of(w);
  Rendezvous rendezvous;
  const auto rank_of = [&](uint32_t rank) {
    TensorHome& side = side_of(rank);
    const int other = int(1 - rank);
    const GroupOptions options = options_of(w, rank, rendezvous.port());
    const RowsOfCall given(w, problem, rank, 1);
    must(cudaSetDevice(other), "cudaSetDevice");
    Lease kept;
    {
      Group group(options);
      EXPECT_EQ(current_device(), other) << "the constructor";
      for (const int64_t rows_max : {int64_t(0), given.in.rows_max}) {
        DispatchInputs in = given.in;
        in.rows_max = rows_max;
        const DispatchOutputs out = group.dispatch(in);
        EXPECT_EQ(current_device(), other) << "dispatch";
        CombineInputs back;
        back.x = out.x;
        back.handle = out.handle;
        kept = group.combine(back).lease;
        EXPECT_EQ(current_device(), other) << "combine";
        group.wait({});
        EXPECT_EQ(current_device(), other) << "wait";
        EXPECT_EQ(group.report(out.handle).rows, int64_t(given.want.source.size()));
        EXPECT_EQ(current_device(), other) << "report";
        given.check(side, out.x);
      }
    }
    EXPECT_EQ(current_device(), other) << "the destructor";
    kept = Lease();
    EXPECT_EQ(current_device(), other) << "the last lease";
    must(cudaSetDevice(int(rank)), "cudaSetDevice");
  };
  on_two_threads(rank_of);
}

// Work of somebody else keeps rank 0's stream, as a collective that hangs would. Both ranks hear of it, rank 0 frees
// its group, and its kernels, which come later, find their memory where it was.
TEST(Streams, KeptByOtherWork) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  World w = world_of_gpus();
  w.node_sizes = {2};
  w.deadline_ms = 1500;
  const reference::Problem problem = problem_of(w);
  Rendezvous rendezvous;
  std::latch unplugged(1);
  const auto rank_of = [&](uint32_t rank) {
    TensorHome& side = side_of(rank);
    RowsOfCall given(w, problem, rank, 1);
    given.in.stream = side.stream();
    auto group = std::make_unique<Group>(options_of(w, rank, rendezvous.port()));
    std::optional<Plug> plug;
    if (rank == 0) plug.emplace(static_cast<cudaStream_t>(given.in.stream.handle));
    try {
      group->dispatch(given.in);
      group->wait(given.in.stream);
      ADD_FAILURE() << "rank " << rank << ": nothing was thrown";
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), Code::kFault) << error.what();
      EXPECT_EQ(error.fault().culprit_rank, 0u) << error.what();
    }
    EXPECT_TRUE(!plug || plug->holds()) << "the fault waited for the stream";
    group.reset();
    EXPECT_TRUE(!plug || plug->holds()) << "the destructor waited for the stream";
    plug.reset();
    must(cudaStreamSynchronize(static_cast<cudaStream_t>(given.in.stream.handle)), "cudaStreamSynchronize");
    // Where both ranks are on one GPU, cudaFree of rank 1's tensors would wait for the plug, and launches for it.
    rank == 0 ? unplugged.count_down() : unplugged.wait();
  };
  on_two_threads(rank_of);
  w.deadline_ms = 60000;
  run_passes(w, {Pass{}});  // in the same contexts
}

// A kernel of somebody else hangs on rank 0's GPU, and the group's own work is done. The group is freed beside it, and
// so is one that a fault ended.
TEST(Streams, FreedBesideAHangingKernel) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  for (const bool faulted : {false, true}) {
    SCOPED_TRACE(faulted ? "faulted" : "whole");
    World w = world_of_gpus();
    w.node_sizes = {2};
    w.deadline_ms = 1500;
    const reference::Problem problem = problem_of(w);
    Rendezvous rendezvous;
    std::promise<void> freed;
    const std::shared_future<void> is_freed = freed.get_future().share();
    const auto rank_of = [&](uint32_t rank) {
      TensorHome& side = side_of(rank);
      RowsOfCall given(w, problem, rank, 1);
      given.in.stream = side.stream();
      auto group = std::make_unique<Group>(options_of(w, rank, rendezvous.port()));
      std::optional<HangingKernel> other;
      if (rank == 0) other.emplace();
      group->gather("hangs");  // loading it may wait for kernels, so none waits for this rank yet
      {
        const DispatchOutputs out = group->dispatch(given.in);
        group->wait(given.in.stream);
        given.check(side, out.x);
      }
      group->gather("called");
      if (faulted && rank == 0) {
        const auto call = [&] {
          group->dispatch(given.in);  // rank 1 does not come
          group->wait(given.in.stream);
        };
        EXPECT_THROW(call(), Error);
      }
      if (rank == 1 && !faulted) is_freed.wait_for(std::chrono::seconds(30));
      group.reset();
      if (rank == 0) {
        EXPECT_TRUE(other->holds()) << "a call or the destructor waited for the kernel";
        freed.set_value();
      }
      is_freed.wait_for(std::chrono::seconds(30));
    };
    on_two_threads(rank_of);
  }
}

}  // namespace
}  // namespace transload::test
#endif
