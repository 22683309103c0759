// Telling what happened in the world of one seed.
#include "sim/explain/explain.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "sim/explain/report.h"
#include "sim/world/timeline.h"

namespace transload {
namespace {

constexpr size_t kLinesShown = 25, kWaitsShown = 24, kMilestonesShown = 40;
constexpr uint64_t kEventsMax = 60'000'000;  // the most events that are kept; of longer worlds the last ones

std::string of_number(uint64_t number) { return " (event " + std::to_string(number) + ")"; }

// What the warp that broke a rule had been told before.
struct Known {
  Event seen{};   // the warp's last look at a count of the focus
  Event fence{};  // the warp's last fence for its copy engine
  bool has_seen = false, has_fence = false;
};

class Explainer {
 public:
  Explainer(const World& world, const WorldResult& result)
      : world_(world),
        v_(result.violation),
        first_(world.journal().count() - std::min<uint64_t>(world.journal().count(), world.journal().kept())),
        focus_(choose_focus()),
        report_(world, focus_) {}

  std::string text() {
    read();
    std::string out = head();
    if (v_.checker == Checker::kLiveness)
      out += faults() + waits();
    else if (focus_.given())
      out += "\nwhy\n" + why();
    else
      out += arithmetic();
    if (!lines_.empty()) {
      out += "\nthe last events of " + focus_.text(world_) + "\n";
      for (const std::string& line : lines_) out += line;
      if (v_.checker != Checker::kLiveness) out += "              and here the rule is broken\n";
    }
    if (!focus_.given() || v_.checker == Checker::kLiveness) out += milestones();
    return out;
  }

 private:
  // Returns the ring or bytes that the violation names, or for a wait without end the word at the end of the chain.
  Focus choose_focus() {
    if (v_.word != 0) return focus_on(world_, v_.word, bytes_of_other());
    if (v_.checker != Checker::kLiveness) return {};
    chain_ = chain();
    for (size_t i = chain_.size(); i-- > 0;)
      if (const Focus f = focus_on(world_, chain_[i]->word, 8); f.ring) return f;
    return chain_.empty() ? Focus{} : focus_on(world_, chain_.back()->word, 8);
  }

  // How many bytes are in question: those from the violation's place to the end of the flight that was met, or a word.
  uint64_t bytes_of_other() {
    uint64_t bytes = 8, number = first_;
    world_.journal().each([&](const Event& e) {
      if (number++ == v_.other && e.b <= v_.word && v_.word < e.b + e.c) bytes = e.b + e.c - v_.word;
    });
    return bytes;
  }

  // Who waits for whom, beginning at a wait that says most. The chain ends at a rank that waits for nobody, or with a
  // wait that is in it already.
  std::vector<const World::Wait*> chain() {
    const std::vector<World::Wait>& all = world_.waits();
    const auto next_of = [&](const World::Wait* from, uint32_t group, uint32_t rank) {
      const World::Wait* best = nullptr;
      const Focus ring = focus_on(world_, from->word, 8);
      int best_rank = 0;
      for (const World::Wait& w : all) {
        if (w.group != group || w.rank != rank) continue;
        const bool same = ring.ring && std::any_of(w.words.begin(), w.words.end(),
                                                   [&](uint64_t word) { return ring.holds(word, 8); });
        const int order = 1 + 8 * same + 4 * !w.leaving + 2 * (w.whom != rank) + (w.channel == from->channel);
        if (order <= best_rank) continue;
        best = &w;
        best_rank = order;
      }
      return best;
    };
    std::vector<const World::Wait*> chain;
    const World::Wait* at = nullptr;
    for (const World::Wait& w : all)
      if (at == nullptr || (at->leaving && !w.leaving)) at = &w;
    while (at != nullptr && std::find(chain.begin(), chain.end(), at) == chain.end()) {
      chain.push_back(at);
      at = next_of(at, at->group, at->whom);
    }
    closes_ = at != nullptr;
    if (closes_) chain.push_back(at);
    return chain;
  }

  // One pass over all events.
  void read() {
    uint64_t number = first_;
    world_.journal().each([&](const Event& e) {
      if (number <= v_.event || v_.checker == Checker::kNone) note(e, number);
      ++number;
    });
  }

