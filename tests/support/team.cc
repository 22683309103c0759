// Making inputs, running ranks as threads, and comparing what they get.
#include "tests/support/team.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "base/float.h"
#include "base/mix.h"

namespace transload::test {

namespace {

// What `owner` returns for a token depends on both, so that a row at the wrong place is seen.
uint16_t returned(uint64_t salt, uint32_t owner, reference::Source s, uint32_t column) {
  return element(salt * 31 + 7 + owner, s.rank, s.token, column);
}
float weight_of(uint64_t salt, uint32_t owner, reference::Source s, uint32_t k) {
  return float(int64_t(mixed(salt, owner, s.rank, uint64_t(s.token) * 64 + k) % 2001) - 1000) / 64.0f;
}

std::vector<uint32_t> nodes_of(const World& world) {
  std::vector<uint32_t> node_of;
  for (uint32_t n = 0; n < world.node_sizes.size(); ++n) node_of.insert(node_of.end(), world.node_sizes[n], n);
  return node_of;
}

int64_t id_at(const Tensor& ids, size_t i) {
  return same_type(ids.dtype, kI64) ? ids.as<int64_t>()[i] : ids.as<int32_t>()[i];
}

std::vector<int64_t> numbers_of(const Tensor& list) {
  return std::vector<int64_t>(list.as<int64_t>(), list.as<int64_t>() + list.rows());
}

bool limited(const Pass& pass, uint32_t rank) { return !pass.rows_max.empty() && pass.rows_max[rank] > 0; }

}  // namespace

// Values over 56 powers of two, more than fp32 adds exactly, so that the order of a sum shows; now and then -0,
// infinity or a NaN.
uint16_t element(uint64_t seed, uint32_t rank, int64_t row, uint32_t column) {
  const uint64_t h = mixed(seed, rank, uint64_t(row), column);
  if (h % 997 == 0) return 0x8000;
  if (h % 4999 == 1) return 0x7F80;
  if (h % 4999 == 2) return 0xFFC1;
  return uint16_t((h >> 40 & 1) << 15 | (100 + (h >> 8) % 56) << 7 | (h >> 20 & 127));
}

static uint32_t scale(uint64_t salt, uint32_t rank, int64_t token, uint32_t column) {
  return uint32_t(mixed(salt ^ 99, rank, uint64_t(token), column));
}

std::string World::describe() const {
  std::string text = "nodes";
  for (uint32_t n : node_sizes) text += " " + std::to_string(n);
  return text + ", experts " + std::to_string(experts) + ", top-k " + std::to_string(top_k) + ", columns " +
         std::to_string(columns) + ", channels " + std::to_string(channels) + ", slots " + std::to_string(slots) +
         ", seed " + std::to_string(seed);
}

World world_of(std::vector<uint32_t> node_sizes, std::vector<int64_t> tokens) {
  World w;
  w.node_sizes = std::move(node_sizes);
  w.tokens = std::move(tokens);
  w.experts = 2 * w.ranks();
  w.top_k = 4;
  return w;
}

reference::Problem problem_of(const World& world) {
  reference::Problem p;
  p.node_sizes = world.node_sizes;
  p.top_k = world.top_k;
  const uint32_t ranks = world.ranks();
  p.owner = world.expert_owner;
  for (uint32_t r = 0; p.owner.size() < world.experts; ++r)
    for (uint32_t i = 0; i < world.experts / ranks + (r < world.experts % ranks); ++i) p.owner.push_back(r);
  for (uint32_t r = 0; r < ranks; ++r) {
    reference::Routes routes;
    routes.tokens = world.tokens_of(r);
    for (int64_t t = 0; t < routes.tokens; ++t)
      for (uint32_t k = 0; k < world.top_k; ++k) {
        const uint64_t h = mixed(world.seed, r, uint64_t(t), k);
        routes.ids.push_back(world.route ? world.route(r, t, k) : h % 11 == 0 ? -1 : int32_t(h / 11 % world.experts));
        routes.weights.push_back(float(h >> 40) / float(1 << 24));
      }
    p.routes.push_back(std::move(routes));
  }
  return p;
}

Member::Member(const World& world, const reference::Problem& problem, Group& group)
    : world_(world),
      problem_(problem),
      group_(group),
      side_(side_of(group.rank())),
      received_(reference::received_by(problem, group.rank())) {}

void Member::pass(const Pass& pass, uint64_t salt) {
  const uint32_t me = group_.rank(), columns = pass.columns ? pass.columns : world_.columns;
  reference::limit_rows(problem_, pass.rows_max);
  const reference::Routes& routes = problem_.routes[me];
  // What this rank sends, in the host's memory: rows, scales with gaps between them, and choices of both widths.
  std::vector<uint16_t> x(size_t(routes.tokens) * columns);
  for (int64_t t = 0; t < routes.tokens; ++t)
    for (uint32_t c = 0; c < columns; ++c) x[size_t(t) * columns + c] = element(salt, me, t, c);
  const bool by_column = pass.scale_gap < 0;
  const int64_t scale_room = int64_t(pass.scales) + std::max(0, pass.scale_gap);
  const int64_t scale_strides[] = {by_column ? 1 : scale_room, by_column ? routes.tokens : 1};
  std::vector<uint32_t> scales(size_t(routes.tokens * scale_room), ~0u);
  for (int64_t t = 0; t < routes.tokens; ++t)
    for (uint32_t c = 0; c < pass.scales; ++c)
      scales[size_t(t * scale_strides[0] + c * scale_strides[1])] = scale(salt, me, t, c);
  std::vector<int64_t> wide(routes.ids.begin(), routes.ids.end());
  received_ = reference::received_by(problem_, me, pass.alignment);

  // The inputs of the call: these as tensors in the memory of the rank's device, and the options of the pass.
  DispatchInputs in;
  in.x = side_.put(matrix(x.data(), routes.tokens, columns, kBf16));
  if (pass.scales > 0) {  // calls take scales of any strides
    in.scales = side_.put(matrix(scales.data(), routes.tokens, scale_room, kF32));
    in.scales.shape[1] = pass.scales;
    std::copy_n(scale_strides, 2, in.scales.strides);
  }
  in.topk_idx = pass.wide_ids ? matrix(wide.data(), routes.tokens, world_.top_k, kI64)
                              : matrix(routes.ids.data(), routes.tokens, world_.top_k, kI32);
  in.topk_idx = side_.put(in.topk_idx);
  in.topk_weights = side_.put(matrix(routes.weights.data(), routes.tokens, world_.top_k, kF32));
  in.idx_type = pass.wide_out ? kI64 : kI32;
  in.stream = side_.stream();
  in.landing = pass.landing;
  in.channels = pass.channels;
  in.deadline_ms = pass.deadline_ms;
  in.expert_alignment = pass.alignment;
  in.rows_max = pass.rows_max.empty() ? 0 : pass.rows_max[me];
  in.overflow = Overflow::kDrop;
  in.room = room_of(pass);
  // A first dispatch; its outputs are freed before the combine, which needs the handle alone.
  Handle handle;
  {
    const DispatchOutputs out = group_.dispatch(in);
    expect_given(pass, {{Output::kX, out.x},
                        {Output::kScales, out.scales},
                        {Output::kTopkIdx, out.topk_idx},
                        {Output::kTopkWeights, out.topk_weights},
                        {Output::kSource, out.source}});
    const Seen seen = taken(pass, out);
    check_dispatch(pass, seen, salt, false);
    check_rows_left(seen);
    handle = out.handle;
  }
  combine(pass, handle, salt);
  // A cached dispatch: the handle says who goes where, so choices and a bound on rows are not given again.
  in.topk_idx = in.topk_weights = Tensor{};
  in.rows_max = 0;
  in.handle = handle;
  {
    in.room = room_of(pass);
    const DispatchOutputs out = group_.dispatch(in);
    expect_given(pass, {{Output::kX, out.x}, {Output::kScales, out.scales}});
    check_dispatch(pass, taken(pass, out), salt, true);
  }
  combine(pass, handle, salt + 1);
  side_.reset();
  leases_.clear();
}

RoomFor Member::room_of(const Pass& pass) {
  asked_.clear();
  if (pass.homes == Homes::kLease) return nullptr;
  return [this, leased = pass.homes == Homes::kOwnLeases](Output which, uint64_t bytes) {
    if (leased) leases_.push_back(group_.lease(bytes));
    void* const at = leased ? leases_.back().data() : side_.room(bytes);
    asked_.emplace_back(which, at);
    return at;
  };
}

void Member::expect_given(const Pass& pass, std::initializer_list<std::pair<Output, Tensor>> outputs) {
  if (pass.homes == Homes::kLease) return;
  std::vector<std::pair<Output, void*>> want;
  for (const auto& [which, tensor] : outputs)
    if (tensor.given()) want.emplace_back(which, tensor.data);
  EXPECT_EQ(asked_, want);
}

// Brings a dispatch's outputs to memory that the host reads, and checks that they, the report and the counts on the
// device say the same.
Seen Member::taken(const Pass& pass, const DispatchOutputs& out) {
  const bool cached = !out.topk_idx.given();
  if (!limited(pass, group_.rank())) group_.wait(side_.stream());  // throws the fault that ended it
  const DispatchReport report = group_.report(out.handle, side_.stream());
  if (on_gpus() && limited(pass, group_.rank())) {
    EXPECT_TRUE(out.rows == out.x.rows() && out.rows_needed == out.x.rows());
    EXPECT_TRUE(out.expert_counts.empty() && out.source_rows.empty() && out.status.ok());
  } else {
    EXPECT_EQ(out.rows, report.rows);
    EXPECT_EQ(out.rows_needed, report.rows_needed);
    EXPECT_EQ(out.scale_out_rows, report.scale_out_rows);
    EXPECT_EQ(out.source_rows, report.source_rows);
    EXPECT_EQ(out.expert_counts, cached ? std::vector<int64_t>{} : report.expert_counts);
    EXPECT_EQ(out.status.message, cached && report.status.code == Code::kBadExpertId ? "" : report.status.message);
  }
  EXPECT_EQ(numbers_of(side_.take(out.rows_of_sources_on_device)), report.source_rows);
  EXPECT_EQ(side_.take(out.rows_on_device).as<int64_t>()[0], report.rows_needed);
  EXPECT_EQ(out.expert_counts_on_device.given(), !cached);
  if (!cached) {
    EXPECT_EQ(numbers_of(side_.take(out.expert_counts_on_device)), report.expert_counts);
  }
  return {report,
          side_.take(out.x),
          side_.take(out.scales),
          side_.take(out.topk_idx),
          side_.take(out.topk_weights),
          side_.take(out.source),
          out.landing};
}

int64_t Member::crossing() const {
  const reference::Routes& routes = problem_.routes[group_.rank()];
  const std::vector<uint32_t> node_of = nodes_of(world_);
  int64_t copies = 0;
  for (int64_t t = 0; t < routes.tokens; ++t) {
    std::set<uint32_t> nodes;
    for (uint32_t k = 0; k < world_.top_k; ++k)
      if (const int32_t e = routes.ids[size_t(t) * world_.top_k + k]; e >= 0 && uint32_t(e) < world_.experts)
        nodes.insert(node_of[problem_.owner[size_t(e)]]);
    nodes.erase(node_of[group_.rank()]);
    copies += int64_t(nodes.size());
  }
  return copies;
}

void Member::check_dispatch(const Pass& pass, const Seen& out, uint64_t salt, bool cached) {
  const uint32_t columns = pass.columns ? pass.columns : world_.columns;
  const int64_t most = pass.rows_max.empty() ? 0 : pass.rows_max[group_.rank()];
  const DispatchReport& report = out.report;
  ASSERT_EQ(size_t(report.rows), received_.source.size());
  ASSERT_EQ(report.rows_needed, received_.needed);
  ASSERT_TRUE(cached || same_type(out.topk_idx.dtype, pass.wide_out ? kI64 : kI32));
  ASSERT_EQ(out.x.rows(), most > 0 ? most : report.rows);
  EXPECT_EQ(report.expert_counts, received_.expert_counts);
  std::vector<int64_t> source_rows(world_.ranks());
  for (const reference::Source& s : received_.source)
    for (uint32_t r = s.rank; r < world_.ranks(); ++r) ++source_rows[r];
  EXPECT_EQ(report.source_rows, source_rows);
  EXPECT_EQ(report.scale_out_rows, crossing());
  const Code code = report.rows < report.rows_needed ? Code::kTooManyRows : Code::kOk;
  EXPECT_TRUE(report.status.code == code || report.status.code == Code::kBadExpertId) << report.status.message;
  EXPECT_TRUE(pass.landing == Landing::kAuto || out.landing == pass.landing);
  EXPECT_TRUE(pass.homes != Homes::kOwn || out.x.bytes() == 0 || out.landing == Landing::kRing);
  EXPECT_TRUE(pass.homes != Homes::kOwnLeases || pass.landing == Landing::kRing || out.landing == Landing::kDirect);
  for (size_t i = 0; i < received_.source.size(); ++i) {
    const reference::Source s = received_.source[i];
    for (uint32_t c = 0; c < columns; ++c)
      ASSERT_EQ(out.x.as<uint16_t>()[i * columns + c], element(salt, s.rank, s.token, c))
          << "row " << i << " of token " << s.token << " of rank " << s.rank << ", column " << c
          << (cached ? ", cached" : "");
    for (uint32_t c = 0; c < pass.scales; ++c)
      ASSERT_EQ(out.scales.as<uint32_t>()[i * pass.scales + c], scale(salt, s.rank, s.token, c))
          << "row " << i << " of token " << s.token << " of rank " << s.rank << ", scale " << c
          << (cached ? ", cached" : "");
    if (cached) continue;
    ASSERT_EQ(out.source.as<int32_t>()[i * 2], int32_t(s.rank));
    ASSERT_EQ(out.source.as<int32_t>()[i * 2 + 1], int32_t(s.token));
    for (uint32_t k = 0; k < world_.top_k; ++k) {
      ASSERT_EQ(id_at(out.topk_idx, i * world_.top_k + k), received_.ids[i * world_.top_k + k]) << "row " << i;
      ASSERT_EQ(out.topk_weights.as<float>()[i * world_.top_k + k], received_.weights[i * world_.top_k + k])
          << "row " << i;
    }
  }
}

// Checks that rows for which nothing came have no choice, whatever lay there before.
void Member::check_rows_left(const Seen& out) {
  const uint32_t k = world_.top_k;
  for (int64_t i = out.report.rows * k; i < out.topk_idx.rows() * k; ++i) {
    ASSERT_EQ(id_at(out.topk_idx, size_t(i)), -1) << "row " << i / k << " of " << out.report.rows;
    ASSERT_EQ(out.topk_weights.as<float>()[i], 0.0f) << "row " << i / k << " of " << out.report.rows;
  }
}

void Member::combine(const Pass& pass, const Handle& handle, uint64_t salt) {
  const uint32_t me = group_.rank(), columns = pass.columns ? pass.columns : world_.columns, k = world_.top_k;
  const size_t kept = received_.source.size();
  const size_t rows = pass.rows_max.empty() || pass.rows_max[me] == 0 ? kept : size_t(pass.rows_max[me]);
  const size_t row_bytes = rows * columns * 2, bytes = row_bytes + rows * k * 4;
  // What experts return, and its weights: in a lease that peers may read, or in memory of this rank alone.
  Lease lease;
  if (pass.source != CombineSource::kPush) lease = group_.lease(bytes);
  char* const base = static_cast<char*>(pass.source == CombineSource::kPush ? side_.room(bytes) : lease.data());
  std::vector<char> made(bytes + 16, char(0xFF));  // rows that are not kept are NaN: whoever sums one is seen
  auto* const y = reinterpret_cast<uint16_t*>(made.data());
  auto* const weights = reinterpret_cast<float*>(made.data() + row_bytes);
  for (size_t i = 0; i < kept; ++i) {
    for (uint32_t c = 0; c < columns; ++c) y[i * columns + c] = returned(salt, me, received_.source[i], c);
    for (uint32_t j = 0; j < k; ++j) weights[i * k + j] = weight_of(salt, me, received_.source[i], j);
  }
  if (bytes > 0) side_.write(base, made.data(), bytes);
  CombineInputs in;
  in.stream = side_.stream();
  in.x = matrix(base, int64_t(rows), columns, kBf16, side_.device());
  in.handle = handle;
  if (pass.weights) in.topk_weights = matrix(base + row_bytes, int64_t(rows), k, kF32);
  in.topk_weights.device = side_.device();
  // A bias lies at an address of 16 bytes, or beyond one by what the pass says.
  std::vector<uint16_t> bias[2];
  const int64_t tokens = problem_.routes[me].tokens;
  for (int b = 0; b < pass.biases; ++b) {
    for (int64_t t = 0; t < tokens; ++t)
      for (uint32_t c = 0; c < columns; ++c) bias[b].push_back(element(salt + 1000 + uint64_t(b), me, t, c));
    in.bias[b] = matrix(bias[b].data(), tokens, columns, kBf16);
    if (pass.bias_off == 0) {
      in.bias[b] = side_.put(in.bias[b]);
      continue;
    }
    in.bias[b].device = side_.device();
    in.bias[b].data = static_cast<char*>(side_.room(in.bias[b].bytes() + 16)) + pass.bias_off;
    side_.write(in.bias[b].data, bias[b].data(), in.bias[b].bytes());
  }
  in.source = pass.source;
  in.wire = pass.wire;
  in.channels = pass.channels;
  in.deadline_ms = pass.deadline_ms;
  // The sums go to the memory that `room` gives, or to tensors that the call names.
  in.room = room_of(pass);
  if (pass.own_out) {
    in.out_x = matrix(side_.room(size_t(tokens) * columns * 2), tokens, columns, kBf16, side_.device());
    if (pass.weights) in.out_topk_weights = matrix(side_.room(size_t(tokens) * k * 4), tokens, k, kF32, side_.device());
  }
  const CombineOutputs out = group_.combine(in);
  if (pass.own_out) {
    EXPECT_EQ(out.x.data, in.out_x.data);
    EXPECT_EQ(out.topk_weights.data, in.out_topk_weights.data);
  } else {
    expect_given(pass, {{Output::kX, out.x}, {Output::kTopkWeights, out.topk_weights}});
  }
  if (!limited(pass, me)) group_.wait(side_.stream());
  EXPECT_TRUE(pass.source == CombineSource::kAuto || out.source == pass.source);
  EXPECT_EQ(out.scale_out_rows, on_gpus() && limited(pass, me) ? 0 : crossing());
  check_combine(pass, side_.take(out.x), side_.take(out.topk_weights), salt);
}

void Member::check_combine(const Pass& pass, const Tensor& sums, const Tensor& sums_of_weights, uint64_t salt) {
  const uint32_t me = group_.rank(), columns = pass.columns ? pass.columns : world_.columns, k = world_.top_k;
  std::vector<uint16_t> want(columns), bias[2], row(columns);
  std::vector<float> want_weights(k), weights(k);
  for (int64_t t = 0; t < problem_.routes[me].tokens; ++t) {
    const reference::Source token{me, t};
    reference::SumInputs in{token, int64_t(columns), pass.wire == CombineWire::kF32, {nullptr, nullptr}};
    for (int b = 0; b < pass.biases; ++b) {
      bias[b].resize(columns);
      for (uint32_t c = 0; c < columns; ++c) bias[b][c] = element(salt + 1000 + uint64_t(b), me, t, c);
      in.bias[b] = bias[b].data();
    }
    reference::sum(
        problem_, in,
        [&](uint32_t owner, reference::Source s) {
          for (uint32_t c = 0; c < columns; ++c) row[c] = returned(salt, owner, s, c);
          return row.data();
        },
        want.data());
    for (uint32_t c = 0; c < columns; ++c)
      ASSERT_EQ(sums.as<uint16_t>()[size_t(t) * columns + c], want[c]) << "token " << t << ", column " << c;
    if (!pass.weights) continue;
    reference::sum_weights(
        problem_, token,
        [&](uint32_t owner, reference::Source s) {
          for (uint32_t j = 0; j < k; ++j) weights[j] = weight_of(salt, owner, s, j);
          return weights.data();
        },
        want_weights.data());
    ASSERT_EQ(std::memcmp(sums_of_weights.as<float>() + size_t(t) * k, want_weights.data(), k * 4), 0)
        << "weights of token " << t;
  }
}

GroupOptions options_of(const World& world, uint32_t rank, uint16_t port, const std::string& name) {
  GroupOptions o;
  o.bootstrap.rank = rank;
  o.bootstrap.ranks = world.ranks();
  o.bootstrap.port = port;
  o.bootstrap.name = name;
  o.topology.node_sizes = world.node_sizes;
  o.experts = world.experts;
  o.expert_owner = world.expert_owner;
  uint64_t most = 1;
  for (uint32_t r = 0; r < world.ranks(); ++r) most = std::max(most, uint64_t(world.tokens_of(r)));
  o.tokens_max = most;
  o.row_bytes_max = uint64_t(world.columns) * 2;
  o.scales_max = world.scales_max;
  o.top_k_max = world.top_k;
  o.channels = world.channels;
  o.slots = world.slots;
  o.slab_bytes = world.slab_bytes;
  o.combine_wire = world.combine_wire;
  o.deadline_ms = world.deadline_ms;
  o.scale_out = world.scale_out;
  if (const uint32_t shared = ranks_on_gpu(world.ranks()); shared > 0) {
    o.device = side_of(rank).device();
    if (const char* const provider = network_of_gpus()) {
      o.scale_out = ScaleOutChoice::kLibfabric;
      o.provider = provider;
    }
    o.sms = std::clamp(120 / shared, 1u, 8u);
  }
  return o;
}

void run_team(const World& world, const std::function<void(Group&, uint32_t)>& body) {
  if (!fit_on_gpus(world.ranks())) GTEST_SKIP() << kTooManyRanks;
  SCOPED_TRACE(world.describe());
  Rendezvous rendezvous;
  std::vector<std::thread> threads;
  for (uint32_t r = 0; r < world.ranks(); ++r)
    threads.emplace_back([&, r] {
      try {
        Group group(options_of(world, r, rendezvous.port()));
        body(group, r);
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << r << ": " << error.what() << " (" << world.describe() << ")";
      }
    });
  for (std::thread& t : threads) t.join();
}

void run_passes(const World& world, const std::vector<Pass>& passes) {
  const reference::Problem problem = problem_of(world);
  run_team(world, [&](Group& group, uint32_t rank) {
    SCOPED_TRACE("rank " + std::to_string(rank));
    Member member(world, problem, group);
    for (size_t i = 0; i < passes.size() && !testing::Test::HasFatalFailure(); ++i) {
      SCOPED_TRACE("pass " + std::to_string(i));
      member.pass(passes[i], world.seed * 1000 + i * 10);
    }
  });
}

}  // namespace transload::test
