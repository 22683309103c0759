// Who of my peers lives in my process, and who must be asked: see neighbours.h.
#include "transport/scaleup/shm/neighbours.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <mutex>

#include "base/bytes.h"
#include "transload/status.h"
#include "transport/scaleup/shm/exchange.h"

namespace transload {

namespace {

// Regions of this process, by number: of its own ranks, and those of other processes that some rank here has mapped.
struct Registry {
  std::mutex mutex;
  std::map<uint64_t, std::weak_ptr<Neighbour>> regions;
};

Registry& registry() {
  static Registry& registry = *new Registry;  // never destroyed: groups may outlive static objects
  return registry;
}

std::shared_ptr<Neighbour> find(uint64_t region) {
  Registry& all = registry();
  std::lock_guard lock(all.mutex);
  const auto found = all.regions.find(region);
  return found == all.regions.end() ? nullptr : found->second.lock();
}

// The one mapping that this process uses of a region: the first that was made.
std::shared_ptr<Neighbour> share(uint64_t region, std::shared_ptr<Neighbour> neighbour) {
  Registry& all = registry();
  std::lock_guard lock(all.mutex);
  for (auto at = all.regions.begin(); at != all.regions.end();)
    at = at->second.expired() ? all.regions.erase(at) : std::next(at);
  std::weak_ptr<Neighbour>& entry = all.regions[region];
  if (std::shared_ptr<Neighbour> there = entry.lock()) return there;
  entry = neighbour;
  return neighbour;
}

}  // namespace

std::string RegionOffer::pack() const {
  ByteWriter writer;
  writer.text(host).u32(process.pid).u64(process.nonce).u64(region).u64(secret).u64(base).u64(bytes);
  return writer.take();
}

RegionOffer RegionOffer::unpack(std::string_view packed) {
  ByteReader reader(packed);
  RegionOffer offer;
  offer.host = reader.text();
  offer.process.pid = reader.u32();
  offer.process.nonce = reader.u64();
  offer.region = reader.u64();
  offer.secret = reader.u64();
  offer.base = reader.u64();
  offer.bytes = reader.u64();
  if (!reader.done())
    throw Error(Code::kInvalidArgument, "a rank's offer of memory is malformed: is it of another version?");
  return offer;
}

Neighbours::Neighbours(uint32_t rank, std::shared_ptr<SharedRegion> region, int bell_fd)
    : rank_(rank), region_(random_word()), secret_(random_word()), process_(process_identity()) {
  mine_ = std::make_shared<Neighbour>();
  mine_->region = std::move(region);
  mine_->bell.reset(::fcntl(bell_fd, F_DUPFD_CLOEXEC, 3));
  if (!mine_->bell)
    throw Error(Code::kOutOfMemory,
                std::string("shared region: no copy of a bell (see ulimit -n): ") + std::strerror(errno));
  listener_ = listen_for(region_);
  share(region_, mine_);
}

Neighbours::~Neighbours() = default;

RegionOffer Neighbours::offer() const {
  return {
      host_identity(),       process_, region_, secret_, uint64_t(reinterpret_cast<uintptr_t>(mine_->region->base())),
      mine_->region->bytes()};
}

void Neighbours::connect(const std::vector<RegionOffer>& offers, const std::vector<uint32_t>& wanted,
                         uint32_t deadline_ms) {
  by_rank_.assign(offers.size(), nullptr);
  std::vector<uint32_t> elsewhere;
  for (uint32_t rank : wanted) {
    if (rank == rank_) {
      by_rank_[rank] = mine_;
    } else if (offers[rank].process == process_) {
      by_rank_[rank] = find(offers[rank].region);
      if (by_rank_[rank] == nullptr) {
        Fault fault{FaultKind::kLost, rank_, rank, "create", "", -1, "", 0, 0, 0, "its thread has left"};
        throw Error(fault);
      }
    } else {
      elsewhere.push_back(rank);
    }
  }
  for (auto& [rank, neighbour] : exchange({rank_, offers, *mine_, listener_.get(), deadline_ms}, elsewhere))
    by_rank_[rank] = share(offers[rank].region, std::move(neighbour));
  listener_.reset();
  mine_->region->close_fd();
}

char* Neighbours::base(uint32_t rank) const {
  return rank < by_rank_.size() && by_rank_[rank] != nullptr ? by_rank_[rank]->region->base() : nullptr;
}

uint64_t Neighbours::bytes(uint32_t rank) const {
  return rank < by_rank_.size() && by_rank_[rank] != nullptr ? by_rank_[rank]->region->bytes() : 0;
}

int Neighbours::bell_fd(uint32_t rank) const {
  return rank < by_rank_.size() && by_rank_[rank] != nullptr ? by_rank_[rank]->bell.get() : -1;
}

}  // namespace transload
