// Opening, registering and closing, in the order that libfabric wants.
#include "transport/scaleout/libfabric/endpoint.h"

#include <rdma/fi_cm.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_rma.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <transload/status.h>

#include "os/host.h"
#include "transport/scaleout/libfabric/address.h"

namespace transload {
namespace {

constexpr size_t kFewDescriptors = 16;  // about as many as an endpoint and its connections need

constexpr int kCudaApiPermitted = 10;  // FI_OPT_CUDA_API_PERMITTED, which older headers lack
#if FI_MAJOR_VERSION > 1 || FI_MINOR_VERSION >= 18
static_assert(kCudaApiPermitted == FI_OPT_CUDA_API_PERMITTED);
#endif

[[noreturn]] void fail(const char* what, long code, const FabricEndpoint& endpoint, const std::string& source) {
  const std::string text = "libfabric " + endpoint.provider_name() + ": " + what + ": " + fabric_error(code);
  if (code == -FI_EADDRNOTAVAIL && !source.empty())
    throw Error(Code::kInvalidArgument,
                "source_address = \"" + source + "\": not an address of this machine (" + text + ")");
  if (code == -FI_ENOMEM || !limit_behind(int(-code)).empty()) throw Error(Code::kOutOfMemory, text);
  // libfabric may report the lack of descriptors as "Input/output error".
  if (const size_t left = descriptors_left(kFewDescriptors); left < kFewDescriptors)
    throw Error(Code::kOutOfMemory,
                text + ", with " + std::to_string(left) + " descriptors left" + limit_behind(EMFILE));
  throw Error(Code::kNotSupported, text);
}

template <class Fid>
void close_one(Fid*& object) {
  if (object != nullptr) fi_close(&object->fid);
  object = nullptr;
}

}  // namespace

FabricEndpoint::FabricEndpoint(Provider provider, const std::string& source, size_t completions_max)
    : provider_(std::move(provider)), source_(source) {
  try {
    open(completions_max);
  } catch (...) {
    close();
    throw;
  }
}

FabricEndpoint::~FabricEndpoint() { close(); }

void FabricEndpoint::open(size_t completions_max) {
  fi_info* const info = provider_.info.get();
  const auto check = [&](const char* what, long code) {
    if (code != 0) fail(what, code, *this, source_);
  };
  check("fabric", fabric_library().fabric(info->fabric_attr, &fabric_, nullptr));
  check("domain", fi_domain(fabric_, info, &domain_, nullptr));
  fi_av_attr table{};
  table.type = FI_AV_TABLE;
  check("addresses", fi_av_open(domain_, &table, &addresses_, nullptr));
  fi_cq_attr queue{};
  queue.size = completions_max;
  queue.format = FI_CQ_FORMAT_CONTEXT;
  queue.wait_obj = FI_WAIT_FD;
  if (fi_cq_open(domain_, &queue, &completions_, nullptr) == 0) {
    if (fi_control(&completions_->fid, FI_GETWAIT, &wait_fd_) != 0) wait_fd_ = -1;
  } else {
    queue.wait_obj = FI_WAIT_NONE;
    check("completions", fi_cq_open(domain_, &queue, &completions_, nullptr));
  }
  check("endpoint", fi_endpoint(domain_, info, &endpoint_, nullptr));
  check("endpoint's addresses", fi_ep_bind(endpoint_, &addresses_->fid, 0));
  check("endpoint's completions", fi_ep_bind(endpoint_, &completions_->fid, FI_TRANSMIT | FI_RECV));
  if (provider_.hmem) forbid_cuda_calls();
  check("enable", fi_enable(endpoint_));
}

// The provider is told before the endpoint is enabled. A call of CUDA in the thread that moves the network could wait
// for kernels that wait for it.
void FabricEndpoint::forbid_cuda_calls() {
  if (fabric_library().version() < FI_VERSION(1, 18)) return;
  const bool permitted = false;
  const int code = fi_setopt(&endpoint_->fid, FI_OPT_ENDPOINT, kCudaApiPermitted, &permitted, sizeof(permitted));
  cuda_calls_ = code == 0 ? CudaCalls::kForbidden : CudaCalls::kRefused;
}

// The endpoint goes first: nothing may still write or complete while the rest goes.
void FabricEndpoint::close() {
  close_one(endpoint_);
  close_one(addresses_);
  close_one(completions_);
  for (fid_mr* memory : memories_) close_one(memory);
  memories_.clear();
  close_one(domain_);
  close_one(fabric_);
}

fid_mr* FabricEndpoint::enroll(FabricMemory memory, uint64_t access) {
  // Whoever knows a key may write, so keys are random. Providers with keys of their own ignore this one.
  const size_t key_bytes = provider_.info->domain_attr->mr_key_size;
  const uint64_t mask = key_bytes == 0 || key_bytes >= 8 ? ~uint64_t(0) : (uint64_t(1) << 8 * key_bytes) - 1;
  fid_mr* enrolled = nullptr;
  if (memory.device.cuda >= 0 && !provider_.hmem)
    throw Error(Code::kNotSupported, "libfabric " + provider_name() + " registers no GPU memory");
  long code = -FI_ENOKEY;
  for (int tries = 0; code == -FI_ENOKEY && tries < 8; ++tries) {
    const uint64_t key = random_word() & mask;
    code = memory.device.cuda >= 0 ? enroll_device(memory, access, key, &enrolled)
                                   : fi_mr_reg(domain_, memory.at, memory.bytes, access, 0, key, 0, &enrolled, nullptr);
  }
  if (code != 0) fail("registration", code, *this, source_);
  memories_.push_back(enrolled);
  if ((provider_.info->domain_attr->mr_mode & FI_MR_ENDPOINT) != 0) {
    code = fi_mr_bind(enrolled, &endpoint_->fid, 0);
    if (code == 0) code = fi_mr_enable(enrolled);
    if (code != 0) fail("registration with the endpoint", code, *this, source_);
  }
  return enrolled;
}

int FabricEndpoint::enroll_device(const FabricMemory& memory, uint64_t access, uint64_t key, fid_mr** enrolled) {
  const iovec part{memory.at, memory.bytes};
  fi_mr_attr of{};
  of.mr_iov = &part;
  of.iov_count = 1;
  of.access = access;
  of.requested_key = key;
  of.iface = FI_HMEM_CUDA;
  of.device.cuda = memory.device.cuda;
  if (memory.device.dma_buf < 0) return fi_mr_regattr(domain_, &of, 0, enrolled);
#ifdef FI_MR_DMABUF
  const fi_mr_dmabuf shared{.fd = memory.device.dma_buf,
                            .offset = memory.device.dma_buf_at,
                            .len = memory.bytes,
                            .base_addr = memory.at - memory.device.dma_buf_at};
  of.dmabuf = &shared;
  return fi_mr_regattr(domain_, &of, FI_MR_DMABUF, enrolled);
#else
  return -FI_ENOSYS;  // choose_region rules this out by the header's version
#endif
}

std::string FabricEndpoint::address() const {
  std::string name(FabricAddress::kTextMax - provider_name().size(), '\0');
  size_t bytes = name.size();
  const long code = fi_getname(&endpoint_->fid, name.data(), &bytes);
  if (code != 0) fail("own address", code, *this, source_);
  name.resize(bytes);
  return name;
}

// libfabric does not say how much of an address it reads. It trusts what it is given to have the form of its own
// addresses, whose length is always the same unless they are text.
fi_addr_t FabricEndpoint::insert(uint32_t rank, const std::string& address) {
  const size_t mine = this->address().size();
  if (provider_.info->addr_format != FI_ADDR_STR && address.size() != mine)
    throw Error(Code::kInvalidArgument, "address of rank " + std::to_string(rank) + ": " +
                                            std::to_string(address.size()) + " bytes of endpoint, must be " +
                                            std::to_string(mine) + ", as many as of mine");
  fi_addr_t inserted = FI_ADDR_NOTAVAIL;
  const int count = fi_av_insert(addresses_, address.data(), 1, &inserted, 0, nullptr);
  if (count != 1) fail("address of another rank", count < 0 ? count : -FI_EINVAL, *this, source_);
  return inserted;
}

size_t FabricEndpoint::pieces_most() const {
  if (!provider_.ordered || lands_silently(provider_name())) return 1;
  const fi_tx_attr& limits = *provider_.info->tx_attr;
  return std::clamp<size_t>(std::min(limits.iov_limit, limits.rma_iov_limit), 1, FabricWrite::kPiecesMost);
}

ssize_t FabricEndpoint::write(const FabricWrite& write) {
  iovec from[FabricWrite::kPiecesMost];
  fi_rma_iov to[FabricWrite::kPiecesMost];
  void* descriptors[FabricWrite::kPiecesMost];
  for (size_t i = 0; i < write.count; ++i) {
    const FabricPiece& piece = write.pieces[i];
    from[i] = {const_cast<char*>(piece.from), piece.bytes};
    to[i] = {piece.to, piece.bytes, write.key};
    descriptors[i] = piece.descriptor;
  }
  fi_msg_rma message{};
  message.msg_iov = from;
  message.desc = descriptors;
  message.iov_count = write.count;
  message.addr = write.rank;
  message.rma_iov = to;
  message.rma_iov_count = write.count;
  message.context = write.context;
  return fi_writemsg(endpoint_, &message, FI_COMPLETION | (provider_.ordered ? 0 : FI_DELIVERY_COMPLETE));
}

// fi_trywait does more than ask: it also reads sockets. The descriptor later says nothing of what that has landed.
bool FabricEndpoint::may_sleep() {
  if (wait_fd_ < 0) return true;
  fid* waited[] = {&completions_->fid};
  return fi_trywait(fabric_, waited, 1) == 0;
}

}  // namespace transload
