// What ranks say of themselves while a group is made: what cannot be read is refused, and names who said it.
#include <gtest/gtest.h>

#include <barrier>
#include <string>

#include "base/bytes.h"
#include "runtime/said.h"
#include "tests/support/control_ranks.h"
#include "transload/group.h"

namespace transload {
namespace {

GroupOptions pair_options(uint32_t rank, uint16_t port) {
  GroupOptions options;
  options.bootstrap = meet::place(rank, 2, port);
  options.topology.node_sizes = {2};
  options.experts = 2;
  options.tokens_max = 4;
  options.row_bytes_max = 64;
  options.slab_bytes = 4096;
  return options;
}

// Why a rank makes no group with `liar`, which knows its host and then says these options.
std::string refusal_of(uint32_t liar, const std::string& said) {
  RendezvousServer server({});
  std::string text;
  std::barrier both(2);
  meet::as_threads(2, [&](uint32_t rank) {
    if (rank != liar) {
      text = meet::refusal_of([&] { Group group(pair_options(rank, server.port())); });
      return both.arrive_and_wait();
    }
    Control control(meet::place(rank, 2, server.port()), meet::kDeadlineMs, meet::one_node(2));
    for (const std::string& word : {StepSaid().pack(), said}) control.gather(word);
    both.arrive_and_wait();
  });
  return text;
}

TEST(Malformed, OptionsNameTheirRank) {
  const std::string why = "group: what a rank says of its options is malformed: is it of another version?";
  for (const std::string& said : {std::string(), std::string("x"), std::string("99999999999999999999\nexperts 2\n"),
                                  ByteWriter().u64(7).u32(~0u).take()}) {
    EXPECT_EQ(refusal_of(0, said), why + " (rank 0)");
    EXPECT_EQ(refusal_of(1, said), why + " (rank 1)");
  }
}

// A text that no line ends is as different as any other, and says so.
TEST(Malformed, OptionsWithoutALine) {
  const std::string why = refusal_of(0, ByteWriter().u64(7).text("experts 2").take());
  EXPECT_EQ(why.find("options: rank 0 has experts 2, but rank 1 has "), 0u) << why;
  EXPECT_NE(why.find("; must be equal on all ranks"), std::string::npos) << why;
}

}  // namespace
}  // namespace transload
