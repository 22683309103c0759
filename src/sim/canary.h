// Which canary lives in the world that this thread runs.
#pragma once
#include "base/canary.h"

namespace transload {

// kNone: none. Of this thread, until planted anew.
void plant(Canary canary);

// Plants one for as long as it lives.
class Planting {
 public:
  explicit Planting(Canary canary);
  ~Planting();
  Planting(const Planting&) = delete;
  Planting& operator=(const Planting&) = delete;

 private:
  const Canary before_;
};

}  // namespace transload
