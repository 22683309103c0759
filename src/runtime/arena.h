// Leases of a group: room in the slabs of its shared region, first fit; private memory where there is none.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "os/fork.h"
#include "transload/lease.h"

namespace transload {

constexpr size_t kLeaseAlign = 128;  // every lease is a multiple of this, but for one at the end of the slabs

// The arena is thread safe: any thread may release a lease. It keeps the region alive until the last lease is gone.
class Arena : public std::enable_shared_from_this<Arena> {
 public:
  // `owner` keeps [base, base + bytes) mapped.
  Arena(char* base, size_t bytes, std::shared_ptr<void> owner);

  // Lends a block of the slabs; null if no gap is long enough.
  std::shared_ptr<Lease::Block> take(size_t bytes);
  // Lends nothing any more: after a fault, a rank that comes back to life may still store into what it was granted.
  void close();
  // True if these bytes lie in one lease.
  bool holds(const void* data, size_t bytes) const;
  size_t used() const;
  size_t longest_gap() const;

 private:
  friend struct Lease::Block;
  void give_back(char* data);

  char* base_;
  size_t bytes_;
  std::shared_ptr<void> owner_;
  const Origin origin_;
  mutable std::mutex mutex_;
  std::map<const char*, size_t> taken_;
  bool closed_ = false;
};

// A lease of private memory, which nobody but this process can reach. Throws Error{kOutOfMemory}.
std::shared_ptr<Lease::Block> private_block(size_t bytes);

struct Lease::Block {
  char* data = nullptr;
  size_t bytes = 0;
  std::shared_ptr<Arena> arena;  // null: private memory
  ~Block();
};

}  // namespace transload
