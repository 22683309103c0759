// What an mlx5 NIC reads and writes of a send queue: entries of 64 bytes, their opcodes, and completions, laid out as
// its programmer's manual says. Numbers of the NIC are big-endian.
#pragma once
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace transload::test::mlx5 {

template <std::unsigned_integral T>
constexpr T big(T value) {
  if constexpr (std::endian::native == std::endian::big) return value;
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  return value;
}

enum Opcode : uint8_t { kNop = 0x00, kRdmaWrite = 0x08, kMaskedFetchAdd = 0x15 };
constexpr uint32_t kOf8Bytes = 0x09;  // the modifier of an atomic
constexpr uint8_t kAsksCompletion = 2 << 2;

struct ControlSegment {
  uint32_t modifier_index_opcode;  // 8, 16 and 8 bits
  uint32_t queue_units;            // the queue's number, and how many units of 16 bytes the entry has
  uint8_t signature, dci[2], flags;
  uint32_t immediate;
};
struct RemoteSegment {
  uint64_t address;
  uint32_t key, reserved;
};
struct LocalSegment {
  uint32_t bytes, key;
  uint64_t address;
};
struct FetchAddSegment {
  uint64_t added;
  uint64_t boundary;  // bits that take no carry into the next one
};

struct WriteEntry {
  ControlSegment control;
  RemoteSegment remote;
  LocalSegment local;
};
struct FetchAddEntry {
  ControlSegment control;
  RemoteSegment remote;
  FetchAddSegment add;
  LocalSegment local;  // where the old value goes
};
constexpr size_t kEntryBytes = 64;
static_assert(sizeof(WriteEntry) == 48 && sizeof(FetchAddEntry) == kEntryBytes);

// What is written to a doorbell: the first two words of a control segment.
struct Doorbell {
  uint32_t index, queue;  // of the next entry that is not there yet
};
constexpr uint64_t doorbell(uint16_t index, uint32_t queue) {
  return std::bit_cast<uint64_t>(Doorbell{big(uint32_t(index) << 8), big(queue << 8)});
}
constexpr uint16_t rung_index(uint64_t doorbell) { return uint16_t(big(std::bit_cast<Doorbell>(doorbell).index) >> 8); }

// The one completion of a queue, which later ones overwrite.
struct Completion {
  uint8_t before[54];
  uint8_t vendor_error, error;  // of one that failed
  uint32_t opcode_queue;
  uint16_t counter;  // index of the entry
  uint8_t signature;
  uint8_t owner;  // the upper 4 bits say what it is
};
static_assert(sizeof(Completion) == 64 && offsetof(Completion, counter) == 60);
enum CompletionKind : uint8_t { kRequest = 0, kRequestError = 13, kInvalid = 15 };

enum Error : uint8_t { kLocalProtection = 0x04, kFlushed = 0x05, kRemoteAccess = 0x13, kRetriesExceeded = 0x15 };

}  // namespace transload::test::mlx5
