// Going through the schedules of a tiny world, and leaving out those that show nothing new.
#include "sim/walks/walk.h"

#include <algorithm>

#include "os/clock.h"

namespace transload {
namespace {

constexpr size_t kStoryMax = 40;
constexpr uint64_t kLookAtClock = 1024;

class Walk {
 public:
  Walk(TinyWorld& world, const WalkLimits& limits) : world_(world), limits_(limits) {}

  Walked run() {
    world_.reset();
    bool arrived = true;
    for (;;) {
      if (arrived) arrive();
      if (over_ || !back(arrived)) break;
    }
    walked_.complete = !over_;
    walked_.states = seen_.count();
    walked_.seconds = seconds_since(begin_);
    return std::move(walked_);
  }

 private:
  // A state in which there is a choice.
  struct Fork {
    std::vector<Action> actions;
    size_t next = 0;
    size_t depth = 0;  // actions before the fork
    Print print;
    double schedules = 0;
    uint32_t preemptions = 0;  // preemptions before the fork
  };

  bool bounded() const { return limits_.preemptions != WalkLimits::kAll; }
  bool merges() const { return limits_.merged; }

  void take(const Action& action) {
    if (bounded()) preemptions_ += world_.preempts(action);
    path_.push_back(action);
    world_.act(action);
    ++walked_.actions;
  }

  // Continues from where the world stands, until there is a fork, an end or a known state.
  void arrive() {
    for (;;) {
      world_.actions(list_);
      if (list_.empty()) return end();
      leave_out_early();
      if (!choose_private()) within_bound();
      if (list_.size() > 1) return fork();
      take(list_[0]);
    }
  }

  void leave_out_early() {
    if (!limits_.hastened) return;
    const auto early = [&](const Action& action) { return world_.is_early(action); };
    const size_t all = list_.size();
    if (std::all_of(list_.begin(), list_.end(), early)) {
      list_.resize(1);  // all that can happen is early, and its order does not matter
    } else {
      std::erase_if(list_, early);
    }
    walked_.early += all - list_.size();
  }

  bool choose_private() {
    if (!limits_.hastened || bounded()) return false;
    for (const Action& action : list_)
      if (world_.is_private(action)) {
        walked_.put_off += list_.size() - 1;
        list_.assign(1, Action(action));
        return true;
      }
    return false;
  }

  void within_bound() {
    if (!bounded() || preemptions_ < limits_.preemptions) return;
    const size_t all = list_.size();
    std::erase_if(list_, [&](const Action& action) { return world_.preempts(action); });
    walked_.beyond += all - list_.size();
  }

  void end() {
    ++walked_.ended;
    walked_.deepest = std::max<uint64_t>(walked_.deepest, path_.size());
    leaf(1);
    const Violation& violation = world_.violation();
    if (violation.checker == Checker::kNone) {
      walked_.outcomes.insert(world_.print());
      return;
    }
    Print print;
    for (const uint64_t value :
         {uint64_t(violation.checker), uint64_t(violation.rank), uint64_t(violation.warp), violation.word})
      print.mix(value);
    walked_.outcomes.insert(print);
    if (walked_.violation.checker == Checker::kNone) {
      walked_.violation = violation;
      tell_story();
    }
    over_ |= limits_.to_first;
  }

  void leaf(double schedules) {
    if (forks_.empty())
      walked_.schedules += schedules;
    else
      forks_.back().schedules += schedules;
  }

  void fork() {
    Fork fork;
    if (merges()) {
      fork.print = world_.print();
      if (bounded()) {
        fork.print.mix(preemptions_);
        fork.print.mix(world_.running());
      }
      if (const States::Visited* known = seen_.find(fork.print)) {
        ++walked_.merged;
        return leaf(known->schedules);
      }
      seen_.add(fork.print);
    }
    fork.actions = list_;
    fork.depth = path_.size();
    fork.preemptions = preemptions_;
    forks_.push_back(std::move(fork));
    if (seen_.count() >= limits_.states) over_ = true;
    if (++looks_ % kLookAtClock == 0 && seconds_since(begin_) > limits_.seconds) over_ = true;
    if (!over_) take(list_[forks_.back().next++]);
    fresh_ = true;
  }

  // Goes back to the latest fork with a choice that was not made yet, and makes it. False if there is none.
  bool back(bool& arrived) {
    arrived = true;
    if (fresh_) {
      fresh_ = false;
      return true;
    }
    while (!forks_.empty() && forks_.back().next == forks_.back().actions.size()) {
      const Fork done = std::move(forks_.back());
      forks_.pop_back();
      if (merges()) seen_.find(done.print)->schedules = done.schedules;
      leaf(done.schedules);
    }
    if (forks_.empty()) return false;
    Fork& fork = forks_.back();
    path_.resize(fork.depth);
    world_.reset();
    for (const Action& action : path_) world_.act(action);
    walked_.actions += path_.size();
    preemptions_ = fork.preemptions;
    take(fork.actions[fork.next++]);
    return true;
  }

  void tell_story() {
    const size_t begin = path_.size() > kStoryMax ? path_.size() - kStoryMax : 0;
    const std::vector<Action> path = path_;
    world_.reset();
    for (size_t i = 0; i < path.size(); ++i) {
      if (i >= begin) walked_.story.push_back(world_.text(path[i]));
      world_.act(path[i]);
    }
  }

  TinyWorld& world_;
  const WalkLimits limits_;
  const uint64_t begin_ = now_ns();
  Walked walked_;
  States seen_;
  std::vector<Action> path_, list_;
  std::vector<Fork> forks_;
  uint32_t preemptions_ = 0;
  uint64_t looks_ = 0;
  bool over_ = false, fresh_ = false;
};

}  // namespace

Walked walk(TinyWorld& world, const WalkLimits& limits) { return Walk(world, limits).run(); }

}  // namespace transload
