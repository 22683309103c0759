// Functions of libraries that are loaded at run time, where the machine has them.
#pragma once
#include <dlfcn.h>

#include <string>

namespace transload {

// A library that dlopen has loaded.
struct SharedLibrary {
  void* handle;
  std::string path;
  std::string lacks = {};  // the first function that was not found, in words; empty: all were found

  // Sets `function` to the one of this name, or to null if the library has none.
  template <class Function>
  void find(const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(handle, name));
    if (function == nullptr && lacks.empty()) lacks = path + " has no " + name;
  }
};

}  // namespace transload
