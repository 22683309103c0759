// Cutting, sending and completing.
#include "tests/scrambled/outbox.h"

#include <rdma/fi_errno.h>

#include <algorithm>

#include "tests/scrambled/info.h"
#include "tests/scrambled/settings.h"

namespace scrambled {
namespace {

constexpr size_t kSpoilOneIn = 20;
constexpr size_t kRefuseOneIn = 8;
constexpr size_t kSendsMost = 64;  // to one reader, of one progress

}  // namespace

size_t Outbox::add_reader(const std::string& name) {
  readers_.push_back({name, {}, {}});
  return readers_.size() - 1;
}

bool Outbox::post(const Posted& posted) {
  if (writes_.size() >= kWritesMost || dice_.one_in(kRefuseOneIn)) return false;
  const uint64_t number = next_++;
  Write& write = writes_[number] = {posted, posted.bytes, posted.bytes, false};
  const bool spoiled = settings().spoils && posted.bytes > kWordBytes && dice_.one_in(kSpoilOneIn);
  if (spoiled) tell(write, 0);
  std::vector<Piece>& pieces = spoiled ? readers_[posted.reader].held : readers_[posted.reader].pieces;
  for (size_t at = 0; at < posted.bytes; at += pieces.back().bytes) {
    const size_t most = std::min(posted.bytes - at, kPieceMost);
    pieces.push_back({number, at, most <= kWordBytes ? most : 1 + dice_.below(4) * (most / 4)});
    if (dice_.one_in(2)) pieces.back().bytes = most;
  }
  return true;
}

// What was posted last may leave first.
void Outbox::send_some(Wire& wire) {
  blocked_ = false;
  for (size_t reader = 0; reader < readers_.size(); ++reader)
    for (size_t sends = kSendsMost; sends != 0 && !readers_[reader].pieces.empty(); --sends)
      if (!send_one(readers_[reader], wire)) break;
}

void Outbox::look_for_readers(Wire& wire) {
  for (size_t reader = 0; reader < readers_.size(); ++reader) {
    const auto expects = [reader](const auto& write) { return write.second.posted.reader == reader; };
    if (!std::any_of(writes_.begin(), writes_.end(), expects)) continue;
    if (!wire.exists(readers_[reader].name)) lose(reader);
  }
}

bool Outbox::send_one(Reader& reader, Wire& wire) {
  const Piece piece = dice_.take(reader.pieces);
  Write& write = writes_.at(piece.write);
  const Posted& posted = write.posted;
  const Message message{Message::Kind::kPiece, piece.write, posted.key, posted.to + piece.at, piece.bytes};
  const Wire::Sent sent = wire.send(reader.name, message, posted.from + piece.at);
  if (sent == Wire::Sent::kGone) {
    lose(posted.reader);
    return false;
  }
  if (sent == Wire::Sent::kFull) {
    reader.pieces.push_back(piece);
    blocked_ = true;
    return false;
  }
  write.unread -= piece.bytes;
  moved_on(piece.write);
  return true;
}

void Outbox::confirmed(const Receipt& receipt) {
  const auto found = writes_.find(receipt.write);
  if (found == writes_.end()) return;  // it failed by another of its pieces
  if (receipt.refusal != 0) tell(found->second, int(receipt.refusal));
  found->second.unlanded -= receipt.bytes;
  if (found->second.posted.bytes == kWordBytes) let_go(readers_[found->second.posted.reader], receipt.write);
  moved_on(receipt.write);
}

// What was held, and posted before this count.
void Outbox::let_go(Reader& reader, uint64_t count) {
  const auto later = [count](const Piece& piece) { return piece.write > count; };
  const auto first = std::partition(reader.held.begin(), reader.held.end(), later);
  reader.pieces.insert(reader.pieces.end(), first, reader.held.end());
  reader.held.erase(first, reader.held.end());
}

void Outbox::tell(Write& write, int error) {
  if (!write.told) done_.push_back({write.posted.context, error});
  write.told = true;
}

// Completes it if that is due, and forgets it when nothing of it is under way.
void Outbox::moved_on(uint64_t number) {
  Write& write = writes_.at(number);
  if (write.posted.on_delivery ? write.unlanded == 0 : write.unread == 0) tell(write, 0);
  if (write.unread == 0 && write.unlanded == 0) writes_.erase(number);
}

void Outbox::lose(size_t reader) {
  readers_[reader].pieces.clear();
  readers_[reader].held.clear();
  for (auto write = writes_.begin(); write != writes_.end();) {
    const bool lost = write->second.posted.reader == reader;
    if (lost) tell(write->second, FI_ECONNRESET);
    write = lost ? writes_.erase(write) : std::next(write);
  }
}

bool Outbox::restless() const {
  const auto waits = [](const Reader& reader) { return !reader.pieces.empty(); };
  return std::any_of(readers_.begin(), readers_.end(), waits);
}

bool Outbox::complete(Completion& completion) {
  if (done_.empty() || dice_.one_in(2)) return false;
  completion = dice_.take(done_);
  return true;
}

}  // namespace scrambled
