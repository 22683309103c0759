// The thread of a SoftNic, and the filling of its entries.
#include "tests/support/soft_nic.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "os/thread.h"

namespace transload::test {

using mlx5::big;

SoftNicSettings soft_nic_settings(const std::string& text) {
  SoftNicSettings settings;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string word = text.substr(at, end - at), name = word.substr(0, word.find('='));
    const uint64_t number = name == word ? 0 : std::stoull(word.substr(name.size() + 1));
    if (name == "seed")
      settings.seed = number;
    else if (name == "depth" && number > 0 && (number & (number - 1)) == 0 && number <= NicRoom::kDepthMax)
      settings.depth = uint32_t(number);
    else if (name == "late")
      settings.late = uint32_t(number);
    else if (word == "spoils")
      settings.spoils = true;
    else
      throw std::runtime_error("settings of the soft NIC: '" + word + "'");
    at = end + 1;
  }
  return settings;
}

SoftNicSettings& soft_nics_given() {
  static SoftNicSettings settings;
  return settings;
}

namespace {
// The NICs of this process, the latest last.
struct Nics {
  std::mutex mutex;
  std::vector<std::pair<uint32_t, SoftNic*>> all;  // (rank, its NIC)
};
Nics& nics() {
  static auto* const one = new Nics;
  return *one;
}
}  // namespace

bool SoftNic::with(uint32_t rank, const std::function<void(SoftNic&)>& use) {
  const std::lock_guard lock(nics().mutex);
  const auto found =
      std::find_if(nics().all.rbegin(), nics().all.rend(), [&](const auto& nic) { return nic.first == rank; });
  if (found == nics().all.rend()) return false;
  use(*found->second);
  return true;
}

SoftNic::SoftNic(Setup setup)
    : setup_(std::move(setup)),
      random_(setup_.settings.seed * 1000 + setup_.rank),
      refused_(std::make_unique<std::atomic<uint8_t>[]>(setup_.regions.size())) {
  const uint32_t depth = setup_.settings.depth;
  const size_t count = setup_.regions.size() * setup_.queues, bytes = bytes_of(count, depth);
  char* memory = setup_.memory;
  if (memory == nullptr) {
    own_memory_.reset(static_cast<char*>(::operator new(bytes, std::align_val_t(alignof(Shown)))));
    memory = own_memory_.get();
    std::memset(memory, 0, bytes);
  }
  auto* const shown = reinterpret_cast<Shown*>(memory);
  auto* const entries = reinterpret_cast<mlx5::FetchAddEntry*>(memory + count * sizeof(Shown));
  for (uint32_t rank = 0; rank < setup_.regions.size(); ++rank) {
    const pid_t process = setup_.processes[rank];
    const bool leads = setup_.regions[rank] != nullptr && process != getpid();
    others_.emplace_back(leads ? int(syscall(SYS_pidfd_open, process, 0)) : -1);
    for (uint32_t number = 0; number < setup_.queues; ++number) {
      auto queue = std::make_unique<Queue>();
      queue->number = uint32_t(queues_.size()) + 1;
      queue->rank = rank;
      queue->room = {depth};
      queue->shown = shown + queues_.size();
      queue->entries = entries + queues_.size() * depth;
      std::memset(static_cast<void*>(&queue->shown->completion), 0xFF, sizeof(queue->shown->completion));
      queues_.push_back(std::move(queue));
    }
  }
  engines_.resize(queues_.size());
  thread_ = start_thread([this] { run(); });
  const std::lock_guard lock(nics().mutex);
  nics().all.emplace_back(setup_.rank, this);
}

SoftNic::~SoftNic() {
  {
    const std::lock_guard lock(nics().mutex);
    std::erase_if(nics().all, [&](const auto& nic) { return nic.second == this; });
  }
  stops_.store(true);
  ring();
  thread_.join();
}

void SoftNic::ring() {
  rings_.fetch_add(1);
  rings_.notify_one();
}

void SoftNic::hold(bool held) {
  held_.store(held);
  ring();
}

void SoftNic::run() {
  for (uint32_t idle = 0;;) {
    const uint32_t rung = rings_.load();
    const bool stops = stops_.load();
    if (held_.load() ? !stops : turn(stops)) {
      if (held_.load()) rings_.wait(rung);
      idle = 0;
      continue;
    }
    if (stops) return;
    rest(rung, idle);
  }
}

void SoftNic::rest(uint32_t rung, uint32_t& idle) {
  constexpr uint32_t kLooks = 256;
  if (!setup_.polls) return rings_.wait(rung);
  if (++idle < kLooks) return std::this_thread::yield();
  usleep(20);
}

