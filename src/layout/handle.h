// The tables of a handle: the routing of one dispatch as its origin, its forwarders and its owners know it.
//
// After notify learn_handle() makes them of the counts; tokens and logs are filled in as tokens come. They hold no
// address, no ring position and no cut into channels, so any later call may use them with any number of channels.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"
#include "layout/counts.h"
#include "layout/plan.h"
#include "layout/rank_map.h"
#include "layout/token.h"

namespace transload {

constexpr uint64_t kNoRowsMax = ~uint64_t(0);

// The one list of these tables. Array<T> is what stands for an array of T: a pointer or a vector.
template <template <class> class Array>
struct HandleTablesOf {
  // What this rank knows as the origin of tokens.
  Array<Route> routes;  // [tokens][top_k]

  // What this rank knows as a forwarder, by source slot. Entries of the log are numbered through over all slots.
  Array<uint64_t> log_begin;    // [slots + 1]
  Array<uint32_t> slot_tokens;  // [slots] how many tokens the rank of that source slot has
  Array<uint32_t> log_token;    // [entries] index of the token at its source
  Array<Route> log;             // [entries][log_width] owners among my peers

  // What this rank knows as an owner of experts.
  Array<uint64_t> row_base;       // [ranks + 1]
  Array<uint32_t> source_tokens;  // [ranks]
  Array<uint32_t> row_token;      // [rows] index of the token at its source
};

struct HandleSizes {
  uint64_t tokens, top_k;
  uint64_t slots, entries, log_width;
  uint64_t ranks, rows;
};

// Calls visit(elements, array of each of `tables`...) for each table in turn.
template <class Visit, class... Tables>
void for_each_table(const HandleSizes& n, Visit visit, Tables&... tables) {
  visit(times(n.tokens, n.top_k), tables.routes...);
  visit(n.slots + 1, tables.log_begin...);
  visit(n.slots, tables.slot_tokens...);
  visit(n.entries, tables.log_token...);
  visit(times(n.entries, n.log_width), tables.log...);
  visit(n.ranks + 1, tables.row_base...);
  visit(n.ranks, tables.source_tokens...);
  visit(n.rows, tables.row_token...);
}

template <class T>
using WrittenArray = T*;
template <class T>
using ReadArray = const T*;
template <class T>
using OwnArray = std::vector<T>;
using HandleTables = HandleTablesOf<WrittenArray>;  // while a first dispatch fills them
using HandleView = HandleTablesOf<ReadArray>;
using HandleArrays = HandleTablesOf<OwnArray>;

inline HandleTables tables_of(HandleArrays& arrays) {
  HandleTables tables{};
  for_each_table(
      {}, [](uint64_t, auto& array, auto*& table) { table = array.data(); }, arrays, tables);
  return tables;
}
inline HandleView view_of(const HandleArrays& arrays) {
  HandleView view{};
  for_each_table(
      {}, [](uint64_t, const auto& array, const auto*& table) { table = array.data(); }, arrays, view);
  return view;
}
inline HandleView view_of(const HandleTables& tables) {
  HandleView view{};
  for_each_table(
      {}, [](uint64_t, auto* written, const auto*& read) { read = written; }, tables, view);
  return view;
}

// The most that a handle can need, known before there are counts. I have `tokens` tokens; any rank has at most
// `tokens_max`.
inline HandleSizes most_of_handle(const RankMap& map, uint64_t tokens, uint64_t tokens_max, uint32_t top_k) {
  uint64_t sources = 0;  // ranks that bring me tokens to forward
  for (uint32_t s = 0; s < map.sources(); ++s) {
    const uint32_t rank = map.source_rank(s);
    sources += rank != kNobody && rank != map.me;
  }
  return {.tokens = tokens,
          .top_k = top_k,
          .slots = map.sources(),
          .entries = times(sources, tokens_max),
          .log_width = std::min(top_k, map.peers),
          .ranks = map.ranks,
          .rows = times(map.ranks, tokens_max)};
}

// What the counts of one dispatch say, beside its plan.
struct LearnedHandle {
  HandleArrays tables;  // log, log_token and row_token are filled later; the layout makes the routes
  uint32_t log_width = 0;
  uint64_t forwarded = 0;       // copies that I make for my peers of the tokens that I forward
  SpanTable forward, arriving;  // cut by the channels of the dispatch that made the handle
};

struct LearnInputs {
  RankMap map;
  uint32_t channels;  // channels of the call
  uint32_t top_k;
  uint64_t rows_max;
};

// `rank_record(source rank)` gives the counts of that source for me, `node_record(source slot)` those of the rank
// behind it for my node. Tests compare the kernel that does the same (kernels/tables/plan.cuh) with this.
template <class RankRecord, class NodeRecord>
LearnedHandle learn_handle(const LearnInputs& in, ReceivePlan plan, RankRecord rank_record, NodeRecord node_record) {
  LearnedHandle h;
  h.arriving = SpanTable(in.map.ranks, in.channels);
  for (uint32_t s = 0; s < in.map.ranks; ++s)
    h.arriving.set_counts(s, plan.row_base[s], CountsRecord(rank_record(s)).by_channel());
  h.tables.row_token.resize(std::min(plan.rows(), in.rows_max));
  h.tables.row_base = std::move(plan.row_base);
  h.tables.source_tokens = std::move(plan.source_tokens);

  const uint32_t slots = in.map.sources();
  h.forward = SpanTable(slots, in.channels);
  h.tables.log_begin.assign(slots + 1, 0);
  h.tables.slot_tokens.assign(slots, 0);
  for (uint32_t s = 0; s < slots; ++s) {
    const uint64_t first = h.tables.log_begin[s + 1] = h.tables.log_begin[s];
    const NodeCountsRecord record = node_record(s);
    if (record.at == nullptr) continue;
    h.tables.slot_tokens[s] = record.head().source_tokens();
    h.tables.log_begin[s + 1] = first + record.head().tokens();
    h.forward.set_counts(s, first, record.head().by_channel());
    for (uint32_t p = 0; p < in.map.peers; ++p) h.forwarded += record.of_peer(p).tokens();
  }
  h.log_width = std::min(in.top_k, in.map.peers);
  h.tables.log_token.resize(h.tables.log_begin.back());
  h.tables.log.resize(h.tables.log_begin.back() * h.log_width);
  return h;
}

// Which entries of the log belong to which channel, for any number of channels.
inline SpanTable forward_spans(const HandleArrays& h, uint32_t channels) {
  const uint32_t slots = uint32_t(h.slot_tokens.size());
  SpanTable table(slots, channels);
  for (uint32_t s = 0; s < slots; ++s) {
    const uint64_t first = h.log_begin[s];
    table.set_tokens(s, {first, h.log_token.data() + first, h.log_begin[s + 1] - first, h.slot_tokens[s]});
  }
  return table;
}

// Which of my kept rows belong to which channel, for any number of channels.
inline SpanTable row_spans(const HandleArrays& h, uint64_t rows_max, uint32_t channels) {
  const uint32_t ranks = uint32_t(h.source_tokens.size());
  SpanTable table(ranks, channels);
  for (uint32_t s = 0; s < ranks; ++s) {
    const uint64_t first = std::min(h.row_base[s], rows_max), end = std::min(h.row_base[s + 1], rows_max);
    TRANSLOAD_CHECK(first <= end && end <= h.row_token.size());  // row_token has no row that the dispatch dropped
    table.set_tokens(s, {first, h.row_token.data() + first, end - first, h.source_tokens[s]});
  }
  return table;
}

}  // namespace transload
