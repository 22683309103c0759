// Landing pieces, and saying so.
#include "tests/scrambled/inbox.h"

#include <rdma/fabric.h>
#include <rdma/fi_errno.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "tests/scrambled/settings.h"

namespace scrambled {
namespace {

constexpr size_t kReceiptsMost = kPieceMost / sizeof(Receipt);  // in one message

// Whoever reads it may read what has landed before.
template <class Value>
void store(Value* at, Value value) {
  std::atomic_ref<Value>(*at).store(value, std::memory_order_release);
}

}  // namespace

void Inbox::arrived(const std::string& from, const Message& message, const char* payload) {
  pieces_.push_back({.from = from,
                     .write = message.write,
                     .key = message.key,
                     .to = message.to,
                     .bytes = std::vector<char>(payload, payload + message.bytes),
                     .landed = 0});
}

// Null: not memory that this writer may write.
char* Inbox::target(const Piece& piece) const {
  const auto found = memory_.find(piece.key);
  if (found == memory_.end() || (found->second.access & FI_REMOTE_WRITE) == 0) return nullptr;
  const Registration& memory = found->second;
  const uint64_t offset = piece.to - reinterpret_cast<uint64_t>(memory.at);
  return offset <= memory.bytes && piece.bytes.size() <= memory.bytes - offset ? memory.reach + offset : nullptr;
}

// One step; true if nothing is left of it.
bool Inbox::land(Piece& piece) {
  char* const at = target(piece);
  const bool torn = settings().tears && piece.bytes.size() == kWordBytes;
  if (at != nullptr) {
    if (torn) {
      store(at + piece.landed, piece.bytes[piece.landed]);
      if (++piece.landed != piece.bytes.size()) return false;
    } else if (piece.bytes.size() == kWordBytes && reinterpret_cast<uintptr_t>(at) % kWordBytes == 0) {
      uint64_t word;
      std::memcpy(&word, piece.bytes.data(), sizeof(word));
      store(reinterpret_cast<uint64_t*>(at), word);
    } else {
      std::memcpy(at, piece.bytes.data(), piece.bytes.size());
    }
  }
  receipts_[piece.from].push_back({piece.write, piece.bytes.size(), at == nullptr ? FI_EACCES : 0});
  return true;
}

void Inbox::land_some() {
  for (size_t steps = dice_.below(pieces_.size() + 2); steps != 0 && !pieces_.empty(); --steps) {
    Piece piece = dice_.take(pieces_);
    if (!land(piece)) pieces_.push_back(std::move(piece));
  }
}

void Inbox::confirm(Wire& wire) {
  for (auto writer = receipts_.begin(); writer != receipts_.end();) {
    std::vector<Receipt>& receipts = writer->second;
    while (!receipts.empty()) {
      const size_t count = std::min(receipts.size(), kReceiptsMost);
      const Receipt* const last = receipts.data() + receipts.size() - count;
      const Message message{Message::Kind::kReceipts, 0, 0, 0, count * sizeof(Receipt)};
      const Wire::Sent sent = wire.send(writer->first, message, last);
      if (sent == Wire::Sent::kFull) break;
      receipts.resize(sent == Wire::Sent::kGone ? 0 : receipts.size() - count);
    }
    writer = receipts.empty() ? receipts_.erase(writer) : std::next(writer);
  }
}

}  // namespace scrambled
