// Packing and reading what ends say: see said.h.
#include "cli/link/said.h"

#include "base/bytes.h"
#include "base/malformed.h"
#include "cli/show/usage.h"

namespace transload::cli {

std::string NumberSaid::pack(uint64_t number) { return ByteWriter().u64(number).take(); }

uint64_t NumberSaid::unpack(uint32_t rank, std::string_view said) {
  ByteReader reader(said);
  const uint64_t number = reader.u64();
  if (!reader.done())
    refuse("link: rank {} says {} bytes, must be the 8 of a number{}", rank, said.size(), kOtherVersion);
  return number;
}

std::string RawMemorySaid::pack() const { return ByteWriter().u64(key).u64(base).text(endpoint).take(); }

RawMemorySaid RawMemorySaid::unpack(uint32_t rank, std::string_view said) {
  ByteReader reader(said);
  RawMemorySaid memory;
  memory.key = reader.u64();
  memory.base = reader.u64();
  memory.endpoint = reader.text();
  if (!reader.done()) refuse("link: what rank {} says of its memory is malformed{}", rank, kOtherVersion);
  return memory;
}

Word bounded_count(uint32_t rank, const char* of, Word seen, Word most) {
  if (seen > most) refuse("link: rank {} counts {} {}, must be at most {}", rank, seen, of, most);
  return seen;
}

}  // namespace transload::cli
