// How bytes get from one process to another: datagrams of Unix sockets, whose names the kernel gives and forgets. A
// full reader refuses them, and one that is gone says so, as a network does.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace scrambled {

constexpr size_t kPieceMost = 4096;
constexpr size_t kWordBytes = 8;  // a write of so many stays in one piece, and lands at once if it is not torn
constexpr size_t kNameBytes = 8;  // of a socket that the kernel has named

// A piece of a write, or what became of pieces.
struct Message {
  enum class Kind : uint64_t { kPiece, kReceipts };
  Kind kind;
  uint64_t write;  // of a piece: whose it is, as its sender counts them
  uint64_t key;
  uint64_t to;
  uint64_t bytes;  // of what follows
};

// How much of a write has landed, or why it will not.
struct Receipt {
  uint64_t write;
  uint64_t bytes;
  int64_t refusal;
};

class Wire {
 public:
  enum class Sent { kYes, kFull, kGone };

  Wire();
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  int descriptor() const { return socket_; }
  // Whether anybody has this name; nothing is sent, and nobody is woken.
  bool exists(const std::string& name);
  const std::string& name() const { return name_; }
  Sent send(const std::string& to, const Message& message, const void* payload);
  // False: there is nothing. The payload is valid until the next call.
  bool receive(std::string& from, Message& message, const char*& payload);

 private:
  int socket_ = -1;
  int looking_ = -1;  // a socket that only asks for names
  std::string name_;
  char buffer_[sizeof(Message) + kPieceMost];
};

}  // namespace scrambled
