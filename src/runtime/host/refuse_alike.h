// Refusing a dispatch for what this rank was given, while others may not: it sends a refusal instead of counts.
#pragma once
#include <algorithm>
#include <string>

#include "base/situations.h"
#include "layout/counts.h"
#include "runtime/host/host_calls.h"

namespace transload {

// A rank that refuses goes as far through the dispatch as the others do: cards and counts travel as in any dispatch
// that makes a handle, so every neighbour and every mailbox has what it waits for, and mailboxes for two calls still
// suffice. No row of anybody moves: all ranks find the mark in their mailboxes before they grant anything.
template <class W>
void HostCalls<W>::refuse_alike(const Error& mine) {
  const Refusal refusal{map.me, uint32_t(mine.code()), mine.what()};
  for (uint32_t p = 0; p < map.peers; ++p) refusal.write(counts_to_peers.data() + p * geometry.counts_bytes());
  for (uint32_t n = 0; n < map.nodes; ++n) {
    char* const record = counts_to_nodes.data() + n * geometry.node_counts_bytes();
    std::fill_n(record, geometry.counts().node_head_bytes(), char(0));
    for (uint32_t p = 0; p < map.node_size(n); ++p) refusal.write(record + geometry.counts().of_peer(p));
  }
  card = Card{};
  card.operation = Operation::kDispatch;
  card.refused = 1;
  Call call{};
  begin_call(call, Phase::kNotify, records_to_send(), 0);
  exchange_counts(call);
  end_call("dispatch");
  throw mine;
}

}  // namespace transload
