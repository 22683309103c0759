// What a call on GPUs tells the host once its stream has done it.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <utility>

#include "gpu/cuda_error.h"
#include "gpu/driver.h"
#include "runtime/call/check_inputs.h"
#include "runtime/call/handle.h"
#include "runtime/cuda/cuda_group.h"
#include "runtime/cuda/graph_keep.h"

namespace transload {

void CudaGroup::wait(const Stream& stream) {
  const OnDevice here(device_);
  check_stream(stream);
  await_stream(stream);
  const HostWords& w = page_.words();
  const Word failed = read_word(w.too_many);
  const Word since = failed - std::exchange(too_many_told_, failed);
  if (since == 0) return;
  Status status = too_many_rows(w.needed, w.given, Overflow::kFail);
  if (since > 1) status.message += "; the last of " + std::to_string(since) + " dispatches that failed so";
  throw Error(status.code, status.message);
}

DispatchReport CudaGroup::report_of(const HandleData& handle, const DeviceReport& report, const int64_t* counts) const {
  DispatchReport out;
  out.call = report.call;
  out.rows_needed = int64_t(report.rows_needed);
  out.rows = int64_t(std::min<uint64_t>(report.rows_needed, handle.rows_max));
  const int64_t* const source_rows = counts + state_.experts.experts_of(map.me);
  out.expert_counts.assign(counts, source_rows);
  out.source_rows.assign(source_rows, source_rows + map.ranks);
  out.scale_out_rows = int64_t(report.scale_out_rows);
  if (out.rows < out.rows_needed) out.status = too_many_rows(report.rows_needed, handle.rows_max, handle.overflow);
  if (report.bad_found != 0)
    out.status = bad_expert({true, report.bad_token, uint32_t(report.bad_slot), int64_t(report.bad_value)},
                            state_.experts.experts);
  return out;
}

DispatchReport CudaGroup::report(const Handle& handle, const Stream& stream) {
  check_handle(state_, handle);
  if (handle->report.call != 0) return handle->report;
  const OnDevice here(device_);
  if (capturing(stream))
    throw Error(Code::kInvalidArgument, "stream: captured, must not be captured when a report is asked for");
  const DeviceHandleBlock& block = *handle->device;
  await_stream(stream);  // a copy queued after a kernel that waits for another rank may keep that rank's copies waiting
  check_cuda(cudaMemcpyAsync(&page_.report(), block.on_device.report, page_.report_bytes(), cudaMemcpyDeviceToHost,
                             stream_of(stream)),
             "cudaMemcpyAsync", device_);
  await_stream(stream);
  const DeviceReport& report = page_.report();
  if (report.seal != block.seal) return {};
  return report_of(*handle, report, page_.counts_of_report());
}

void CudaGroup::keep_if_captured(const Stream& stream, Handle handle, std::shared_ptr<Lease::Block> outputs) {
  struct UsedByGraph {
    std::shared_ptr<CudaMemory> memory;
    Handle handle;
    std::shared_ptr<Lease::Block> outputs;
  };
  if (!capturing(stream)) return;
  keep_with_graph(stream_of(stream),
                  std::make_shared<UsedByGraph>(UsedByGraph{memory_, std::move(handle), std::move(outputs)}), device_);
}

}  // namespace transload
