// The kernels for AVX-512; empty on other architectures.
#ifdef __x86_64__
#define TRANSLOAD_SIMD avx512
#include "executor/simd/simd_kernels.inc"
#endif
