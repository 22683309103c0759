// PLAN: what receive_plan() and learn_handle() (layout/handle.h) do after notify, by any number of whole warps of one
// block.
//
//   reads    the mailboxes of counts, once all of them have been observed; my own counts to other nodes
//   writes   row bases, spans and log bounds of the handle; its report, then counts of experts and of sources;
//            to the host, if it waits, the same and then the number of the dispatch; and to the host, that a call
//            failed because room was short
//
// Remote loads are slow. So each warp reads all that it needs at once and waits for no other.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/math.h"
#include "executor/cuda/order.cuh"
#include "kernels/block_wait.cuh"
#include "kernels/tables/table_kernels.h"

namespace transload {

// What is known only when the kernel runs.
struct PlanMoment {
  Word use;              // use of the notify whose counts lie in the mailboxes
  Word epoch;            // epoch of the call
  uint32_t warp, warps;  // this warp's index among the warps that plan, and their number
};

// How many of the warps that plan tell the host: the first ones. The others write spans. If only one warp plans, it
// does both.
TRANSLOAD_HD constexpr uint32_t tellers_of(uint32_t warps) { return warps < 2 ? 1 : warps / 2; }

// Whole warps of a block meet: afterwards each sees what the others wrote before. Barrier 0 is that of __syncthreads().
__device__ inline void meet(uint32_t barrier, uint32_t warps) { __barrier_sync_count(barrier, warps * 32); }

// The sum over the lanes up to mine.
template <class T>
__device__ T sum_to_lane(T value) {
  const uint32_t lane = threadIdx.x % 32;
#pragma unroll
  for (uint32_t step = 1; step < 32; step *= 2) {
    const T other = __shfl_up_sync(~0u, value, step);
    if (lane >= step) value += other;
  }
  return value;
}

// The sum over all lanes, of values below 2^51.
__device__ inline uint64_t sum_of_warp(uint64_t value) {
  const uint32_t low = __reduce_add_sync(~0u, uint32_t(value) & 0xffffff);
  return low + (uint64_t(__reduce_add_sync(~0u, uint32_t(value >> 24))) << 24);
}

class PlanWarp {
 public:
  // Reads what does not depend on counts.
  TRANSLOAD_DEVICE PlanWarp(const PlanArgs& args, const PlanMoment& moment)
      : a_(args),
        b_(*args.board),
        moment_(moment),
        lane_(threadIdx.x % 32),
        tellers_(tellers_of(moment.warps)),
        mine_(b_.mine()),
        experts_(args.experts.experts_of(b_.map.me)) {
    if (moment.warp == 0) report_ = begin_report();
  }

  // Tellers call may_tell() once they have written what the host may read.
  template <class MayTell>
  TRANSLOAD_DEVICE void learn(MayTell may_tell) {
    const Records ranks = records_of_ranks(), slots = records_of_slots();
    if (moment_.warp < tellers_) {
      const Word rows = moment_.warp == 0 ? learn_rows(ranks) : 0;
      count_experts(ranks);
      if (moment_.warp + 1 == tellers_) count_sources(ranks);
      if (may_tell() && moment_.warp == 0) tell(rows);
    }
    if (moment_.warps == 1 || moment_.warp >= tellers_) write_spans(ranks, slots);
  }

 private:
  static constexpr uint32_t kReportWords = sizeof(DeviceReport) / sizeof(Word);
  static constexpr uint32_t kChannelsEach = 8;                     // channels that a lane takes
  static constexpr uint32_t kChannelsAtOnce = 32 * kChannelsEach;  // channels that a warp takes at a time
  static constexpr uint32_t kSizesAtOnce = 4, kExpertsAtOnce = 8;  // reads that a lane has under way

  // Records of counts, of ranks or of source slots. They begin alike: how many tokens the source has, how many of them
  // come, and these by channel.
  struct Records {
    const char* at;
    uint64_t step;
    uint32_t count;
    const Counterpart* sources;  // [count] null: no record is missing
    uint64_t* begin;             // [count + 1]
    uint32_t* tokens;            // [count]
    uint64_t* spans;             // [count][channels + 1]

