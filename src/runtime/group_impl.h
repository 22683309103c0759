// The inside of a Group: one rank's memory, links, fibers and control channel around the core of its calls.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "executor/fiber/host_memory.h"
#include "executor/fiber/scheduler.h"
#include "runtime/control.h"
#include "runtime/crew.h"
#include "runtime/group_core.h"
#include "transload/group.h"

namespace transload {

class Neighbours;
class SharedRegion;

struct Group::Impl final : Crew<HostWarp> {
  explicit Impl(const GroupOptions& given);
  ~Impl() override;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // What a call starts with: throws the fault that ended the group, if any.
  void refuse_if_faulted();

  // Crew.
  bool run(const std::vector<Task>& tasks) override;
  bool finish_network() override;
  void note(uint64_t epoch, Phase phase, uint64_t rows_total) override;
  [[noreturn]] void fail(const char* operation) override;

  GroupCore<HostWarp> core;
  const GroupOptions& options;  // the core's
  const RankMap& map;           // the core's
  std::unique_ptr<Control> control;
  std::shared_ptr<SharedRegion> region;
  Descriptor bell_fd;
  std::unique_ptr<Neighbours> neighbours;
  std::unique_ptr<ScaleOut> scale_out;
  std::unique_ptr<HostMemory> memory;
  std::unique_ptr<Scheduler> scheduler;
  uint64_t call_since = 0;  // now_ns() at the call's entry

 private:
  void agree();
  void all_or_none(const std::function<void()>& step);
  uint64_t bytes_of_host(uint64_t mine);
  bool choose_loopback();
  void map_memory(bool loopback);
  void connect(bool loopback);
  void link_network(bool loopback);
  void make_executor();
  void linger();
};

}  // namespace transload
