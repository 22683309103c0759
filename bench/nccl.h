// NCCL, loaded while the program runs. It has the few functions that nccl_trip.cuh calls, as NCCL's own header has
// declared them since 2.7; those that allocate and register memory, of 2.19, may be missing.
#pragma once
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <stdexcept>
#include <string>

namespace bench {

struct NcclId {  // passed by value
  char bytes[128];
};
using NcclComm = void*;
constexpr int kNcclInt8 = 0;  // ncclDataType_t
constexpr int kNcclSuccess = 0;

class Nccl {
 public:
  // Throws std::runtime_error with the reason.
  explicit Nccl(const std::string& path) : library_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) throw std::runtime_error(dlerror());
    find(get_version_, "ncclGetVersion");
    find(get_error_string_, "ncclGetErrorString");
    find(get_unique_id_, "ncclGetUniqueId");
    find(init_rank_, "ncclCommInitRank");
    find(destroy_, "ncclCommDestroy");
    find(group_start_, "ncclGroupStart");
    find(group_end_, "ncclGroupEnd");
    find(send_, "ncclSend");
    find(recv_, "ncclRecv");
    int code = 0;
    check(get_version_(&code), "ncclGetVersion");
    const int major = code < 10000 ? code / 1000 : code / 10000;
    version_ = std::to_string(major) + "." + std::to_string(code < 10000 ? code / 100 % 10 : code / 100 % 100) + "." +
               std::to_string(code % 100);
  }
  Nccl(const Nccl&) = delete;  // NCCL has threads of its own, so it is never unloaded
  Nccl& operator=(const Nccl&) = delete;

  const std::string& version() const { return version_; }

  NcclId unique_id() const {
    NcclId id;
    check(get_unique_id_(&id), "ncclGetUniqueId");
    return id;
  }
  // Called by the thread of each rank, with its device set.
  NcclComm join(const NcclId& id, int ranks, int rank) const {
    NcclComm comm = nullptr;
    check(init_rank_(&comm, ranks, id, rank), "ncclCommInitRank");
    return comm;
  }
  void leave(NcclComm comm) const { check(destroy_(comm), "ncclCommDestroy"); }

  void group_start() const { check(group_start_(), "ncclGroupStart"); }
  void group_end() const { check(group_end_(), "ncclGroupEnd"); }

  // One rank's end of its streams of bytes with the others.
  struct End {
    NcclComm comm;
    cudaStream_t stream;
  };
  void send(const End& end, int to, const void* from, size_t bytes) const {
    check(send_(from, bytes, kNcclInt8, to, end.comm, end.stream), "ncclSend");
  }
  void recv(const End& end, int from, void* to, size_t bytes) const {
    check(recv_(to, bytes, kNcclInt8, from, end.comm, end.stream), "ncclRecv");
  }

  // Memory that NCCL may read and write in place. It lives as long as the program.
  void* registered(NcclComm comm, size_t bytes) {
    int (*alloc)(void**, size_t) = nullptr;
    int (*make_known)(NcclComm, void*, size_t, void**) = nullptr;
    find(alloc, "ncclMemAlloc");
    find(make_known, "ncclCommRegister");
    void *memory = nullptr, *handle = nullptr;
    check(alloc(&memory, bytes), "ncclMemAlloc");
    check(make_known(comm, memory, bytes, &handle), "ncclCommRegister");
    return memory;
  }

 private:
  template <class F>
  void find(F& function, const char* name) const {
    function = reinterpret_cast<F>(dlsym(library_, name));
    if (function == nullptr) throw std::runtime_error(dlerror());
  }
  void check(int result, const char* what) const {
    if (result != kNcclSuccess) throw std::runtime_error(std::string(what) + ": " + get_error_string_(result));
  }

  void* library_;
  std::string version_;
  int (*get_version_)(int*) = nullptr;
  const char* (*get_error_string_)(int) = nullptr;
  int (*get_unique_id_)(NcclId*) = nullptr;
  int (*init_rank_)(NcclComm*, int, NcclId, int) = nullptr;
  int (*destroy_)(NcclComm) = nullptr;
  int (*group_start_)() = nullptr;
  int (*group_end_)() = nullptr;
  int (*send_)(const void*, size_t, int, int, NcclComm, cudaStream_t) = nullptr;
  int (*recv_)(void*, size_t, int, int, NcclComm, cudaStream_t) = nullptr;
};

}  // namespace bench
