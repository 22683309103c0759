// What a warp holds back between two flushes: puts, then the marks that follow them.
#pragma once
#include <cstdint>

#include "base/check.h"
#include "channel/scaleout.h"
#include "channel/word.h"

namespace transload {

struct PendingMark {
  Word* at;       // the word, if a store of mine reaches it; null: `rail` says where it lies
  RailWord rail;  // rail.rank is the word's reader, also where `at` is not null
  Word count;
  bool credit;  // true: a mark of credit(); false: of publish()
};

// Fixed room; the warp flushes when it is full.
struct Batch {
  static constexpr int kPutsMax = 32;
  static constexpr int kMarksMax = 64;
  static constexpr size_t kPaddingMax = 1024;  // a longer padding costs more than one more write

  Put puts[kPutsMax];
  PendingMark marks[kMarksMax];
  int put_count = 0;
  int mark_count = 0;
  int credits = 0;  // credits since the last flush; one that joined another of its word counts, too

  bool empty() const { return put_count == 0 && mark_count == 0; }
  bool puts_full() const { return put_count == kPutsMax; }
  bool marks_full() const { return mark_count == kMarksMax; }
  void clear() { put_count = mark_count = credits = 0; }

  // Joins the put to the last one to that rank, if it begins where that one ends, or after its padding, which then
  // travels along. It is joined to no earlier one, whose drained count would then speak for the puts between, too.
  void add(const Put& put) {
    for (int i = put_count - 1; i >= 0; --i) {
      Put& last = puts[i];
      if (last.rank != put.rank && (put.drained == nullptr || last.drained != put.drained)) continue;
      if (last.rank != put.rank || last.drained != put.drained) break;
      const size_t gap = size_t(put.from - (last.from + last.bytes));
      if (gap != 0 && (gap != last.padding || gap > kPaddingMax)) break;
      if (last.offset + last.bytes + gap != put.offset) break;
      last.bytes += gap + put.bytes;
      last.padding = put.padding;
      last.drained_count = put.drained_count;
      return;
    }
    TRANSLOAD_CHECK(!puts_full());
    puts[put_count++] = put;
  }

  // The latest count of a word wins.
  void add(const PendingMark& mark) {
    credits += mark.credit;
    for (int i = 0; i < mark_count; ++i) {
      PendingMark& old = marks[i];
      if (old.at != mark.at || old.rail.rank != mark.rail.rank || old.rail.offset != mark.rail.offset) continue;
      if (old.count < mark.count) old.count = mark.count;
      return;
    }
    TRANSLOAD_CHECK(!marks_full());
    marks[mark_count++] = mark;
  }
};

}  // namespace transload
