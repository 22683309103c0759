// A link's address: what comes back is what went, or the rank that sent it is named.
#include "transport/scaleout/libfabric/address.h"

#include <gtest/gtest.h>

#include "tests/support/refusal.h"

namespace transload {
namespace {

TEST(FabricAddress, ComesBackAsItWent) {
  const std::string endpoint(16, '\x7F');
  const FabricAddress address{3, 5, 7, 4096, "tcp;ofi_rxm", endpoint};
  const std::string said = address.pack();
  ASSERT_EQ(said.size(), FabricAddress::kBytes);
  const FabricAddress back = FabricAddress::unpack(3, said);
  EXPECT_EQ(back.key, 5u);
  EXPECT_EQ(back.base, 7u);
  EXPECT_EQ(back.region_bytes, 4096u);
  EXPECT_EQ(back.provider, "tcp;ofi_rxm");
  EXPECT_EQ(back.endpoint, endpoint);
}

TEST(FabricAddress, OfAnotherIsRefusedByName) {
  const std::string said = FabricAddress{3, 5, 7, 4096, "tcp;ofi_rxm", "where"}.pack();
  const auto refusal_of = [](const std::string& bytes) {
    return test::refusal([&] { FabricAddress::unpack(3, bytes); });
  };
  EXPECT_EQ(refusal_of("short"), "address of rank 3: 5 bytes, must be 256");
  std::string no_magic = said, of_rank_4 = said, with_a_tail = said, long_name = said;
  no_magic[0] ^= 1;
  of_rank_4[4] = 4;
  with_a_tail.back() = 'x';
  for (int i = 0; i < 4; ++i) long_name[32 + size_t(i)] = '\xFF';  // the provider's length
  for (const std::string& wrong : {no_magic, of_rank_4, with_a_tail, long_name})
    EXPECT_EQ(refusal_of(wrong), "address of rank 3: not one that a libfabric link of that rank made");
}

}  // namespace
}  // namespace transload