// Executes a few entries of a queue, and lands what is late. False: there was nothing to do.
bool SoftNic::turn(bool hurry) {
  ++turns_;
  std::vector<size_t> some;
  bool waits = !late_.empty();
  for (size_t i = 0; i < queues_.size(); ++i) {
    const bool shut = engines_[i].shut_until > turns_;
    if (waiting(*queues_[i], engines_[i]) > 0) shut && !hurry ? void(waits = true) : some.push_back(i);
  }
  land_late(hurry);
  if (some.empty()) {
    for (size_t i = 0; i < queues_.size(); ++i) show(*queues_[i], engines_[i]);
    if (waits && !hurry) usleep(20);
    return waits;
  }
  const size_t i = some[below(some.size())];
  Engine& engine = engines_[i];
  for (size_t entries = 1 + below(4); entries > 0 && waiting(*queues_[i], engine) > 0; --entries)
    execute(*queues_[i], engine);
  if (one_in(3)) show(*queues_[i], engine);
  if (one_in(32)) engine.shut_until = turns_ + 1 + below(16);
  return true;
}

void SoftNic::land_late(bool all) {
  std::erase_if(late_, [&](const LateWrite& write) {
    if (!all && write.turn > turns_) return false;
    into_region(write.rank, [&] { std::memcpy(write.to, write.bytes.data(), write.bytes.size()); });
    return true;
  });
}

uint32_t SoftNic::waiting(const Queue& queue, const Engine& engine) const {
  const uint64_t rung = std::atomic_ref(queue.shown->doorbell).load(std::memory_order_acquire);
  return uint16_t(mlx5::rung_index(rung) - uint32_t(engine.executed));
}

void SoftNic::execute(Queue& queue, Engine& engine) {
  const mlx5::FetchAddEntry& entry = queue.entries[engine.executed % queue.room.depth];
  const uint16_t index = uint16_t(engine.executed++);
  if (engine.error == 0) engine.error = carry_out(queue, entry);
  if ((entry.control.flags & mlx5::kAsksCompletion) != 0 || engine.error != 0) engine.done = index;
  if (engine.error != 0) show(queue, engine);
}

// Carries one entry out. Returns an error, or 0.
uint8_t SoftNic::carry_out(const Queue& queue, const mlx5::FetchAddEntry& entry) {
  const uint32_t opcode = big(entry.control.modifier_index_opcode) & 0xFF;
  if (opcode == mlx5::kNop) return 0;
  if (!alive(queue.rank)) return mlx5::kRetriesExceeded;
  if (const uint8_t syndrome = refused_[queue.rank].load(); syndrome != 0) return syndrome;
  // The record must be written before the doorbell, because a NIC that loses a doorbell goes by the record.
  const uint32_t recorded = big(std::atomic_ref(queue.shown->record).load(std::memory_order_acquire));
  const uint32_t index = big(entry.control.modifier_index_opcode) >> 8;
  if (uint16_t(recorded - index - 1) >= NicRoom::kDepthMax) return mlx5::kLocalProtection;
  const uint64_t remote = big(entry.remote.address);
  if (opcode == mlx5::kMaskedFetchAdd) {
    char* const word = reach(queue, big(entry.remote.key), remote, sizeof(Word));
    if (word == nullptr || big(entry.control.modifier_index_opcode) >> 24 != mlx5::kOf8Bytes ||
        big(entry.add.boundary) != 0 || remote % sizeof(Word) != 0)
      return mlx5::kRemoteAccess;
    if (big(entry.local.key) != kScratchKey || big(entry.local.bytes) != sizeof(Word)) return mlx5::kLocalProtection;
    const bool added = into_region(queue.rank, [&] {
      *reinterpret_cast<uint64_t*>(big(entry.local.address)) =
          std::atomic_ref<Word>(*reinterpret_cast<Word*>(word)).fetch_add(big(entry.add.added));
    });
    return added ? 0 : mlx5::kRemoteAccess;
  }
  // An entry of a write is shorter, and begins with the same segments.
  mlx5::WriteEntry write;
  std::memcpy(static_cast<void*>(&write), &entry, sizeof(write));
  const uint64_t bytes = big(write.local.bytes), local = big(write.local.address);
  const uint64_t begin = reinterpret_cast<uint64_t>(region());
  if (big(write.local.key) != region_key() || local < begin || local + bytes > begin + setup_.region_bytes)
    return mlx5::kLocalProtection;
  char* const to = opcode == mlx5::kRdmaWrite ? reach(queue, big(write.remote.key), remote, bytes) : nullptr;
  if (to == nullptr) return mlx5::kRemoteAccess;
  const char* const from = reinterpret_cast<const char*>(local);
  if (setup_.settings.spoils && one_in(8)) {
    late_.push_back({queue.rank, to, {from, from + bytes}, turns_ + 4 + below(16)});
    return 0;
  }
  const uint64_t half = bytes / 2;  // the second half lands first
  const bool written = into_region(queue.rank, [&] {
    std::memcpy(to + half, from + half, bytes - half);
    std::memcpy(to, from, half);
  });
  return written ? 0 : mlx5::kRemoteAccess;
}

