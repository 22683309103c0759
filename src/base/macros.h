// How one source compiles for a CPU and for a GPU.
#pragma once

#ifdef __CUDACC__
#define TRANSLOAD_HD __host__ __device__ __forceinline__  // layout arithmetic: both sides compute the same address
#define TRANSLOAD_ROLE __device__ __forceinline__         // a role: device code under nvcc, plain inline under g++
#else
#define TRANSLOAD_HD inline
#define TRANSLOAD_ROLE inline
#endif
