// Which canary lives in the world that this thread runs: in a build with TRANSLOAD_HOST_PLANTS, until the first is
// planted, the one that the environment names.
#pragma once
#include <string>

#include "base/canary.h"

namespace transload {

// The canary of that name in base/canary.h; kCount if there is none.
Canary canary_named(const std::string& name);

// Plants a canary in this thread, until the next call. kNone plants none.
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
