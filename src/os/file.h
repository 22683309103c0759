// Files that a user names: regular ones alone. A pipe blocks whoever opens it, a device may never end.
#pragma once
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "os/descriptor.h"

namespace transload {

// The refusal of a file of this mode, such as "a pipe, must be a regular file"; "" if it is a regular file.
inline std::string if_not_regular(mode_t mode) {
  if (S_ISREG(mode)) return {};
  const char* const what = S_ISDIR(mode) ? "folder" : S_ISFIFO(mode) ? "pipe" : S_ISSOCK(mode) ? "socket" : "device";
  return std::string("a ") + what + ", must be a regular file";
}

// The refusal of what this path names; "" for a regular file, and for a path that does not exist.
inline std::string if_not_regular(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 ? if_not_regular(status.st_mode) : std::string();
}

// `flags` are those of open(2). If the descriptor is empty, `why` says why.
inline Descriptor open_regular(const std::string& path, int flags, std::string& why) {
  why = if_not_regular(path);
  if (!why.empty()) return {};
  Descriptor file(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666));
  struct stat status;
  if (!file || ::fstat(file.get(), &status) != 0) {
    why = std::strerror(errno);
    return {};
  }
  why = if_not_regular(status.st_mode);  // the path may name another file by now
  return why.empty() ? std::move(file) : Descriptor();
}

}  // namespace transload
