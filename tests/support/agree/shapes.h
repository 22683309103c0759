// The shapes of the tests of whole calls as scenarios, each with every way through dispatch and combine, and those of
// the simulator's own that have no faults.
#pragma once
#include <ostream>
#include <string>
#include <vector>

#include "sim/scenario/scenario.h"

namespace transload::test {

struct Shape {
  std::string name;
  Scenario scenario;
  const char* not_on_gpus = nullptr;  // why
  bool of_simulator = false;          // one of its own scenarios
};
inline void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

std::vector<Shape> shapes();
// Each payload in many calls over two nodes, through few slots: for networks that break their promise.
std::vector<Shape> payloads();

}  // namespace transload::test
