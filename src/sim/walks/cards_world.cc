// Cards and grants between a few ranks, as a tiny world that can be walked.
#include "sim/walks/cards_world.h"

#include <cstring>
#include <numeric>

#include "protocol/call/cards.h"
#include "protocol/call/close.h"
#include "protocol/call/grants.h"

namespace transload {
namespace {

using W = WalkWarp;
constexpr size_t kRowWords = 2, kRowBytes = 8 * kRowWords;
constexpr char kOverwritten = char(0xEE);

uint32_t ranks_of(const CardsPlan& plan) { return std::accumulate(plan.node_sizes.begin(), plan.node_sizes.end(), 0u); }

TinyWorldPlan world_plan(const CardsPlan& plan) {
  const uint32_t ranks = ranks_of(plan);
  TinyWorldPlan world;
  world.node_sizes = plan.node_sizes;
  world.slots = 1;
  world.lease_bytes = ranks * kRowBytes;
  // Each rank has its card, arrivals and row, and for each peer a grant with the bases of at most ranks^2 source slots.
  world.private_words = ranks * (sizeof(Card) / 8 + 1 + kRowWords + ranks * (sizeof(Grant) / 8 + ranks * ranks));
  world.warps = plan.warps ? 3 : 1;
  world.faults = plan.faults;
  return world;
}

class CardsWorld final : public TinyWorld {
 public:
  explicit CardsWorld(const CardsPlan& plan) : TinyWorld(world_plan(plan)), cards_(plan) {
    for (uint32_t r = 0; r < ranks(); ++r) {
      const Board& b = board(r);
      const size_t grant_words = sizeof(Grant) / 8 + b.map.sources();
      own_.push_back({.call = {},
                      .card = take_private(sizeof(Card) / 8),
                      .arrivals = take_private(1),
                      .row = take_private(kRowWords),
                      .grants = take_private(grant_words * b.map.peers),
                      .grant_words = grant_words});
    }
  }
  ~CardsWorld() override { stop(); }

 private:
  struct Own {
    Call call;
    Word *card, *arrivals, *row, *grants;
    size_t grant_words;
  };

  static Word value(uint32_t rank, Word epoch) { return epoch << 16 | (rank + 1); }

  void lay_out(uint32_t rank, Word epoch) {
    Own& own = own_[rank];
    Card card{};
    card.epoch = epoch;
    card.operation = Operation::kCachedDispatch;
    card.channels = 1;
    std::memcpy(own.card, &card, sizeof card);
    *own.arrivals = 0;
    own.row[0] = own.row[1] = value(rank, epoch);
    Grant grant{};
    grant.epoch = epoch;
    grant.card = card.digest();
    grant.reachable = 1;
    grant.rows = lease_offset(rank);
    for (uint32_t p = 0; p < board(rank).map.peers; ++p)
      std::memcpy(own.grants + p * own.grant_words, &grant, sizeof grant);
    own.call = {.board = &board(rank),
                .card = card,
                .card_bytes = reinterpret_cast<const Card*>(own.card),
                .grants = reinterpret_cast<const char*>(own.grants),
                .grant_bytes = own.grant_words * 8,
                .arrivals = own.arrivals,
                .claims = nullptr,
                .arrivals_expected = 1};
  }

  std::vector<Task> call(uint32_t rank, uint32_t number) override {
    if (number == cards_.calls) return {};
    const Word epoch = number + 1;
    lay_out(rank, epoch);
    if (cards_.warps)
      return {[=, this](W& w) { open(w, rank); }, [=, this](W& w) { store(w, rank, 1); },
              [=, this](W& w) { close(w, rank); }};
    return {[=, this](W& w) {
      open(w, rank);
      stands_at(rank, 0, {epoch, 1, w.failed()});
      store(w, rank, 0);
      stands_at(rank, 0, {epoch, 2, w.failed()});
      close(w, rank);
      stands_at(rank, 0, {epoch, 3, w.failed()});
    }};
  }

  void open(W& w, uint32_t rank) {
    grant_call(w, own_[rank].call);
    open_call(w, own_[rank].call);
  }
  void close(W& w, uint32_t rank) { close_call(w, own_[rank].call); }

  void store(W& w, uint32_t rank, int warp) {
    const Own& own = own_[rank];
    const RankMap& map = own.call.board->map;
    if (cards_.stores) {
      w.enter(Role::kSender, 0);
      const Grants<W> grants(w, own.call);
      // The store stands for that of a dispatch's sender, which needs a grant first.
      if (grants.rows(0) == nullptr) return;
      stands_at(rank, warp, {own.call.epoch(), 4, w.failed(), reinterpret_cast<uintptr_t>(grants.rows(0))});
      w.scatter(TokenPieces{reinterpret_cast<const char*>(own.row), kRowBytes, nullptr, 0}, Set::first(int(map.peers)),
                [&](Lane p) {
                  return Destination{grants.rows(p) + map.peer * kRowBytes, nullptr, false};
                });
    }
    leave(w, own.call);
  }

  void check(uint32_t rank, uint32_t number) override {
    const RankMap& map = board(rank).map;
    if (!cards_.stores) return;
    const size_t bytes = map.peers * kRowBytes;
    char* const rows = lease(rank);
    if (!flights().at_rest(rows, bytes)) return say(rank, Checker::kReuse, "a lease has returned and is stored to");
    flights().host_load(rows, bytes);
    for (uint32_t p = 0; p < map.peers; ++p) {
      Word row[kRowWords];
      std::memcpy(row, rows + p * kRowBytes, sizeof row);
      if (row[0] != value(map.peer_rank(p), number + 1) || row[1] != row[0])
        return say(rank, Checker::kContent, "the row of a peer is not there when a call returns");
    }
    // The lease has another owner now, who writes over it.
    std::memset(rows, kOverwritten, bytes);
    flights().host_store(rows, bytes);
  }

  const CardsPlan cards_;
  std::vector<Own> own_;
};

}  // namespace

std::unique_ptr<TinyWorld> cards_world(const CardsPlan& plan) { return std::make_unique<CardsWorld>(plan); }

}  // namespace transload
