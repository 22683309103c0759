// A crew: a few ranks as threads or as forked processes, which meet through shared memory. For tests of transports.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/patience.h"

namespace transload::test {

enum class As { kThreads, kProcesses };

constexpr uint32_t kCrewMax = 8;
constexpr size_t kSpokenMax = 512;

struct CrewBoard;  // what the crew shares, apart from its regions

// It is over once no member of the crew has moved for this long, so a slow member that goes on is waited for.
class CrewPatience {
 public:
  CrewPatience(const CrewBoard& board, std::chrono::steady_clock::duration most) : board_(board), most_(most) {}
  bool over();

 private:
  const CrewBoard& board_;
  std::chrono::steady_clock::duration most_;
  uint64_t moves_ = 0;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
};

// Ends the member that throws it; run_crew() returns the text.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool condition, const std::string& what) {
  if (!condition) throw Failure(what);
}

// One rank's hold on its crew.
class CrewRank {
 public:
  using Idle = std::function<void()>;  // called again and again while waiting for others
  CrewRank(CrewBoard& board, uint32_t rank, uint32_t ranks, std::vector<char*> regions, size_t region_bytes)
      : board_(board),
        rank_(rank),
        ranks_(ranks),
        regions_(std::move(regions)),
        region_bytes_(region_bytes),
        patience_(board, kPatience) {}

  uint32_t rank() const { return rank_; }
  uint32_t ranks() const { return ranks_; }
  char* region() const { return regions_[rank_]; }
  size_t region_bytes() const { return region_bytes_; }
  const std::vector<char*>& regions() const { return regions_; }

  // Says `mine` to all ranks, and returns what every rank said, by rank.
  std::vector<std::string> gather(const std::string& mine, const Idle& idle = {});
  // Returns once `count` ranks, or all, have come here as often as I have.
  void meet(const Idle& idle = {}, uint32_t count = kCrewMax);
  // A number that all ranks share.
  std::atomic<uint64_t>& note();
  // Tells the others' patience that this rank begins to wait, or has come further.
  void moved();
  // Throws Failure if another member failed or the patience is over.
  void check();

 private:
  CrewBoard& board_;
  uint32_t rank_;
  uint32_t ranks_;
  std::vector<char*> regions_;
  size_t region_bytes_;
  CrewPatience patience_;
};

struct CrewOptions {
  uint32_t ranks = 2;
  As as = As::kThreads;
  size_t region_bytes = 1 << 20;
  int victim = -1;  // a rank that may end by a signal or be left stopped; processes only
};

// Runs body as every rank. Returns what went wrong, "" if nothing did. No process or memory is left behind.
std::string run_crew(const CrewOptions& options, const std::function<void(CrewRank&)>& body);

}  // namespace transload::test
