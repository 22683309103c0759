// A module that makes a group of one rank and sends a token to itself.
#include <transload/transload.h>

#include <cstdint>

extern "C" __attribute__((visibility("default"))) int rows_that_came() {
  transload::GroupOptions options;
  options.topology = {{1}};
  options.experts = 2;
  options.row_bytes_max = 32;
  transload::Group group(options);
  const uint16_t x[16] = {};
  const int32_t topk_idx[] = {0, 1};
  const float topk_weights[] = {1, 1};
  transload::DispatchInputs in;
  in.x = transload::matrix(x, 1, 16, transload::kBf16);
  in.topk_idx = transload::matrix(topk_idx, 1, 2, transload::kI32);
  in.topk_weights = transload::matrix(topk_weights, 1, 2, transload::kF32);
  return int(group.dispatch(in).rows);
}
