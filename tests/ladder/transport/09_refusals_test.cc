// Rung 09: what cannot work is refused by name, before anything is opened or reached.
#include <transload/status.h>

#include "wires.h"

namespace transload::testing {
namespace {

class Rung09Refusals : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (!libfabric_available(why)) GTEST_SKIP() << why;
    options_.rank = 0;
    options_.ranks = 2;
    options_.counterparts = {1};
    options_.region = region_;
    options_.region_bytes = sizeof(region_);
  }
  // The text of the refusal, "" if there was none.
  std::string refusal() const {
    try {
      LibfabricLink link(options_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidArgument);
      return error.what();
    }
    return "";
  }
  static bool names(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

  alignas(4096) char region_[4096] = {};
  LibfabricOptions options_;
};

TEST_F(Rung09Refusals, AProviderThatIsNotThere) {
  options_.provider = "carrier-pigeon";
  const std::string text = refusal();
  EXPECT_TRUE(names(text, "provider = \"carrier-pigeon\"")) << text;
  for (const std::string& provider : libfabric_providers()) EXPECT_TRUE(names(text, "\"" + provider + "\"")) << text;
}

TEST_F(Rung09Refusals, ProvidersThatWeNeverUse) {
  for (const char* const provider : {"sockets", "udp;ofi_rxd", "shm"}) {
    options_.provider = provider;
    EXPECT_TRUE(names(refusal(), provider));
  }
}

TEST_F(Rung09Refusals, AnAddressThatIsNotOurs) {
  options_.provider = "tcp;ofi_rxm";
  options_.source_address = "203.0.113.7";
  const std::string text = refusal();
  EXPECT_TRUE(names(text, "203.0.113.7")) << text;
}

// In a process of its own: opening some of them leaks inside libfabric.
TEST_F(Rung09Refusals, EveryProviderThatIsListedOpens) {
  EXPECT_EQ("", run_crew({.ranks = 1, .as = As::kProcesses, .region_bytes = 4096, .victim = -1}, [&](Member&) {
              for (const std::string& provider : libfabric_providers()) {
                LibfabricOptions options = options_;
                options.provider = provider;
                require(LibfabricLink(options).name() == "libfabric " + provider, provider + " did not open");
              }
            }));
}

TEST_F(Rung09Refusals, AddressesOfSomethingElse) {
  LibfabricLink link(options_);
  const std::string mine = link.address();
  ASSERT_EQ(mine.size(), LibfabricLink::kAddressBytes);
  EXPECT_THROW(link.connect({mine}), Error);
  EXPECT_THROW(link.connect({mine, "short"}), Error);
  EXPECT_THROW(link.connect({mine, std::string(LibfabricLink::kAddressBytes, 'x')}), Error);
  EXPECT_THROW(link.connect({mine, mine}), Error);  // mine is rank 0's
}

}  // namespace
}  // namespace transload::testing
