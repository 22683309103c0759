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

// These functions ask libfabric, so only the process that will use it may call them: some providers refuse a copy
// (fork) of a process that has asked. The first of them in a process tells libfabric of `ranks`: see tell_universe.

// False if libfabric or every usable provider is missing; `why` then says which.
bool libfabric_available(uint32_t ranks, std::string& why);

// Providers that libfabric lists and that may carry a group, best first. One of them may yet not open.
std::vector<std::string> libfabric_providers(uint32_t ranks);

// The version of the library that is loaded, such as "1.17"; it must be there.
std::string libfabric_version();

struct LibfabricOptions {
  uint32_t rank = 0;
  uint32_t ranks = 1;
  std::string provider = {};        // "": the best one that opens
  std::string nic = {};             // the NIC's name as an RDMA device; "": any
  bool nic_asked_for = false;       // true: the provider must have `nic`; false: it may use another
  std::string source_address = {};  // IP address of this host's interface towards the rendezvous; "": any
  char* region = nullptr;           // my network region; outlives the link
  size_t region_bytes = 0;
  FabricDevice device = {};                 // the device that the region lies on
  std::vector<uint32_t> counterparts = {};  // ranks that puts may be exchanged with
  bool assume_unordered = false;            // use delivery completions although the provider orders: tests
  size_t piece_bytes = 0;                   // the most bytes of one write; 0: as many as the provider takes
  uint32_t window = 0;                      // the most writes in flight to one rank; 0: taken from the provider's queue
};

class LibfabricLink : public ScaleOut {
 public:
  // Talks to no other rank. Throws Error, with the reason of each provider that was tried: kNotSupported without
  // libfabric or for memory that it does not register, kInvalidArgument for a provider or address that is not there.
  explicit LibfabricLink(const LibfabricOptions& options);
  ~LibfabricLink() override;

  // What others need to reach me: a packed FabricAddress.
  std::string address() const;

  // Takes all addresses, by rank, and uses those of counterparts. The network connects only with the first put or
  // publish, while both sides make progress. Throws Error{kInvalidArgument} for a counterpart over another provider.
  void connect(const std::vector<std::string>& addresses_by_rank);

  // Whether the provider orders writes, and so carries counts right after their bytes.
  bool ordered() const;
  // Why writes are treated as unordered although the provider may order them; "" if nothing speaks against its order.
  std::string caution() const;
  // The libfabric domain that is open. On a NIC it has the NIC's name.
  std::string domain() const;
  // Better providers that libfabric lists, and why each did not open; "" if this is the best.
  std::string skipped() const;
  // How many pieces of memory are registered. No call registers any.
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
