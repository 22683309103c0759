// Layout, headers, plan and spans on a device against the host's, byte by byte; then how long a layout takes.
//
//   layout_check [seed [cases]]     prints one line a group, and "N cases, 0 wrong"; exits 1 otherwise
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>

#include "kernels/kernel_launch.cuh"
#include "kernels/tables/table_kernels.h"
#include "tests/gpu/buffers.cuh"
#include "tests/gpu/layout_cases.h"
#include "tests/gpu/plan_trial.cuh"

namespace transload {
namespace {

// Device memory of one layout.
struct LayoutBuffers {
  ScaleMatrix scales;
  Buffer narrow, wide, weights, scale_values, staged_scales, headers, routes, to_peers, to_nodes;

  LayoutBuffers(const LayoutWorld& world, const LayoutResult& expected)
      : scales(world.inputs[world.me].tokens, world.shape.scales, world.c.channels),
        narrow(world.inputs[world.me].narrow),
        wide(world.inputs[world.me].wide),
        weights(world.inputs[world.me].weights),
        scale_values(scales.values),
        staged_scales(world.inputs[world.me].tokens * world.shape.scale_room()),
        headers(expected.headers.size() - 1),
        routes(expected.out.routes.size() * sizeof(Route)),
        to_peers(expected.to_peers.size()),
        to_nodes(expected.to_nodes.size()) {}

  void fill(const LayoutWorld& world, LayoutArgs& args) {
    args.routing = {world.c.wide_ids ? nullptr : narrow.as<int32_t>(), wide.as<int64_t>(), weights.as<float>(),
                    world.inputs[world.me].tokens, world.c.top_k};
    args.scales = {scale_values.as<uint32_t>(), scales.token_stride, scales.scale_stride};
    args.staged_scales = staged_scales.as<char>();
    args.headers = headers.as<char>();
    args.routes = routes.as<Route>();
    args.counts_to_peers = to_peers.as<char>();
    args.counts_to_nodes = to_nodes.as<char>();
  }

  bool hold(const LayoutWorld& world, const LayoutResult& expected) {
    std::vector<char> tails_expected(expected.headers.begin(), expected.headers.end() - 1);
    bool good = headers.holds("headers", tails_expected);
    good = staged_scales.holds("scales", scales.staged(world.shape, world.inputs[world.me].tokens)) && good;
    good = routes.holds("routes", expected.out.routes) && good;
    good = to_peers.holds("counts to peers", expected.to_peers) && good;
    return to_nodes.holds("counts to nodes", expected.to_nodes) && good;
  }
};

// Waits for a word that nobody writes.
__global__ void await_kernel(const __grid_constant__ std::pair<DeviceCall, OwnNeed> args) {
  if (threadIdx.x < 2) await(args.first, args.second);
}

__global__ void end_use_kernel(const __grid_constant__ DeviceCall call) { ++call.state->notify_uses; }

__global__ void hold_kernel(const __grid_constant__ uint64_t ns) {
  for (const uint64_t since = ptx::now_ns(); ptx::now_ns() - since < ns;) pause();
}

class Check {
 public:
  Check() : state_(sizeof(DeviceState)), scratch_(kScratchBytes), report_(sizeof(DeviceReport)) {
    must(load_layout_kernels(), "load_layout_kernels");
    must(cudaHostAlloc(reinterpret_cast<void**>(&host_), sizeof(HostWords) + 8 * kExpertsMax, cudaHostAllocMapped),
         "cudaHostAlloc");
    std::memset(static_cast<void*>(host_), 0, sizeof(HostWords));
    host_counts_ = reinterpret_cast<int64_t*>(host_ + 1);
    state_.zero();
    scratch_.zero();
  }

  Check(const Check&) = delete;
  Check& operator=(const Check&) = delete;
  ~Check() { cudaFreeHost(host_); }

