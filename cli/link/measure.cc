// Runs the passes of `transload link`, and prints a JSON line for each figure.
#include "cli/link/measure.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/link/raw_writes.h"
#include "cli/link/rows.h"
#include "cli/show/rounded.h"
#include "cli/show/usage.h"
#include "cli/text.h"
#include "transport/scaleout/libfabric/link.h"

namespace transload::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kRounds = 3;  // rounds of the library's writes and of raw ones, in turns, because a host is noisy
constexpr uint32_t kCounts = 200, kCountsInARow = 10000;
constexpr uint64_t kTimedBytesMost = 1 << 30;  // the most bytes that one size moves in one round

uint64_t median(std::vector<uint64_t> values) {
  std::sort(values.begin(), values.end());
  return std::max<uint64_t>(values[values.size() / 2], 1);
}

class Measurement {
 public:
  Measurement(LinkEnds& ends, const LinkJob& job)
      : ends_(ends),
        job_(job),
        place_{*std::max_element(job.row_bytes.begin(), job.row_bytes.end())},
        memory_(place_.bytes() / kWordBytes + 1) {
    LibfabricOptions options;
    options.rank = ends.rank;
    options.ranks = ends.ranks;
    options.provider = job.provider;
    options.source_address = ends.address();
    options.region = region();
    options.region_bytes = place_.bytes();
    options.counterparts = {ends.other};
    ends.all_or_none([&] { link_ = std::make_unique<LibfabricLink>(options); });
    const auto addresses = ends.gather(link_->address());
    ends.all_or_none([&] { link_->connect(addresses); });
    rows_ = std::make_unique<RowTraffic>(ends, *link_, region(), place_);
  }

  int run() {
    bool right = job_.spoil || counted();
    for (const uint64_t bytes : job_.row_bytes) right &= checked(job_.spoil ? Pass::kSpoiled : Pass::kChecked, bytes);
    if (!right || job_.spoil) return right ? kVerified : kWrongResult;
    const std::string name = link_->name();
    RawWrites raw(ends_, name.substr(name.find(' ') + 1), place_);
    for (const uint64_t bytes : job_.row_bytes) time_rows(raw, bytes);
    time_counts(raw);
    ends_.gather("");  // nobody leaves while another still needs its progress
    return kVerified;
  }

 private:
  char* region() { return reinterpret_cast<char*>(memory_.data()); }

  void say(const Json& line) const {
    if (ends_.rank != 0) return;
    Json all = {{"provider", link_->name()}, {"ordered", link_->ordered()}, {"ranks", ends_.ranks}};
    all.update(line);
    text::print("{}\n", all.dump(-1, ' ', false, Json::error_handler_t::replace));
    std::fflush(stdout);
  }

  bool counted() {
    const uint64_t falls = ends_.most(rows_->falls(kCountsInARow));
    say({{"case", "counted"}, {"counts", kCountsInARow}, {"falls_of_a_word", falls}});
    if (falls != 0 && ends_.rank == 0) text::print(stderr, "transload: a word fell {} times\n", falls);
    return falls == 0;
  }

  bool checked(Pass pass, uint64_t bytes) {
    const PassResult passed = rows_->pass(pass, bytes, job_.rows);
    const std::vector<std::string> firsts = ends_.gather(passed.first_wrong);
    uint64_t wrong = 0;
    std::string first;
    for (const std::string& said : firsts)
      if (!said.empty() && first.empty()) first = said;
    wrong = ends_.most(passed.wrong);
    say({{"case", pass == Pass::kSpoiled ? "spoiled" : "checked"},
         {"row_bytes", bytes},
         {"rows", passed.rows},
         {"wrong_rows_of_a_rank", wrong}});
    if (wrong == 0) return true;
    if (ends_.rank == 0)
      text::print(stderr, "transload: {}, of {} bytes, was wrong when its count came\n", first, bytes);
    return false;
  }

  // GB/s each way that a host moved, by the time of its slowest rank.
  double gb_per_s(uint64_t bytes, uint64_t ns) const {
    const uint32_t pairs = ends_.ranks / 2;
    return double(bytes) * pairs / double(ns);
  }

  void time_rows(RawWrites& raw, uint64_t bytes) {
    const uint64_t rows = std::min(job_.rows, std::max<uint64_t>(kTimedBytesMost / bytes, 1));
    std::vector<uint64_t> ours, theirs;
    for (int i = 0; i < kRounds; ++i) {
      ours.push_back(ends_.most(rows_->pass(Pass::kTimed, bytes, rows).ns));
      theirs.push_back(ends_.most(raw.rows(bytes, rows)));
    }
    const double mine = gb_per_s(bytes * rows, median(ours)), best = gb_per_s(bytes * rows, median(theirs));
    say({{"case", "rows"},
         {"row_bytes", bytes},
         {"rows", rows},
         {"gb_per_s_each_way", rounded(mine)},
         {"raw_gb_per_s_each_way", rounded(best)},
         {"share_of_raw", rounded(mine / best)}});
  }

  void time_counts(RawWrites& raw) {
    std::vector<uint64_t> ours, theirs;
    for (int i = 0; i < kRounds; ++i) {
      ours.push_back(ends_.most(rows_->counts(kCounts)));
      theirs.push_back(ends_.most(raw.counts(kCounts)));
    }
    const auto one_way_us = [](uint64_t ns) { return double(ns) * 1e-3 / (2 * kCounts); };
    say({{"case", "count"},
         {"us_one_way", rounded(one_way_us(median(ours)))},
         {"raw_us_one_way", rounded(one_way_us(median(theirs)))}});
  }

  LinkEnds& ends_;
  const LinkJob& job_;
  const LinkPlace place_;
  std::vector<WordLine> memory_;
  std::unique_ptr<LibfabricLink> link_;
  std::unique_ptr<RowTraffic> rows_;
};

}  // namespace

int measure(LinkEnds& ends, const LinkJob& job) { return Measurement(ends, job).run(); }

}  // namespace transload::cli
