// The world of NVSHMEM that this process is in: the processes that started it together, for good. A process has one at
// most, and never leaves it, because NVSHMEM can not be started twice.
//
// One caller at a time may use it: groups that are made at one time take turns (NvshmemTurn). Nothing here talks to
// other ranks; runtime/network/heap_place.cc does, and calls what is collective on all of them.
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

// Runs a call of NVSHMEM, which knows no deadline, on a thread that is left behind if the call does not return.
class LibraryCall {
 public:
  explicit LibraryCall(std::function<void()> call);
  // Waits for the call to return, for `within_ns` at most, and says whether it has. Throws what the call has thrown.
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
  uint64_t number() const { return number_; }  // unique among worlds; 0: this process is in none
  int pe() const { return pe_; }
  int pes() const { return pes_; }
  int device() const { return device_; }  // the GPU whose memory the heap lies in; -1: the host's
  // Why no group may use the world any more; "" while groups may.
  std::string lost() const;
  void lose(const std::string& why);

  // Initialises NVSHMEM, once. It runs on a thread that may be left behind, so it notes nothing here. Throws Error.
  void start(const NvshmemLibrary& library, const NvshmemStart& start);
  // Notes that this process has joined the world of this number, and which PE it is.
  void join(uint64_t number, int device, const NvshmemLibrary& library);

  // Blocks of the heap, at the same place on all PEs. Groups use them in turn; none is ever freed.
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

  mutable std::mutex mutex_;  // guards the members up to `in_turn_`; whoever has the turn owns those after it
  std::string lost_;
  std::vector<HeapPart> blocks_;
  bool in_turn_ = false;
  std::condition_variable turn_ended_;

  uint64_t number_ = 0;
  int pe_ = -1, pes_ = 0, device_ = -1;
};

// Holds the turn to make a group over a world.
class NvshmemTurn {
 public:
  // Waits for the turn, for `within_ns` at most.
  NvshmemTurn(NvshmemWorld& world, uint64_t within_ns);
  ~NvshmemTurn();
  NvshmemTurn(const NvshmemTurn&) = delete;
  NvshmemTurn& operator=(const NvshmemTurn&) = delete;

  bool mine() const { return mine_; }  // false: the turn did not come in time

 private:
  NvshmemWorld& world_;
  bool mine_;
};

// A block of the heap, while a group has it.
class HeapBlock {
 public:
  HeapBlock(NvshmemWorld& world, size_t block);
  // Gives the block back to the world, for later groups. If puts were begun and not all taken, the world is lost
  // instead: bytes that are still on their way would land in memory of another group.
  ~HeapBlock();
  HeapBlock(const HeapBlock&) = delete;
  HeapBlock& operator=(const HeapBlock&) = delete;

  char* base() const { return base_; }
  uint64_t bytes() const { return bytes_; }
  // [ranks] where the blocks of others are mapped here; null: not mapped, or no rail joins that rank with this
  // one. Empty: this rank reaches them by queues of a NIC.
  const std::vector<char*>& mapped() const { return mapped_; }
  void set_mapped(std::vector<char*> mapped) { mapped_ = std::move(mapped); }
  // [ranks] the PE of each rank, in its own world. Ranks that rails join are in one world.
  const std::vector<int>& pes() const { return pes_; }
  void set_pes(std::vector<int> pes) { pes_ = std::move(pes); }

  // From now on other ranks put into this block, and this rank into theirs.
  void begin() { begun_ = true; }
  // All that this rank has put has been taken, and it puts no more. If the block is destroyed without this call, the
  // world is lost.
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
