// Some ranks for a rung: words, rows and bells in one shared mapping; each rank a thread, or a process made by fork.
#pragma once
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "executor/fiber/sanitizer.h"
#include "executor/fiber/scheduler.h"

namespace transload::ladder {

// Fewer rounds where a sanitizer makes each of them costly.
inline uint64_t scaled(uint64_t count) {
  const bool quick = TRANSLOAD_ASAN || TRANSLOAD_TSAN || std::getenv("TRANSLOAD_QUICK") != nullptr;
  return quick ? (count + 19) / 20 : count;
}

class Ranks {
 public:
  using Warp = HostWarp;
  using Task = Scheduler::Task;
  static constexpr const char* kName = "Host";

  explicit Ranks(int count, size_t bytes = 1 << 20) : count_(count), bytes_(bytes) {
    void* const at = mmap(nullptr, total(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    TRANSLOAD_CHECK(at != MAP_FAILED);
    base_ = static_cast<char*>(at);
    for (int i = 0; i < count; ++i) {
      asleep_.push_back(new (base_ + kWordBytes * size_t(i)) std::atomic<uint32_t>(0));
      fds_.push_back(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    }
    abort_ = new (base_ + kWordBytes * size_t(count)) std::atomic<uint32_t>(0);
  }
  ~Ranks() {
    for (int fd : fds_) close(fd);
    munmap(base_, total());
  }
  Ranks(const Ranks&) = delete;

  // Words of a rank, of a line each, and its room: zero at first. What it alone reads lies there.
  Word* word(int i, int rank = 0) {
    return reinterpret_cast<Word*>(base_ + kWordBytes * size_t(count_ + 1 + rank * kWords + i));
  }
  char* room(int rank = 0) { return base_ + kWordBytes * size_t(count_ + 1 + count_ * kWords) + bytes_ * size_t(rank); }
  static uint64_t scaled(uint64_t count) { return ladder::scaled(count); }
  std::atomic<uint32_t>& abort_word() { return *abort_; }

  HostMemoryOptions options(int rank) {
    HostMemoryOptions o;
    o.rank = uint32_t(rank);
    for (int i = 0; i < count_; ++i) o.bells.push_back({asleep_[size_t(i)], fds_[size_t(i)]});
    o.bell = o.bells[size_t(rank)];
    o.abort = abort_;
    o.deadline_ms = 60000;
    return o;
  }

  void ring(int rank) {
    Bell::fence();
    Bell{asleep_[size_t(rank)], fds_[size_t(rank)]}.ring();
  }

  // One thread for each rank; its tasks by `tasks(rank)`.
  using Tasks = std::function<std::vector<Scheduler::Task>(int)>;
  using Change = std::function<void(HostMemoryOptions&, SchedulerOptions&)>;
  void run(const Tasks& tasks, const Change& change = nullptr) { run_threads(tasks, change); }
  void run_threads(const Tasks& tasks, const Change& change = nullptr) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < count_; ++rank)
      threads.emplace_back([this, &tasks, &change, rank] { run_rank(rank, tasks, change); });
    for (auto& thread : threads) thread.join();
  }

  // The same, rank 0 here and each other one a process of its own; a failed expectation there fails the test here.
  void run_processes(const Tasks& tasks, const Change& change = nullptr) {
    std::vector<pid_t> children;
    for (int rank = 1; rank < count_; ++rank) {
      const pid_t child = fork();
      if (child == 0) {
        run_rank(rank, tasks, change);
        std::fflush(nullptr);
        _exit(::testing::Test::HasFailure() ? 1 : 0);
      }
      children.push_back(child);
    }
    run_rank(0, tasks, change);
    for (pid_t child : children) {
      int status = -1;
      waitpid(child, &status, 0);
      EXPECT_EQ(status, 0);
    }
  }

 private:
  static constexpr int kWords = 512;
  size_t total() const { return kWordBytes * size_t(count_ + 1 + count_ * kWords) + bytes_ * size_t(count_); }

  void run_rank(int rank, const Tasks& tasks, const Change& change) {
    HostMemoryOptions memory_options = options(rank);
    memory_options.on_expired = [rank](const WaitRecord& w) {
      ADD_FAILURE() << "rank " << rank << " waited in vain for rank " << w.whom << ": " << w.seen << " of "
                    << w.expected;
      return true;
    };
    SchedulerOptions scheduler_options;
    if (change) change(memory_options, scheduler_options);
    HostMemory memory(memory_options);
    Scheduler scheduler(memory, scheduler_options);
    scheduler.run(tasks(rank));
  }

  int count_;
  size_t bytes_;
  char* base_;
  std::vector<std::atomic<uint32_t>*> asleep_;
  std::vector<int> fds_;
  std::atomic<uint32_t>* abort_;
};

class ProcessRanks : public Ranks {
 public:
  using Ranks::Ranks;
  static constexpr const char* kName = "Processes";
  void run(const Tasks& tasks, const Change& change = nullptr) { run_processes(tasks, change); }
};

// Runs one warp of one rank.
template <class R>
void run_one(R& ranks, const std::type_identity_t<typename R::Task>& task) {
  ranks.run([&](int) { return std::vector<typename R::Task>{task}; });
}

}  // namespace transload::ladder
