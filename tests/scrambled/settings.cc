// Reading the settings.
#include "tests/scrambled/settings.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace scrambled {
namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find(at, from), text.size());
    if (to != from) parts.push_back(text.substr(from, to - from));
    from = to + 1;
  }
  return parts;
}

[[noreturn]] void refuse(const std::string& setting) {
  std::fprintf(stderr, "SCRAMBLED_FABRIC: %s: not a setting of the scrambled fabric\n", setting.c_str());
  std::abort();
}

void apply(Settings& settings, const std::string& setting) {
  const size_t equals = setting.find('=');
  const std::string key = setting.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : setting.substr(equals + 1);
  if (key == "seed")
    settings.seed = std::strtoull(value.c_str(), nullptr, 10);
  else if (key == "list")
    settings.list = split(value, '|');
  else if (key == "shut")
    settings.shut = split(value, '|');
  else if (key == "dead")
    settings.dead = split(value, '|');
  else if (key == "universe")
    settings.universe = std::strtoull(value.c_str(), nullptr, 10);
  else if (key == "nics")
    settings.nics = split(value, '|');
  else if (key == "gpu")
    settings.gpu = std::atoi(value.c_str());
  else if (setting == "keeps_cuda")
    settings.keeps_cuda = true;
  else if (key == "refuses")
    settings.refuses = split(value, '|');
  else if (key == "version")
    settings.version =
        uint32_t(std::atoi(value.c_str())) << 16 | uint32_t(std::atoi(value.c_str() + value.find('.') + 1));
  else if (setting == "software")
    settings.software = true;
  else if (setting == "tears")
    settings.tears = true;
  else if (setting == "copies")
    settings.copies = true;
  else if (setting == "spoils")
    settings.spoils = true;
  else
    refuse(setting);
}

Settings read() {
  Settings settings;
  const char* const text = std::getenv("SCRAMBLED_FABRIC");
  for (const std::string& setting : split(text == nullptr ? "" : text, ',')) apply(settings, setting);
  return settings;
}

}  // namespace

const Settings& settings() {
  static const Settings read_once = read();
  return read_once;
}

bool names(const std::vector<std::string>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace scrambled
