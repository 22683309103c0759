// The links of a simulated cluster: when what is sent from one rank to another may begin to land. A rank has one port
// out of it and one into it for each kind of link, whoever is at the other end.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/model/link_model.h"

namespace transload {

class ModelLinks {
 public:
  static constexpr uint64_t kNever = ~uint64_t(0);

  // `draw` takes `from` and returns independent 64-bit numbers, for instance a seeded generator's. Null where no chance
  // is above 0.
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
    uint32_t messages = 1;
  };
  // Returns when the last byte is there, in nanoseconds on the clock of `now`; `now` itself if nothing holds it up.
  uint64_t ready_at(const Transfer& transfer, uint64_t now);
  // leave() and arrive() are the two steps of ready_at(), for callers that act in the order of time at either end.
  // leave() sends a transfer through the port out: its first byte leaves at `begins`, its last one at `left`.
  struct Passage {
    uint64_t begins, left;
  };
  Passage leave(const Transfer& transfer, uint64_t now);
  // Takes the transfer, whose first byte left at `begins`, through the port in. Returns when its last byte is there.
  uint64_t arrive(const Transfer& transfer, uint64_t begins);
  // True if transfers of this kind are ever held up.
  bool slow(bool scale_out) const;

  // From now on nothing passes between the two ranks in either direction, and nobody is told.
  void kill(uint32_t a, uint32_t b);
  bool dead(uint32_t from, uint32_t to) const { return !dead_.empty() && dead_[from * size_t(setup_.ranks) + to]; }

 private:
  struct Ports {
    std::vector<uint64_t> out, in;  // [ranks] until when the port is busy
  };
  bool chance(double of);
  const LinkModel& model(bool scale_out) const { return scale_out ? setup_.scale_out : setup_.scale_up; }
  Ports& ports(bool scale_out) { return scale_out ? scale_out_ : scale_up_; }

  const Network setup_;
  std::vector<bool> dead_;  // [from][to]; empty: no link is dead
  Ports scale_up_, scale_out_;
};

}  // namespace transload