  // Runs a case on the device and counts what is wrong with it.
  void run(const LayoutCase& c, uint64_t seed) {
    LayoutWorld world(c, seed);
    Tables tables(world);
    std::vector<LayoutResult> all(world.inputs.size());
    for (uint32_t r = 0; r < all.size(); ++r)
      if (r == world.me || world.whole()) all[r] = lay_out_rank(world, r);
    ++cases_;
    bool good = check_layout(world, tables, all[world.me]);
    good = check_tails(world) && good;
    if (world.whole()) good = check_plan(world, tables, all) && good;
    if (good) return;
    ++wrong_;
    std::printf("  wrong: %s rank %u seed %llu\n", c.name().c_str(), world.me, (unsigned long long)seed);
  }

  // The first to find the deadline past, or the abort word set, says so; later kernels leave at once.
  void check_giving_up() {
    Buffer word(8);
    word.zero();
    for (const Word why : {Word(1), Word(3)}) {
      ++cases_;
      std::memset(static_cast<void*>(host_), 0, sizeof(HostWords));
      host_->abort = why == 3;
      must(launch(await_kernel, {2, 64, 0},
                  {call(1, why == 3 ? ~uint64_t(0) : 1000000), OwnNeed{word.as<Word>(), 7, 5}}, nullptr),
           "await");
      must(cudaDeviceSynchronize(), "await");
      const DeviceFault& f = host_->fault;
      const bool good = f.set == why && f.whom == 5 && f.seen == 0 && f.expected == 7 && f.channel == ~Word(0) &&
                        f.role == Word(Role::kOpener) && f.what == Word(Waiting::kCounts);
      Buffer headers(64);
      const HeaderArgs args{.call = call(1),
                            .shape = {.row_bytes = 128, .scales = 0, .top_k = 1, .listed = false},
                            .me = 0,
                            .tokens = 4,
                            .scales = {},
                            .staged_scales = nullptr,
                            .headers = headers.as<char>()};
      must(launch_headers(args, nullptr), "launch_headers");
      must(cudaDeviceSynchronize(), "headers");
      if (!good || !headers.holds("headers after giving up", nullptr, 0)) {
        ++wrong_;
        std::printf("  wrong: giving up, %llu: %llu\n", (unsigned long long)why, (unsigned long long)f.set);
      }
      state_.zero();
      scratch_.zero();
    }
    std::memset(static_cast<void*>(host_), 0, sizeof(HostWords));
  }

