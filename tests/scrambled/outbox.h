// Writes that were posted: they leave in pieces and in any order, read their sources late, and complete late.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/scrambled/dice.h"
#include "tests/scrambled/wire.h"

namespace scrambled {

struct Posted {
  void* context;
  const char* from;
  size_t bytes;
  size_t reader;  // to whom, as outbox knows them
  uint64_t to;
  uint64_t key;
  bool on_delivery;  // complete when all of it has landed, and else when its source has been read
};

struct Completion {
  void* context;
  int error;
};

class Outbox {
 public:
  explicit Outbox(Dice& dice) : dice_(dice) {}

  size_t add_reader(const std::string& name);
  // False: not now.
  bool post(const Posted& posted);
  void send_some(Wire& wire);
  // Fails what was sent to readers that no longer exist, and that nobody will confirm.
  void look_for_readers(Wire& wire);
  void confirmed(const Receipt& receipt);
  // One that has completed; false: none, or not yet.
  bool complete(Completion& completion);

  bool restless() const;                           // there are pieces to send
  bool waits() const { return !writes_.empty(); }  // for readers to confirm
  bool has_completions() const { return !done_.empty(); }
  bool blocked() const { return blocked_; }  // some reader had no room at the last attempt

 private:
  struct Write {
    Posted posted;
    size_t unread;    // bytes of its source
    size_t unlanded;  // bytes
    bool told;        // its completion is made
  };
  struct Piece {
    uint64_t write;
    size_t at;
    size_t bytes;
  };
  struct Reader {
    std::string name;
    std::vector<Piece> pieces;
    std::vector<Piece> held;  // of spoiled writes
  };

  bool send_one(Reader& reader, Wire& wire);
  static void let_go(Reader& reader, uint64_t count);
  void tell(Write& write, int error);
  void moved_on(uint64_t number);
  void lose(size_t reader);

  Dice& dice_;
  uint64_t next_ = 1;
  bool blocked_ = false;
  std::vector<Reader> readers_;
  std::unordered_map<uint64_t, Write> writes_;
  std::vector<Completion> done_;
};

}  // namespace scrambled
