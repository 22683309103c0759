// Scale-out over any network that libfabric reaches: remote writes, and counts that land after their bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "channel/scaleout.h"
#include "transport/scaleout/registered.h"

namespace transload {

// Whoever asks has to be the process that will use libfabric: some providers refuse a copy (fork) of one that asked.
// libfabric hears of a group's `ranks` with the first question of a process: tell_universe.

// False if libfabric or every usable provider is missing; `why` then says which.
bool libfabric_available(uint32_t ranks, std::string& why);

// Providers that libfabric lists and that may carry a group, best first. One of them may yet not open.
std::vector<std::string> libfabric_providers(uint32_t ranks);

// The version of the library that is loaded, such as "1.17"; it must be there.
std::string libfabric_version();

struct LibfabricOptions {
  uint32_t rank = 0;
  uint32_t ranks = 1;
  std::string provider = {};        // "": the best that opens
  std::string nic = {};             // "": any; as RDMA names it
  bool nic_asked_for = false;       // else one that the provider lacks is done without
  std::string source_address = {};  // local IP of the interface that reaches the rendezvous; "": any
  char* region = nullptr;           // my network region; outlives the link
  size_t region_bytes = 0;
  FabricDevice device = {};                 // of the region
  std::vector<uint32_t> counterparts = {};  // ranks that puts may be exchanged with
  bool assume_unordered = false;            // use delivery completions although the provider orders: tests
  size_t piece_bytes = 0;                   // of one write, at most; 0: what the provider takes
  uint32_t window = 0;                      // writes in flight to one rank, at most; 0: from the provider's queue
};

class LibfabricLink : public ScaleOut {
 public:
  // Local. Throws Error: kNotSupported without libfabric or for memory that is not registered, kInvalidArgument for a
  // provider or address that is not there; if several providers were tried, with the reason of each.
  explicit LibfabricLink(const LibfabricOptions& options);
  ~LibfabricLink() override;

  // What others need to reach me, a FabricAddress packed.
  std::string address() const;

  // Addresses of all ranks, by rank; those of counterparts are used. Local: the network connects with the first put or
  // publish, while both sides make progress. Throws Error{kInvalidArgument} for a counterpart over another provider.
  void connect(const std::vector<std::string>& addresses_by_rank);

  // Whether the provider orders writes, and so carries counts right behind their bytes.
  bool ordered() const;
  // Why ordered writes are not used as such, though the provider orders them; "" if nothing stands against it.
  std::string caution() const;
  // The domain that it opened, which on a NIC has that one's name.
  std::string domain() const;
  // Better providers that libfabric lists, and why each did not open; "" if this is the best.
  std::string skipped() const;
  // Pieces of memory that the network knows: as many after calls as before them.
  size_t registrations() const;
  // Writes that the provider has taken so far.
  uint64_t writes() const;

  std::string name() const override;
  char* mapped(uint32_t rank) const override;
  void put(const Put& put) override;
  void publish(RailWord to, Word count) override;
  void credit(RailWord to, Word count) override;
  void hand_over() override;
  bool progress() override;
  uint32_t busy_with() const override;
  int wait_fd() const override;
  bool arrives_silently() const override;
  bool needs_a_hand() const override;
  bool may_sleep() override;
  bool lost(LostPeer& peer) override;
  std::string lacks() const override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace transload
