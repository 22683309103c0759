// A forwarder over plain memory, to which a test sends tokens. Behind its log lies memory that it must not touch.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include "channel/card.h"
#include "protocol/dispatch/forwarder.h"
#include "tests/support/plain_memory.h"

namespace transload::test {

// Rank 0 of nodes of 2 and 1 ranks in a first dispatch, as the forwarder of rank 2, whose token 4 is the only one that
// is announced. Both peers grant eight rows.
class OneForwarder {
 public:
  using W = PlainWarp::Warp;
  static constexpr int kSource = 2;  // the slot of rank 2
  static constexpr uint32_t kTopK = 8, kLogWidth = 2;
  static constexpr Word kRows = 8;

  explicit OneForwarder(uint32_t top_k = kTopK) {
    board_.map = table_.seen_by(0);
    board_.geometry = {.ranks = 3,
                       .nodes = 2,
                       .fold = 2,
                       .node_size_max = 2,
                       .peers = 2,
                       .channels = 1,
                       .slots = 1,
                       .experts_of_rank_max = 1,
                       .token_bytes = 512,
                       .sum_bytes = 64};
    board_.up = ScaleUpRegion::plan(board_.geometry, sizeof(Card), sizeof(Grant) + 8 * board_.map.sources());
    board_.net = NetworkRegion::plan(board_.geometry, sizeof(Card));
    trip_.shape = {16, 0, top_k, true};
    const uint64_t granted = kRows * (trip_.shape.row_bytes + trip_.shape.header_bytes());
    for (uint32_t p : {0u, 1u}) {
      up_[p].resize((board_.up.bytes + granted) / sizeof(Word));
      peers_[p] = reinterpret_cast<char*>(up_[p].data());
    }
    network_.resize(board_.net.bytes / sizeof(Word));
    board_.peer = peers_;
    board_.network = reinterpret_cast<char*>(network_.data());
    board_.mapped = mapped_;
    board_.sources = sources_;
    board_.rails = rails_;
    board_.always = &always_;
    Call& call = trip_.call;
    call.board = &board_;
    call.card.epoch = 6;
    call.card.row_bytes = trip_.shape.row_bytes;
    call.card.top_k = top_k;
    call.card.operation = Operation::kDispatch;
    trip_.log_width = kLogWidth;
    trip_.log_entries = 1;
    trip_.made.log = log_.data();
    trip_.made.log_token = &log_token_;
    trip_.rail_positions = trip_.up_positions = {sent_, taken_, drained_};
    warp_.memory.on_rail = [](const RailWord&, Word) {};  // credits
    for (uint32_t peer : {0u, 1u}) grant(peer);
    show(call.card);
  }

  const Card& card() const { return trip_.call.card; }
  // Shows the card of rank 2.
  void show(const Card& card) {
    *reinterpret_cast<Word*>(board_.network + board_.net.source_card_word.at(kSource)) = card.epoch;
    *reinterpret_cast<Card*>(board_.network + board_.net.source_card.at(card.epoch % 2, kSource)) = card;
  }

  // True if a token with this header and these owners, in this order, is forwarded.
  bool forwards(const Header& header, const std::vector<uint32_t>& owners) {
    std::vector<HeaderEntry> entries(kTopK, {kNobody, 0, -1, 0});
    for (size_t i = 0; i < owners.size(); ++i) entries[i].owner = owners[i];
    return forwards_token(header, entries.data());
  }
  bool forwards_token(const Header& header, const HeaderEntry* entries) {
    char* const slot = board_.network + board_.net.dispatch.recv.at(0, kSource, 0);
    auto* const there = reinterpret_cast<Header*>(slot + trip_.shape.header_offset());
    *there = header;
    std::copy_n(entries, kTopK, there->entries());
    Forwarding<W> f = forwarding(1);
    const Grants<W> grants(*warp_, trip_.call);
    f.in.begin(*warp_, 0, Members::only(kSource));
    f.in.seen(kSource) = 1;
    forward_source(*warp_, trip_, grants, f, kSource);
    return f.entry[kSource] == 1;
  }
  // True if the log has room for this many entries, announced by rank 2.
  bool has_room(uint64_t entries) {
    return log_has_room(*warp_, trip_, forwarding(entries), sources_of(*warp_, trip_.call));
  }

  const std::vector<BrokenRecord>& told() const { return warp_.memory.broken_promises; }
  const std::vector<Route>& log() const { return log_; }
  // How many places from the log's first on were written, those behind its one entry included.
  size_t log_room_used() const {
    const auto last = std::find_if(log_.rbegin(), log_.rend(), [](const Route& r) { return r.target != kNobodys; });
    return size_t(log_.rend() - last);
  }

 private:
  static constexpr uint32_t kNobodys = 7;

  Forwarding<W> forwarding(uint64_t entries) {
    W& w = *warp_;
    const int sources = int(board_.map.sources());
    Forwarding<W> f{.in = {w, trip_.from_sources()},
                    .rings = {w, trip_.peers()},
                    .entry = zeros<Word>(w, sources),
                    .last = zeros<Word>(w, sources),
                    .seen = zeros<Word>(w, sources),
                    .gate = table<int>(w, sources, [](Lane) { return kGateTokens; }),
                    .announced = table<Announced>(w, sources, [](Lane) { return Announced{}; })};
    f.last[kSource] = entries;
    f.announced[kSource] = {2, 4, 5};
    return f;
  }

  void grant(uint32_t peer) {
    *reinterpret_cast<Word*>(peers_[0] + board_.up.grant_word.at(peer)) = card().epoch;
    auto* const there = reinterpret_cast<Grant*>(peers_[0] + board_.up.grant.at(card().epoch % 2, peer));
    *there = {.epoch = card().epoch,
              .card = card().digest(),
              .reachable = 1,
              .rows = board_.up.bytes,
              .scales = 0,
              .headers_or_weights = board_.up.bytes + kRows * trip_.shape.row_bytes,
              .rows_max = kRows};
  }

  PlainWarp warp_;
  RankTable table_{{2, 1}};
  Board board_{};
  DispatchTrip trip_{};
  std::vector<Word> up_[2], network_;
  char *peers_[2], *mapped_[3] = {};
  Counterpart sources_[4] = {{}, {}, {2, 0}, {}}, rails_[2] = {{}, {2, 0}};
  const Word always_ = ~Word(0);
  std::vector<Route> log_ = std::vector<Route>(kLogWidth + kTopK, Route{kNobodys, 0});
  uint32_t log_token_ = 0;
  Word sent_[16] = {}, taken_[16] = {}, drained_[16] = {};
};

}  // namespace transload::test
