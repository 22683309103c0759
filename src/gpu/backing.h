// What holds the pages of a device region, one kind for each way of sharing them.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "os/descriptor.h"

namespace transload {

class DeviceBacking {
 public:
  virtual ~DeviceBacking() = default;
  DeviceBacking(const DeviceBacking&) = delete;
  DeviceBacking& operator=(const DeviceBacking&) = delete;

  char* base() const { return base_; }
  virtual int fd() const { return -1; }
  virtual void close_fd() {}
  // What another process needs beside the descriptor.
  virtual std::string handle() const { return {}; }
  // Lets another device of this process reach the memory.
  virtual void reach_from(int device) const = 0;

 protected:
  DeviceBacking() = default;
  char* base_ = nullptr;
};

// These make memory of my own, which is zeros. They throw Error.
std::unique_ptr<DeviceBacking> make_vmm(int device, size_t bytes);
std::unique_ptr<DeviceBacking> make_ipc(int device, size_t bytes);
std::unique_ptr<DeviceBacking> make_plain(int device, size_t bytes);

// These map memory of another process for `device`. Null: the memory was offered in another way. They throw Error.
std::unique_ptr<DeviceBacking> map_vmm(int device, size_t bytes, std::string_view handle, Descriptor fd);
std::unique_ptr<DeviceBacking> map_ipc(int device, size_t bytes, std::string_view handle, Descriptor fd);

}  // namespace transload