    TRANSLOAD_DEVICE CountsRecord record(uint32_t i) const { return CountsRecord::at(at + i * step); }
    TRANSLOAD_DEVICE const uint32_t* words(uint32_t i) const { return record(i).words; }
    TRANSLOAD_DEVICE bool there(uint32_t i) const {
      return sources == nullptr || ptx::load32(&sources[i].rank) != kNobody;
    }
    // How many tokens come. Both reads are under way before the first is looked at, as in read().
    TRANSLOAD_DEVICE uint32_t size(uint32_t i) const {
      const uint32_t size = ptx::load32(words(i) + CountsRecord::kTokens);
      return there(i) ? size : 0;
    }
  };

  // Some channels of a record.
  struct RecordSlice {
    uint32_t record, channel;  // the record's number, and the slice's first channel
    bool there;
    uint32_t tokens, size;           // tokens that the source has, and tokens that come
    uint32_t counts[kChannelsEach];  // counts of my lane's channels
  };

  TRANSLOAD_DEVICE uint32_t parity() const { return uint32_t(moment_.use % 2); }
  TRANSLOAD_DEVICE static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

  TRANSLOAD_DEVICE Records records_of_ranks() const {
    const Block& boxes = b_.up.counts;
    return {.at = mine_ + boxes.at(parity(), 0),
            .step = boxes.at(0, 1) - boxes.at(0, 0),
            .count = b_.map.ranks,
            .sources = nullptr,
            .begin = a_.handle.tables.row_base,
            .tokens = a_.handle.tables.source_tokens,
            .spans = a_.handle.arriving};
  }
  TRANSLOAD_DEVICE Records records_of_slots() const {
    const Block& boxes = b_.net.counts;
    return {.at = b_.network + boxes.at(parity(), 0),
            .step = boxes.at(0, 1) - boxes.at(0, 0),
            .count = b_.map.sources(),
            .sources = b_.sources,
            .begin = a_.handle.tables.log_begin,
            .tokens = a_.handle.tables.slot_tokens,
            .spans = a_.handle.forward};
  }

  // A word of the report for each of the first lanes; the rows are not known yet.
  TRANSLOAD_DEVICE Word begin_report() const {
    uint64_t crossing = 0;
#pragma unroll 1
    for (uint32_t node = lane_; node < b_.map.nodes; node += 32)
      crossing += CountsRecord::at(a_.counts_to_nodes + node * b_.geometry.node_counts_bytes()).tokens();
    crossing = sum_of_warp(crossing);
    if (lane_ == offsetof(DeviceReport, seal) / sizeof(Word)) return a_.seal;
    if (lane_ == offsetof(DeviceReport, call) / sizeof(Word)) return moment_.epoch;
    if (lane_ == offsetof(DeviceReport, scale_out_rows) / sizeof(Word)) return crossing;
    return lane_ < kReportWords ? reinterpret_cast<const Word*>(a_.handle.report)[lane_] : 0;
  }

  TRANSLOAD_DEVICE Word learn_rows(const Records& ranks) {
    const Word rows = sum_before(ranks, ranks.count);
    if (lane_ == offsetof(DeviceReport, rows_needed) / sizeof(Word)) report_ = rows;
    if (a_.awaited_dispatch != 0 && lane_ < kReportWords) reinterpret_cast<Word*>(&a_.host->report)[lane_] = report_;
    return rows;
  }

  // The host is told first: what only later kernels read may be written until this kernel ends.
  TRANSLOAD_DEVICE void tell(Word rows) {
    if (lane_ == 0) {
      if (a_.fails && rows > a_.rows_max) {
        a_.host->needed = rows;
        a_.host->given = a_.rows_max;
        publish_to_host(&a_.host->too_many, a_.state->too_many += 1);
      }
      if (a_.awaited_dispatch != 0) publish_to_host(&a_.host->reported, a_.awaited_dispatch);
      *a_.handle.born = moment_.epoch;
    }
    if (lane_ < kReportWords) reinterpret_cast<Word*>(a_.handle.report)[lane_] = report_;
  }

