// Device memory of the checks on a GPU: buffers between guards, and the tables of a rank.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tests/gpu/layout_cases.h"

namespace transload {

inline void must(int error, const char* what) {
  if (error == 0) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(cudaError_t(error)));
  std::exit(1);
}

// Device memory with guards at both ends.
class Buffer {
 public:
  explicit Buffer(uint64_t bytes) : bytes_(bytes), whole_(bytes + 2 * kGuard, char(kFill)) {
    must(cudaMalloc(reinterpret_cast<void**>(&base_), whole_.size()), "cudaMalloc");
    must(cudaMemcpy(base_, whole_.data(), whole_.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  template <class T>
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size() * sizeof(T)) {
    write(values);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { cudaFree(base_); }

  template <class T>
  void write(const std::vector<T>& values) {
    must(cudaMemcpy(base_ + kGuard, values.data(), bytes_, cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(base_ + kGuard);
  }
  void zero() { must(cudaMemset(base_ + kGuard, 0, bytes_), "cudaMemset"); }

  // How the bytes differ from what they should be, those of the guards included.
  bool holds(const char* what, const void* expected, uint64_t bytes) {
    must(cudaMemcpy(whole_.data(), base_, whole_.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    for (uint64_t i = 0; i < whole_.size(); ++i) {
      const bool inside = i >= kGuard && i < kGuard + bytes;
      const char want = inside ? static_cast<const char*>(expected)[i - kGuard] : char(kFill);
      if (whole_[i] == want) continue;
      std::printf("  %s: byte %lld of %llu is %02x, must be %02x\n", what, (long long)i - kGuard,
                  (unsigned long long)bytes, uint8_t(whole_[i]), uint8_t(want));
      return false;
    }
    return true;
  }
  template <class T>
  bool holds(const char* what, const std::vector<T>& expected) {
    return holds(what, expected.data(), expected.size() * sizeof(T));
  }

 private:
  static constexpr uint64_t kGuard = 256;
  static constexpr uint8_t kFill = 0xa5;
  uint64_t bytes_;
  std::vector<char> whole_;
  char* base_ = nullptr;
};

template <class T>
std::vector<T> listed(const T* values, uint64_t count) {
  return {values, values + count};
}

// The tables of a rank on the device.
struct Tables {
  Buffer node_begin, node_of, owner, place, rank_begin;
  RankMap map;
  Placement experts;

  explicit Tables(const LayoutWorld& world) : Tables(world.ranks.seen_by(world.me), world.placement->view()) {}
  Tables(const RankMap& m, const Placement& e)
      : node_begin(listed(m.node_begin, m.nodes + 1)),
        node_of(listed(m.node_of, m.ranks)),
        owner(listed(e.owner, e.experts)),
        place(listed(e.place, e.experts)),
        rank_begin(listed(e.rank_begin, m.ranks + 1)),
        map(m),
        experts{owner.as<uint32_t>(), place.as<uint32_t>(), rank_begin.as<uint32_t>(), e.experts} {
    map.node_begin = node_begin.as<uint32_t>();
    map.node_of = node_of.as<uint32_t>();
  }
};

}  // namespace transload
