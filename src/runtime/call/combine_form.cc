// Reading what the inputs of a combine say, and making its trip and grants.
#include "runtime/call/combine_form.h"

#include "runtime/call/check_inputs.h"
#include "runtime/call/decisions.h"

namespace transload {

CombineForm::CombineForm(const RankState& rank, const CombineInputs& in)
    : channels(rank.channels_of(in.channels)),
      weights(in.topk_weights.given() ? in.handle->top_k : 0),
      tokens(in.handle->tokens),
      rows_max(in.handle->rows_max),
      card{} {
  card.operation = Operation::kCombine;
  card.row_bytes = in.x.row_bytes();
  card.top_k = in.handle->top_k;
  card.channels = channels;
  card.wire = uint32_t(in.wire);
  card.weights = weights;
}

bool choose_source(RankState& rank, const CombineInputs& in, CombineOutputs& out) {
  const CallChoice source = source_of(in.source, can_be_pulled(rank, in));
  out.source = source.reachable ? CombineSource::kPull : CombineSource::kPush;
  rank.decide("combine source", source.name, source.why);
  return source.reachable;
}

CombineTrip trip_of(const CombineForm& form, const CombineInputs& in, const CombineTables& tables,
                    const CombineOutputs& out) {
  return {.call = {},
          .elements = uint64_t(in.x.columns()),
          .wire = in.wire == CombineWire::kF32 ? Scalar::kF32 : Scalar::kBf16,
          .weights = form.weights,
          .up_positions = tables.up_positions,
          .rail_positions = tables.rail_positions,
          .handle = tables.handle,
          .width = in.handle->top_k,
          .log_width = in.handle->log_width,
          .tokens = form.tokens,
          .bias = {in.bias[0].as<char>(), in.bias[1].as<char>()},
          .out = out.x.as<char>(),
          .out_weights = out.topk_weights.as<char>(),
          .spare_out = false,
          .forward = tables.forward,
          .rows_of = tables.rows_of,
          .rows_max = form.rows_max,
          .rows = in.x.as<char>(),
          .row_weights = in.topk_weights.as<char>()};
}

GrantOffer offer_of(const Board& board, bool pull, const CombineInputs& in, Word rows_max) {
  const bool any = in.x.rows() > 0;  // a combine without rows reads nothing, so x may lie anywhere
  return offer_of(board, pull,
                  {.rows = any ? in.x.as<char>() : nullptr,
                   .scales = nullptr,
                   .headers_or_weights = any ? in.topk_weights.as<char>() : nullptr,
                   .rows_max = rows_max});
}

}  // namespace transload