  void note(const Event& e, uint64_t number) {
    const bool told = report_.tell(e, number);
    if (e.rank == v_.rank && e.warp == v_.warp && e.warp >= 0) note_reader(e, number);
    if (told) {
      lines_.push_back(report_.line(e, number));
      if (lines_.size() > kLinesShown) lines_.pop_front();
    }
    if (e.what == Happened::kFault) faults_.push_back(report_.line(e, number));
    if (e.what == Happened::kVerdict) verdicts_.push_back(report_.line(e, number));
    if (e.what == Happened::kCall || e.what == Happened::kReturned) {
      milestones_.push_back(report_.line(e, number));
      if (milestones_.size() > kMilestonesShown) milestones_.pop_front();
    }
    if (focus_.ring && focus_.holds(e.b, 1)) note_count(e, number);
    if (e.what == Happened::kLanded && v_.word != 0 && e.b <= v_.word && v_.word < e.b + e.c) {
      last_landed_ = report_.line(e, number);
      landed_number_ = number;
      landed_ = e;
    }
    if (e.what == Happened::kFence || e.what == Happened::kSettle) fences_[report_.who(e)] = number;
    who_ = report_.who({.what = Happened::kBroken,
                        .group = e.group,
                        .rank = uint16_t(v_.rank),
                        .warp = v_.warp,
                        .time = 0,
                        .a = 0,
                        .b = 0,
                        .c = 0});
  }

  void note_reader(const Event& e, uint64_t number) {
    if (e.what == Happened::kObserved && focus_.given() && focus_.holds(e.b, 8)) {
      known_.seen = e;
      known_.has_seen = true;
      seen_number_ = number;
    }
    if (e.what == Happened::kEngine) {
      known_.fence = e;
      known_.has_fence = true;
      fence_number_ = number;
    }
    group_ = e.group;
  }

  void note_count(const Event& e, uint64_t number) {
    const RingPart part = focus_.book->find(e.b).part;
    if (part != RingPart::kTail && part != RingPart::kCredit) return;
    std::string& said = part == RingPart::kTail ? tail_said_ : credit_said_;
    std::string& landed = part == RingPart::kTail ? tail_landed_ : credit_landed_;
    const std::string when = " at " + Report::time(e.time) + of_number(number);
    if (e.what == Happened::kMark) {
      said = std::to_string(e.c) + ", by " + report_.who(e) + when;
      if (part == RingPart::kTail) {
        tail_event_ = e;
        tail_number_ = number;
      }
    }
    if (e.what == Happened::kCounted || e.what == Happened::kTorn)
      landed = std::to_string(e.c) + (e.what == Happened::kTorn ? " (its low bytes alone)" : "") + when;
  }

  std::string head() const {
    const auto& facts = checker_facts();
    std::string out = std::string(kCheckerNames[int(v_.checker)]) + ": ";
    if (v_.checker == Checker::kLiveness)
      out += v_.what;
    else
      out += (who_.empty() || v_.warp < 0 ? "rank " + std::to_string(v_.rank) : who_) + ": " + v_.what;
    out += "\n  the rule:  " + std::string(facts[size_t(v_.checker) - 1].sentence) + "\n";
    if (v_.word != 0) out += "  where:     " + world_.address_text(v_.word) + "\n";
    return out + "  when:      event " + std::to_string(v_.event) + "\n";
  }

  std::string ring_state() const {
    if (!focus_.ring) return "";
    const auto line = [](const char* name, const std::string& said, const std::string& landed) {
      if (said.empty()) return std::string("  ") + name + " nothing in this world\n";
      return std::string("  ") + name + " " + said +
             (landed.empty() ? "; not landed yet" : "; landed so far: " + landed) + "\n";
    };
    return line("published:", tail_said_, tail_landed_) + line("credited: ", credit_said_, credit_landed_);
  }

