// The launchers' variables, and what is said of wrong ones.
#include "transload/bootstrap.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "transload/status.h"

namespace transload {
namespace {

class BootstrapEnvironment : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"TRANSLOAD_RANK", "TRANSLOAD_RANKS", "TRANSLOAD_PORT", "TRANSLOAD_SERVED", "RANK", "WORLD_SIZE",
          "LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE",
          "SLURM_PROCID", "SLURM_NTASKS", "SLURM_NNODES", "MASTER_ADDR"})
      ::unsetenv(name);
  }
  void TearDown() override { SetUp(); }
  static void set(const char* name, const char* value) { ::setenv(name, value, 1); }
  // The message of the error that from_environment() throws.
  static std::string refusal() {
    try {
      Bootstrap::from_environment();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidArgument);
      return error.what();
    }
    return "nothing was thrown";
  }
};

TEST_F(BootstrapEnvironment, Own) {
  EXPECT_FALSE(Bootstrap::has_environment());
  set("TRANSLOAD_RANK", "0");
  set("TRANSLOAD_RANKS", "8");
  set("MASTER_ADDR", "node-0");
  set("TRANSLOAD_PORT", "30001");
  EXPECT_TRUE(Bootstrap::has_environment());
  Bootstrap bootstrap = Bootstrap::from_environment();
  EXPECT_EQ(bootstrap.rank, 0u);
  EXPECT_EQ(bootstrap.ranks, 8u);
  EXPECT_EQ(bootstrap.host, "node-0");
  EXPECT_EQ(bootstrap.port, 30001);
  EXPECT_TRUE(bootstrap.serve);
  set("TRANSLOAD_SERVED", "1");
  EXPECT_FALSE(Bootstrap::from_environment().serve);
  set("TRANSLOAD_SERVED", "0");
  set("TRANSLOAD_RANK", "7");
  EXPECT_FALSE(Bootstrap::from_environment().serve);
}

TEST_F(BootstrapEnvironment, OtherLaunchers) {
  set("RANK", "3");
  set("WORLD_SIZE", "4");
  set("MASTER_ADDR", "10.0.0.7");
  EXPECT_EQ(Bootstrap::from_environment().rank, 3u);
  EXPECT_EQ(Bootstrap::from_environment().port, 29600);
  SetUp();
  set("OMPI_COMM_WORLD_RANK", "1");
  set("OMPI_COMM_WORLD_SIZE", "2");
  set("OMPI_COMM_WORLD_LOCAL_SIZE", "2");
  EXPECT_EQ(Bootstrap::from_environment().host, "127.0.0.1");
  set("OMPI_COMM_WORLD_LOCAL_SIZE", "1");
  EXPECT_NE(refusal().find("MASTER_ADDR"), std::string::npos);
  SetUp();
  set("SLURM_PROCID", "5");
  set("SLURM_NTASKS", "6");
  set("SLURM_NNODES", "1");
  EXPECT_EQ(Bootstrap::from_environment().ranks, 6u);
}

TEST_F(BootstrapEnvironment, OwnGoesFirst) {
  set("RANK", "3");
  set("WORLD_SIZE", "4");
  set("TRANSLOAD_RANK", "1");
  set("TRANSLOAD_RANKS", "2");
  set("MASTER_ADDR", "h");
  EXPECT_EQ(Bootstrap::from_environment().ranks, 2u);
}

TEST_F(BootstrapEnvironment, WrongOnesAreNamed) {
  EXPECT_NE(refusal().find("TRANSLOAD_RANK"), std::string::npos);
  set("TRANSLOAD_RANK", "1");
  EXPECT_EQ(refusal(), "TRANSLOAD_RANKS: not set, but TRANSLOAD_RANK is");
  set("TRANSLOAD_RANKS", "5000");
  EXPECT_EQ(refusal(), "TRANSLOAD_RANKS: 5000, but must be a number from 1 to 4096");
  set("TRANSLOAD_RANKS", "2x");
  EXPECT_EQ(refusal(), "TRANSLOAD_RANKS: 2x, but must be a number from 1 to 4096");
  set("TRANSLOAD_RANKS", "1");
  EXPECT_EQ(refusal(), "TRANSLOAD_RANK: 1, but must be a number from 0 to 0");
  set("TRANSLOAD_RANKS", "2");
  EXPECT_NE(refusal().find("MASTER_ADDR"), std::string::npos);
  set("MASTER_ADDR", "h");
  set("TRANSLOAD_PORT", "65536");
  EXPECT_EQ(refusal(), "TRANSLOAD_PORT: 65536, but must be a number from 1 to 65535");
  set("TRANSLOAD_PORT", "-1");
  EXPECT_EQ(refusal(), "TRANSLOAD_PORT: -1, but must be a number from 1 to 65535");
}

}  // namespace
}  // namespace transload
