// What ranks say of themselves while a group is made, as bytes and back. Each unpack() throws Error{kInvalidArgument}
// for bytes that no pack() makes; GroupMaking::gather adds who said them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "os/host.h"
#include "transload/status.h"

namespace transload {

// The Error for bytes that are not what a rank of this version says of `what`.
Error malformed_of_rank(const std::string& what);
// The Error for a number of a rank that is out of its bounds.
Error out_of_bounds(const std::string& what, uint64_t value, uint64_t least, uint64_t most);

struct OptionsSaid {
  uint64_t id = 0;    // rank 0's is the id of the group on all ranks
  std::string items;  // what must be alike, a line for each

  std::string pack() const;
  static OptionsSaid unpack(std::string_view said);
};

// How a step ended that all ranks make or none: GroupMaking::all_or_none.
struct StepSaid {
  Code code = Code::kOk;
  std::string why;  // "" if all went well

  std::string pack() const;
  static StepSaid unpack(std::string_view said);
};

// Memory that a rank will need, and what groups of its process were promised before.
struct MemorySaid {
  uint64_t needed = 0, promised = 0;
  ProcessIdentity process;
  std::string host;

  std::string pack() const;
  static MemorySaid unpack(std::string_view said);
};

// Whether a rank has a kind of network.
enum class KindSaid : char {
  kNo = 'n',
  kYes = 'y',
  kUnmapped = 'u',  // the rank has the kind, but maps no rail
};

// What a rank says of each kind of network, in the order of their list, and on which host it is.
struct NetworkSaid {
  std::vector<KindSaid> kinds;
  std::string host;

  std::string pack() const;
  static NetworkSaid unpack(std::string_view said, const std::vector<bool>& may_map_nothing);
};

struct ProcessSaid {
  static std::string pack(const ProcessIdentity& process);
  static ProcessIdentity unpack(std::string_view said);
};

// The first line in which two texts differ, as one has it and as the other has it; both are empty if the texts are
// equal. A shorter text counts as one that has empty lines at its end.
struct LinesApart {
  std::string one, other;
};
LinesApart first_difference(std::string_view one, std::string_view other);

}  // namespace transload