  TRANSLOAD_DEVICE uint64_t sum_before(const Records& of, uint32_t end) const {
    uint64_t sum = 0;
#pragma unroll 1
    for (uint32_t first = 0; first < end; first += 32 * kSizesAtOnce) {
      uint32_t sizes[kSizesAtOnce];
#pragma unroll
      for (uint32_t k = 0; k < kSizesAtOnce; ++k) sizes[k] = of.size(least(first + 32 * k + lane_, end - 1));
#pragma unroll
      for (uint32_t k = 0; k < kSizesAtOnce; ++k) sum += first + 32 * k + lane_ < end ? sizes[k] : 0;
    }
    return sum_of_warp(sum);
  }

  // A lane adds up the counts of one expert. If there are fewer experts than lanes, the lanes of an expert share out
  // the ranks.
  TRANSLOAD_DEVICE void count_experts(const Records& ranks) {
    if (experts_ == 0) return;
    const uint32_t log = 32 - uint32_t(__clz(int(least(experts_, 32) - 1))), across = 32 >> log;
    const uint32_t place = lane_ & ((1u << log) - 1), row = lane_ >> log;
    // The first warp takes the last experts, which may be fewer, because it also writes the report.
    const uint32_t turn = moment_.warp == 0 ? tellers_ - 1 : moment_.warp - 1;
#pragma unroll 1
    for (uint32_t e = turn * 32 + place; e - place < experts_; e += tellers_ * 32) {
      uint64_t rows = 0;
#pragma unroll 1
      for (uint32_t first = row; first - row < ranks.count; first += across * kExpertsAtOnce) {
        uint32_t read[kExpertsAtOnce];
#pragma unroll
        for (uint32_t k = 0; k < kExpertsAtOnce; ++k) {
          const uint32_t s = first + across * k;
          read[k] = s < ranks.count && e < experts_ ? ranks.record(s).by_expert(b_.geometry.channels)[e] : 0;
        }
#pragma unroll
        for (uint32_t k = 0; k < kExpertsAtOnce; ++k) rows += read[k];
      }
#pragma unroll 1
      for (uint32_t step = 1u << log; step < 32; step *= 2) rows += __shfl_xor_sync(~0u, rows, step);
      if (row == 0 && e < experts_) write_count(e, aligned(rows));
    }
  }
  // Writes one of the counts that follow the report.
  TRANSLOAD_DEVICE void write_count(uint32_t i, uint64_t rows) const {
    a_.handle.expert_counts[i] = int64_t(rows);
    if (a_.host_counts) a_.host_counts[i] = int64_t(rows);
  }
  // Rows that are kept, up to each rank. Lanes are ranks.
  TRANSLOAD_DEVICE void count_sources(const Records& ranks) const {
    uint64_t before = 0;
#pragma unroll 1
    for (uint32_t first = 0; first < ranks.count; first += 32) {
      const uint32_t s = first + lane_;
      const uint64_t size = s < ranks.count ? ranks.size(s) : 0, upto = before + sum_to_lane(size);
      if (s < ranks.count) write_count(experts_ + s, upto < a_.rows_max ? upto : a_.rows_max);
      before = __shfl_sync(~0u, upto, 31);
    }
  }
  TRANSLOAD_DEVICE uint64_t aligned(uint64_t rows) const {
    const uint64_t unit = a_.alignment;
    // A division takes long, and powers of two need none.
    return (unit & (unit - 1)) == 0 ? (rows + unit - 1) & ~(unit - 1) : round_up(rows, unit);
  }

  // Gives each writing warp a stretch of neighbouring records, so that it sums what comes before them once, and not for
  // each record.
  TRANSLOAD_DEVICE void write_spans(const Records& ranks, const Records& slots) {
    const uint32_t others = moment_.warps == 1 ? 0 : tellers_, writers = moment_.warps - others;
    const uint32_t all = ranks.count + slots.count, each = (all + writers - 1) / writers;
    const uint32_t first = least((moment_.warp - others) * each, all), end = least(first + each, all);
#pragma unroll 1
    for (uint32_t kind = 0; kind < 2; ++kind) {
      const Records of = kind == 0 ? ranks : slots;
      const uint32_t before = kind == 0 ? 0 : ranks.count;
      const uint32_t from = first < before ? 0 : first - before, to = end < before ? 0 : least(end - before, of.count);
      if (from < to) write_spans_of(of, from, to);
    }
  }

