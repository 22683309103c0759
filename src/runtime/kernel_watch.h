// What a rank on a GPU concludes from what its kernels, its proxy and its device say, and what the others hear of it.
// It needs no CUDA and no clock: the watcher's thread looks, and does what is concluded.
#pragma once
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "control/verdict.h"
#include "executor/cuda/rank.h"
#include "protocol/wait_record.h"
#include "transload/group.h"

namespace transload {

constexpr uint32_t kLookMs = 5;  // time from one look to the next

// What a look finds, in the order in which it looks.
struct KernelLook {
  bool judged = false;     // a verdict has come
  bool on_stream = false;  // a thread gives kernels of a call to a stream
  WaitsFor waits_for{};
  bool behind = false;                 // not all that was given to a stream has ended
  Word running = 0, ended = 0;         // as HostWords has them; waits_for is from there too
  Phase phase = Phase::kIdle;          // phase of the call that a thread makes, or made last
  uint32_t deadline_ms = 0;            // deadline of that call
  std::string lost_context = {};       // why nothing runs on the device any more; "": kernels can run
  std::optional<uint64_t> turns = {};  // turns that the proxy has made; none: there is no proxy
};

struct KernelConclusion {
  bool leave = false;  // kernels shall leave, and wait for nobody
  bool rest = false;   // the proxy may sleep
  // Where the rank stands, for its heartbeats.
  uint64_t epoch = 0;
  Phase phase = Phase::kIdle;
  uint32_t whom = kNobody;            // the rank that this rank waits for
  std::vector<std::string> failures;  // failures of this rank; each is given once
};

// What others hear of a kernel's failure.
struct Complaint {
  enum class About { kOwnRank, kLateRank, kBrokenPromise } about = About::kOwnRank;
  std::string text = {};       // what this rank failed with, or the promise that was broken
  Suspicion suspicion{};       // suspicion of a late rank
  uint64_t waited_ns = 0;      // how long that rank was waited for
  uint32_t culprit = kNobody;  // who broke the promise
  bool certain = false;        // no other rank can have broken it
};

class KernelWatch {
 public:
  explicit KernelWatch(uint32_t me) : me_(me) {}

  KernelConclusion look(const KernelLook& look);
  // What the others are to hear of this failure, unless they have heard it or the host itself made kernels leave.
  // `ended` is the last call whose kernels have ended. Any thread may ask.
  std::optional<Complaint> complain(const DeviceFault& fault, Word ended);

 private:
  bool proxy_stuck(const KernelLook& look, bool in_call);

  const uint32_t me_;
  std::mutex telling_;
  bool told_ = false;  // guarded by `telling_`; what follows belongs to the thread that looks
  bool context_told_ = false;
  bool proxy_told_ = false;
  uint64_t turns_ = 0;
  uint32_t stuck_looks_ = 0;
};

// What a kernel that left at its deadline waited for; not present: none did.
WaitRecord wait_of(const DeviceFault& fault);

}  // namespace transload