  // A layout captured once, replayed with new routing each time.
  void check_replays(const LayoutCase& c, uint64_t seed) {
    LayoutWorld world(c, seed);
    const Tables tables(world);
    LayoutBuffers at(world, lay_out_rank(world, world.me));
    LayoutArgs args = layout_args(world, tables);
    at.fill(world, args);
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    must(cudaStreamCreate(&stream), "cudaStreamCreate");
    must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    must(launch_layout(args, stream), "launch_layout");
    end_use(stream);
    must(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    must(cudaGraphInstantiate(&replay, graph, 0), "cudaGraphInstantiate");
    for (int turn = 0; turn < 5; ++turn) {
      ++cases_;
      world.route_anew();
      at.narrow.write(world.inputs[world.me].narrow);
      at.wide.write(world.inputs[world.me].wide);
      at.weights.write(world.inputs[world.me].weights);
      must(cudaGraphLaunch(replay, stream), "cudaGraphLaunch");
      must(cudaStreamSynchronize(stream), "replay");
      const LayoutResult expected = lay_out_rank(world, world.me);
      if (!told(expected.out.bad) || !at.hold(world, expected)) ++wrong_;
    }
    must(cudaGraphExecDestroy(replay), "cudaGraphExecDestroy");
    must(cudaGraphDestroy(graph), "cudaGraphDestroy");
    must(cudaStreamDestroy(stream), "cudaStreamDestroy");
  }

  void time_layouts();
  uint32_t cases() const { return cases_; }
  uint32_t wrong() const { return wrong_; }

 private:
  static constexpr uint64_t kScratchBytes = 64 << 20, kExpertsMax = 1 << 16;

  DeviceCall call(uint32_t blocks, uint64_t deadline_ns = 10000000000) {
    return {state_.as<DeviceState>(), host_, nullptr, deadline_ns, blocks, 0};
  }

  LayoutArgs layout_args(const LayoutWorld& world, const Tables& tables) {
    LayoutArgs args{};
    args.call = call(world.c.blocks);
    args.map = tables.map;
    args.experts = tables.experts;
    args.geometry = world.geometry(world.ranks.seen_by(world.me));
    args.shape = world.shape;
    args.channels = world.c.channels;
    args.scratch = {scratch_.as<char>()};
    args.report = report_.as<DeviceReport>();
    if (layout_scratch_bytes(args.geometry, world.c.experts) > kScratchBytes) must(1, "scratch");
    return args;
  }

  void end_use(CUstream_st* stream) { must(launch(end_use_kernel, {1, 1, 0}, call(1), stream), "end_use"); }

  bool check_layout(const LayoutWorld& world, const Tables& tables, const LayoutResult& expected) {
    LayoutBuffers at(world, expected);
    LayoutArgs args = layout_args(world, tables);
    at.fill(world, args);
    must(launch_layout(args, nullptr), "launch_layout");
    end_use(nullptr);
    must(cudaDeviceSynchronize(), "layout");
    return told(expected.out.bad) && at.hold(world, expected);
  }

  bool told(const BadExpert& bad) {
    if (host_->fault.set != 0) must(1, "a wait inside a layout expired");
    DeviceReport seen;
    must(cudaMemcpy(&seen, report_.as<char>(), sizeof(seen), cudaMemcpyDeviceToHost), "cudaMemcpy");
    if (seen.bad_found == Word(bad.found) && (!bad.found || (seen.bad_token == bad.token && seen.bad_slot == bad.slot &&
                                                             int64_t(seen.bad_value) == bad.value)))
      return true;
    std::printf("  bad expert: %llu at token %llu, must be %d at %llu\n", (unsigned long long)seen.bad_found,
                (unsigned long long)seen.bad_token, bad.found, (unsigned long long)bad.token);
    return false;
  }

  bool check_tails(const LayoutWorld& world) {
    const uint64_t tokens = world.inputs[world.me].tokens;
    const ScaleMatrix scales(tokens, world.shape.scales, world.c.channels);
    Buffer values(scales.values);
    const TokenShape shape{128, world.shape.scales, world.c.top_k, false};
    Buffer staged_scales(tokens * shape.scale_room()), headers(tokens * shape.header_bytes());
    const ScaleSource source{values.as<uint32_t>(), scales.token_stride, scales.scale_stride};
    const HeaderArgs args{.call = call(world.c.blocks),
                          .shape = shape,
                          .me = world.me,
                          .tokens = tokens,
                          .scales = source,
                          .staged_scales = staged_scales.as<char>(),
                          .headers = headers.as<char>()};
    must(launch_headers(args, nullptr), "launch_headers");
    must(cudaDeviceSynchronize(), "headers");
    std::vector<char> expected(tokens * shape.header_bytes(), char(0xa5));
    for (uint64_t t = 0; t < tokens; ++t) {
      const Header header{world.me, uint32_t(t), 0, world.c.top_k};
      std::memcpy(expected.data() + t * shape.header_bytes(), &header, sizeof header);
    }
    return headers.holds("headers of a cached dispatch", expected) &&
           staged_scales.holds("scales of a cached dispatch", scales.staged(shape, tokens));
  }

  bool check_plan(const LayoutWorld& world, const Tables& tables, const std::vector<LayoutResult>& all) {
    const Word use = 1 + world.c.tokens % 2, epoch = 40 + use;
    const uint32_t parity = uint32_t(use % 2), alignment = world.c.top_k % 2 ? 1 : world.c.top_k == 8 ? 24 : 16;
    const Mailboxes boxes(world, all, world.me, parity);
    PlanResult expected = plan_rank(world, boxes, world.me, parity, alignment);
    know_tokens(world, all, world.me, expected);
    const bool told = world.c.channels % 2;
    const uint32_t k = world.c.top_k, threads = k == 1 ? 32 : k == 2 ? 96 : k == 8 ? 480 : k < 16 ? 512 : 1024;
    PlanBuffers at(boxes, tables, expected, all[world.me].to_nodes);
    PlanTrial trial{at.args(world, tables, expected), use, epoch, false, false};
    trial.args.alignment = alignment;
    trial.args.seal = seal_of(epoch);
    trial.args.host = host_;
    trial.args.host_counts = told ? host_counts_ : nullptr;
    trial.args.awaited_dispatch = told ? epoch + 7 : 0;
    trial.args.fails = told;
    auto run = [&] {
      std::memset(static_cast<void*>(host_), 0, sizeof(HostWords));
      must(launch(plan_kernel, {1, threads, 0}, trial, nullptr), "plan");
      must(cudaDeviceSynchronize(), "plan");
      return host_->reported == 0 && host_->too_many == 0;
    };
    const std::vector<Word> counts = counts_behind(expected.plan, trial.args.rows_max);
    std::vector<Word> untold(8);
    bool good = run() && at.untouched(counts.size());
    trial.counted = true;
    untold.insert(untold.end(), counts.begin(), counts.end());
    good = run() && at.report.holds("untold report", untold) && at.born.holds("unborn", nullptr, 0) && good;
    if (!good) std::printf("  told too early\n");
    trial.may_tell = true;
    run();
    good = at.hold(expected) && good;
    good = at.report.holds("report, counts", report_of(expected.plan, epoch, all[world.me].out.counts, counts)) && good;
    good = at.born.holds("born", &epoch, 8) && good;
    if (told && !std::equal(counts.begin(), counts.end(), host_counts_)) good = false, std::printf("  host's counts\n");
    return check_kept(world, expected.plan, epoch) && holds_host(trial.args, expected.plan) && good &&
           check_spans(world, expected, trial.args.handle.tables);
  }

  bool holds_host(const PlanArgs& args, const ReceivePlan& plan) const {
    const bool told = args.awaited_dispatch != 0;
    const Word too_many = told && args.rows_max < plan.rows();
    if (host_->reported == args.awaited_dispatch && host_->report.rows_needed == (told ? plan.rows() : 0) &&
        host_->report.seal == (told ? args.seal : 0) && host_->too_many == too_many &&
        host_->needed == too_many * plan.rows() && host_->given == too_many * args.rows_max)
      return true;
    std::printf("  the call told, rows\n");
    return false;
  }

  // Counts of experts, and of rows up to each rank that are kept.
  static std::vector<Word> counts_behind(const ReceivePlan& plan, Word rows_max) {
    std::vector<Word> counts(plan.expert_counts.begin(), plan.expert_counts.end());
    for (size_t r = 1; r < plan.row_base.size(); ++r) counts.push_back(std::min(plan.row_base[r], rows_max));
    return counts;
  }

  static std::vector<Word> report_of(const ReceivePlan& plan, Word epoch, const SendCounts& sent,
                                     const std::vector<Word>& counts) {
    std::vector<Word> words = {seal_of(epoch), epoch, plan.rows(), 0, 0, 0, 0, 0};
    for (uint32_t tokens : sent.to_node) words.back() += tokens;
    words.insert(words.end(), counts.begin(), counts.end());
    return words;
  }

  // Room for the rows that came, for half of them, and for more.
  bool check_kept(const LayoutWorld& world, const ReceivePlan& plan, Word epoch) {
    return check_kept_of<int32_t>(world, plan, epoch) && check_kept_of<int64_t>(world, plan, epoch);
  }
  template <class Id>
  bool check_kept_of(const LayoutWorld& world, const ReceivePlan& plan, Word epoch) {
    const uint32_t experts = uint32_t(plan.expert_counts.size()), top_k = world.c.top_k;
    bool good = true;
    for (const uint64_t rows_max : {plan.rows(), plan.rows() / 2, plan.rows() + 700}) {
      std::vector<Id> ids(rows_max * top_k);
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = Id(i * 7919 % (experts + 1)) - 1;
      std::vector<float> weights(ids.size(), 0.5f);
      std::vector<Word> expected = report_of(plan, epoch, {}, {plan.expert_counts.begin(), plan.expert_counts.end()});
      Buffer report(expected), choices(ids), weights_there(weights);
      auto* const at = report.as<DeviceReport>();
      const uint32_t alignment = 8;
      if (rows_max < plan.rows()) {
        std::fill(expected.begin() + 8, expected.end(), 0);
        for (const Id id : ids)
          if (id >= 0) ++expected[8 + size_t(id)];
        for (size_t e = 8; e < expected.size(); ++e) expected[e] = round_up(expected[e], alignment);
      }
      const size_t behind = std::min(plan.rows() * top_k, ids.size());
      std::fill(ids.begin() + int64_t(behind), ids.end(), -1);
      std::fill(weights.begin() + int64_t(behind), weights.end(), 0.0f);
      const RecountArgs args{.call = call(3),
                             .report = at,
                             .topk_idx = sizeof(Id) == 4 ? choices.as<int32_t>() : nullptr,
                             .wide_idx = sizeof(Id) == 8 ? choices.as<int64_t>() : nullptr,
                             .topk_weights = weights_there.as<float>(),
                             .rows_max = rows_max,
                             .top_k = top_k,
                             .experts = experts,
                             .alignment = alignment,
                             .expert_counts = reinterpret_cast<int64_t*>(at + 1)};
      must(launch_recount(args, nullptr), "launch_recount");
      must(cudaDeviceSynchronize(), "recount");
      good = report.holds("report, experts of kept rows", expected) && good;
      good = choices.holds("experts of rows with room", ids) && good;
      good = weights_there.holds("weights of rows with room", weights) && good;
    }
    return good;
  }

  bool check_spans(const LayoutWorld& world, const PlanResult& plan, HandleTables handle) {
    const RankMap map = world.ranks.seen_by(world.me);
    const uint64_t rows_max = world.c.top_k % 2 ? plan.plan.rows() * 2 / 3 : ~uint64_t(0);
    const uint64_t kept = std::min(plan.plan.rows(), rows_max);
    std::vector<uint64_t> row_base = plan.plan.row_base;
    for (uint64_t& row : row_base) row = std::min(row, rows_max);
    Buffer row_token(
        std::vector<uint32_t>(plan.tables.row_token.begin(), plan.tables.row_token.begin() + int64_t(kept)));
    Buffer log_token(plan.tables.log_token);
    handle.row_token = row_token.as<uint32_t>();
    handle.log_token = log_token.as<uint32_t>();
    bool good = plan.tables.row_token.size() == plan.plan.rows() &&
                plan.tables.log_token.size() == plan.tables.log_begin.back();
    if (!good) std::printf("  the reference disagrees with itself\n");
    for (const uint32_t channels : {1u, 3u, world.c.channels, 100u}) {
      SpanTable arriving(map.ranks, channels), forward(map.sources(), channels);
      for (uint32_t s = 0; s < map.ranks; ++s)
        arriving.set_tokens(s, run_of(plan.tables.row_token, row_base, s, plan.plan.source_tokens[s]));
      for (uint32_t s = 0; s < map.sources(); ++s)
        forward.set_tokens(s, run_of(plan.tables.log_token, plan.tables.log_begin, s, plan.tables.slot_tokens[s]));
      const uint64_t rows_bytes = 8 * map.ranks * (channels + 1), log_bytes = 8 * map.sources() * (channels + 1);
      Buffer arriving_here(rows_bytes), forward_here(log_bytes);
      const SpanArgs args{.handle = view_of(handle),
                          .ranks = map.ranks,
                          .sources = map.sources(),
                          .channels = channels,
                          .blocks = world.c.blocks,
                          .forward = forward_here.as<uint64_t>(),
                          .arriving = arriving_here.as<uint64_t>(),
                          .rows_max = rows_max};
      must(launch_spans(args, nullptr), "launch_spans");
      must(cudaDeviceSynchronize(), "spans");
      good = arriving_here.holds("arriving, cut anew", arriving.row(0), rows_bytes) && good;
      good = forward_here.holds("forward, cut anew", forward.row(0), log_bytes) && good;
    }
    return good;
  }

  static TokenRun run_of(const std::vector<uint32_t>& tokens, const std::vector<uint64_t>& begin, uint32_t member,
                         uint64_t source_tokens) {
    const uint64_t first = begin[member];
    return {first, tokens.data() + first, begin[member + 1] - first, source_tokens};
  }

  Buffer state_, scratch_, report_;
  HostWords* host_ = nullptr;
  int64_t* host_counts_ = nullptr;
  uint32_t cases_ = 0, wrong_ = 0;
};

// Kernels one behind the other on the device, each between two events.
void Check::time_layouts() {
  constexpr int kRuns = 40;
  for (const uint32_t nodes : {1u, 2u, 8u})
    for (const uint32_t scales : {0u, 56u})
      for (const uint32_t blocks : {4u, 8u, 16u}) {
        const std::vector<uint32_t> sizes(nodes, nodes == 1 ? 4 : 8);
        LayoutWorld world({sizes, 4096, 8, 256, 33, 64, true, false, 0, 0, 0, scales, blocks}, 1);
        const Tables tables(world);
        LayoutBuffers at(world, lay_out_rank(world, world.me));
        LayoutArgs args = layout_args(world, tables);
        at.fill(world, args);
        cudaEvent_t events[kRuns][2];
        for (auto& pair : events)
          for (cudaEvent_t& event : pair) must(cudaEventCreate(&event), "cudaEventCreate");
        must(launch(hold_kernel, {1, 1, 0}, uint64_t(2000000), nullptr), "hold");
        for (auto& pair : events) {
          must(cudaEventRecord(pair[0], nullptr), "cudaEventRecord");
          must(launch_layout(args, nullptr), "launch_layout");
          must(cudaEventRecord(pair[1], nullptr), "cudaEventRecord");
          end_use(nullptr);
        }
        must(cudaDeviceSynchronize(), "layouts");
        std::vector<float> us;
        for (auto& pair : events) {
          float ms = 0;
          must(cudaEventElapsedTime(&ms, pair[0], pair[1]), "cudaEventElapsedTime");
          us.push_back(ms * 1000);
          for (cudaEvent_t event : pair) cudaEventDestroy(event);
        }
        std::sort(us.begin(), us.end());
        std::printf("layout 4096 x 8 int64, %2u ranks of %u nodes, scales %2u, blocks %2u: %.1f us median, %.1f min\n",
                    tables.map.ranks, nodes, scales, blocks, us[kRuns / 2], us[0]);
      }
}

const std::vector<std::vector<uint32_t>> kTopologies = {{1},
                                                        {2},
                                                        {4},
                                                        {1, 1},
                                                        {3, 5},
                                                        {1, 3},
                                                        {5, 1, 2},
                                                        {2, 2},
                                                        {4, 4},
                                                        {1, 1, 1, 1},
                                                        {4, 4, 4, 4},
                                                        {8, 8},
                                                        {8, 1},
                                                        {7, 9},
                                                        {64},
                                                        {16, 3, 13, 1},
                                                        {8, 8, 8, 8, 8, 8, 8, 8}};

template <class T>
T any_of(std::mt19937_64& random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

LayoutCase random_case(std::mt19937_64& random, const std::vector<uint32_t>& topology) {
  LayoutCase c{};
  c.node_sizes = topology;
  c.tokens = any_of<uint64_t>(random, {0, 1, 7, 31, 255, 256, 257, 1000, 4096});
  c.top_k = any_of(random, {1u, 2u, 3u, 8u, 9u, 32u});
  c.experts = any_of(random, {1u, 2u, 7u, 64u, 256u, 511u, 512u});
  c.channels = any_of(random, {1u, 4u, 33u, 256u});
  c.channels_max = any_of(random, {c.channels, c.channels + 3, 256u});
  c.wide_ids = random() % 2;
  c.placed = random() % 2;
  c.none = any_of(random, {0.0, 0.1, 0.7, 1.0});
  c.bad = any_of(random, {0.0, 0.0, 0.001, 0.2});
  c.hot = any_of(random, {0u, 0u, 1u, 3u});
  c.scales = any_of(random, {0u, 0u, 1u, 3u, 4u, 56u});
  c.blocks = uint32_t(1 + random() % kLayoutBlocksMax);
  return c;
}

void check_group(Check& check, const std::string& name, const std::vector<LayoutCase>& cases, uint64_t seed) {
  const uint32_t before = check.cases(), wrong = check.wrong();
  for (uint64_t i = 0; i < cases.size(); ++i) check.run(cases[i], seed * 100000 + i);
  std::printf("%-24s %4u cases, %u wrong\n", name.c_str(), check.cases() - before, check.wrong() - wrong);
  std::fflush(stdout);
}

// Shapes that random ones miss: many ranks, more experts than near memory counts, many tiles. Of the last ones, few
// enough tokens for plans too: more ranks than a warp reads at once, more channels than it writes at once.
std::vector<LayoutCase> far_cases() {
  const std::vector<uint32_t> eights(128, 8), ones(100, 1), pairs(512, 2);
  return {{eights, 1000, 8, 2048, 33, 33, true, false, 0, 0, 0, 0, 16},
          {eights, 300, 32, 1024, 256, 256, false, true, 0.1, 0.01, 0, 4, 7},
          {ones, 513, 9, 300, 4, 8, true, true, 0.1, 0, 0, 0, 16},
          {pairs, 200, 8, 5000, 4, 4, true, false, 0, 0, 0, 0, 5},
          {{1024}, 600, 8, 1024, 4, 4, true, false, 0, 0, 0, 0, 16},
          {{3, 5}, 2000, 8, 20000, 4, 4, true, true, 0.1, 0.001, 0, 0, 16},
          {{8}, 70001, 8, 8192, 33, 40, true, false, 0.05, 0, 0, 0, 16},
          {{4, 4}, 65537, 3, 64, 256, 256, false, true, 0.05, 0.00001, 0, 1, 3},
          {{4}, 20000, 32, 64, 4, 4, true, false, 0.05, 0, 1, 0, 2},
          {{1024}, 30, 8, 3000, 33, 40, true, false, 0.05, 0, 0, 0, 3},
          {eights, 40, 3, 2048, 33, 33, false, true, 0.05, 0, 0, 0, 4},
          {pairs, 40, 2, 1500, 4, 4, false, false, 0.05, 0, 0, 0, 4},
          {ones, 90, 1, 300, 301, 301, true, false, 0.05, 0, 0, 0, 4},
          {{4}, 3000, 8, 64, 601, 603, true, false, 0.05, 0, 0, 0, 8},
          {{2, 2}, 1000, 32, 64, 1024, 1024, true, false, 0.05, 0, 0, 0, 8},
          {{2, 1}, 1000, 1, 64, 257, 260, true, true, 0.05, 0, 0, 0, 8}};
}

int check_all(uint64_t seed, uint32_t cases_each) {
  Check check;
  std::mt19937_64 random(seed);
  for (const std::vector<uint32_t>& topology : kTopologies) {
    std::vector<LayoutCase> cases(cases_each);
    for (LayoutCase& c : cases) c = random_case(random, topology);
    std::string name;
    for (uint32_t n : topology) name += (name.empty() ? "" : "+") + std::to_string(n);
    check_group(check, name, cases, seed);
  }
  check_group(check, "far shapes", far_cases(), seed);
  for (uint32_t blocks : {1u, 7u, 16u})
    check.check_replays({{3, 5}, 3000, 8, 256, 33, 64, true, false, 0.05, 0.0001, 0, 4, blocks}, seed);
  check.check_giving_up();
  std::printf("%u cases, %u wrong\n", check.cases(), check.wrong());
  std::fflush(stdout);
  check.time_layouts();
  return check.wrong() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace transload

int main(int count, char** given) {
  const uint64_t seed = count > 1 ? std::strtoull(given[1], nullptr, 10) : 1;
  return transload::check_all(seed, count > 2 ? uint32_t(std::strtoul(given[2], nullptr, 10)) : 40);
}
