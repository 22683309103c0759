// The pinned memory by which kernels and host of a rank tell each other things.
#pragma once
#include <cstdint>

#include "gpu/device_block.h"
#include "kernels/device_call.h"
#include "kernels/device_handle.h"

namespace transload {

// The words come first, then the counts of a dispatch whose host waits for them, then a report that a host asked for,
// with its counts.
class PinnedPage {
 public:
  PinnedPage() = default;
  // All zeros. A report has `counts` counts, as report_counts() says. Throws Error{kOutOfMemory}.
  PinnedPage(int device, uint64_t counts)
      : counts_(counts), block_(device, kAwaitedAt + counts * sizeof(int64_t) + bytes_of_report(counts)) {}

  uint64_t bytes() const { return block_.bytes(); }
  HostWords& words() const { return *reinterpret_cast<HostWords*>(block_.host()); }
  int64_t* awaited_counts() const { return reinterpret_cast<int64_t*>(block_.host() + kAwaitedAt); }
  // The words and the awaited counts, where kernels find them.
  HostWords* words_on_device() const { return reinterpret_cast<HostWords*>(block_.on_device()); }
  int64_t* awaited_counts_on_device() const { return reinterpret_cast<int64_t*>(block_.on_device() + kAwaitedAt); }

  // A report that was asked for.
  DeviceReport& report() const { return *reinterpret_cast<DeviceReport*>(awaited_counts() + counts_); }
  const int64_t* counts_of_report() const { return reinterpret_cast<int64_t*>(&report() + 1); }
  uint64_t report_bytes() const { return bytes_of_report(counts_); }

 private:
  static constexpr uint64_t kAwaitedAt = sizeof(HostWords);
  static_assert(alignof(DeviceReport) <= sizeof(int64_t), "a report may follow counts");

  uint64_t counts_ = 0;
  PinnedBlock block_;
};

}  // namespace transload
