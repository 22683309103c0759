// Packing and reading an invitation: see invitation.h.
#include "control/invitation.h"

#include "base/bytes.h"
#include "base/check.h"

namespace transload {

std::string Invitation::pack() const {
  std::string bytes = ByteWriter()
                          .text(host)
                          .text(addresses)
                          .text(problem)
                          .text(secret)
                          .u64(server)
                          .u32(port)
                          .u32(code == Code::kOutOfMemory)
                          .take();
  TRANSLOAD_CHECK(bytes.size() <= kBytes);
  bytes.resize(kBytes);
  return bytes;
}

Invitation Invitation::unpack(uint32_t rank, std::string_view bytes) {
  ByteReader reader(bytes);
  Invitation invitation;
  invitation.host = reader.text();
  invitation.addresses = reader.text();
  invitation.problem = reader.text();
  invitation.secret = reader.text();
  invitation.server = reader.u64();
  const uint32_t port = reader.u32();
  const uint32_t no_memory = reader.u32();
  invitation.port = uint16_t(port);
  if (no_memory != 0) invitation.code = Code::kOutOfMemory;
  const bool serves = invitation.server != 0 && invitation.port != 0;
  const bool silent = invitation.server == 0 && port == 0 && invitation.addresses.empty();
  const bool fails = !invitation.problem.empty();
  const bool tells = rank == 0 ? (fails ? silent : serves) : silent && invitation.secret.empty();
  const bool known = fails ? no_memory <= 1 : no_memory == 0 && !invitation.host.empty();
  if (!reader.padded() || bytes.size() != kBytes || port != invitation.port || !tells || !known)
    throw Error(Code::kInvalidArgument, "all_gather: what it gave for rank " + std::to_string(rank) +
                                            " is not what rank " + std::to_string(rank) + " put in");
  return invitation;
}

}  // namespace transload
