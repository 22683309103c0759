// What NVSHMEM is told, and what a user may tell it instead.
#include "transport/scaleout/nvshmem/settings.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>
#include <vector>

namespace transload {
namespace {

// For a scope.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }

 private:
  const char* name_;
};

NvshmemSetting setting(const std::vector<NvshmemSetting>& all, const std::string& name) {
  for (const NvshmemSetting& s : all)
    if (name == s.name) return s;
  ADD_FAILURE() << name;
  return {};
}

const NvshmemNeeds kNeeds{.channels = 48, .slots = 300, .region_bytes = 5'000'000, .interface = "eth7"};

TEST(NvshmemSettings, FollowFromTheGroup) {
  const std::vector<NvshmemSetting> all = nvshmem_settings(kNeeds);
  EXPECT_EQ(setting(all, "NVSHMEM_IBGDA_NUM_RC_PER_PE").value, "49");
  EXPECT_EQ(setting(all, "NVSHMEM_QP_DEPTH").value, "2048");
  EXPECT_EQ(setting(all, "NVSHMEM_SYMMETRIC_SIZE").value, "10485760");  // 2 x 5'000'000, in pages of 2 MiB
  EXPECT_EQ(setting(all, "NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME").value, "=eth7");
  EXPECT_EQ(setting(nvshmem_settings({.slots = 4}), "NVSHMEM_QP_DEPTH").value, "1024");
  EXPECT_EQ(unfit_setting(all), "");
}

// Then a region has its place between the ends of keys.
TEST(NvshmemSettings, LetOneKeyReachARegionByQueues) {
  NvshmemNeeds needs = kNeeds;
  EXPECT_EQ(setting(nvshmem_settings(needs), "NVSHMEM_CUMEM_GRANULARITY").value, "2097152");
  EXPECT_EQ(nvshmem_block_bytes(needs), 5'000'000u);
  needs.by_queues = true;
  const std::vector<NvshmemSetting> all = nvshmem_settings(needs);
  EXPECT_EQ(setting(all, "NVSHMEM_CUMEM_GRANULARITY").value, "8388608");  // a power of two
  EXPECT_EQ(setting(all, "NVSHMEM_SYMMETRIC_SIZE").value, "20971520");    // 2 x 10'000'000, in pages of 2 MiB
  EXPECT_EQ(nvshmem_block_bytes(needs), 10'000'000u);
  const Variable small("NVSHMEM_CUMEM_GRANULARITY", "4M");
  EXPECT_EQ(unfit_setting(nvshmem_settings(kNeeds)), "");
  EXPECT_EQ(unfit_setting(nvshmem_settings(needs)).rfind("NVSHMEM_CUMEM_GRANULARITY: 4M, must be at least 8388608", 0),
            0u);
}

TEST(NvshmemSettings, MapNothingIfTheUserWantsThat) {
  EXPECT_FALSE(nvshmem_maps_nothing());
  for (const char* const off : {"", "0", "no", "False"}) {
    const Variable said("NVSHMEM_DISABLE_P2P", off);
    EXPECT_FALSE(nvshmem_maps_nothing()) << off;
  }
  const Variable said("NVSHMEM_DISABLE_P2P", "true");
  EXPECT_TRUE(nvshmem_maps_nothing());
}

TEST(NvshmemSettings, AreTheUsersWhereTheyWillDo) {
  const Variable depth("NVSHMEM_QP_DEPTH", "8192"), heap("NVSHMEM_SYMMETRIC_SIZE", "1G");
  const std::vector<NvshmemSetting> all = nvshmem_settings(kNeeds);
  EXPECT_STREQ(setting(all, "NVSHMEM_QP_DEPTH").user, "8192");
  EXPECT_EQ(unfit_setting(all), "");
  EXPECT_NE(text_of(all).find("NVSHMEM_QP_DEPTH 8192\n"), std::string::npos);
  EXPECT_NE(text_of(all).find("NVSHMEM_SYMMETRIC_SIZE 1G\n"), std::string::npos);
  EXPECT_EQ(text_of(all).find("IFNAME"), std::string::npos);  // hosts may differ
}

TEST(NvshmemSettings, OfTheUserAreRefusedWithTheBound) {
  const auto refused = [](const char* name, const char* value) {
    const Variable variable(name, value);
    return unfit_setting(nvshmem_settings(kNeeds));
  };
  EXPECT_EQ(refused("NVSHMEM_IBGDA_NUM_RC_PER_PE", "48"),
            "NVSHMEM_IBGDA_NUM_RC_PER_PE: 48, must be at least 49 (ours: channels + 1: a queue belongs to a ring)");
  EXPECT_EQ(refused("NVSHMEM_QP_DEPTH", "1199").rfind("NVSHMEM_QP_DEPTH: 1199, must be at least 1200", 0), 0u);
  EXPECT_EQ(refused("NVSHMEM_QP_DEPTH", "1200"), "");
  EXPECT_EQ(refused("NVSHMEM_SYMMETRIC_SIZE", "4M").rfind("NVSHMEM_SYMMETRIC_SIZE: 4M, must be at least 5000000", 0),
            0u);
  EXPECT_EQ(refused("NVSHMEM_SYMMETRIC_SIZE", "lots"), "NVSHMEM_SYMMETRIC_SIZE: 'lots', must be a number");
  EXPECT_EQ(refused("NVSHMEM_IBGDA_ENABLE_MULTI_PORT", "true"),
            "NVSHMEM_IBGDA_ENABLE_MULTI_PORT: true, must be 0: with two NICs a rank, a put and its count would part");
  EXPECT_EQ(refused("NVSHMEM_IBGDA_ENABLE_MULTI_PORT", "false"), "");
}

TEST(NvshmemSettings, GetIntoTheEnvironment) {
  const Variable teams("NVSHMEM_MAX_TEAMS", "9");
  const std::string before = getenv("PATH");
  set_environment(nvshmem_settings(kNeeds));
  EXPECT_STREQ(getenv("NVSHMEM_IBGDA_NUM_RC_PER_PE"), "49");
  EXPECT_STREQ(getenv("NVSHMEM_MAX_TEAMS"), "9");
  EXPECT_EQ(getenv("PATH"), before);
  for (const NvshmemSetting& s : nvshmem_settings(kNeeds)) unsetenv(s.name);
  set_environment(nvshmem_settings({}));
  EXPECT_EQ(getenv("NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME"), nullptr);  // no interface: it finds one
  for (const NvshmemSetting& s : nvshmem_settings({})) unsetenv(s.name);
}

TEST(NvshmemSettings, SizesAreReadAsNvshmemDoes) {
  const std::pair<const char*, uint64_t> sizes[] = {{"0", 0},        {"17", 17},      {"3k", 3 << 10},
                                                    {"2M", 2 << 20}, {"1G", 1 << 30}, {"1T", uint64_t(1) << 40}};
  for (const auto& [text, bytes] : sizes) {
    uint64_t read = 1;
    EXPECT_TRUE(size_of_text(text, read)) << text;
    EXPECT_EQ(read, bytes) << text;
  }
  uint64_t read = 0;
  for (const char* const text : {"", "M", "-1", "1.5G", "1GB", "1 G", "1X", "99999999999999999999"})
    EXPECT_FALSE(size_of_text(text, read)) << text;
}

TEST(NvshmemSettings, InterfacesAreFoundByTheirAddress) {
  EXPECT_EQ(interface_of("127.0.0.1"), "lo");
  EXPECT_EQ(interface_of("203.0.113.77"), "");  // of documentation: nobody has it
  EXPECT_EQ(interface_of("a name"), "");
}

}  // namespace
}  // namespace transload
