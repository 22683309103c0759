// A handle on the device: its tables in one piece of the slabs, all sized by the most that can come, so that nothing is
// allocated once counts are known. Plain C++.
#pragma once
#include <cstdint>
#include <type_traits>

#include "kernels/device_call.h"
#include "layout/cursor.h"
#include "layout/handle.h"
#include "layout/regions.h"

namespace transload {

struct DeviceHandle {
  HandleTables tables;
  Word* born;              // [1] epoch of the dispatch that made the handle
  uint64_t* forward;       // [slots][channels + 1] where each channel's log entries begin, by that dispatch's channels
  uint64_t* arriving;      // [ranks][channels + 1] where each channel's rows begin
  DeviceReport* report;    // [1]
  int64_t* expert_counts;  // [experts of mine] they follow the report
  int64_t* source_rows;    // [ranks] they follow expert_counts
};

// How many counts follow a report: rows for each expert of mine, then rows up to each rank.
constexpr uint64_t report_counts(uint64_t experts_of_mine, uint64_t ranks) { return experts_of_mine + ranks; }
// The bytes of a report and of the counts that follow it.
constexpr uint64_t bytes_of_report(uint64_t counts) { return sizeof(DeviceReport) + counts * sizeof(int64_t); }

struct DeviceHandleSizes {
  HandleSizes tables;
  uint64_t channels, experts_of_mine;
};

// Puts all arrays of a handle side by side at `base`. Returns the bytes that it takes.
inline uint64_t lay_handle(DeviceHandle& h, const DeviceHandleSizes& n, char* base) {
  Cursor at{.unit = kSlotAlign};
  auto put = [&](uint64_t count, auto*& table) {
    using T = std::remove_reference_t<decltype(*table)>;
    table = reinterpret_cast<T*>(uintptr_t(base) + at.take(count, sizeof(T)));
  };
  put(1, h.born);
  for_each_table(n.tables, put, h.tables);
  put(n.tables.slots * (n.channels + 1), h.forward);
  put(n.tables.ranks * (n.channels + 1), h.arriving);
  const uint64_t report_bytes = bytes_of_report(report_counts(n.experts_of_mine, n.tables.ranks));
  h.report = reinterpret_cast<DeviceReport*>(uintptr_t(base) + at.take(1, report_bytes));
  h.expert_counts = reinterpret_cast<int64_t*>(h.report + 1);
  h.source_rows = h.expert_counts + n.experts_of_mine;
  return at.bytes;
}

}  // namespace transload
