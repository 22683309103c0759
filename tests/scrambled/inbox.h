// Pieces that have arrived and not landed: they land later, in any order, if the writer has the key of the memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/scrambled/dice.h"
#include "tests/scrambled/memory.h"
#include "tests/scrambled/wire.h"

namespace scrambled {

class Inbox {
 public:
  Inbox(const Registrations& memory, Dice& dice) : memory_(memory), dice_(dice) {}

  void arrived(const std::string& from, const Message& message, const char* payload);
  void land_some();
  // Tells the writers what has landed.
  void confirm(Wire& wire);
  bool empty() const { return pieces_.empty() && receipts_.empty(); }

 private:
  struct Piece {
    std::string from;
    uint64_t write;
    uint64_t key;
    uint64_t to;
    std::vector<char> bytes;
    size_t landed;
  };

  char* target(const Piece& piece) const;
  bool land(Piece& piece);

  const Registrations& memory_;
  Dice& dice_;
  std::vector<Piece> pieces_;
  std::map<std::string, std::vector<Receipt>> receipts_;  // by writer
};

}  // namespace scrambled
