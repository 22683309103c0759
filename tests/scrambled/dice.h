// All chance of one endpoint, from the seed: what comes next of several, and whether now.
#pragma once
#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace scrambled {

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}

  size_t below(size_t bound) { return size_t(random_() % bound); }
  bool one_in(size_t sides) { return below(sides) == 0; }

  // Any of them, which leaves the list.
  template <class Item>
  Item take(std::vector<Item>& from) {
    std::swap(from[below(from.size())], from.back());
    Item item = std::move(from.back());
    from.pop_back();
    return item;
  }

 private:
  std::mt19937_64 random_;
};

}  // namespace scrambled
