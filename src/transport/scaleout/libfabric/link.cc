// The link: a queue for each counterpart, so that a slow or still connecting one holds up nobody else.
//
// Where the provider orders writes, a count is a write like the puts before it, in the same queue. Where it does not,
// every write completes on delivery, and a count is held until all puts before it have landed. Held counts go in
// rounds, of each word the latest; a round starts when the one before has landed, so that no word ever falls.
#include "transport/scaleout/libfabric/link.h"

#include <rdma/fi_eq.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <utility>

#include <transload/status.h>

#include "base/check.h"
#include "base/situations.h"
#include "os/host.h"
#include "transport/scaleout/libfabric/address.h"
#include "transport/scaleout/libfabric/endpoint.h"
#include "transport/scaleout/libfabric/ops.h"

namespace transload {
namespace {

constexpr size_t kWindowLeast = 16;
constexpr size_t kWindowMost = 256;  // writes in flight to one rank; beyond this a stopped rank could fill the queue
constexpr int kBatch = 32;           // completions that are read at once
constexpr int kBatchesMost = 16;     // the most batches that a progress() reads, so that it returns under any load

struct RemoteRank {
  uint32_t rank = 0;
  fi_addr_t address = FI_ADDR_UNSPEC;
  uint64_t key = 0;
  uint64_t base = 0;
  uint64_t region_bytes = 0;
  bool connected = false;
  bool lost = false;
  bool listed = false;       // the rank is in Impl::listed, because it has something to send
  OpList waiting;            // puts (and counts, where writes are ordered) that the provider has not taken yet
  OpList out;                // what the provider has taken and not completed
  OpList held;               // unordered: counts that are not sent yet
  Op* open_count = nullptr;  // unordered: the op of the next count, to which the puts before it point
  size_t round_left = 0;     // unordered: counts at the front of `held` that belong to the round under way
  size_t counts_out = 0;
  // Unordered: the latest count of each word. A count that repeats it is not sent: the word's reader may have left its
  // call, and then nobody makes the progress that lands it.
  std::unordered_map<uint64_t, Word> told;
};

Op& op_of(Draining& draining) {
  return *reinterpret_cast<Op*>(reinterpret_cast<char*>(&draining) - offsetof(Op, draining));
}

// Writes that the provider may have at once.
size_t out_most(const LibfabricOptions& options, size_t window) {
  return (window + kRoundMax) * std::max<size_t>(options.counterparts.size(), 1);
}

size_t window_of(const LibfabricOptions& options, const Provider& provider) {
  if (options.window != 0) return options.window;
  const size_t share = provider.info->tx_attr->size / std::max<size_t>(options.counterparts.size(), 1);
  return std::clamp(share, kWindowLeast, kWindowMost);
}

}  // namespace

struct LibfabricLink::Impl {
  Impl(const LibfabricOptions& given, Provider provider)
      : options(given),
        ordered(provider.ordered),
        by_hand(provider.by_hand),
        caution(provider.caution),
        piece_bytes(given.piece_bytes != 0 ? std::min(given.piece_bytes, provider.piece_bytes) : provider.piece_bytes),
        window(window_of(given, provider)),
        count_words(out_most(given, window)),
        endpoint(std::move(provider), given.source_address, out_most(given, window) + kBatch),
        pieces_most(endpoint.pieces_most()),
        name("libfabric " + endpoint.provider_name()) {
    region = endpoint.enroll({options.region, options.region_bytes, options.device}, FI_WRITE | FI_REMOTE_WRITE);
    count_descriptor = fi_mr_desc(endpoint.enroll({count_words.at(), count_words.bytes(), {}}, FI_WRITE));
    counterparts.resize(options.ranks);
    for (uint32_t rank = 0; rank < options.ranks; ++rank) counterparts[rank].rank = rank;
    listed.reserve(options.ranks);
    losses.reserve(options.counterparts.size());
  }

  std::string address() const;
  void connect(uint32_t rank, const std::string& address);
  RemoteRank& reach(uint32_t rank, uint64_t offset, size_t bytes);
  void put(const Put& put);
  void put_piece(RemoteRank& to, const Put& put, bool last);
  void send_count(RailWord to, Word count, bool awaited);
  bool post(RemoteRank& to, OpList& from);
  void list(RemoteRank& to);
  bool pump(RemoteRank& to);
  bool send_counts(RemoteRank& to);
  bool reap();
  void reap_error();
  void completed(Op& first);
  void finish(Op& op);
  void recycle(Op& op);
  void lose(RemoteRank& to, long code);
  bool push();

