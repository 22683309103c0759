// Rung 09: what cannot work is refused by name, before anything is opened or reached.
#include <dlfcn.h>
#include <rdma/fabric.h>
#include <sys/wait.h>
#include <transload/status.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/support/refusal.h"
#include "transport/scaleout/libfabric/address.h"
#include "wires.h"

namespace transload::test {
namespace {

class Rung09Refusals : public ::testing::Test {
 protected:
  Rung09Refusals() {
    options_.rank = 0;
    options_.ranks = 2;
    options_.counterparts = {1};
    options_.region = region_;
    options_.region_bytes = sizeof(region_);
  }
  void SetUp() override {
    if (const std::string why = why_no_libfabric(); !why.empty()) GTEST_SKIP() << why;
  }
  // The text of the refusal, "" if there was none.
  std::string refusal() const {
    return test::refusal([&] { LibfabricLink link(options_); });
  }
  static bool names(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

  alignas(4096) char region_[4096] = {};
  LibfabricOptions options_;
};

TEST_F(Rung09Refusals, AProviderThatIsNotThere) {
  options_.provider = "carrier-pigeon";
  const std::string text = refusal();
  EXPECT_TRUE(names(text, "provider = \"carrier-pigeon\"")) << text;
  for (const std::string& provider : libfabric_providers(1)) EXPECT_TRUE(names(text, "\"" + provider + "\"")) << text;
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

// Whoever has a region's key may write to it.
TEST_F(Rung09Refusals, AKeyThatIsGuessed) {
  options_.provider = "tcp;ofi_rxm";  // takes the key that it is given
  EXPECT_EQ("", run_crew({.ranks = 1, .as = As::kProcesses, .region_bytes = 4096, .victim = -1}, [&](CrewRank& me) {
              LibfabricOptions other = options_;
              other.region = me.region();
              const auto key_of = [](const LibfabricOptions& options) {
                return FabricAddress::unpack(options.rank, LibfabricLink(options).address()).key;
              };
              const uint64_t one = key_of(options_), two = key_of(other);
              require(one != two, "two regions of a process have one key");
              for (const uint64_t key : {one, two}) require(key >> 32 != 0, "a small key: " + std::to_string(key));
            }));
}

// In a process of its own: opening some of them leaks inside libfabric.
TEST_F(Rung09Refusals, EveryProviderThatIsListedOpens) {
  EXPECT_EQ("", run_crew({.ranks = 1, .as = As::kProcesses, .region_bytes = 4096, .victim = -1}, [&](CrewRank&) {
              for (const std::string& provider : libfabric_providers(1)) {
                LibfabricOptions options = options_;
                options.provider = provider;
                require(LibfabricLink(options).name() == "libfabric " + provider, provider + " did not open");
              }
            }));
}

TEST_F(Rung09Refusals, AddressesOfSomethingElse) {
  LibfabricLink link(options_);
  const std::string mine = link.address();
  ASSERT_EQ(mine.size(), FabricAddress::kBytes);
  EXPECT_THROW(link.connect({mine}), Error);
  EXPECT_THROW(link.connect({mine, "short"}), Error);
  EXPECT_THROW(link.connect({mine, std::string(FabricAddress::kBytes, 'x')}), Error);
  EXPECT_THROW(link.connect({mine, mine}), Error);  // mine is rank 0's
}

// libfabric reads as many bytes of an endpoint's name as its own have, whatever was said.
TEST_F(Rung09Refusals, AnEndpointOfAnotherLength) {
  options_.provider = "tcp;ofi_rxm";
  LibfabricOptions theirs = options_;
  theirs.rank = 1;
  theirs.counterparts = {0};
  LibfabricLink link(options_), other(theirs);
  FabricAddress address = FabricAddress::unpack(1, other.address());
  const std::string whole = std::to_string(address.endpoint.size());
  address.endpoint.resize(3);
  EXPECT_EQ(test::refusal([&] {
              link.connect({link.address(), address.pack()});
            }),
            "address of rank 1: 3 bytes of endpoint, must be " + whole + ", as many as of mine");
}

TEST_F(Rung09Refusals, ARegionOfAnotherSize) {
  LibfabricOptions theirs = options_;
  theirs.rank = 1;
  theirs.counterparts = {0};
  theirs.region_bytes = 2048;
  LibfabricLink link(options_), other(theirs);
  try {
    link.connect({link.address(), other.address()});
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_TRUE(names(error.what(), "rank 1 offers 2048 bytes of network region, rank 0 has 4096")) << error.what();
  }
}

constexpr const char* kAgain = "TRANSLOAD_TEST_AGAIN";
constexpr const char* kStaging = "FI_TCP_STAGING_SBUF_SIZE";

// Runs the test that asks once more, in a new process whose environment says `setting` of staging.
int again(const std::string& setting) {
  const std::string filter =
      std::string("--gtest_filter=Rung09Staging.") + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const pid_t child = fork();
  if (child == 0) {
    setenv(kAgain, "1", 1);
    if (setting.empty())
      unsetenv(kStaging);
    else
      setenv(kStaging, setting.c_str(), 1);
    execl("/proc/self/exe", "ladder", filter.c_str(), static_cast<char*>(nullptr));
    _exit(99);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

class Rung09Staging : public Rung09Refusals {
 protected:
  void SetUp() override {
    if (getenv(kAgain) == nullptr) Rung09Refusals::SetUp();  // else the test is the first to load libfabric
    options_.provider = "tcp;ofi_rxm";
    options_.source_address = "127.0.0.1";
  }
};

// Another library of the process asked libfabric first: what it read then stays, whatever the environment says now.
TEST_F(Rung09Staging, LibfabricWasLoadedBefore) {
  if (getenv(kAgain) == nullptr) {
    EXPECT_EQ(again(""), 0);
    return;
  }
  unsetenv(kStaging);
  void* const library = dlopen("libfabric.so.1", RTLD_NOW | RTLD_LOCAL);
  const auto getinfo = reinterpret_cast<decltype(&fi_getinfo)>(dlsym(library, "fi_getinfo"));
  fi_info* list = nullptr;
  ASSERT_EQ(getinfo(FI_VERSION(1, 17), nullptr, nullptr, 0, nullptr, &list), 0);
  reinterpret_cast<decltype(&fi_freeinfo)>(dlsym(library, "fi_freeinfo"))(list);
  setenv(kStaging, "0", 1);
  const LibfabricLink link(options_);
  EXPECT_FALSE(link.ordered());
  EXPECT_TRUE(names(link.caution(), "libfabric was loaded before")) << link.caution();
}

TEST_F(Rung09Staging, TheUserWantsIt) {
  if (getenv(kAgain) == nullptr) {
    EXPECT_EQ(again("9000"), 0);
    return;
  }
  const LibfabricLink link(options_);
  EXPECT_FALSE(link.ordered());
  EXPECT_TRUE(names(link.caution(), "FI_TCP_STAGING_SBUF_SIZE=9000")) << link.caution();
}

TEST_F(Rung09Staging, ForbiddenBeforeAnyThread) {
  if (getenv(kAgain) == nullptr) {
    EXPECT_EQ(again(""), 0);
    return;
  }
  EXPECT_STREQ(getenv(kStaging), "0");
  const LibfabricLink link(options_);
  EXPECT_TRUE(link.ordered());
  EXPECT_EQ(link.caution(), "");
}

}  // namespace
}  // namespace transload::test
