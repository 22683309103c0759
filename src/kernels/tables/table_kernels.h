// The kernels of layout and plan as a host calls them. Every launch_* returns a cudaError_t, 0 for success, and waits
// for nothing.
#pragma once
#include <cstddef>
#include <cstdint>

#include "channel/board.h"
#include "kernels/device_call.h"
#include "kernels/device_handle.h"
#include "layout/placement.h"
#include "layout/plan.h"
#include "layout/rank_map.h"
#include "layout/regions.h"
#include "layout/token.h"

struct CUstream_st;

namespace transload {

constexpr uint32_t kLayoutBlocksMax = 16;
constexpr uint32_t kLayoutThreads = 512;

// Words and counts that the blocks of a layout share, in device memory of layout_scratch_bytes(), zeroed once when it
// is made. They are aligned to 128 bytes.
struct LayoutScratch {
  char* at;
};
uint64_t layout_scratch_bytes(const Geometry& geometry, uint32_t experts);

// What the layout of a first dispatch reads and writes. All pointers, those of the tables included, are the device's.
struct LayoutArgs {
  DeviceCall call;  // blocks: at most kLayoutBlocksMax, which must run at once
  RankMap map;
  Placement experts;
  Geometry geometry;
  TokenShape shape;
  Routing routing;
  ScaleSource scales;
  uint32_t channels;
  LayoutScratch scratch;
  char* staged_scales;    // [tokens][scale_room]
  char* headers;          // [tokens][header_bytes]
  Route* routes;          // [tokens][top_k]
  char* counts_to_peers;  // [peers][counts_bytes]
  char* counts_to_nodes;  // [nodes][node_counts_bytes]
  DeviceReport* report;   // the layout writes the fields bad_*
};
// The notify kernel that follows increments DeviceState::notify_uses.
int launch_layout(const LayoutArgs& args, CUstream_st* stream);
// Bytes of near memory that each block of a layout with these arguments takes. What may run beside a layout depends on
// them.
uint64_t layout_near_bytes(const LayoutArgs& args);

// What a cached dispatch may need of its own: staged scales, and headers without entries.
struct HeaderArgs {
  DeviceCall call;
  TokenShape shape;
  uint32_t me;
  uint64_t tokens;
  ScaleSource scales;
  char* staged_scales;  // [tokens][scale_room]
  char* headers;        // [tokens][header_bytes]; null: the headers are made already
};
int launch_headers(const HeaderArgs& args, CUstream_st* stream);

// What the counts of a notify say: the handle, and what the host waits for. It is for learn_plan
// (kernels/tables/plan.cuh).
struct PlanArgs {
  const Board* board;
  Placement experts;
  uint32_t channels, alignment;
  DeviceHandle handle;          // filled in here, but for routes, logs, row_token and the layout's part of the report
  const char* counts_to_nodes;  // what the layout wrote
  DeviceState* state;
  HostWords* host;
  int64_t* host_counts;   // a copy in pinned memory of the counts that follow the report; null unless the host waits
  Word awaited_dispatch;  // the number of this dispatch, if the host waits for its report; else 0
  Word seal;              // seal of the report
  Word rows_max;          // rows from this one on are dropped
  bool fails;             // true: more than rows_max rows make the call fail, and the host is told
};

// With rows_max a recount runs after the dispatch. If rows were dropped, it counts by expert those that were kept,
// because the plan counts all that came. If fewer came, it clears the ids and weights after them.
struct RecountArgs {
  DeviceCall call;  // blocks: any number
  const DeviceReport* report;
  int32_t* topk_idx;    // [rows_max][top_k] local experts, or -1; null if ids have 64 bits
  int64_t* wide_idx;    // [rows_max][top_k]; null if ids have 32 bits
  float* topk_weights;  // [rows_max][top_k]
  Word rows_max;
  uint32_t top_k, experts, alignment;
  int64_t* expert_counts;  // [experts]
};
int launch_recount(const RecountArgs& args, CUstream_st* stream);

// What it takes to compute the spans of a handle for another number of channels than its dispatch had.
struct SpanArgs {
  HandleView handle;
  uint32_t ranks, sources, channels, blocks;
  uint64_t* forward;   // [source slots][channels + 1]
  uint64_t* arriving;  // [ranks][channels + 1]
  Word rows_max;       // bound of the handle: rows from this one on were dropped
};
int launch_spans(const SpanArgs& args, CUstream_st* stream);

// Loads all kernels of this file on the current device, and lets a layout take the near memory it may need: once, when
// a group is made.
int load_layout_kernels();

}  // namespace transload
