// Moves a network on while its rank is in no call. Some networks confirm what they delivered only while software at the
// target runs, and a rank may leave its call before that: without a hand, whoever waits for the confirmation would wait
// until the target's next call.
#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "channel/scaleout.h"
#include "os/descriptor.h"

namespace transload {

class Hand {
 public:
  // `network` outlives the hand, whose thread uses it from now on whenever no Hold lives.
  explicit Hand(ScaleOut& network);
  ~Hand();
  Hand(const Hand&) = delete;
  Hand& operator=(const Hand&) = delete;

  // While a Hold lives, the network belongs to the thread that made the Hold. One Hold lives at a time; it does nothing
  // if `hand` is null.
  class Hold {
   public:
    explicit Hold(Hand* hand) : hand_(hand) {
      if (hand_ != nullptr) hand_->stay_away();
    }
    ~Hold() {
      if (hand_ != nullptr) hand_->come_back();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Hand* const hand_;
  };

 private:
  void run(const std::stop_token& stop);
  void sleep();
  void ring();
  void stay_away();
  void come_back();

  ScaleOut& network_;
  Descriptor bell_;
  std::mutex mutex_;  // the thread holds it while it uses the network
  std::condition_variable_any back_;
  std::atomic<bool> away_{false};  // a Hold sets and clears it; the thread reads it, and waits on back_ while it is set
  std::jthread thread_;
};

}  // namespace transload
