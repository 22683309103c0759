// Scatters numbers over 64 bits, alike on every machine: names that are made by counting, and draws from a seed.
#pragma once
#include <cstdint>

namespace transload {

constexpr uint64_t kSplitMixStep = 0x9E3779B97F4A7C15u;

// SplitMix64 (Steele, Lea, Flood 2014): the number that follows this state.
constexpr uint64_t split_mix(uint64_t state) {
  uint64_t z = state + kSplitMixStep;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

// The last step of MurmurHash3 (Appleby 2011).
constexpr uint64_t murmur_mix(uint64_t h) {
  h = (h ^ h >> 33) * 0xFF51AFD7ED558CCDu;
  h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53u;
  return h ^ h >> 33;
}

// Makes one number of several; their order matters.
constexpr uint64_t mixed(uint64_t a, uint64_t b, uint64_t c = 0, uint64_t d = 0) {
  return murmur_mix(murmur_mix(murmur_mix(murmur_mix(a) ^ b) ^ c) ^ d);
}

}  // namespace transload
