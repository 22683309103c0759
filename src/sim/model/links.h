// The links of a simulated cluster: when what is sent from one rank to another may begin to land.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/model/link_model.h"

namespace transload {

class ModelLinks {
 public:
  static constexpr uint64_t kNever = ~uint64_t(0);

  // `draws`: independent 64-bit numbers, for instance of a seeded generator; kept.
  using Draw = uint64_t (*)(void* from);
  struct Network {
    uint32_t ranks;
    LinkModel scale_up, scale_out;
    Draw draw;
    void* from;
  };
  explicit ModelLinks(const Network& setup);

  struct Transfer {
    uint32_t from, to;
    bool scale_out;
    uint64_t bytes;
  };
  // In nanoseconds of the time that `now` is of; now itself if nothing holds it up.
  uint64_t ready_at(const Transfer& transfer, uint64_t now);
  // True if transfers of this kind are ever held up.
  bool slow(bool scale_out) const;

  // Nothing passes between the two any more, in either direction; nobody is told.
  void kill(uint32_t a, uint32_t b);
  bool dead(uint32_t from, uint32_t to) const { return !dead_.empty() && dead_[from * size_t(setup_.ranks) + to]; }

 private:
  bool chance(double of);

  const Network setup_;
  std::vector<bool> dead_;            // [from][to]; empty: none
  std::vector<uint64_t> busy_until_;  // [from][to]
};

}  // namespace transload
