// Sealed memfds: see shared_region.h.
#include "transport/scaleup/shm/shared_region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "os/free_memory.h"
#include "os/host.h"
#include "transload/status.h"

namespace transload {

namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

[[noreturn]] void fail(const std::string& what) {
  const int error = errno;
  throw Error(Code::kOutOfMemory, "shared region: " + what + ": " + text_of_error(error));
}

}  // namespace

SharedRegion::SharedRegion(size_t bytes) {
  bytes_ = bytes;
  if (bytes == 0) throw Error(Code::kInvalidArgument, "shared region: 0 bytes, but must be at least 1");
  check_room(bytes, "shared region");
  fd_.reset(::memfd_create("transload", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd_) fail("cannot create a memfd");
  if (::ftruncate(fd_.get(), off_t(bytes)) != 0) fail("cannot size a memfd to " + std::to_string(bytes) + " bytes");
  if (::fcntl(fd_.get(), F_ADD_SEALS, kSeals) != 0) fail("cannot seal a memfd");
  map_whole();
}

void SharedRegion::map_whole() {
  void* const at = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (at == MAP_FAILED) fail("cannot map " + std::to_string(bytes_) + " bytes");
  base_ = static_cast<char*>(at);
  // A copy (fork) of this process can neither store into the region nor keep its pages once the process is gone.
  ::madvise(at, bytes_, MADV_DONTFORK);
}

std::shared_ptr<SharedRegion> SharedRegion::from_peer(Descriptor fd, size_t bytes) {
  struct stat file {};
  // Without the seals a peer could shrink it, and my next access would be a SIGBUS.
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (bytes == 0 || ::fstat(fd.get(), &file) != 0 || file.st_size < 0 || size_t(file.st_size) != bytes) return nullptr;
  if (seals < 0 || (seals & kSeals) != kSeals) return nullptr;
  std::shared_ptr<SharedRegion> region(new SharedRegion);
  region->bytes_ = bytes;
  region->fd_ = std::move(fd);
  region->map_whole();
  region->close_fd();
  return region;
}

std::shared_ptr<Region> SharedRegion::map(const PeerRegion& peer, Descriptor fd) const {
  return from_peer(std::move(fd), peer.bytes);
}

SharedRegion::~SharedRegion() {
  if (base_ != nullptr) ::munmap(base_, bytes_);
}

}  // namespace transload