// Returns where an address of a queue's entry lies; null: it is outside the region to which the queue leads.
char* SoftNic::reach(const Queue& queue, uint32_t key, uint64_t address, uint64_t bytes) {
  if (key != key_of(queue.rank) || address > setup_.region_bytes || bytes > setup_.region_bytes - address)
    return nullptr;
  return setup_.regions[queue.rank] == nullptr ? nullptr : setup_.regions[queue.rank] + address;
}

// Moves into the region of a rank. False: the region is gone.
template <class Move>
bool SoftNic::into_region(uint32_t rank, Move move) {
  if (setup_.gates.empty()) {
    move();
    return true;
  }
  RegionGate& gate = *setup_.gates[rank];
  const std::shared_lock lock(gate.mutex);
  if (gate.open) move();
  return gate.open;
}

bool SoftNic::alive(uint32_t rank) {
  if (!others_[rank]) return setup_.processes[rank] == getpid();
  pollfd ended{.fd = others_[rank].get(), .events = POLLIN, .revents = 0};
  return ::poll(&ended, 1, 0) == 0;
}

void SoftNic::show(Queue& queue, Engine& engine) {
  if (engine.done == ~0u) return;
  mlx5::Completion& shown = queue.shown->completion;
  std::atomic_ref(shown.error).store(engine.error, std::memory_order_relaxed);
  const uint8_t kind = engine.error != 0 ? mlx5::kRequestError : mlx5::kRequest;
  std::atomic_ref(shown.owner).store(uint8_t(kind << 4), std::memory_order_release);
  std::atomic_ref(shown.counter).store(big(uint16_t(engine.done)), std::memory_order_release);
  engine.done = ~0u;
}

NicCompletion SoftNicWriter::completion(Queue queue) const {
  mlx5::Completion& shown = queue->shown->completion;
  const uint16_t counter = big(std::atomic_ref(shown.counter).load(std::memory_order_acquire));
  const bool broken = std::atomic_ref(shown.owner).load(std::memory_order_acquire) >> 4 == mlx5::kRequestError;
  return {counter, broken ? std::atomic_ref(shown.error).load(std::memory_order_relaxed) : uint8_t(0)};
}

mlx5::ControlSegment SoftNicWriter::control(const NicSlot<Queue>& slot, uint32_t opcode) {
  const uint32_t units = (opcode == mlx5::kRdmaWrite ? sizeof(mlx5::WriteEntry) : sizeof(mlx5::FetchAddEntry)) / 16;
  return {.modifier_index_opcode = big(opcode | uint32_t(uint16_t(slot.index)) << 8),
          .queue_units = big(slot.queue->number << 8 | units),
          .signature = 0,
          .dci = {},
          .flags = slot.last ? mlx5::kAsksCompletion : uint8_t(0),
          .immediate = 0};
}

void SoftNicWriter::write(const NicSlot<Queue>& slot, const NicEntry& entry) {
  const mlx5::WriteEntry filled{
      .control = control(slot, mlx5::kRdmaWrite),
      .remote = {big(entry.to), big(SoftNic::key_of(entry.rank)), 0},
      .local = {big(uint32_t(entry.bytes)), big(nic_.region_key()), big(reinterpret_cast<uint64_t>(entry.from))}};
  std::memcpy(static_cast<void*>(&slot.queue->entries[slot.index % slot.queue->room.depth]), &filled, sizeof(filled));
}

void SoftNicWriter::add(const NicSlot<Queue>& slot, const NicEntry& entry, Word added) {
  slot.queue->entries[slot.index % slot.queue->room.depth] = {
      .control = control(slot, mlx5::kMaskedFetchAdd | mlx5::kOf8Bytes << 24),
      .remote = {big(entry.to), big(SoftNic::key_of(entry.rank)), 0},
      .add = {big(added), 0},
      .local = {big(uint32_t(sizeof(Word))), big(SoftNic::kScratchKey),
                big(reinterpret_cast<uint64_t>(&slot.queue->shown->scratch))}};
}

// Waits for those that reserved entries before these: they fill and submit them without waiting for anything later.
void SoftNicWriter::submit(Queue queue, uint64_t first, uint32_t entries) {
  for (uint64_t before = first; !queue->ready.compare_exchange_weak(before, first + entries); before = first)
    std::this_thread::yield();
  {
    const std::lock_guard lock(queue->posting);
    if (first + entries > queue->posted) {
      queue->posted = first + entries;
      const auto index = uint16_t(queue->posted);
      std::atomic_ref(queue->shown->record).store(big(uint32_t(index)), std::memory_order_release);
      std::atomic_ref(queue->shown->doorbell).store(mlx5::doorbell(index, queue->number), std::memory_order_release);
    }
  }
  nic_.ring();
}

}  // namespace transload::test