  // The next slice is loaded while one is written.
  TRANSLOAD_DEVICE void write_spans_of(const Records& of, uint32_t from, uint32_t to) {
    RecordSlice slice = read(of, from, 0);
    uint64_t begin = sum_before(of, from), at = 0;
#pragma unroll 1
    for (;;) {
      const bool last = slice.channel + kChannelsAtOnce >= a_.channels;
      const uint32_t record = slice.record + last;
      const RecordSlice next = record < to ? read(of, record, last ? 0 : slice.channel + kChannelsAtOnce) : slice;
      if (slice.channel == 0) {
        at = slice.there ? begin : 0;
        if (lane_ == 0) write_head(of, slice, begin);
      }
      at = write(of, slice, at);
      if (last) begin += slice.size;
      if (record == to) return;
      slice = next;
    }
  }

  TRANSLOAD_DEVICE RecordSlice read(const Records& of, uint32_t record, uint32_t channel) const {
    const uint32_t* const words = of.words(record);
    static_assert(CountsRecord::kSourceTokens == 0 && CountsRecord::kTokens == 1);
    const uint64_t head = ptx::load64(words);
    RecordSlice slice{.record = record,
                      .channel = channel,
                      .there = of.there(record),
                      .tokens = uint32_t(head),
                      .size = uint32_t(head >> 32),
                      .counts = {}};
#pragma unroll
    for (uint32_t k = 0; k < kChannelsEach; k += 2) {
      // Even, so word c + 1 is the record's too: records are whole units of 16 bytes.
      const uint32_t c = channel + kChannelsEach * lane_ + k;
      const uint2 pair =
          c < a_.channels ? *reinterpret_cast<const uint2*>(words + CountsRecord::kByChannel + c) : uint2{};
      slice.counts[k] = pair.x;
      slice.counts[k + 1] = c + 1 < a_.channels ? pair.y : 0;
    }
    if (slice.there) return slice;
    return {.record = record, .channel = channel, .there = false, .tokens = 0, .size = 0, .counts = {}};
  }

  TRANSLOAD_DEVICE void write_head(const Records& of, const RecordSlice& slice, uint64_t begin) const {
    of.begin[slice.record] = begin;
    if (slice.record + 1 == of.count) of.begin[of.count] = begin + slice.size;
    of.tokens[slice.record] = slice.tokens;
    of.spans[uint64_t(slice.record) * (a_.channels + 1)] = slice.there ? begin : 0;
  }

  // Writes the spans of a slice, which begins at `at`. Returns where the channel after it begins.
  TRANSLOAD_DEVICE uint64_t write(const Records& of, const RecordSlice& slice, uint64_t at) const {
    uint32_t mine = 0;
#pragma unroll
    for (uint32_t k = 0; k < kChannelsEach; ++k) mine += slice.counts[k];
    const uint32_t upto = sum_to_lane(mine);
    const uint32_t c = slice.channel + kChannelsEach * lane_;
    uint64_t* const spans = of.spans + uint64_t(slice.record) * (a_.channels + 1) + 1 + c;
    uint64_t place = at + upto - mine;
#pragma unroll
    for (uint32_t k = 0; k < kChannelsEach; ++k) {
      place += slice.counts[k];
      if (c + k < a_.channels) spans[k] = place;
    }
    return at + __shfl_sync(~0u, upto, 31);
  }

  const PlanArgs& a_;
  const Board& b_;
  const PlanMoment moment_;
  const uint32_t lane_, tellers_;
  const char* const mine_;
  const uint32_t experts_;
  Word report_ = 0;  // in the first warp: the word of the report that my lane writes
};

// Every planning warp calls this. counts_here() blocks until all counts have arrived and says whether they may be read.
// may_tell(), which tellers alone call, says whether the handle may be published.
template <class CountsHere, class MayTell>
TRANSLOAD_DEVICE void learn_plan(const PlanArgs& args, const PlanMoment& moment, CountsHere counts_here,
                                 MayTell may_tell) {
  PlanWarp plan(args, moment);
  if (counts_here()) plan.learn(may_tell);
}

}  // namespace transload
