// Packing and reading what ranks say: see said.h.
#include "runtime/said.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/malformed.h"

namespace transload {

namespace {

// Whether a rank may refuse a step with this code. A fault ends its group another way, and the other codes are those of
// calls.
bool is_refusal(Code code) {
  return code == Code::kInvalidArgument || code == Code::kNotSupported || code == Code::kOutOfMemory ||
         code == Code::kDevice;
}

std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

}  // namespace

Error malformed_of_rank(const std::string& what) { return malformed("group: what a rank says of " + what); }

Error out_of_bounds(const std::string& what, uint64_t value, uint64_t least, uint64_t most) {
  return {Code::kInvalidArgument, "group: a rank says of " + what + " " + std::to_string(value) + ", must be " +
                                      std::to_string(least) + " to " + std::to_string(most) + kOtherVersion};
}

std::string OptionsSaid::pack() const { return ByteWriter().u64(id).text(items).take(); }

OptionsSaid OptionsSaid::unpack(std::string_view said) {
  ByteReader reader(said);
  OptionsSaid options;
  options.id = reader.u64();
  options.items = reader.text();
  if (!reader.done()) throw malformed_of_rank("its options");
  return options;
}

std::string StepSaid::pack() const { return code == Code::kOk ? "" : std::string(1, char(code)) + why; }

StepSaid StepSaid::unpack(std::string_view said) {
  if (said.empty()) return {};
  const Code code = Code(uint8_t(said[0]));
  if (!is_refusal(code)) throw malformed_of_rank("its failure");
  return {code, std::string(said.substr(1))};
}

std::string MemorySaid::pack() const {
  ByteWriter said;
  process.pack(said.u64(needed).u64(promised)).text(host);
  return said.take();
}

MemorySaid MemorySaid::unpack(std::string_view said) {
  ByteReader reader(said);
  MemorySaid memory;
  memory.needed = reader.u64();
  memory.promised = reader.u64();
  memory.process = ProcessIdentity::unpack(reader);
  memory.host = reader.text();
  if (!reader.done()) throw malformed_of_rank("its memory");
  return memory;
}

std::string NetworkSaid::pack() const {
  std::string said;
  for (const KindSaid kind : kinds) said += char(kind);
  return said + host;
}

NetworkSaid NetworkSaid::unpack(std::string_view said, const std::vector<bool>& may_map_nothing) {
  if (said.size() < may_map_nothing.size()) throw malformed_of_rank("its network");
  NetworkSaid network;
  for (const bool may : may_map_nothing) {
    const KindSaid kind = KindSaid(said.front());
    if (kind != KindSaid::kNo && kind != KindSaid::kYes && !(may && kind == KindSaid::kUnmapped))
      throw malformed_of_rank("its network");
    network.kinds.push_back(kind);
    said.remove_prefix(1);
  }
  network.host = said;
  return network;
}

std::string ProcessSaid::pack(const ProcessIdentity& process) {
  ByteWriter said;
  return process.pack(said).take();
}

ProcessIdentity ProcessSaid::unpack(std::string_view said) {
  ByteReader reader(said);
  const ProcessIdentity process = ProcessIdentity::unpack(reader);
  if (!reader.done()) throw malformed_of_rank("its process");
  return process;
}

LinesApart first_difference(std::string_view one, std::string_view other) {
  while (!one.empty() || !other.empty()) {
    const std::string_view mine = take_line(one), theirs = take_line(other);
    if (mine != theirs) return {std::string(mine), std::string(theirs)};
  }
  return {};
}

}  // namespace transload
