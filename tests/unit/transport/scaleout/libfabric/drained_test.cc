// Drained words stay in order however puts complete.
#include "transport/scaleout/libfabric/drained.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

namespace transload {
namespace {

TEST(DrainedWords, TheLastToFinishTellsForAll) {
  DrainedWords words;
  Word word = 0;
  Draining puts[3];
  for (Word i = 0; i < 3; ++i) {
    puts[i].word = &word;
    puts[i].count = i + 1;
    puts[i].announces = true;
    words.add(puts[i]);
  }
  int gone = 0;
  const auto count = [&](Draining&) { ++gone; };
  words.finish(puts[2], count);
  words.finish(puts[1], count);
  EXPECT_EQ(word, 0u);
  EXPECT_EQ(gone, 0);
  words.finish(puts[0], count);
  EXPECT_EQ(word, 3u);
  EXPECT_EQ(gone, 3);
}

TEST(DrainedWords, APieceTellsNothingBeforeItsLast) {
  DrainedWords words;
  Word word = 0;
  Draining first, last;
  first.word = last.word = &word;
  first.count = last.count = 5;
  last.announces = true;
  words.add(first);
  words.add(last);
  words.finish(first, [](Draining&) {});
  EXPECT_EQ(word, 0u);
  words.finish(last, [](Draining&) {});
  EXPECT_EQ(word, 5u);
}

// Against a plain model: the word is the count of the longest finished run.
TEST(DrainedWords, ManyWordsInAnyOrder) {
  constexpr size_t kWords = 500, kPuts = 20'000;
  std::mt19937 random(7);
  DrainedWords words;
  std::vector<Word> shown(kWords, 0), added(kWords, 0);
  std::vector<std::vector<bool>> finished(kWords);
  std::deque<Draining> puts(kPuts);
  std::vector<Draining*> out;
  size_t gone = 0;
  const auto finish_one = [&] {
    std::swap(out[random() % out.size()], out.back());
    Draining& put = *out.back();
    out.pop_back();
    const size_t w = size_t(put.word - shown.data());
    finished[w][put.count - 1] = true;
    words.finish(put, [&](Draining&) { ++gone; });
    const auto first_open = std::find(finished[w].begin(), finished[w].end(), false);
    ASSERT_EQ(shown[w], Word(first_open - finished[w].begin()));
  };
  for (Draining& put : puts) {
    const size_t w = random() % kWords;
    put.word = &shown[w];
    put.count = ++added[w];
    put.announces = true;
    finished[w].push_back(false);
    words.add(put);
    out.push_back(&put);
    if (random() % 3 == 0) finish_one();
  }
  while (!out.empty()) finish_one();
  EXPECT_EQ(gone, kPuts);
  EXPECT_EQ(shown, added);
}

}  // namespace
}  // namespace transload
