// Finding room for a lease, and taking it back.
#include "runtime/arena.h"

#include <algorithm>
#include <iterator>
#include <new>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/math.h"
#include "os/free_memory.h"
#include "transload/status.h"

namespace transload {

Arena::Arena(char* base, size_t bytes, std::shared_ptr<void> owner)
    : base_(base), bytes_(bytes), owner_(std::move(owner)) {}

std::shared_ptr<Lease::Block> Arena::take(size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (closed_ || bytes > bytes_) return nullptr;
  const size_t room = round_up(std::max<size_t>(bytes, 1), kLeaseAlign);
  char* at = base_;
  for (const auto& [begin, length] : taken_) {
    if (size_t(begin - at) >= room) break;
    at = base_ + (begin - base_) + length;
  }
  TRANSLOAD_CHECK(base_ <= at && at <= base_ + bytes_);
  const size_t rest = size_t(base_ + bytes_ - at);
  if (rest < std::max<size_t>(bytes, 1)) return nullptr;
  auto block = std::make_shared<Lease::Block>();
  taken_.emplace(at, std::min(room, rest));
  block->data = at;
  block->bytes = bytes;
  block->arena = shared_from_this();
  return block;
}

void Arena::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

bool Arena::holds(const void* data, size_t bytes) const {
  const char* const at = static_cast<const char*>(data);
  const std::lock_guard lock(mutex_);
  const auto next = taken_.upper_bound(at);
  if (next == taken_.begin()) return false;
  const auto& [begin, length] = *std::prev(next);
  const size_t offset = size_t(at - begin);
  return offset <= length && bytes <= length - offset;
}

size_t Arena::used() const {
  const std::lock_guard lock(mutex_);
  size_t sum = 0;
  for (const auto& [begin, length] : taken_) sum += length;
  return sum;
}

size_t Arena::longest_gap() const {
  const std::lock_guard lock(mutex_);
  size_t longest = 0;
  const char* at = base_;
  for (const auto& [begin, length] : taken_) {
    longest = std::max(longest, size_t(begin - at));
    at = begin + length;
  }
  return std::max(longest, size_t(base_ + bytes_ - at));
}

void Arena::give_back(char* data) {
  const std::lock_guard lock(mutex_);
  const size_t erased = taken_.erase(data);
  TRANSLOAD_CHECK(erased == 1);
}

// The system promises more memory than it has, so check_room is asked about a large block.
std::shared_ptr<Lease::Block> private_block(size_t bytes) {
  constexpr size_t kAskedAbout = 16 << 20;
  if (bytes > kAskedAbout) check_room(bytes, "private memory");
  auto block = std::make_shared<Lease::Block>();
  block->data =
      static_cast<char*>(::operator new(std::max<size_t>(bytes, 1), std::align_val_t(kLeaseAlign), std::nothrow));
  if (block->data == nullptr)
    throw Error(Code::kOutOfMemory, "private memory: " + std::to_string(bytes) + " bytes cannot be allocated");
  block->bytes = bytes;
  return block;
}

Lease::Block::~Block() {
  if (!data) return;
  if (arena && !arena->origin_.here())
    abandon(std::move(arena));  // another thread may have held the arena's lock when this copy was made
  else if (arena)
    arena->give_back(data);
  else
    ::operator delete(data, std::align_val_t(kLeaseAlign));
}

void* Lease::data() const { return block_ ? block_->data : nullptr; }
size_t Lease::bytes() const { return block_ ? block_->bytes : 0; }
bool Lease::registered() const { return block_ && block_->arena; }

}  // namespace transload
