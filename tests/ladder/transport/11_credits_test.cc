// Rung 11: who has left its call gives nobody its hand. quiet() does not wait for its own credits then, and they come
// once both ranks move again, the latest of each word.
#include "wires.h"

namespace transload::test {
namespace {

constexpr Word kCredits = 300;

class Rung11Credits : public TransportLadder {};

TEST_P(Rung11Credits, NobodyWaitsForThem) {
  EXPECT_EQ("", run({}, [&](CrewRank& me) {
              const auto link = open_link(GetParam(), me);
              const uint32_t other = 1 - me.rank();
              // Connections are made first: both sides have to move for these.
              link->publish({0, other}, 1);
              wait_until(me, *link, [&] { return observe(me.region(), 0) == 1 && link->quiet(); });
              finish(me, *link);
              if (me.rank() == 0) {
                for (Word count = 1; count <= kCredits; ++count) link->credit({(1 + count % 7) * kWordBytes, 1}, count);
                wait_until(me, *link, [&] { return link->quiet(); });
              }
              me.meet();  // rank 1 has not moved since
              wait_until(me, *link, [&] {
                if (me.rank() == 0) return observe(me.region(), 0) == 2;
                for (Word word = 0; word < 7; ++word) {
                  const Word latest = kCredits - (kCredits - word) % 7;
                  if (observe(me.region(), (1 + word) * kWordBytes) < latest) return false;
                }
                link->publish({0, 0}, 2);
                return true;
              });
              finish(me, *link);
            }));
}

INSTANTIATE_TEST_SUITE_P(Wires, Rung11Credits, ::testing::ValuesIn(all_wires()), name_of);
INSTANTIATE_TEST_SUITE_P(Scrambled, Rung11Credits, ::testing::ValuesIn(scrambled_wires()), name_of);

}  // namespace
}  // namespace transload::test
