// A command: what a warp asks of its rank's proxy, the host thread that drives the network for it. This file has its
// form, and its place in the queue that both reach. The executor decides who writes it, and in which order.
//
// The command with ticket t lies in slot t mod slots and belongs to lap t / slots + 1. Each of its words has the lap in
// its highest byte, so a command that has arrived in part is never taken for a whole one. The machine must only let the
// 8 bytes of a word arrive at once, or the low ones first.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/macros.h"
#include "base/word.h"
#include "channel/scaleout.h"

namespace transload {

enum class RailVerb : uint8_t { kPut = 1, kPublish, kCredit };  // 0: no command

// Offsets are bytes from the start of a network region: `to` in the receiver's, the others in mine.
struct RailCommand {
  static constexpr uint64_t kUndrained = (uint64_t(1) << 56) - 1;

  RailVerb verb;
  uint32_t rank;                  // the receiver
  uint64_t to;                    // where the bytes go, or where the word lies
  Word count = 0;                 // the word's new value; in a put the new value of its drained word
  uint64_t from = 0;              // where the bytes come from; only puts have `from`, `bytes` and `drained`
  uint64_t bytes = 0;             // at least one
  uint64_t drained = kUndrained;  // offset of the put's drained word; kUndrained: nobody waits for its source
};

// How long a warp waits for room for a command. It is less than a deadline, so that a rank whose own proxy takes
// nothing is named before others accuse somebody for what they miss.
constexpr uint64_t room_patience_ns(uint64_t deadline_ns) { return deadline_ns / 2; }

// command_of() turns a put into a command, and put_of() turns it back. `network` is my network region, in which the
// source and the drained word of the put lie.
inline RailCommand command_of(const Put& put, const char* network) {
  const auto offset = [&](const void* at) { return uint64_t(static_cast<const char*>(at) - network); };
  return {.verb = RailVerb::kPut,
          .rank = put.rank,
          .to = put.offset,
          .count = put.drained_count,
          .from = offset(put.from),
          .bytes = put.bytes,
          .drained = put.drained == nullptr ? RailCommand::kUndrained : offset(put.drained)};
}
inline Put put_of(const RailCommand& c, char* network) {
  const bool drains = c.drained != RailCommand::kUndrained;
  return {.from = network + c.from,
          .offset = c.to,
          .bytes = c.bytes,
          .rank = c.rank,
          .drained = drains ? reinterpret_cast<Word*>(network + c.drained) : nullptr,
          .drained_count = c.count};
}

// A slot of the queue. The warp that has its ticket stores its words, in any order, and the proxy reads them; the rest
// of the line stays as it is.
struct alignas(64) CommandSlot {
  static constexpr uint32_t kWords = 5;
  Word words[kWords];
};
static_assert(sizeof(CommandSlot) == 64);

// Widths of the fields in a word; encode() checks that they suffice. A count of 56 bits lasts for two years at 10^9 a
// second, and 64 GiB are more than a put may carry.
enum : uint32_t { kLapBits = 8, kPayloadBits = 64 - kLapBits, kVerbBits = 4, kRankBits = 16, kPutBits = 36 };
static_assert(kVerbBits + kRankBits + kPutBits == kPayloadBits);
static_assert(RailCommand::kUndrained >> kPayloadBits == 0);

// The arithmetic of the queue. The proxy shows how many commands it has taken, and a slot is written again only after
// its last command was taken.
struct CommandRoom {
  uint32_t slots;

  TRANSLOAD_HD uint32_t slot(Word ticket) const { return uint32_t(ticket % slots); }
  TRANSLOAD_HD Word lap(Word ticket) const { return ticket / slots + 1; }
  TRANSLOAD_HD bool fits(Word ticket, Word taken) const { return ticket < taken + slots; }
};

TRANSLOAD_HD CommandSlot encode(const RailCommand& c, Word lap) {
  TRANSLOAD_CHECK(uint32_t(c.verb) >> kVerbBits == 0 && c.rank >> kRankBits == 0 && c.bytes >> kPutBits == 0);
  TRANSLOAD_CHECK((c.to | c.count | c.from | c.drained) >> kPayloadBits == 0);
  const Word top = lap << kPayloadBits;  // the low 8 bits of the lap, which differ between two laps in a row
  const Word head = c.bytes << (kVerbBits + kRankBits) | Word(c.rank) << kVerbBits | Word(c.verb);
  return {.words = {top | head, top | c.to, top | c.count, top | c.from, top | c.drained}};
}

// The first word of a command says its verb.
TRANSLOAD_HD RailVerb verb_of(Word head) { return RailVerb(head & ((1u << kVerbBits) - 1)); }

// False while a part of the command of this lap has not arrived; then `c` stays as it was. The words are a copy that
// was loaded with acquire.
TRANSLOAD_HD bool decode(const CommandSlot& slot, Word lap, RailCommand& c) {
  constexpr Word kPayload = (Word(1) << kPayloadBits) - 1;
  for (uint32_t i = 0; i < CommandSlot::kWords; ++i)
    if (((slot.words[i] >> kPayloadBits) ^ lap) << kPayloadBits != 0) return false;
  const Word head = slot.words[0] & kPayload;
  c.verb = verb_of(head);
  c.rank = uint32_t(head >> kVerbBits & ((1u << kRankBits) - 1));
  c.bytes = head >> (kVerbBits + kRankBits);
  c.to = slot.words[1] & kPayload;
  c.count = slot.words[2] & kPayload;
  c.from = slot.words[3] & kPayload;
  c.drained = slot.words[4] & kPayload;
  return true;
}

}  // namespace transload
