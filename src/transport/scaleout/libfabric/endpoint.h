// One rank's endpoint on a provider, with its queue of completions and its registered memory.
#pragma once
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include <string>
#include <vector>

#include "transport/scaleout/libfabric/provider.h"

namespace transload {

struct FabricMemory {
  char* at;
  size_t bytes;
  FabricDevice device;
};

// A part of my memory, and where in the region of another rank it goes.
struct FabricPiece {
  const char* from;
  size_t bytes;
  void* descriptor;  // descriptor of the registration that covers `from`
  uint64_t to;
};

// A write of my memory into the region of another rank.
struct FabricWrite {
  static constexpr size_t kPiecesMost = 4;

  fi_context2* context;  // comes back with the completion
  const FabricPiece* pieces;
  size_t count;
  fi_addr_t rank;
  uint64_t key;
};

class FabricEndpoint {
 public:
  FabricEndpoint(Provider provider, const std::string& source, size_t completions_max);
  ~FabricEndpoint();
  FabricEndpoint(const FabricEndpoint&) = delete;
  FabricEndpoint& operator=(const FabricEndpoint&) = delete;

  const Provider& provider() const { return provider_; }
  std::string provider_name() const { return provider_.info->fabric_attr->prov_name; }
  std::string address() const;
  // Makes the endpoint of a rank known, by the address that this rank gave. Throws Error.
  fi_addr_t insert(uint32_t rank, const std::string& address);

  // Whether the provider has promised to call no CUDA. Only a provider that registers memory of GPUs is asked.
  CudaCalls cuda_calls() const { return cuda_calls_; }

  // Registers memory for as long as the endpoint lives. Throws Error.
  fid_mr* enroll(FabricMemory memory, uint64_t access);
  size_t registrations() const { return memories_.size(); }
  bool virtual_addresses() const { return (provider_.info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0; }

  // How many pieces a write may have that must land in order: several only over a socket, whose byte stream keeps
  // order.
  size_t pieces_most() const;
  // Returns 0, -FI_EAGAIN, or the negative code of what broke.
  ssize_t write(const FabricWrite& write);

  fid_cq* completions() const { return completions_; }
  int wait_fd() const { return wait_fd_; }
  bool may_sleep();

 private:
  void open(size_t completions_max);
  void close();
  void forbid_cuda_calls();
  int enroll_device(const FabricMemory& memory, uint64_t access, uint64_t key, fid_mr** enrolled);

  Provider provider_;
  std::string source_;
  fid_fabric* fabric_ = nullptr;
  fid_domain* domain_ = nullptr;
  fid_av* addresses_ = nullptr;
  fid_cq* completions_ = nullptr;
  fid_ep* endpoint_ = nullptr;
  std::vector<fid_mr*> memories_;
  CudaCalls cuda_calls_ = CudaCalls::kNoOption;
  int wait_fd_ = -1;
};

}  // namespace transload
