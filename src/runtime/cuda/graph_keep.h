// What a captured call uses, kept as long as it can be replayed.
#pragma once
#include <memory>

struct CUstream_st;

namespace transload {

// Keeps `used` until the graph that `stream` is captured into, all that was made of it, and their launches are gone.
// Any thread may then destroy it. Throws Error{kDevice}, and then keeps nothing.
void keep_with_graph(CUstream_st* stream, std::shared_ptr<const void> used, int device);

}  // namespace transload
