// What the ranks of a group do together while they make it. Networks need no more of a group than this.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/control.h"
#include "runtime/rank_state.h"

namespace transload {

struct GroupMaking {
  virtual RankState& state() = 0;

  // Collective: what all ranks say, each read by unpack(text). An Error of unpack then names the rank that spoke.
  template <class Unpack>
  auto gather(const std::string& mine, Unpack unpack);
  // Collective: makes a step that may fail on some ranks. If it does, all ranks throw the error of the lowest that
  // failed.
  void all_or_none(const std::function<void()>& step);

  std::unique_ptr<Control> control;

 protected:
  ~GroupMaking() = default;
};

template <class Unpack>
auto GroupMaking::gather(const std::string& mine, Unpack unpack) {
  std::vector<decltype(unpack(mine))> all;
  for (const std::string& text : control->gather(mine)) {
    try {
      all.push_back(unpack(text));
    } catch (const Error& error) {
      throw Error(error.code(), error.what() + (" (rank " + std::to_string(all.size()) + ")"));
    }
  }
  return all;
}

}  // namespace transload
