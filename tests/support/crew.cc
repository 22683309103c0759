// Threads or forked processes over one shared anonymous mapping.
#include "tests/support/crew.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <thread>
#include <utility>

namespace transload::test {

struct CrewBoard {
  std::atomic<uint64_t> met[kCrewMax];
  std::atomic<uint64_t> moves;
  std::atomic<uint64_t> note;
  std::atomic<uint32_t> failed;
  char spoken[kCrewMax][kSpokenMax];
  uint32_t spoken_bytes[kCrewMax];
  char why[kCrewMax][kSpokenMax];
};

namespace {

using Clock = std::chrono::steady_clock;

struct Unmap {
  size_t bytes;
  void operator()(char* at) const { munmap(at, bytes); }
};
using Mapping = std::unique_ptr<char, Unmap>;

Mapping map_shared(size_t bytes) {
  void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) throw std::runtime_error("no shared memory for a test");
  return Mapping(static_cast<char*>(at), Unmap{bytes});
}

void play(CrewBoard& board, CrewRank& member, const std::function<void(CrewRank&)>& body) {
  try {
    body(member);
  } catch (const std::exception& error) {
    std::strncpy(board.why[member.rank()], error.what(), kSpokenMax - 1);
    board.failed.fetch_add(1);
  }
}

std::string run_threads(CrewBoard& board, std::vector<CrewRank>& members, const std::function<void(CrewRank&)>& body) {
  std::vector<std::thread> threads;
  for (CrewRank& member : members) threads.emplace_back([&] { play(board, member, body); });
  for (std::thread& thread : threads) thread.join();
  return "";
}

std::string ended_badly(uint32_t rank, int status) {
  const std::string who = "rank " + std::to_string(rank);
  if (WIFSIGNALED(status)) return who + " ended by signal " + std::to_string(WTERMSIG(status)) + "; ";
  return WEXITSTATUS(status) != 0 ? who + " exited with " + std::to_string(WEXITSTATUS(status)) + "; " : "";
}

// The victim is killed once all others are done. A rank that hangs is killed and named.
std::string run_processes(CrewBoard& board, std::vector<CrewRank>& members, const std::function<void(CrewRank&)>& body,
                          int victim) {
  std::vector<pid_t> children;
  for (CrewRank& member : members) {
    const pid_t child = fork();
    if (child == 0) {
      play(board, member, body);
      _exit(0);
    }
    children.push_back(child);
  }
  std::string wrong;
  CrewPatience patience(board, kPatience * 2);  // longer than members have, who say what they wait for
  for (uint32_t rank = 0; rank < children.size(); ++rank) {
    if (int(rank) == victim || children[rank] < 0) continue;
    int status = 0;
    pid_t ended = 0;
    while ((ended = waitpid(children[rank], &status, WNOHANG)) == 0 && !patience.over()) usleep(1000);
    if (ended == 0) {
      kill(children[rank], SIGKILL);
      waitpid(children[rank], &status, 0);
      wrong += "rank " + std::to_string(rank) + " hangs; ";
    } else {
      wrong += ended_badly(rank, status);
    }
  }
  if (victim >= 0) {
    kill(children[size_t(victim)], SIGKILL);
    waitpid(children[size_t(victim)], nullptr, 0);
  }
  for (pid_t child : children)
    if (child < 0) wrong += "fork failed; ";
  return wrong;
}

}  // namespace

bool CrewPatience::over() {
  const uint64_t moves = board_.moves.load(std::memory_order_relaxed);
  const auto now = Clock::now();
  if (std::exchange(moves_, moves) != moves) since_ = now;
  return now - since_ > most_;
}

void CrewRank::moved() { board_.moves.fetch_add(1, std::memory_order_relaxed); }

void CrewRank::check() {
  require(board_.failed.load() == 0, "another member failed");
  require(!patience_.over(), "waited too long");
}

void CrewRank::meet(const Idle& idle, uint32_t count) {
  const uint64_t mine = board_.met[rank_].fetch_add(1) + 1;
  moved();
  for (;;) {
    uint32_t here = 0;
    for (uint32_t rank = 0; rank < ranks_; ++rank) here += board_.met[rank].load() >= mine;
    if (here >= std::min(count, ranks_)) return;
    check();
    if (idle) idle();
    usleep(100);
  }
}

std::vector<std::string> CrewRank::gather(const std::string& mine, const Idle& idle) {
  require(mine.size() <= kSpokenMax, "too long to gather");
  std::memcpy(board_.spoken[rank_], mine.data(), mine.size());
  board_.spoken_bytes[rank_] = uint32_t(mine.size());
  meet(idle);
  std::vector<std::string> all;
  for (uint32_t rank = 0; rank < ranks_; ++rank) all.emplace_back(board_.spoken[rank], board_.spoken_bytes[rank]);
  meet(idle);  // nobody speaks again before all have heard
  return all;
}

std::atomic<uint64_t>& CrewRank::note() { return board_.note; }

std::string run_crew(const CrewOptions& options, const std::function<void(CrewRank&)>& body) {
  const Mapping shared = map_shared(sizeof(CrewBoard));
  const Mapping memory = map_shared(options.region_bytes * options.ranks);
  CrewBoard& board = *new (shared.get()) CrewBoard{};
  std::vector<char*> regions;
  for (uint32_t rank = 0; rank < options.ranks; ++rank) regions.push_back(memory.get() + rank * options.region_bytes);
  std::vector<CrewRank> members;
  for (uint32_t rank = 0; rank < options.ranks; ++rank)
    members.emplace_back(board, rank, options.ranks, regions, options.region_bytes);
  std::string wrong = options.as == As::kThreads ? run_threads(board, members, body)
                                                 : run_processes(board, members, body, options.victim);
  for (uint32_t rank = 0; rank < options.ranks; ++rank)
    if (board.why[rank][0] != '\0') wrong += "rank " + std::to_string(rank) + ": " + board.why[rank] + "; ";
  return wrong;
}

}  // namespace transload::test
