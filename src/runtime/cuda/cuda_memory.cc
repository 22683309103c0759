// Parking what kernels may still touch, and sweeping it once they have ended.
#include "runtime/cuda/cuda_memory.h"

#include <iterator>
#include <mutex>
#include <new>
#include <utility>

#include "gpu/cuda_error.h"
#include "gpu/driver.h"
#include "runtime/cuda/host_words.h"

namespace transload {

void EndOnDevice::operator()(CUstream_st* stream) const noexcept {
  const OnDevice here(device, std::nothrow);
  if (!here) return;
  cudaStreamSynchronize(stream);
  cudaStreamDestroy(stream);
}

void EndOnDevice::operator()(CUevent_st* event) const noexcept {
  const OnDevice here(device, std::nothrow);
  if (here) cudaEventDestroy(event);
}

OwnStream make_stream(int device) {
  const OnDevice here(device);
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags", device);
  return {stream, {device}};
}

OwnEvent make_event(int device) {
  const OnDevice here(device);
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags", device);
  return {event, {device}};
}

bool have_ended(const HostWords& words, const OwnEvent& done) {
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;  // relaxed: query and captures do not disturb each other
  cudaThreadExchangeStreamCaptureMode(&mode);
  const cudaError_t state = cudaEventQuery(done.get());
  cudaThreadExchangeStreamCaptureMode(&mode);
  if (state != cudaSuccess) return state != cudaErrorNotReady;
  return read_word(words.running) == 0;
}

namespace {

struct ParkedMemory {
  std::mutex mutex;
  std::list<Parked> parked;
};
ParkedMemory& the_park() {
  static ParkedMemory* const one = new ParkedMemory;  // never freed, like all that is reached while the process ends
  return *one;
}

}  // namespace

bool Parked::reached() const {
  const OnDevice here(done.get_deleter().device, std::nothrow);
  return here && !have_ended(memory->page.words(), done);
}

void park(ParkingPlace& place, Parked what) noexcept {
  place.front() = std::move(what);
  ParkedMemory& park = the_park();
  const std::lock_guard lock(park.mutex);
  park.parked.splice(park.parked.end(), place);
}

void sweep_parked() {
  std::list<Parked> free;  // destroyed after the lock is released
  ParkedMemory& park = the_park();
  const std::lock_guard lock(park.mutex);
  for (auto at = park.parked.begin(); at != park.parked.end();) {
    const auto next = std::next(at);
    if (!at->reached()) free.splice(free.end(), park.parked, at);
    at = next;
  }
}

}  // namespace transload
