// Taking memory as its owner describes it, and refusing what is described wrongly.
#include "tests/scrambled/memory.h"

#include <rdma/fi_errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/scrambled/settings.h"

namespace scrambled {
namespace {

constexpr uintptr_t kPage = 4096;

// Whether the host may touch it, at both ends.
bool of_the_host(const char* at, size_t bytes) {
  char byte = 0;
  for (const char* const end : {at, at + bytes - 1}) {
    const iovec mine{&byte, 1}, there{const_cast<char*>(end), 1};
    if (process_vm_readv(getpid(), &mine, 1, &there, 1, 0) != 1) return false;
  }
  return true;
}

int take(void* mapped, size_t bytes, size_t before, Registration& memory) {
  if (mapped == MAP_FAILED) return -FI_EFAULT;
  memory.mapping = std::make_shared<Mapping>();
  memory.mapping->at = static_cast<char*>(mapped);
  memory.mapping->bytes = bytes;
  if (mprotect(mapped, bytes, PROT_READ | PROT_WRITE) != 0) return -FI_EACCES;
  memory.reach = memory.mapping->at + before;
  return 0;
}

// A second mapping of the pages that are shared there.
int reach_by_address(Registration& memory) {
  const size_t before = reinterpret_cast<uintptr_t>(memory.at) % kPage;
  const size_t bytes = (before + memory.bytes + kPage - 1) / kPage * kPage;
  return take(mremap(memory.at - before, 0, bytes, MREMAP_MAYMOVE), bytes, before, memory);
}

#ifdef FI_MR_DMABUF
int reach_by_dma_buf(const fi_mr_dmabuf& shared, Registration& memory) {
  struct stat found {};
  memory.at = static_cast<char*>(shared.base_addr) + shared.offset;
  memory.bytes = shared.len;
  if (fstat(shared.fd, &found) != 0) return -FI_EBADF;
  if (shared.offset + shared.len > uint64_t(found.st_size)) return -FI_EINVAL;
  const size_t before = shared.offset % kPage, bytes = before + shared.len;
  void* const mapped =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, shared.fd, off_t(shared.offset - before));
  return take(mapped, bytes, before, memory);
}
#endif

}  // namespace

Mapping::~Mapping() {
  if (at != nullptr) munmap(at, bytes);
}

int check_memory(const fi_mr_attr& attr, uint64_t flags, bool calls_no_cuda, Registration& memory) {
  memory = {nullptr, 0, attr.access, nullptr, nullptr};
  if (attr.iov_count != 1) return -FI_EINVAL;
  bool dma_buf = false;
#ifdef FI_MR_DMABUF
  dma_buf = (flags & FI_MR_DMABUF) != 0;
#endif
  if (!dma_buf) {
    memory.at = memory.reach = static_cast<char*>(attr.mr_iov->iov_base);
    memory.bytes = attr.mr_iov->iov_len;
    if (flags != 0 || memory.bytes == 0) return -FI_EINVAL;
  }
  if (attr.iface == FI_HMEM_SYSTEM) return !dma_buf && of_the_host(memory.at, memory.bytes) ? 0 : -FI_EFAULT;
  if (attr.iface != FI_HMEM_CUDA || attr.device.cuda != settings().gpu) return -FI_ENODEV;
  if (!calls_no_cuda) return -FI_EPERM;
  if (names(settings().refuses, dma_buf ? "dma_buf" : "address")) return -FI_EOPNOTSUPP;
  int code = -FI_EOPNOTSUPP;
#ifdef FI_MR_DMABUF
  code = dma_buf ? reach_by_dma_buf(*attr.dmabuf, memory) : reach_by_address(memory);
#else
  code = reach_by_address(memory);
#endif
  if (code == 0 && of_the_host(memory.at, memory.bytes)) code = -FI_EFAULT;  // it is no GPU's
  return code;
}

}  // namespace scrambled