  // Tells of the flight that was met: when it began, how much of it has landed, and whether the count came after that
  // flight.
  std::string other() const {
    const auto found = report_.tales().find(v_.other);
    if (found == report_.tales().end()) return "";
    const Tale& t = found->second;
    const char* const verb = t.begun.what == Happened::kPut   ? "put"
                             : t.begun.what == Happened::kSum ? "began to sum"
                                                              : "began to store";
    const std::string amount =
        t.begun.what == Happened::kSum ? std::to_string(t.begun.c) + " elements" : std::to_string(t.begun.c) + " bytes";
    std::string out = "  " + t.who + " " + verb + " " + amount + " to " + report_.place(t.begun.b) + " at " +
                      Report::time(t.begun.time) + of_number(t.number) + ".\n";
    out += "  Of these " + std::to_string(t.landed_bytes) + " bytes have landed; its source " +
           (t.read_at == 0 ? "has not been read yet" : "was read at " + Report::time(t.read_at)) + ".\n";
    if (v_.checker != Checker::kLanding || tail_number_ == 0) return out;
    const std::string count = "  The tail's last count, " + tail_said_ + ", ";
    if (tail_number_ < t.number) return out + count + "came before that store began: it counts what was not there.\n";
    if (report_.who(tail_event_) == t.who)
      return out + count + "came after it, but did not wait for it to land: it was not ordered behind it.\n";
    return out + count + "is another warp's.\n";
  }

  std::string why() const {
    std::string out = other();
    if (focus_.ring && (v_.checker == Checker::kReuse || v_.checker == Checker::kCredit))
      out += "  Token i of the stream lies in slot i mod " +
             std::to_string(slots_of(focus_.book->board(focus_.place.rank).geometry, focus_.place.kind)) +
             ", which is free once token i - " +
             std::to_string(slots_of(focus_.book->board(focus_.place.rank).geometry, focus_.place.kind)) +
             " is credited.\n";
    if (v_.checker == Checker::kLanding) {
      if (known_.has_seen)
        out += "  The reader had observed " + std::to_string(known_.seen.c) + " on " + report_.place(known_.seen.b) +
               " at " + Report::time(known_.seen.time) + of_number(seen_number_) + ".\n";
      else if (focus_.ring)
        out += "  The reader had observed no count of this ring.\n";
      if (!last_landed_.empty())
        out += "  What was read landed last with\n" + last_landed_;
      else if (v_.other == ~uint64_t(0))
        out += "  Nothing has ever landed there: the reader did not wait for the word that says so.\n";
      if (v_.other == ~uint64_t(0) && landed_number_ > 0) out += not_visible();
    }
    return out + ring_state();
  }

  // Says why the reader must not see bytes that have landed.
  std::string not_visible() const {
    if (v_.what.find("copy engine") == std::string::npos) return not_covered();
    if (!known_.has_fence)
      return "  Since its run began this warp has shown its copy engine nothing of what it observed.\n";
    return "  What its copy engine may read is what was observed up to " + Report::time(known_.fence.time) +
           of_number(fence_number_) + (landed_number_ > fence_number_ ? ": before those bytes landed.\n" : ".\n");
  }

  // Says why no count that the reader observed covers the bytes: they landed by chance.
  std::string not_covered() const {
    const std::string writer = report_.who(landed_);
    if (tail_number_ == 0 || report_.who(tail_event_) != writer)
      return "  They landed by chance: no count that the reader observed with acquire was set with release after them "
             "by " +
             writer + ".\n";
    const auto fence = fences_.find(writer);
    const Tale* const tale = report_.tale_of(landed_.a);
    const uint64_t begun = tale == nullptr ? 0 : tale->number;
    if (fence == fences_.end() || fence->second < begun)
      return "  They landed by chance: no fence of " + writer +
             " stands between these stores and its count, so streamed stores are not ordered before it.\n";
    return "  They landed by chance: the count that the reader observed does not cover these stores.\n";
  }

  std::string arithmetic() const {
    return "\nwhy\n  No store was late, no count early and no slot overwritten up to here: the checkers of order "
           "watched, and\n"
           "  none spoke. So this is what the roles computed: which rows, where to, or in which order they are "
           "summed.\n";
  }

  std::string faults() const {
    std::string out;
    if (!faults_.empty()) out += "\nwhat was done to this world\n";
    for (const std::string& line : faults_) out += line;
    if (!verdicts_.empty()) out += "\nwhat ranks heard of it\n";
    for (const std::string& line : verdicts_) out += line;
    return out;
  }

