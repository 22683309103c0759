// The kernels with what every CPU of this architecture has.
#define TRANSLOAD_SIMD baseline
#include "executor/simd/simd_kernels.inc"
