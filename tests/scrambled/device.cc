// What a device does: in progress() it moves some of what it could.
#include "tests/scrambled/device.h"

#include <poll.h>
#include <rdma/fi_errno.h>

#include <atomic>
#include <cstring>
#include <random>

#include "tests/scrambled/info.h"
#include "tests/scrambled/settings.h"

namespace scrambled {
namespace {

constexpr int kReceivesMost = 256;       // of one progress
constexpr timespec kNap{0, 50'000};      // with something left over: room comes without a sign
constexpr timespec kLook{0, 5'000'000};  // with something to be confirmed: readers die without a sign

// Devices of a process differ, and are the same whenever it runs.
uint64_t next_seed() {
  static std::atomic<uint64_t> devices{0};
  return settings().seed * 1000 + devices.fetch_add(1);
}

bool covers(const Registration* memory, const iovec& part) {
  const char* const at = static_cast<const char*>(part.iov_base);
  return memory != nullptr && (memory->access & FI_WRITE) != 0 && at >= memory->at &&
         part.iov_len <= memory->bytes - size_t(at - memory->at);
}

}  // namespace

Device::Device(const std::string& provider, bool hmem)
    : provider_(provider),
      software_(settings().software),
      hmem_(hmem),
      dice_(next_seed()),
      inbox_(memory_, dice_),
      outbox_(dice_) {
  if (!software_) hand_ = std::thread([this] { move_alone(); });
}

Device::~Device() {
  {
    const Lock lock(mutex_);
    closing_ = true;
  }
  work_.ring();
  if (hand_.joinable()) hand_.join();
}

bool Device::can_be_enabled() const { return !names(settings().dead, provider_) && universe() <= settings().universe; }

size_t Device::add_reader(const std::string& name) {
  const Lock lock(mutex_);
  return outbox_.add_reader(name);
}

// While it may still be told how to work.
int Device::permit_cuda(bool permitted) {
  if (enabled_) return -FI_EBUSY;
  if (settings().keeps_cuda) return -FI_EOPNOTSUPP;
  calls_no_cuda_ = !permitted;
  return 0;
}

int Device::enroll(const fi_mr_attr& attr, uint64_t flags, uint64_t& key) {
  if (attr.iface != FI_HMEM_SYSTEM && !hmem_) return -FI_ENOSYS;
  Registration memory;
  if (const int code = check_memory(attr, flags, calls_no_cuda_, memory); code != 0) return code;
  const Lock lock(mutex_);
  std::random_device unknown;  // a key that nobody guesses
  do key = uint64_t(unknown()) << 32 | unknown();
  while (!memory_.emplace(key, memory).second);
  return 0;
}

const Registration* Device::enrolled(uint64_t key) {
  const Lock lock(mutex_);
  return &memory_.at(key);
}

void Device::forget(uint64_t key) {
  const Lock lock(mutex_);
  memory_.erase(key);
}

ssize_t Device::write(const fi_msg_rma& message, uint64_t flags) {
  if (message.iov_count != 1 || message.rma_iov_count != 1 || (flags & FI_COMPLETION) == 0) return -FI_ENOSYS;
  const iovec& from = message.msg_iov[0];
  const fi_rma_iov& to = message.rma_iov[0];
  const Lock lock(mutex_);
  if (from.iov_len == 0 || from.iov_len != to.len || !covers(static_cast<Registration*>(message.desc[0]), from))
    return -FI_EINVAL;
  if (from.iov_len > kWriteMost) return -FI_EMSGSIZE;
  const auto& source = *static_cast<const Registration*>(message.desc[0]);
  const bool taken = outbox_.post({.context = message.context,
                                   .from = source.reach + (static_cast<const char*>(from.iov_base) - source.at),
                                   .bytes = from.iov_len,
                                   .reader = message.addr,
                                   .to = to.addr,
                                   .key = to.key,
                                   .on_delivery = (flags & FI_DELIVERY_COMPLETE) != 0});
  refused_ = refused_ || !taken;
  if (taken && !software_) work_.ring();
  return taken ? 0 : -FI_EAGAIN;
}

void Device::progress() {
  std::string from;
  Message message;
  const char* payload = nullptr;
  for (int left = kReceivesMost; left != 0 && wire_.receive(from, message, payload); --left) {
    if (message.kind == Message::Kind::kPiece) {
      inbox_.arrived(from, message, payload);
      continue;
    }
    for (uint64_t at = 0; at < message.bytes; at += sizeof(Receipt)) {
      Receipt receipt;
      std::memcpy(&receipt, payload + at, sizeof(receipt));
      outbox_.confirmed(receipt);
    }
  }
  inbox_.land_some();
  inbox_.confirm(wire_);
  outbox_.send_some(wire_);
  if (!left_over()) outbox_.look_for_readers(wire_);
}

// Whether there is something to do before anything arrives.
bool Device::left_over() const { return !inbox_.empty() || outbox_.restless(); }

void Device::move_alone() {
  for (;;) {
    const timespec* nap = nullptr;
    {
      const Lock lock(mutex_);
      if (closing_) return;
      progress();
      if (outbox_.has_completions()) news_.ring();  // what has landed tells nobody, as a NIC's writes do
      nap = left_over() ? &kNap : outbox_.waits() ? &kLook : nullptr;
    }
    pollfd waited[] = {{wire_.descriptor(), POLLIN, 0}, {work_.descriptor(), POLLIN, 0}};
    ::ppoll(waited, 2, nap, nullptr);
    work_.clear();
  }
}

ssize_t Device::read(fi_cq_entry* entries, size_t count) {
  const Lock lock(mutex_);
  refused_ = false;
  if (software_) progress();
  size_t filled = 0;
  for (Completion next; filled < count && !failure_ && outbox_.complete(next);) {
    if (next.error != 0)
      failure_ = next;
    else
      entries[filled++].op_context = next.context;
  }
  if (filled != 0) return ssize_t(filled);
  return failure_ ? -FI_EAVAIL : -FI_EAGAIN;
}

ssize_t Device::read_error(fi_cq_err_entry& entry) {
  const Lock lock(mutex_);
  if (!failure_) return -FI_EAGAIN;
  entry.op_context = failure_->context;
  entry.err = failure_->error;
  failure_.reset();
  return 1;
}

// Not with completions to read, nor with a write to try again: nothing would wake for these.
int Device::may_wait() {
  const Lock lock(mutex_);
  news_.clear();
  if (software_) {
    progress();
    if (outbox_.blocked()) ::nanosleep(&kNap, nullptr);  // room comes without a sign
    if (left_over()) return -FI_EAGAIN;
  }
  return outbox_.has_completions() || failure_ || refused_ ? -FI_EAGAIN : 0;
}

}  // namespace scrambled
