// PLAN: what learn_handle() (runtime/dispatch_call.h) does after notify, by one CTA of any number of whole warps.
//
//   reads    the mailboxes of counts, once all of them have been observed; my own counts to other nodes
//   writes   row bases, spans and log bounds of the handle; its report, and counts of experts behind it; to the host,
//            if it waits, the same and then the ticket, and that more rows came than a call allows that fails for it
#pragma once
#include <cstdint>

#include "base/math.h"
#include "kernels/launch.h"
#include "kernels/words.cuh"

namespace transload {

constexpr uint64_t kPlanNearBytes = 33 * sizeof(uint64_t);

// What is known only when the kernel runs.
struct PlanMoment {
  Word use;    // of the notify whose counts lie in the mailboxes
  Word epoch;  // of the call
  char* near;  // kPlanNearBytes, aligned to 8
};

// The sum over the lanes up to mine.
__device__ inline uint64_t sum_to_lane(uint64_t value) {
  const uint32_t lane = threadIdx.x % 32;
  for (uint32_t step = 1; step < 32; step *= 2) {
    const uint64_t other = __shfl_up_sync(~0u, value, step);
    if (lane >= step) value += other;
  }
  return value;
}

class PlanCta {
 public:
  TRANSLOAD_ROLE PlanCta(const PlanArgs& args, const PlanMoment& moment)
      : a_(args), b_(*args.board), moment_(moment), sums_(reinterpret_cast<uint64_t*>(moment.near)) {}

  TRANSLOAD_ROLE void run() {
    const uint32_t ranks = b_.map.ranks, sources = b_.map.sources();
    const DeviceHandle& h = a_.handle;
    begin_each(ranks, h.row_base, [&](uint32_t s) { return uint64_t(rank_record(s).tokens()); });
    begin_each(sources, h.log_begin, [&](uint32_t s) { return is_source(s) ? uint64_t(node_words(s)[1]) : 0; });
    for (uint32_t s = threadIdx.x; s < ranks; s += blockDim.x) h.source_tokens[s] = rank_record(s).source_tokens();
    for (uint32_t s = threadIdx.x; s < sources; s += blockDim.x) h.slot_tokens[s] = is_source(s) ? node_words(s)[0] : 0;
    for (uint32_t s = threadIdx.x / 32; s < ranks; s += blockDim.x / 32)
      write_spans(h.arriving + uint64_t(s) * (a_.channels + 1), h.row_base[s], rank_record(s).by_channel());
    for (uint32_t s = threadIdx.x / 32; s < sources; s += blockDim.x / 32)
      write_spans(h.forward + uint64_t(s) * (a_.channels + 1), h.log_begin[s],
                  is_source(s) ? node_words(s) + 2 : nullptr);
    count_experts();
    if (threadIdx.x == 0) *h.born = moment_.epoch;
    __syncthreads();
    if (threadIdx.x == 0) tell(h.row_base[ranks], *h.report);
  }

 private:
  TRANSLOAD_ROLE void tell(Word rows, DeviceReport& report) {
    report.call = moment_.epoch;
    report.rows_needed = rows;
    report.scale_out_rows = 0;
    for (uint32_t node = 0; node < b_.map.nodes; ++node)
      report.scale_out_rows +=
          reinterpret_cast<const uint32_t*>(a_.counts_to_nodes + node * b_.geometry.node_counts_bytes())[1];
    report.seal = a_.seal;
    if (a_.fails && rows > a_.rows_max) {
      a_.host->needed = rows;
      a_.host->given = a_.rows_max;
      publish_to_host(&a_.host->too_many, a_.state->too_many += 1);
    }
    if (a_.ticket == 0) return;
    a_.host->report = report;
    publish_to_host(&a_.host->ticket, a_.ticket);
  }

