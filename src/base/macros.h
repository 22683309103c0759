// How one source compiles for a CPU and for a GPU.
#pragma once

#ifdef __CUDACC__
#define TRANSLOAD_HD __host__ __device__ __forceinline__  // layout arithmetic: both sides compute the same address
#define TRANSLOAD_WARP __device__ __forceinline__         // a role: device code under nvcc, plain inline under g++
// The loop that follows is not unrolled. Code that runs once a call has to be fetched from memory, which is slow, so it
// is kept short.
#define TRANSLOAD_ROLLED _Pragma("unroll 1")
#else
#define TRANSLOAD_HD inline
#define TRANSLOAD_WARP inline
#define TRANSLOAD_ROLLED
#endif