  std::string waits() const {
    std::string out;
    if (!chain_.empty()) {
      out += "\nwho waits for whom\n";
      for (size_t i = 0; i < chain_.size(); ++i) {
        const bool again = closes_ && i + 1 == chain_.size();
        out += (i == 0 ? "  " : "  which ") + chain_[i]->text + (again ? ": where it was before, a cycle" : "") + "\n";
      }
      if (!closes_) {
        const uint32_t last = chain_.back()->whom;
        out += "  and rank " + std::to_string(last) +
               " waits for nobody: " + "it has not done, or not said, what the others need\n";
      }
      if (both_ends())
        out +=
            "  So both ends of one ring wait for each other: a count of one of them was not set, or came to another.\n";
      if (focus_.ring) out += "\nthe ring at the end of it\n" + ring_state();
    }
    const auto& all = world_.waits();
    if (all.size() > chain_.size()) {
      out += "\nall " + std::to_string(all.size()) + " waits\n";
      for (size_t i = 0; i < std::min(kWaitsShown, all.size()); ++i) out += "  " + all[i].text + "\n";
      if (all.size() > kWaitsShown) out += "  and so on\n";
    }
    return out;
  }

  // True if the last two waits of the chain are for words of the same ring.
  bool both_ends() const {
    if (!closes_ || !focus_.ring || chain_.size() < 3) return false;
    const auto in_ring = [&](const World::Wait* w) {
      return std::any_of(w->words.begin(), w->words.end(), [&](uint64_t word) { return focus_.holds(word, 8); });
    };
    return chain_[chain_.size() - 1] == chain_[chain_.size() - 3] && in_ring(chain_[chain_.size() - 2]) &&
           in_ring(chain_.back());
  }

  std::string milestones() const {
    std::string out = "\nthe calls\n";
    for (const std::string& line : milestones_) out += line;
    return out;
  }

  const World& world_;
  const Violation& v_;
  const uint64_t first_;  // number of the first event that was kept
  bool closes_ = false;
  std::vector<const World::Wait*> chain_;
  const Focus focus_;
  Report report_;
  std::deque<std::string> lines_, milestones_;
  std::vector<std::string> faults_, verdicts_;
  std::string who_, tail_said_, tail_landed_, credit_said_, credit_landed_, last_landed_;
  Event tail_event_{}, landed_{};
  std::map<std::string, uint64_t> fences_;  // number of each warp's last fence
  Known known_;
  uint8_t group_ = 0;
  uint64_t tail_number_ = 0, seen_number_ = 0, fence_number_ = 0, landed_number_ = 0;
};

}  // namespace

const std::vector<CheckerFacts>& checker_facts() {
  static const std::vector<CheckerFacts> all{
      {Checker::kConservation, "every (token, owner) arrives once"},
      {Checker::kPlacement, "every row is where the contract wants it"},
      {Checker::kContent, "every byte of a row and of what comes with it is its sender's"},
      {Checker::kSum, "combine's result is the reference's, to the bit"},
      {Checker::kLanding, "nothing is read before it has landed and a count that covers it was observed"},
      {Checker::kOrder, "rows come by source rank and token"},
      {Checker::kCredit, "no full slot is filled, and no more is credited than was published"},
      {Checker::kGrowth, "a word only grows"},
      {Checker::kLiveness,
       "a world without faults ends; in one with a fault every survivor hears the right verdict in time"},
      {Checker::kReuse, "nothing is touched after its owner may use it again"},
  };
  return all;
}

Story explain_world(const Scenario& scenario, uint64_t seed, Canary canary) {
  WorldOptions options;
  options.seed = seed;
  options.canary = canary;
  options.events_kept = 1;
  World world;
  const WorldResult counted = world.run(scenario, options);
  options.events_kept = std::min(world.journal().count(), kEventsMax) + 1;
  const WorldResult result = world.run(scenario, options);
  std::string head = scenario.name + ", seed " + std::to_string(seed);
  if (canary != Canary::kNone) head += ", canary " + std::string(kCanaryNames[size_t(canary)]);
  head += ": " + std::to_string(result.events) + " events in " +
          std::to_string((result.virtual_ns - Timeline::kBeginNs) / 1000) + " us of virtual time\n";
  if (counted.digest != result.digest) head += "replay: the two runs of this seed differ\n";
  if (result.passed()) return {counted.digest == result.digest, head + "all checkers are satisfied\n"};
  return {false, head + Explainer(world, result).text()};
}

}  // namespace transload
