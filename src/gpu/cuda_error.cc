// Puts a failed CUDA call into words.
#include "gpu/cuda_error.h"

#include <string>

#include "gpu/driver.h"

namespace transload {

namespace {

std::string sentence(const char* call, int device, const std::string& text) {
  return std::string(call) + (device == kNoDevice ? "" : " on device " + std::to_string(device)) + ": " + text;
}

Code code_of(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
      return Code::kOutOfMemory;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorNotSupported:
    case cudaErrorPeerAccessUnsupported:
      return Code::kNotSupported;
    default:
      return Code::kDevice;
  }
}

Code code_of(CUresult error) {
  switch (error) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      return Code::kOutOfMemory;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_NOT_SUPPORTED:
    case CUDA_ERROR_PEER_ACCESS_UNSUPPORTED:
      return Code::kNotSupported;
    default:
      return Code::kDevice;
  }
}

}  // namespace

void throw_cuda(cudaError_t error, const char* call, int device) {
  (void)cudaGetLastError();  // clears the error, so that the next launch is not blamed for it
  const std::string text = std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ")";
  throw Error(code_of(error), sentence(call, device, text));
}

void throw_cuda(CUresult error, const char* call, int device) {
  const char *text = nullptr, *name = nullptr;
  const Driver& calls = driver();
  if (calls.get_error_string(error, &text) != CUDA_SUCCESS || text == nullptr) text = "an error without a text";
  if (calls.get_error_name(error, &name) != CUDA_SUCCESS || name == nullptr) name = "unnamed";
  throw Error(code_of(error), sentence(call, device, std::string(text) + " (" + name + ")"));
}

}  // namespace transload
