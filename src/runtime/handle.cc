// See handle.h.
#include "runtime/handle.h"

namespace transload {

SpanTable forward_spans(const HandleData& handle, uint32_t channels) {
  const uint32_t slots = uint32_t(handle.slot_tokens.size());
  SpanTable table(slots, channels);
  for (uint32_t s = 0; s < slots; ++s) {
    const uint64_t first = handle.log_begin[s];
    table.set_tokens(s,
                     {first, handle.log_token.data() + first, handle.log_begin[s + 1] - first, handle.slot_tokens[s]});
  }
  return table;
}

SpanTable row_spans(const HandleData& handle, uint32_t channels) {
  const uint32_t ranks = uint32_t(handle.source_tokens.size());
  SpanTable table(ranks, channels);
  for (uint32_t s = 0; s < ranks; ++s) {
    const uint64_t first = handle.kept(handle.row_base[s]), end = handle.kept(handle.row_base[s + 1]);
    table.set_tokens(s, {first, handle.row_token.data() + first, end - first, handle.source_tokens[s]});
  }
  return table;
}

}  // namespace transload
