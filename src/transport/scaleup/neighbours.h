// The peers whose memory this rank maps: by plain pointers inside a process, by passed descriptors between processes.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "os/descriptor.h"
#include "os/host.h"
#include "transload/status.h"
#include "transport/scaleup/region.h"
#include "transport/scaleup/region_offer.h"

namespace transload {

// The mapped region of another rank of this host, and that rank's bell. Whoever uses them keeps this object alive.
struct Neighbour {
  std::shared_ptr<Region> region;
  Descriptor bell;
};

// Whom an exchange asks while it lasts.
struct ExchangeWatch {
  // `rank` has not passed its memory within the deadline. False: the time did not count, and the deadline starts again.
  std::function<bool(uint32_t rank)> expired;
  // Whether the group is lost, so that nobody need be waited for.
  std::function<bool()> judged;
};

class Neighbours {
 public:
  // Takes a copy of `bell_fd` (an eventfd), and opens the socket at which peers ask.
  Neighbours(uint32_t rank, std::shared_ptr<Region> region, int bell_fd);
  ~Neighbours();
  Neighbours(const Neighbours&) = delete;
  Neighbours& operator=(const Neighbours&) = delete;

  RegionOffer offer() const;
  // Maps the regions of `wanted` (ranks of this host; mine may be among them). Each rank that I want must want me.
  // Throws Error{kFault} naming the lowest rank that did not answer: kLost if its socket is gone, kMismatch if it is
  // not who or what it said, else kAbsent. Throws another Error if this machine has too few descriptors and, before
  // anything is passed, if regions of two kinds meet or cannot reach each other. All ranks must have returned before
  // one of them may be destroyed, so callers gather once more.
  void connect(const std::vector<RegionOffer>& offers, const std::vector<uint32_t>& wanted, uint32_t deadline_ms,
               const ExchangeWatch& watch = {});

  char* base(uint32_t rank) const;      // null if not mapped
  uint64_t bytes(uint32_t rank) const;  // 0 if not mapped
  int bell_fd(uint32_t rank) const;     // -1 if not mapped

 private:
  void check(const std::vector<RegionOffer>& offers, const std::vector<uint32_t>& wanted) const;
  Error fault_at(FaultKind kind, uint32_t culprit, const std::string& detail) const;

  const uint32_t rank_;
  const uint64_t region_;
  const uint64_t secret_;
  const ProcessIdentity process_;
  std::shared_ptr<Neighbour> mine_;
  Descriptor listener_;
  std::vector<std::shared_ptr<Neighbour>> by_rank_;
};

}  // namespace transload
