// The networks between nodes that a group on the host chooses from. One more is an entry in the list.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "channel/scaleout.h"
#include "transload/group.h"

namespace transload {

struct HostGroup;

struct ScaleOutKind {
  ScaleOutChoice choice;  // a caller's name for it: runtime/choices.h
  bool maps_rails;        // warps store to rails directly: all ranks are on one host
  // Whether this machine and build have it for so many ranks; else `why` not.
  bool (*available)(uint32_t ranks, std::string& why);
  // Collective, once memory is there. Throws Error.
  std::unique_ptr<ScaleOut> (*make)(HostGroup& group);
};

// Best first.
const std::vector<ScaleOutKind>& scale_out_kinds();

// Collective: all ranks choose alike, from what each has, or throw the same Error. Null: one node needs none.
const ScaleOutKind* choose_scale_out(HostGroup& group);

}  // namespace transload
