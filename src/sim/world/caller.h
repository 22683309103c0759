// Who makes the calls of a program: a rank of a world, or of a group that runs elsewhere.
#pragma once
#include <transload/combine.h>
#include <transload/dispatch.h>
#include <transload/lease.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace transload {

constexpr char kScribble = char(0xEE);  // what a caller writes over its inputs once a call has returned

// 16-byte aligned memory of the caller's own.
struct Private {
  std::vector<uint64_t> words;
  explicit Private(size_t bytes) : words(bytes / 8 + 4) {}
  char* data() { return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(words.data()) + 15) & ~uintptr_t(15)); }
  void scribble() { std::memset(words.data(), kScribble, words.size() * 8); }
};

// Where experts leave the rows that they return: leased, or the caller's own.
struct ExpertRoom {
  char* at = nullptr;
  Lease lease;
  Private own{0};
};

class Caller {
 public:
  virtual ~Caller() = default;
  virtual uint32_t rank() const = 0;
  virtual void arrive() {}           // called before the first call
  virtual void compute(uint64_t) {}  // spends that many ns of virtual time, outside of calls

  // The host reads and writes all tensors. Outputs are valid until the next call or room().
  virtual DispatchOutputs dispatch(const DispatchInputs& in) = 0;
  virtual CombineOutputs combine(const CombineInputs& in) = 0;  // x and weights lie in the latest room
  virtual ExpertRoom room(size_t bytes, bool leased) = 0;

  // loads() and stores() tell a checker what memory the host reads and writes between calls. at_rest() says what is
  // wrong if anybody else still uses that memory, or nothing.
  virtual void loads(const void*, size_t) {}
  virtual void stores(void*, size_t) {}
  virtual std::string at_rest(const void*, size_t, const char*) const { return ""; }
};

}  // namespace transload
