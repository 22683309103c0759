// Functions of libraries that are loaded where they are there.
#pragma once
#include <dlfcn.h>

#include <string>

namespace transload {

// Of a library that dlopen gave.
struct SharedLibrary {
  void* handle;
  std::string path;
  std::string lacks = {};  // what was looked for first and is not there, in words; empty: all was there

  // Null if the library has none of this name.
  template <class Function>
  void find(const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(handle, name));
    if (function == nullptr && lacks.empty()) lacks = path + " has no " + name;
  }
};

}  // namespace transload