  TRANSLOAD_ROLE uint32_t parity() const { return uint32_t(moment_.use % 2); }
  TRANSLOAD_ROLE CountsRecord rank_record(uint32_t rank) const {
    return {reinterpret_cast<const uint32_t*>(b_.mine() + b_.up.counts.at(parity(), rank))};
  }
  TRANSLOAD_ROLE const uint32_t* node_words(uint32_t slot) const {
    return reinterpret_cast<const uint32_t*>(b_.network + b_.net.counts.at(parity(), slot));
  }
  TRANSLOAD_ROLE bool is_source(uint32_t slot) const { return b_.sources[slot].rank != kNobody; }

  // begin[i] = the sum of size(0) to size(i - 1), for i to `count`. All threads may read it afterwards.
  template <class Size>
  TRANSLOAD_ROLE void begin_each(uint32_t count, uint64_t* begin, Size size) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    uint64_t before = 0;
    if (threadIdx.x == 0) begin[0] = 0;
    for (uint32_t first = 0; first < count; first += blockDim.x) {
      const uint32_t i = first + threadIdx.x;
      uint64_t sum = sum_to_lane(i < count ? size(i) : 0);
      if (lane == 31) sums_[warp] = sum;
      __syncthreads();
      for (uint32_t w = 0; w < warp; ++w) sum += sums_[w];
      if (i < count) begin[i + 1] = before + sum;
      for (uint32_t w = 0; w < warps; ++w) before += sums_[w];
      __syncthreads();
    }
  }

  // By a warp. Without counts, zeros: a slot that nobody has.
  TRANSLOAD_ROLE void write_spans(uint64_t* spans, uint64_t begin, const uint32_t* counts) {
    const uint32_t lane = threadIdx.x % 32;
    if (!counts) begin = 0;
    if (lane == 0) spans[0] = begin;
    for (uint32_t first = 0; first < a_.channels; first += 32 * kAtOnce) {
      uint32_t read[kAtOnce];
#pragma unroll
      for (uint32_t i = 0; i < kAtOnce; ++i) {
        const uint32_t c = first + 32 * i + lane;
        read[i] = counts && c < a_.channels ? counts[c] : 0;
      }
#pragma unroll
      for (uint32_t i = 0; i < kAtOnce; ++i) {
        const uint32_t c = first + 32 * i + lane;
        const uint64_t sum = sum_to_lane(read[i]);
        if (c < a_.channels) spans[c + 1] = begin + sum;
        begin += __shfl_sync(~0u, sum, 31);
      }
    }
  }

  // A warp for some experts at once.
  TRANSLOAD_ROLE void count_experts() {
    const uint32_t lane = threadIdx.x % 32, experts = a_.experts.experts_of(b_.map.me);
    for (uint32_t first = threadIdx.x / 32 * kAtOnce; first < experts; first += blockDim.x / 32 * kAtOnce) {
      uint64_t rows[kAtOnce] = {};
      for (uint32_t s = lane; s < b_.map.ranks; s += 32) {
        const uint32_t* const of_experts = rank_record(s).by_expert(b_.geometry.channels);
#pragma unroll
        for (uint32_t i = 0; i < kAtOnce; ++i)
          if (first + i < experts) rows[i] += of_experts[first + i];
      }
#pragma unroll
      for (uint32_t i = 0; i < kAtOnce; ++i) {
        rows[i] = round_up(sum_to_lane(rows[i]), a_.alignment);
        if (lane != 31 || first + i >= experts) continue;
        a_.handle.expert_counts[first + i] = int64_t(rows[i]);
        if (a_.host_expert_counts) a_.host_expert_counts[first + i] = int64_t(rows[i]);
      }
    }
  }

  static constexpr uint32_t kAtOnce = 8;  // loads in flight

  const PlanArgs& a_;
  const Board& b_;
  const PlanMoment moment_;
  uint64_t* const sums_;  // [warps]
};

// All threads of one CTA call it, whole warps of them. Before it: the counts of all ranks were observed, and the CTA
// has met at a barrier since.
__device__ inline void learn_plan(const PlanArgs& args, const PlanMoment& moment) { PlanCta(args, moment).run(); }

}  // namespace transload
