// Words of verdicts that an arbiter and a member alone say alike.
#pragma once

namespace transload {

constexpr const char* kNotKnown = "; which of them is wrong is not known";
constexpr const char* kHasLeft = "it has left the group";
constexpr const char* kEnded = "its control connection ended without a goodbye";

}  // namespace transload
