// Where a rank's tensors are, and what measures its calls: host memory and the host's clock, or a GPU and its events.
#pragma once
#include <functional>
#include <memory>

#include "transload/group.h"

namespace transload::cli {

class TensorHome {
 public:
  TensorHome() = default;
  virtual ~TensorHome() = default;
  TensorHome(const TensorHome&) = delete;
  TensorHome& operator=(const TensorHome&) = delete;

  virtual DLDevice device() const = 0;
  virtual Stream stream() const = 0;

  // Puts a tensor of the host, strides and all, where the group wants it. The result is valid until reset(), and on the
  // host as long as the tensor that was given.
  virtual Tensor put(const Tensor& host) = 0;
  // Memory that no other rank can reach. It is valid until reset().
  virtual void* room(size_t bytes) = 0;
  // Host memory in which the caller makes the content of `there`; write() copies the content. Valid until forget().
  virtual void* draft(void* there, size_t bytes) = 0;
  virtual void write(void* there, const void* from, size_t bytes) = 0;
  // What calls left in a tensor, as the host reads it; valid until forget(), and as long as the tensor. Waits for the
  // stream.
  virtual Tensor take(const Tensor& there) = 0;
  virtual void forget() = 0;
  // Does what forget() does, and takes all rooms back.
  virtual void reset() = 0;

  // To be called before and after what is given to the stream. us() is the time between, once the stream is waited for.
  virtual void start() = 0;
  virtual void stop() = 0;
  virtual double us() const = 0;
  // Captures what `calls` gives to the stream, without running it. The function that it returns gives that to the
  // stream, as often as it is called. On the host nothing is captured, and that function makes `calls`.
  virtual std::function<void()> record(const std::function<void()>& calls) = 0;

  // A view of memory of this home.
  Tensor view(void* data, int64_t rows, int64_t columns, DLDataType dtype) const {
    return matrix(data, rows, columns, dtype, device());
  }
};

// On a GPU all memory, `bytes` of it, is taken now: nothing is allocated there while ranks wait for each other. It
// belongs to the thread that makes the calls. Throws Error.
std::unique_ptr<TensorHome> make_tensor_home(DLDevice device, size_t bytes);
std::unique_ptr<TensorHome> make_host_home();
std::unique_ptr<TensorHome> make_cuda_home(int device, size_t bytes);  // only in a build with CUDA
uint64_t device_bytes_in_use(uint32_t gpus);                           // summed over GPUs 0 to gpus - 1; with CUDA

// The memory that a tensor takes of a home: whole units.
constexpr size_t kHomeUnit = 256;
constexpr size_t home_bytes(size_t bytes) { return (bytes + kHomeUnit - 1) / kHomeUnit * kHomeUnit; }

// The outputs as the host reads them, without their leases and what repeats them on the device.
DispatchOutputs seen_by_host(TensorHome& home, const DispatchOutputs& out);
CombineOutputs seen_by_host(TensorHome& home, const CombineOutputs& out);
// Fills in what the host was not told when the call returned (rows_max on a GPU).
void complete(DispatchOutputs& seen, const DispatchReport& report);

}  // namespace transload::cli