  const LibfabricOptions options;
  const bool ordered, by_hand;
  const std::string caution;
  std::string skipped;
  const size_t piece_bytes;
  const size_t window;
  OpPool pool;  // declared before the endpoint, which must be destroyed first
  CountWords count_words;
  FabricEndpoint endpoint;
  const size_t pieces_most;
  const std::string name;
  fid_mr* region = nullptr;
  void* count_descriptor = nullptr;
  DrainedWords drained;
  std::vector<RemoteRank> counterparts;  // [ranks]
  std::vector<uint32_t> listed;
  std::vector<LostPeer> losses;
  size_t losses_told = 0;
  std::string lacks;  // says that descriptors ran out, if a rank was lost by that; else ""
  uint64_t writes = 0;
  uint64_t unfinished = 0;  // puts (or pieces) and published counts that are not locally complete
};

std::string LibfabricLink::Impl::address() const {
  return FabricAddress{.rank = options.rank,
                       .key = fi_mr_key(region),
                       .base = endpoint.virtual_addresses() ? reinterpret_cast<uint64_t>(options.region) : 0,
                       .region_bytes = options.region_bytes,
                       .provider = endpoint.provider_name(),
                       .endpoint = endpoint.address()}
      .pack();
}

void LibfabricLink::Impl::connect(uint32_t rank, const std::string& address) {
  const FabricAddress theirs = FabricAddress::unpack(rank, address);
  if (theirs.provider != endpoint.provider_name())
    throw Error(Code::kInvalidArgument, "provider of rank " + std::to_string(rank) + " = \"" + theirs.provider +
                                            "\": rank " + std::to_string(options.rank) + " has \"" +
                                            endpoint.provider_name() + "\"" +
                                            (skipped.empty() ? "" : " (" + skipped + ")"));
  if (theirs.region_bytes != options.region_bytes)
    throw Error(Code::kInvalidArgument, "group: rank " + std::to_string(rank) + " offers " +
                                            std::to_string(theirs.region_bytes) + " bytes of network region, rank " +
                                            std::to_string(options.rank) + " has " +
                                            std::to_string(options.region_bytes) + ": are they of one version?");
  RemoteRank& to = counterparts[rank];
  to.key = theirs.key;
  to.base = theirs.base;
  to.region_bytes = theirs.region_bytes;
  to.address = endpoint.insert(rank, theirs.endpoint);
  to.connected = true;
}

RemoteRank& LibfabricLink::Impl::reach(uint32_t rank, uint64_t offset, size_t bytes) {
  TRANSLOAD_CHECK(rank < counterparts.size());
  RemoteRank& to = counterparts[rank];
  TRANSLOAD_CHECK(to.connected);
  TRANSLOAD_CHECK(offset <= to.region_bytes && bytes <= to.region_bytes - offset);
  return to;
}

void LibfabricLink::Impl::put(const Put& put) {
  RemoteRank& to = reach(put.rank, put.offset, put.bytes);
  const size_t at = size_t(put.from - options.region);
  TRANSLOAD_CHECK(put.bytes == 0 || (at <= options.region_bytes && put.bytes <= options.region_bytes - at));
  Put piece = put;
  size_t left = put.bytes;
  do {
    piece.bytes = std::min(left, piece_bytes);
    left -= piece.bytes;
    put_piece(to, piece, left == 0);
    piece.from += piece.bytes;
    piece.offset += piece.bytes;
  } while (left != 0);
}

void LibfabricLink::Impl::put_piece(RemoteRank& to, const Put& put, bool last) {
  Op& op = pool.take();
  op.rank = to.rank;
  op.from = put.from;
  op.bytes = put.bytes;
  op.offset = put.offset;
  op.descriptor = fi_mr_desc(region);
  op.awaited = true;
  ++unfinished;
  if (put.drained != nullptr) {
    op.draining.word = put.drained;
    op.draining.count = put.drained_count;
    op.draining.announces = last;
    op.queued = true;
    drained.add(op.draining);
  }
  if (to.lost || put.bytes == 0) return finish(op);
  if (!ordered) {
    if (to.open_count == nullptr) to.open_count = &pool.take();
    op.counted_by = to.open_count;
    ++op.counted_by->puts_out;
  }
  to.waiting.append(op);
  list(to);
}

void LibfabricLink::Impl::send_count(RailWord word, Word count, bool awaited) {
  RemoteRank& to = reach(word.rank, word.offset, sizeof(Word));
  TRANSLOAD_CHECK(word.offset % sizeof(Word) == 0);
  if (to.lost) return;
  if (!ordered && std::exchange(to.told[word.offset], count) == count) return;
  Op& op = to.open_count != nullptr ? *to.open_count : pool.take();
  to.open_count = nullptr;
  op.rank = to.rank;
  op.is_count = true;
  op.count = count;
  op.bytes = sizeof(Word);
  op.offset = word.offset;
  op.descriptor = count_descriptor;
  op.awaited = awaited;
  unfinished += awaited;
  (ordered ? to.waiting : to.held).append(op);
  list(to);
}

// Hands the provider the first op of `from`, one of the counterpart's queues, in one write with those after it that
// fit: over a socket each write is a message of its own. False: the provider takes nothing now, or the rank is lost.
bool LibfabricLink::Impl::post(RemoteRank& to, OpList& from) {
  Op& first = *from.first();
  FabricPiece pieces[FabricWrite::kPiecesMost];
  size_t count = 0, bytes = 0;
  for (Op* op = &first; op != nullptr && count < pieces_most; op = op->next) {
    if (count != 0 && bytes + op->bytes > piece_bytes) break;
    if (op->is_count && op->lent == nullptr) {
      op->lent = count_words.lend();
      *op->lent = op->count;
      op->from = reinterpret_cast<const char*>(op->lent);
    }
    pieces[count++] = {op->from, op->bytes, op->descriptor, to.base + op->offset};
    bytes += op->bytes;
  }
  const ssize_t code =
      endpoint.write({.context = &first.context, .pieces = pieces, .count = count, .rank = to.address, .key = to.key});
  if (code == 0) {
    ++writes;
    Op* last = nullptr;
    for (; count != 0; --count) {
      Op* const op = from.take();
      to.out.append(*op);
      op->out = true;
      if (last != nullptr) last->joined = op;
      last = op;
    }
    return true;
  }
  if (code != -FI_EAGAIN) lose(to, code);
  return false;
}

// Lists a rank that has something to send, for the next hand_over() or progress().
void LibfabricLink::Impl::list(RemoteRank& to) {
  if (to.listed) return;
  to.listed = true;
  listed.push_back(to.rank);
}

bool LibfabricLink::Impl::pump(RemoteRank& to) {
  bool moved = send_counts(to);
  while (!to.waiting.empty() && to.out.size() < window && post(to, to.waiting)) moved = true;
  return moved;
}

bool LibfabricLink::Impl::send_counts(RemoteRank& to) {
  bool moved = false;
  if (to.round_left == 0 && to.counts_out == 0)
    to.round_left = start_round(to.held, [this](Op& superseded) { finish(superseded); });
  while (to.round_left != 0 && post(to, to.held)) {
    ++to.counts_out;
    --to.round_left;
    moved = true;
  }
  return moved;
}

bool LibfabricLink::Impl::reap() {
  bool moved = false;
  for (int batch = 0; batch < kBatchesMost; ++batch) {
    fi_cq_entry entries[kBatch];
    const ssize_t count = fi_cq_read(endpoint.completions(), entries, kBatch);
    if (count == -FI_EAGAIN) break;
    moved = true;
    if (count > 0) {
      for (ssize_t i = 0; i < count; ++i)
        if (entries[i].op_context != nullptr) completed(*static_cast<Op*>(entries[i].op_context));
    } else if (count == -FI_EAVAIL) {
      reap_error();
    } else {
      for (const uint32_t rank : options.counterparts) lose(counterparts[rank], count);
      break;
    }
  }
  return moved;
}

void LibfabricLink::Impl::reap_error() {
  fi_cq_err_entry error{};
  if (fi_cq_readerr(endpoint.completions(), &error, 0) <= 0 || error.op_context == nullptr) return;
  Op& op = *static_cast<Op*>(error.op_context);
  RemoteRank& to = counterparts[op.rank];
  completed(op);
  lose(to, error.err);
}

void LibfabricLink::Impl::completed(Op& first) {
  RemoteRank& to = counterparts[first.rank];
  for (Op *op = &first, *next; op != nullptr; op = next) {
    next = op->joined;
    op->out = false;
    if (to.lost) {
      recycle(*op);  // the op was finished when its rank was lost
      continue;
    }
    to.out.remove(*op);
    if (op->is_count && !ordered) --to.counts_out;
    finish(*op);
  }
}

// Ends an op that is locally complete, or that nobody will ever complete.
void LibfabricLink::Impl::finish(Op& op) {
  unfinished -= op.awaited;
  if (op.counted_by != nullptr) --op.counted_by->puts_out;
  if (!op.queued) return recycle(op);
  drained.finish(op.draining, [this](Draining& draining) {
    Op& gone = op_of(draining);
    gone.queued = false;
    recycle(gone);
  });
}

void LibfabricLink::Impl::recycle(Op& op) {
  if (op.out || op.queued) return;
  if (op.lent != nullptr) count_words.give_back(op.lent);
  pool.give(op);
}

// Gives a rank up. Everything for it counts as done, so that nobody waits for it; what the provider still has comes
// back to the pool with its completion, or never.
void LibfabricLink::Impl::lose(RemoteRank& to, long code) {
  if (to.lost) return;
  to.lost = true;
  losses.push_back({to.rank, name + ": " + fabric_error(code)});
  if (!limit_behind(int(std::abs(code))).empty()) lacks = losses.back().reason;
  while (Op* op = to.out.take()) finish(*op);
  while (Op* op = to.waiting.take()) finish(*op);
  while (Op* op = to.held.take()) finish(*op);
  if (to.open_count != nullptr) recycle(*to.open_count);
  to.open_count = nullptr;
  to.round_left = 0;
}

bool LibfabricLink::Impl::push() {
  bool moved = false;
  for (size_t i = 0; i < listed.size();) {
    RemoteRank& to = counterparts[listed[i]];
    moved |= pump(to);
    if (!to.waiting.empty()) reached(Situation::kQueueFull);
    to.listed = !to.waiting.empty() || !to.held.empty();
    if (to.listed) {
      ++i;
    } else {
      listed[i] = listed.back();
      listed.pop_back();
    }
  }
  return moved;
}

LibfabricLink::LibfabricLink(const LibfabricOptions& options) {
  TRANSLOAD_CHECK(options.region != nullptr && options.region_bytes != 0);
  std::string skipped;
  Code code = Code::kOk;
  for (const std::string& name : candidates(options)) try {
      impl_ = std::make_unique<Impl>(options, find_provider(name, options));
      impl_->skipped = skipped;
      return;
    } catch (const Error& error) {
      if (error.code() == Code::kOutOfMemory) throw;
      if (skipped.empty()) code = error.code();
      skipped += (skipped.empty() ? "" : "; ") + std::string(error.what());
    }
  throw Error(code, skipped);
}

LibfabricLink::~LibfabricLink() = default;

std::string LibfabricLink::address() const { return impl_->address(); }

void LibfabricLink::connect(const std::vector<std::string>& addresses_by_rank) {
  if (addresses_by_rank.size() != impl_->options.ranks)
    throw Error(Code::kInvalidArgument, "addresses_by_rank: " + std::to_string(addresses_by_rank.size()) +
                                            " of them, must be " + std::to_string(impl_->options.ranks));
  for (const uint32_t rank : impl_->options.counterparts) {
    TRANSLOAD_CHECK(rank < impl_->options.ranks && rank != impl_->options.rank);
    impl_->connect(rank, addresses_by_rank[rank]);
  }
}

bool LibfabricLink::ordered() const { return impl_->ordered; }
std::string LibfabricLink::caution() const { return impl_->caution; }
std::string LibfabricLink::domain() const { return impl_->endpoint.provider().info->domain_attr->name; }
std::string LibfabricLink::skipped() const { return impl_->skipped; }
uint64_t LibfabricLink::writes() const { return impl_->writes; }
size_t LibfabricLink::registrations() const { return impl_->endpoint.registrations(); }
std::string LibfabricLink::name() const { return impl_->name; }
char* LibfabricLink::mapped(uint32_t) const { return nullptr; }
void LibfabricLink::put(const Put& put) { impl_->put(put); }
void LibfabricLink::publish(RailWord to, Word count) { impl_->send_count(to, count, true); }
void LibfabricLink::credit(RailWord to, Word count) { impl_->send_count(to, count, false); }
void LibfabricLink::hand_over() { impl_->push(); }
bool LibfabricLink::progress() {
  const bool reaped = impl_->reap();
  return impl_->push() || reaped;
}
uint32_t LibfabricLink::busy_with() const {
  if (impl_->unfinished == 0) return kNobody;
  for (const RemoteRank& to : impl_->counterparts)
    for (const OpList* list : {&to.waiting, &to.out, &to.held})
      for (const Op* op = list->first(); op != nullptr; op = op->next)
        if (op->awaited) return to.rank;
  return impl_->options.rank;
}
std::string LibfabricLink::lacks() const { return impl_->lacks; }
int LibfabricLink::wait_fd() const { return impl_->endpoint.wait_fd(); }
bool LibfabricLink::needs_a_hand() const { return impl_->by_hand; }
bool LibfabricLink::arrives_silently() const {
  return wait_fd() < 0 || lands_silently(impl_->endpoint.provider_name());
}
bool LibfabricLink::may_sleep() { return impl_->endpoint.may_sleep(); }

bool LibfabricLink::lost(LostPeer& peer) {
  if (impl_->losses_told == impl_->losses.size()) return false;
  peer = impl_->losses[impl_->losses_told++];
  return true;
}

}  // namespace transload
