// Which canary lives in the world that this thread runs: in a build with TRANSLOAD_HOST_PLANTS, until the first is
// planted, the one that the environment names.
#pragma once
#include <string>

#include "base/canary.h"

namespace transload {

// By its name in base/canary.h; kCount: there is none of that name.
Canary canary_named(const std::string& name);

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
