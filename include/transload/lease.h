// Lease: a piece of a group's registered memory.
#pragma once
#include <cstddef>
#include <memory>
#include <utility>

namespace transload {

// Holds memory until it is destroyed or released; the memory stays valid that long, even after its group is gone or
// faulted. A lease can be moved and not copied.
class Lease {
 public:
  struct Block;  // incomplete for users
  Lease() = default;
  explicit Lease(std::shared_ptr<Block> block) : block_(std::move(block)) {}
  Lease(Lease&&) = default;
  Lease& operator=(Lease&&) = default;

  void* data() const;
  size_t bytes() const;
  bool registered() const;  // false: private memory of the host, because the slabs had no room
  void release() { block_.reset(); }

 private:
  std::shared_ptr<Block> block_;
};

}  // namespace transload
