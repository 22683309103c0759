// The host as a home of tensors, and outputs as a host sees them.
#include "cli/run/tensor_home.h"

#include <algorithm>
#include <cstring>
#include <list>
#include <string>
#include <vector>

#include "cli/run/status_page.h"
#include "os/clock.h"

namespace transload::cli {
namespace {

class HostHome final : public TensorHome {
 public:
  DLDevice device() const override { return {kDLCPU, 0}; }
  Stream stream() const override { return {}; }
  Tensor put(const Tensor& host) override { return host; }
  void* room(size_t bytes) override { return rooms_.emplace_back(std::max<size_t>(bytes, 1)).data(); }
  void* draft(void* there, size_t) override { return there; }
  void write(void* there, const void* from, size_t bytes) override {
    if (there != from && bytes > 0) std::memcpy(there, from, bytes);
  }
  Tensor take(const Tensor& there) override { return there; }
  void forget() override {}
  void reset() override { rooms_.clear(); }
  void start() override { begin_ns_ = end_ns_ = now_ns(); }
  void stop() override { end_ns_ = now_ns(); }
  double us() const override { return double(end_ns_ - begin_ns_) * 1e-3; }
  std::function<void()> record(const std::function<void()>& calls) override { return calls; }

 private:
  std::list<std::vector<char>> rooms_;
  uint64_t begin_ns_ = 0, end_ns_ = 0;
};

}  // namespace

std::unique_ptr<TensorHome> make_host_home() { return std::make_unique<HostHome>(); }

std::unique_ptr<TensorHome> make_tensor_home(DLDevice device, [[maybe_unused]] size_t bytes) {
  if (device.device_type == kDLCPU) return make_host_home();
#ifdef TRANSLOAD_CUDA
  return make_cuda_home(device.device_id, bytes);
#else
  throw Error(Code::kNotSupported, "device: cuda, must be the CPU: this build has no CUDA");
#endif
}

DispatchOutputs seen_by_host(TensorHome& home, const DispatchOutputs& out) {
  DispatchOutputs seen;
  seen.rows = out.rows;
  seen.rows_needed = out.rows_needed;
  seen.x = home.take(out.x);
  seen.scales = home.take(out.scales);
  seen.topk_idx = home.take(out.topk_idx);
  seen.topk_weights = home.take(out.topk_weights);
  seen.source = home.take(out.source);
  seen.expert_counts = out.expert_counts;
  seen.source_rows = out.source_rows;
  seen.handle = out.handle;
  seen.landing = out.landing;
  seen.scale_out_rows = out.scale_out_rows;
  seen.status = out.status;
  return seen;
}

CombineOutputs seen_by_host(TensorHome& home, const CombineOutputs& out) {
  CombineOutputs seen;
  seen.x = home.take(out.x);
  seen.topk_weights = home.take(out.topk_weights);
  seen.source = out.source;
  seen.scale_out_rows = out.scale_out_rows;
  return seen;
}

void complete(DispatchOutputs& seen, const DispatchReport& report) {
  seen.rows = report.rows;
  seen.rows_needed = report.rows_needed;
  if (seen.topk_idx.given()) seen.expert_counts = report.expert_counts;
  seen.source_rows = report.source_rows;
  seen.scale_out_rows = report.scale_out_rows;
  seen.status = report.status;
}

}  // namespace transload::cli
