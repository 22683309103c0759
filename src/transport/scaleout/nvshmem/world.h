// The world of NVSHMEM that this process is in: the processes that started it together, for good. A process has one at
// most, and never leaves it, because NVSHMEM can not be started twice.
//
// Who asks must be the only one who does: groups that are made at one time take turns (NvshmemTurn). Nothing here talks
// to other ranks; runtime/network/heap_place.cc does, and calls what is collective on all of them.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "transport/scaleout/nvshmem/library.h"

namespace transload {

// A call of NVSHMEM, which knows no deadline, on a thread of its own. That is left behind if the call does not return.
class LibraryCall {
 public:
  explicit LibraryCall(std::function<void()> call);
  // Whether it has returned within so many ns from now. Throws what it has thrown.
  bool returned(uint64_t within_ns) const;

 private:
  struct Line;
  std::shared_ptr<Line> line_;
};

class NvshmemWorld {
 public:
  // The world of this process; a copy of it (fork) is in none.
  static NvshmemWorld& here();

  bool started() const { return number_ != 0; }
  uint64_t number() const { return number_; }  // no other world has it; 0: there is none
  int pe() const { return pe_; }
  int pes() const { return pes_; }
  int device() const { return device_; }  // that its memory lies on; -1: the host
  // Why nothing of it may be used any more; "": it may.
  std::string lost() const;
  void lose(const std::string& why);

  // A part of starting it, once, on a thread that may be left behind; throws Error.
  void start(const NvshmemLibrary& library, const NvshmemStart& start);
  // Notes that it is started, and that this process is this PE of so many.
  void join(uint64_t number, int device, const NvshmemLibrary& library);

  // The heap: blocks of it, the same on all PEs, which groups use by turns. None is ever freed.
  struct HeapPart {
    char* base;
    uint64_t bytes;
    bool taken;
  };
  std::vector<HeapPart> blocks() const;
  size_t add(char* base, uint64_t bytes);
  void take(size_t block);
  void give_back(size_t block);

 private:
  friend class NvshmemTurn;

  mutable std::mutex mutex_;  // guards what follows; the rest is of who has the turn
  std::string lost_;
  std::vector<HeapPart> blocks_;
  bool in_turn_ = false;
  std::condition_variable turn_ended_;

  uint64_t number_ = 0;
  int pe_ = -1, pes_ = 0, device_ = -1;
};

// The turn of who makes a group over a world.
class NvshmemTurn {
 public:
  // Waits so long for the turn.
  NvshmemTurn(NvshmemWorld& world, uint64_t within_ns);
  ~NvshmemTurn();
  NvshmemTurn(const NvshmemTurn&) = delete;
  NvshmemTurn& operator=(const NvshmemTurn&) = delete;

  bool mine() const { return mine_; }  // false: it did not come

 private:
  NvshmemWorld& world_;
  bool mine_;
};

// A block as a group has it.
class HeapBlock {
 public:
  HeapBlock(NvshmemWorld& world, size_t block);
  // Back to the world, for groups to come. What was begun and did not end well is lost, and the world with it: bytes
  // that are still on their way would land in memory of another group.
  ~HeapBlock();
  HeapBlock(const HeapBlock&) = delete;
  HeapBlock& operator=(const HeapBlock&) = delete;

  char* base() const { return base_; }
  uint64_t bytes() const { return bytes_; }
  // [ranks] where this rank reaches the blocks of others; null: it does not, or they are no rails of it. Empty: it
  // reaches them by queues of a NIC.
  const std::vector<char*>& mapped() const { return mapped_; }
  void set_mapped(std::vector<char*> mapped) { mapped_ = std::move(mapped); }
  // [ranks] who each is in its world; in mine, those that rails join with this rank.
  const std::vector<int>& pes() const { return pes_; }
  void set_pes(std::vector<int> pes) { pes_ = std::move(pes); }

  // From now on others put here, and this rank there.
  void begin() { begun_ = true; }
  // All that this rank has put has been taken, and it puts no more. Until then the block counts as lost if it goes.
  void all_taken() { begun_ = false; }
  void lose(const std::string& why) { why_ = why; }

 private:
  NvshmemWorld& world_;
  const size_t block_;
  char* base_;
  uint64_t bytes_;
  std::vector<char*> mapped_;
  std::vector<int> pes_;
  bool begun_ = false;
  std::string why_ = "a group that used it went before all that it had sent was taken";
};

}  // namespace transload
