// Which canary is planted in this thread, and so in the world that it runs. In a build with TRANSLOAD_HOST_PLANTS a
// thread begins with the canary that TRANSLOAD_CANARY names.
#pragma once
#include <string>

#include "base/canary.h"

namespace transload {

// The canary of that name in base/canary.h; kCount if there is none.
Canary canary_named(const std::string& name);

// Plants a canary in this thread, until the next call. kNone plants none.
void plant(Canary canary);

// Plants a canary in this thread until it is destroyed; then the one before is planted again.
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
