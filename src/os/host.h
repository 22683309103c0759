// Which host and which process this is, to be compared with what another rank says of itself.
#pragma once
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace transload {

// The boot's id and the network namespace. Two ranks have equal identities if one can pass the other a descriptor, else
// different ones. Throws Error{kOutOfMemory} if no descriptor is left to read the id with, which a process does once.
std::string host_identity();
// How ranks with these identities are apart: "on different hosts", "in different network namespaces of one host" (two
// containers, say), or "" if they are not.
std::string how_apart(const std::string& one, const std::string& other);

// Tells processes apart, even where their ids are equal (namespaces), and a process from its forked child.
struct ProcessIdentity {
  uint32_t pid = 0;
  uint64_t nonce = 0;
  auto operator<=>(const ProcessIdentity&) const = default;

  ByteWriter& pack(ByteWriter& to) const { return to.u32(pid).u64(nonce); }
  static ProcessIdentity unpack(ByteReader& from) {
    const uint32_t pid = from.u32();
    return {pid, from.u64()};
  }
};
ProcessIdentity process_identity();

// How many descriptors this process may have, in a user's words.
std::string descriptor_limit();
// How many more descriptors this process can open by its limit, counted up to `most`.
size_t descriptors_left(size_t most);
// For an errno that comes of a limit: words on that limit, to be appended to a message; "" for other errors.
std::string limit_behind(int error);
// The text of this errno, followed by the words of limit_behind().
std::string text_of_error(int error);
// The text of the errno of a process or thread that could not be started, with the limit on their number.
std::string text_of_no_thread(int error);

// Whether both identities are of one machine, whose memory they share: network namespaces may differ.
bool one_machine(const std::string& one, const std::string& other);

// A word that nobody can guess; never 0. Throws Error{kNotSupported} if the system gives none.
uint64_t random_word();

}  // namespace transload
