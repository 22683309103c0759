// The digest of a card: whatever ranks must have alike shows in it, and nothing else.
#include "channel/card.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <vector>

namespace transload {
namespace {

TEST(Card, ADigestShowsEveryField) {
  const std::vector<std::function<void(Card&, uint32_t)>> fields = {
      [](Card& c, uint32_t by) { c.handle += by; },
      [](Card& c, uint32_t by) { c.row_bytes += by; },
      [](Card& c, uint32_t by) { c.operation = Operation((uint32_t(c.operation) + by) % 4); },
      [](Card& c, uint32_t by) { c.scales += by; },
      [](Card& c, uint32_t by) { c.top_k += by; },
      [](Card& c, uint32_t by) { c.dtype += by; },
      [](Card& c, uint32_t by) { c.channels += by; },
      [](Card& c, uint32_t by) { c.wire += by; },
      [](Card& c, uint32_t by) { c.weights += by; },
      [](Card& c, uint32_t by) { c.refused += by; },
  };
  Card card{};
  card.epoch = 7;
  card.operation = Operation::kDispatch;
  card.row_bytes = 14336;
  card.top_k = 8;
  const Word plain = card.digest();
  std::set<Word> seen{plain};
  size_t cards = 1;
  for (const auto& change : fields)
    for (uint32_t by : {1u, 2u, 3u}) {
      Card other = card;
      change(other, by);
      seen.insert(other.digest());
      EXPECT_EQ(seen.size(), ++cards) << "field " << &change - fields.data() << ", by " << by;
    }
  card.epoch = 8;
  EXPECT_EQ(card.digest(), plain) << "another call with the same arguments";
}

}  // namespace
}  // namespace transload
