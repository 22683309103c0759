// Puts a longer list of variables in the place of the old one.
#include "os/environment.h"

#include <unistd.h>

#include <atomic>
#include <deque>

namespace transload {

void add_to_environment(const std::vector<std::string>& variables) {
  struct Kept {
    std::deque<std::string> texts;
    std::deque<std::vector<char*>> lists;
  };
  static Kept& kept = *new Kept;  // never freed: other threads read the environment until the process ends
  std::vector<char*>& list = kept.lists.emplace_back();
  for (char** at = environ; at != nullptr && *at != nullptr; ++at) list.push_back(*at);
  for (const std::string& variable : variables) list.push_back(kept.texts.emplace_back(variable).data());
  list.push_back(nullptr);
  std::atomic_ref(environ).store(list.data());
}

}  // namespace transload
