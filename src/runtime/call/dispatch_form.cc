// Reading what the inputs of a dispatch say, and making its trip and grants.
#include "runtime/call/dispatch_form.h"

#include <cstring>

#include "base/type_names.h"

namespace transload {

Routing routing_of(const Tensor& topk_idx, const Tensor& topk_weights) {
  const bool narrow = same_type(topk_idx.dtype, kI32);
  return {.expert32 = narrow ? topk_idx.as<int32_t>() : nullptr,
          .expert64 = narrow ? nullptr : topk_idx.as<int64_t>(),
          .weight = topk_weights.as<float>(),
          .tokens = uint64_t(topk_idx.rows()),
          .top_k = uint32_t(topk_idx.columns())};
}

DispatchForm::DispatchForm(const RankState& rank, const DispatchInputs& in)
    : first(!in.handle),
      shape{.row_bytes = in.x.row_bytes(),
            .scales = in.scales.given() ? uint32_t(in.scales.columns()) : 0,
            .top_k = in.handle ? in.handle->top_k : uint32_t(in.topk_idx.columns()),
            .listed = first},
      channels(rank.channels_of(in.channels)),
      tokens(uint64_t(in.x.rows())),
      rows_max(in.handle         ? in.handle->rows_max
               : in.rows_max > 0 ? uint64_t(in.rows_max)
                                 : kNoRowsMax),
      x(in.x.as<char>()),
      routing(in.handle ? Routing{} : routing_of(in.topk_idx, in.topk_weights)),
      scales{in.scales.as<uint32_t>(), in.scales.strides[0], in.scales.strides[1]},
      card{} {
  card.operation = first ? Operation::kDispatch : Operation::kCachedDispatch;
  card.row_bytes = shape.row_bytes;
  card.scales = shape.scales;
  card.top_k = shape.top_k;
  card.dtype = packed(in.x.dtype);
  card.channels = channels;
}

ScaleRows DispatchForm::scale_rows(const char* staged) const {
  if (stages_scales()) return {staged, int64_t(shape.scale_room())};
  return {reinterpret_cast<const char*>(scales.at), tokens > 1 ? scales.token_stride * 4 : 0};
}

void DispatchForm::stage_scales(char* staged) const {
  for (uint64_t token = 0; token < tokens; ++token)
    for (uint32_t i = 0; i < shape.scales; ++i)
      std::memcpy(staged + token * shape.scale_room() + i * 4,
                  scales.at + int64_t(token) * scales.token_stride + int64_t(i) * scales.scale_stride, 4);
}

std::shared_ptr<HandleData> DispatchForm::new_handle(const RankState& rank) const {
  auto made = std::make_shared<HandleData>();
  made->group = rank.id;
  made->tokens = tokens;
  made->top_k = shape.top_k;
  made->rows_max = rows_max;
  return made;
}

LandingPlace DispatchForm::keep_no_row(const Board& board) {
  rows_max = 0;
  return {.direct = true, .rows = board.mine(), .row_headers = board.mine()};
}

DispatchTrip trip_of(const DispatchForm& form, const DispatchTables& tables, const LandingPlace& landing,
                     const DispatchOutputs& out) {
  const bool wide = same_type(out.topk_idx.dtype, kI64);
  return {.call = {},
          .shape = form.shape,
          .up_positions = tables.up_positions,
          .rail_positions = tables.rail_positions,
          .experts = tables.experts,
          .handle = tables.handle,
          .made = tables.made,
          .width = form.shape.top_k,
          .log_width = tables.log_width,
          .tokens = form.tokens,
          .x = form.x,
          .x_scales = tables.scales.at,
          .x_scale_stride = tables.scales.stride,
          .headers = tables.headers,
          .forward = tables.forward,
          .log_entries = tables.log_entries,
          .arriving = tables.arriving,
          .rows_max = form.rows_max,
          .direct = landing.direct,
          .rows = landing.rows,
          .row_headers = landing.row_headers,
          .scales = out.scales.as<char>(),
          .topk_idx = wide ? nullptr : out.topk_idx.as<int32_t>(),
          .wide_idx = wide ? out.topk_idx.as<int64_t>() : nullptr,
          .topk_weights = out.topk_weights.as<float>(),
          .source = out.source.as<int32_t>()};
}

GrantOffer offer_of(const Board& board, const LandingPlace& landing, const DispatchOutputs& out, Word rows_max) {
  return offer_of(board, landing.direct,
                  {.rows = landing.rows,
                   .scales = out.scales.as<char>(),
                   .headers_or_weights = landing.row_headers,
                   .rows_max = rows_max});
}

}  // namespace transload
