// Who of my peers lives in my process, and who must be asked: see neighbours.h.
#include "transport/scaleup/neighbours.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <mutex>

#include "os/fork.h"
#include "transload/status.h"
#include "transport/scaleup/exchange.h"

namespace transload {

namespace {

// Regions of this process, by number: of its own ranks, and those of other processes that some rank here has mapped.
struct Registry {
  std::mutex mutex;
  // Keys are number and scope (Region::scope); own regions have scope 0.
  std::map<std::pair<uint64_t, uint64_t>, std::weak_ptr<Neighbour>> regions;
};

Registry& registry() { return one_per_process<Registry>(); }

std::shared_ptr<Neighbour> find(uint64_t region) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const auto found = all.regions.find({region, 0});
  return found == all.regions.end() ? nullptr : found->second.lock();
}

// Enters a mapping of a region. Returns the one mapping that this process and scope use: the first that was made.
std::shared_ptr<Neighbour> share(std::pair<uint64_t, uint64_t> region, std::shared_ptr<Neighbour> neighbour) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  for (auto at = all.regions.begin(); at != all.regions.end();)
    at = at->second.expired() ? all.regions.erase(at) : std::next(at);
  std::weak_ptr<Neighbour>& entry = all.regions[region];
  if (std::shared_ptr<Neighbour> there = entry.lock()) return there;
  entry = neighbour;
  return neighbour;
}

}  // namespace

Neighbours::Neighbours(uint32_t rank, std::shared_ptr<Region> region, int bell_fd)
    : rank_(rank), region_(random_word()), secret_(random_word()), process_(process_identity()) {
  mine_ = std::make_shared<Neighbour>();
  mine_->region = std::move(region);
  mine_->bell.reset(::fcntl(bell_fd, F_DUPFD_CLOEXEC, 3));
  if (!mine_->bell)
    throw Error(Code::kOutOfMemory,
                "shared region: an eventfd that wakes a rank cannot be duplicated: " + text_of_error(errno));
  listener_ = listen_for(region_);
  share({region_, 0}, mine_);
}

Neighbours::~Neighbours() = default;

RegionOffer Neighbours::offer() const {
  RegionOffer offer;
  offer.host = host_identity();
  offer.user = ::geteuid();
  offer.process = process_;
  offer.region = region_;
  offer.secret = secret_;
  offer.base = uint64_t(reinterpret_cast<uintptr_t>(mine_->region->base()));
  offer.bytes = mine_->region->bytes();
  offer.kind = mine_->region->kind();
  offer.handle = mine_->region->handle();
  return offer;
}

void Neighbours::check(const std::vector<RegionOffer>& offers, const std::vector<uint32_t>& wanted) const {
  const Region& mine = *mine_->region;
  for (uint32_t rank : wanted) {
    if (rank == rank_) continue;
    const RegionOffer& offer = offers[rank];
    if (offer.kind != mine.kind()) {
      const auto shares = [&](uint32_t r) {
        return "rank " + std::to_string(r) + " shares " + (r == rank ? offer.kind : mine.kind());
      };
      throw Error(Code::kInvalidArgument,
                  "group: " + shares(std::min(rank, rank_)) + ", but " + shares(std::max(rank, rank_)));
    }
    mine.check(rank_, offer.peer(rank), offer.process == process_);
  }
}

Error Neighbours::fault_at(FaultKind kind, uint32_t culprit, const std::string& detail) const {
  Fault fault;
  fault.kind = kind;
  fault.rank = rank_;
  fault.culprit_rank = culprit;
  fault.operation = "create";
  fault.detail = detail;
  return Error(fault);
}

void Neighbours::connect(const std::vector<RegionOffer>& offers, const std::vector<uint32_t>& wanted,
                         uint32_t deadline_ms, const ExchangeWatch& watch) {
  check(offers, wanted);
  by_rank_.assign(offers.size(), nullptr);
  std::vector<uint32_t> elsewhere;
  for (const uint32_t rank : wanted) {
    if (rank == rank_) {
      by_rank_[rank] = mine_;
    } else if (offers[rank].process == process_) {
      by_rank_[rank] = find(offers[rank].region);
      if (by_rank_[rank] == nullptr) throw fault_at(FaultKind::kLost, rank, "its thread has left");
      if (by_rank_[rank]->region->bytes() != offers[rank].bytes)
        throw fault_at(FaultKind::kMismatch, rank, kNotAsOffered);
      mine_->region->reach(*by_rank_[rank]->region);
    } else {
      elsewhere.push_back(rank);
    }
  }
  const ExchangeSides sides{.rank = rank_,
                            .offers = offers,
                            .mine = *mine_,
                            .listener = listener_.get(),
                            .deadline_ms = deadline_ms,
                            .watch = watch};
  for (auto& [rank, neighbour] : transload::exchange(sides, elsewhere))
    by_rank_[rank] = share({offers[rank].region, mine_->region->scope()}, std::move(neighbour));
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
