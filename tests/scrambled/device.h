// One device of the scrambled fabric, which is what a domain opens: its memory, its wire, what is on its way. It has a
// hand of its own, a thread, as a NIC has; or moves in its caller's calls alone, as TCP's provider does.
#pragma once
#include <rdma/fi_domain.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_rma.h>

#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "tests/scrambled/dice.h"
#include "tests/scrambled/event.h"
#include "tests/scrambled/inbox.h"
#include "tests/scrambled/outbox.h"
#include "tests/scrambled/wire.h"

namespace scrambled {

class Device {
 public:
  Device(const std::string& provider, bool hmem);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  bool can_be_enabled() const;
  void enabled() { enabled_ = true; }
  const std::string& name() const { return wire_.name(); }
  size_t add_reader(const std::string& name);

  // As fi_setopt answers to FI_OPT_CUDA_API_PERMITTED.
  int permit_cuda(bool permitted);
  // As fi_mr_regattr does: also the key under which others may write there.
  int enroll(const fi_mr_attr& attr, uint64_t flags, uint64_t& key);
  const Registration* enrolled(uint64_t key);
  void forget(uint64_t key);

  // As fi_writemsg, fi_cq_read, fi_cq_readerr, FI_GETWAIT and fi_trywait answer.
  ssize_t write(const fi_msg_rma& message, uint64_t flags);
  ssize_t read(fi_cq_entry* entries, size_t count);
  ssize_t read_error(fi_cq_err_entry& entry);
  int wait_descriptor() const { return software_ ? wire_.descriptor() : news_.descriptor(); }
  int may_wait();

 private:
  using Lock = std::lock_guard<std::mutex>;

  void progress();
  bool left_over() const;
  void move_alone();

  const std::string provider_;
  const bool software_;
  const bool hmem_;
  bool enabled_ = false, calls_no_cuda_ = false;
  std::mutex mutex_;  // of all that follows, but for events
  Registrations memory_;
  Dice dice_;
  Wire wire_;
  Inbox inbox_;
  Outbox outbox_;
  std::optional<Completion> failure_;
  bool refused_ = false;  // a write, since completions were last read
  bool closing_ = false;
  Event news_;  // for the caller: something has completed
  Event work_;  // for the hand
  std::thread hand_;
};

}  // namespace scrambled
