// The kernels for AVX2; empty on other architectures.
#ifdef __x86_64__
#define TRANSLOAD_SIMD avx2
#include "executor/simd/simd_kernels.inc"
#endif
