// A member's end of the control channel: a socket that sends and receives whole frames, each with a deadline.
#pragma once
#include <cstdint>
#include <mutex>
#include <string>

#include "control/frame.h"
#include "os/descriptor.h"

struct addrinfo;

namespace transload {

class FrameSocket {
 public:
  enum class Got : uint8_t { kFrame, kNothing, kEnd, kGarbage };

  // Makes one attempt to connect, which ends at `until`. If false, `why` says what went wrong.
  bool dial(const std::string& host, uint16_t port, uint64_t until, std::string& why);
  // Any thread may call this. False if the socket took nothing by `until`, or is broken: receive() then sees its end.
  bool send(const std::string& frame, uint64_t until);
  // One thread calls this. kNothing says that there was no whole frame by `until`.
  Got receive(FrameType& type, std::string& body, uint64_t until);
  void shut_down();  // wakes the reader, which sees the end
  bool open() const { return bool(fd_); }
  // Addresses of this connection, as text without ports.
  std::string here() const;
  std::string there() const;

 private:
  bool connect_to(const addrinfo& address, uint64_t until, std::string& why);

  Descriptor fd_;
  std::mutex send_mutex_;
  std::string buffer_;
  size_t taken_ = 0;  // how many bytes of the buffer receive() has given out
};

}  // namespace transload
