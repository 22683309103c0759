// The plan alone on a device, without the notify before it, and all that it reads and writes.
#pragma once
#include "kernels/tables/plan.cuh"
#include "tests/gpu/buffers.cuh"

namespace transload {

struct PlanTrial {
  PlanArgs args;
  Word use, epoch;
  bool counted, may_tell;  // what the warp that notifies would say
};

static __global__ void __launch_bounds__(1024) plan_kernel(const __grid_constant__ PlanTrial trial) {
  const uint32_t warps = blockDim.x / 32;
  auto counts_here = [&] {
    meet(1, warps);
    return trial.counted;
  };
  auto may_tell = [&] {
    meet(2, tellers_of(warps));
    return trial.may_tell;
  };
  learn_plan(trial.args, {trial.use, trial.epoch, threadIdx.x / 32, warps}, counts_here, may_tell);
}

inline uint64_t counts_of(const ReceivePlan& plan) {
  return report_counts(plan.expert_counts.size(), plan.source_tokens.size());
}

struct PlanBuffers {
  Buffer up, network, sources, to_nodes, peers, board, state;
  Buffer born, log_begin, slot_tokens, row_base, source_tokens, forward, arriving, report;

  PlanBuffers(const Mailboxes& boxes, const Tables& tables, PlanResult& result,
              const std::vector<char>& counts_to_nodes)
      : up(boxes.up),
        network(boxes.network),
        sources(boxes.sources),
        to_nodes(counts_to_nodes),
        peers(std::vector<char*>(tables.map.peers, up.as<char>())),
        board(sizeof(Board)),
        state(sizeof(DeviceState)),
        born(8),
        log_begin(8 * result.tables.log_begin.size()),
        slot_tokens(4 * result.tables.slot_tokens.size()),
        row_base(8 * result.plan.row_base.size()),
        source_tokens(4 * result.plan.source_tokens.size()),
        forward(bytes_of(result.forward, result.tables.slot_tokens.size())),
        arriving(bytes_of(result.arriving, result.plan.source_tokens.size())),
        report(sizeof(DeviceReport) + 8 * counts_of(result.plan)),
        boxes_(boxes) {
    report.zero();
    state.zero();
  }

  // All but alignment, seal, and what the host is told.
  PlanArgs args(const LayoutWorld& world, const Tables& tables, const PlanResult& result) {
    Board mine{};
    mine.map = tables.map;
    mine.geometry = world.geometry(world.ranks.seen_by(world.me));
    mine.up = boxes_.up_plan;
    mine.net = boxes_.net_plan;
    mine.peer = peers.as<char*>();
    mine.network = network.as<char>();
    mine.sources = sources.as<Counterpart>();
    board.write(std::vector<Board>{mine});
    PlanArgs args{};
    args.board = board.as<Board>();
    args.experts = tables.experts;
    args.channels = world.c.channels;
    args.handle.report = report.as<DeviceReport>();
    args.handle.expert_counts = reinterpret_cast<int64_t*>(args.handle.report + 1);
    args.handle.source_rows = args.handle.expert_counts + result.plan.expert_counts.size();
    args.handle.born = born.as<Word>();
    args.handle.tables.log_begin = log_begin.as<uint64_t>();
    args.handle.tables.slot_tokens = slot_tokens.as<uint32_t>();
    args.handle.tables.row_base = row_base.as<uint64_t>();
    args.handle.tables.source_tokens = source_tokens.as<uint32_t>();
    args.handle.forward = forward.as<uint64_t>();
    args.handle.arriving = arriving.as<uint64_t>();
    args.counts_to_nodes = to_nodes.as<char>();
    args.state = state.as<DeviceState>();
    args.rows_max = result.plan.rows() / 2;
    return args;
  }

  bool untouched(size_t counts) {
    bool good = report.holds("report before the counts", std::vector<Word>(8 + counts));
    for (Buffer* each : {&born, &log_begin, &slot_tokens, &row_base, &source_tokens, &forward, &arriving})
      good = each->holds("a table before the counts", nullptr, 0) && good;
    return good;
  }

  bool hold(PlanResult& expected) {
    bool good = row_base.holds("row bases", expected.plan.row_base);
    good = source_tokens.holds("source tokens", expected.plan.source_tokens) && good;
    const size_t ranks = expected.plan.source_tokens.size(), slots = expected.tables.slot_tokens.size();
    good = arriving.holds("arriving", expected.arriving.row(0), bytes_of(expected.arriving, ranks)) && good;
    good = forward.holds("forward", expected.forward.row(0), bytes_of(expected.forward, slots)) && good;
    good = log_begin.holds("log begins", expected.tables.log_begin) && good;
    return slot_tokens.holds("slot tokens", expected.tables.slot_tokens) && good;
  }

 private:
  static uint64_t bytes_of(const SpanTable& spans, uint64_t rows) {
    return rows * (spans.view().channels + 1) * sizeof(uint64_t);
  }

  const Mailboxes& boxes_;
};

}  // namespace transload
