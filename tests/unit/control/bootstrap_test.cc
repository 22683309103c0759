// The launchers' variables, and what is said of wrong ones.
#include "transload/bootstrap.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <set>
#include <string>
#include <utility>

#include "tests/support/refusal.h"
#include "transload/status.h"

namespace transload {
namespace {

class BootstrapEnvironment : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* prefix : {"TRANSLOAD_", "OMPI_", "PMI", "PALS_", "SLURM_", "MASTER_", "LOCAL_", "TORCHELASTIC_",
                               "MPI_LOCAL", "I_MPI_HYDRA", "RANK=", "WORLD_SIZE="}) {
      for (char** at = environ; *at != nullptr;) {
        const std::string entry = *at;
        if (entry.rfind(prefix, 0) == 0) {
          ::unsetenv(entry.substr(0, entry.find('=')).c_str());
          at = environ;
        } else {
          ++at;
        }
      }
    }
  }
  void TearDown() override { SetUp(); }
  static void set(const char* name, const char* value) { ::setenv(name, value, 1); }
  static Bootstrap with(std::initializer_list<std::pair<const char*, const char*>> variables) {
    for (const auto& [name, value] : variables) set(name, value);
    return Bootstrap::from_environment();
  }
  // The message of the error that from_environment() throws.
  static std::string refusal(const std::string& launcher = "") {
    return test::refusal([&] { Bootstrap::from_environment(launcher); });
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
  EXPECT_NE(Bootstrap::from_environment().origin.find(", served by another process (TRANSLOAD_SERVED)"),
            std::string::npos);
  set("TRANSLOAD_SERVED", "0");
  set("TRANSLOAD_RANK", "7");
  EXPECT_FALSE(Bootstrap::from_environment().serve);
}

TEST_F(BootstrapEnvironment, OtherLaunchers) {
  set("RANK", "3");
  set("WORLD_SIZE", "4");
  set("MASTER_ADDR", "10.0.0.7");
  EXPECT_EQ(Bootstrap::from_environment().rank, 3u);
  EXPECT_EQ(Bootstrap::from_environment().port, 0);  // nothing says which launch this is
  set("LOCAL_WORLD_SIZE", "4");
  set("LOCAL_RANK", "2");
  EXPECT_EQ(Bootstrap::from_environment().host, "127.0.0.1");  // nobody else needs to reach it
  EXPECT_EQ(Bootstrap::from_environment().local_rank, 2);
  EXPECT_EQ(Bootstrap::from_environment().local_ranks, 4);
  set("LOCAL_RANK", "x");
  EXPECT_EQ(refusal(), "LOCAL_RANK: x, but must be a number from 0 to 4095");
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
  SetUp();
  Bootstrap pmi = with({{"PMI_RANK", "1"}, {"PMI_SIZE", "4"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "4"}});
  EXPECT_EQ(pmi.rank, 1u);
  EXPECT_EQ(pmi.ranks, 4u);
  EXPECT_EQ(pmi.local_rank, 1);
  EXPECT_EQ(pmi.host, "127.0.0.1");
  EXPECT_EQ(pmi.port, 0);
  SetUp();
  Bootstrap pals = with({{"PALS_RANKID", "3"}, {"PMI_SIZE", "4"}, {"PALS_LOCAL_SIZE", "4"}, {"PALS_APID", "a-1"}});
  EXPECT_EQ(pals.rank, 3u);
  EXPECT_EQ(pals.job, "a-1");
  ::unsetenv("PMI_SIZE");
  EXPECT_EQ(refusal(), "PMI_SIZE: not set, but PALS_RANKID is");
  SetUp();
  set("PMIX_RANK", "0");
  EXPECT_EQ(refusal(), "OMPI_COMM_WORLD_SIZE: not set, but PMIX_RANK is");
}

// Whatever says which launch this is goes into the job, and by it into the port.
TEST_F(BootstrapEnvironment, JobsAndTheirPorts) {
  std::set<std::string> jobs;
  std::set<uint16_t> ports;
  const auto add = [&](const Bootstrap& bootstrap) {
    EXPECT_GE(bootstrap.port, 20000);
    EXPECT_LE(bootstrap.port, 28190);
    EXPECT_EQ(bootstrap.port % 2, 0);
    EXPECT_TRUE(jobs.insert(bootstrap.job).second) << bootstrap.job;
    ports.insert(bootstrap.port);
  };
  add(with({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "29500"}}));
  add(with({{"MASTER_PORT", "29501"}}));
  add(with({{"TORCHELASTIC_RUN_ID", "none"}}));
  add(with({{"TORCHELASTIC_RUN_ID", "other"}}));
  EXPECT_EQ(Bootstrap::from_environment().job, "other.29501");
  add(with({{"TRANSLOAD_JOB", "mine"}}));
  SetUp();
  add(with({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "2"}, {"MASTER_ADDR", "h"}, {"SLURM_JOB_ID", "7"}}));
  add(with({{"SLURM_STEP_ID", "1"}}));
  add(with({{"SLURM_STEP_ID", "2"}, {"MASTER_PORT", "1"}}));  // which mpirun, for one, passes to some ranks only
  EXPECT_EQ(Bootstrap::from_environment().job, "7.2");
  SetUp();
  add(with(
      {{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}, {"PMIX_NAMESPACE", "5"}}));
  ::unsetenv("PMIX_NAMESPACE");
  add(with({{"OMPI_MCA_ess_base_jobid", "6"}}));
  SetUp();
  add(with({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}, {"MASTER_ADDR", "h"}, {"PMI_JOBID", "8"}}));
  EXPECT_EQ(ports.size(), jobs.size());  // of these; others may share one, and are refused there
  const Bootstrap given = with({{"TRANSLOAD_PORT", "31000"}});
  EXPECT_EQ(given.port, 31000);
  EXPECT_EQ(given.job, "8");
}

TEST_F(BootstrapEnvironment, SaysWhatItTook) {
  const Bootstrap bootstrap = with({{"SLURM_PROCID", "1"},
                                    {"SLURM_NTASKS", "2"},
                                    {"SLURM_JOB_ID", "7"},
                                    {"SLURM_STEP_ID", "0"},
                                    {"MASTER_ADDR", "n1"},
                                    {"TRANSLOAD_PORT", "30000"}});
  EXPECT_EQ(bootstrap.origin,
            "slurm: rank 1 of 2 (SLURM_PROCID, SLURM_NTASKS), job 7.0 (SLURM_JOB_ID, SLURM_STEP_ID), rendezvous at n1 "
            "(MASTER_ADDR), port 30000 (TRANSLOAD_PORT)");
}

TEST_F(BootstrapEnvironment, OneIsAskedFor) {
  set("SLURM_PROCID", "0");
  set("SLURM_NTASKS", "1");
  EXPECT_TRUE(Bootstrap::has_environment());
  EXPECT_TRUE(Bootstrap::has_environment("slurm"));
  EXPECT_FALSE(Bootstrap::has_environment("none"));
  EXPECT_FALSE(Bootstrap::has_environment("pmi"));
  EXPECT_EQ(refusal("pmi"), "launcher: 'pmi': none of PMI_RANK, PALS_RANKID is set");
  EXPECT_EQ(refusal("lsf"), "launcher: 'lsf': must be one of env, torchrun, mpi, pmi, slurm, none");
  set("PMI_RANK", "1");  // started by mpiexec in that shell: the inner one counts
  set("PMI_SIZE", "2");
  set("MASTER_ADDR", "h");
  EXPECT_EQ(Bootstrap::from_environment().ranks, 2u);
  EXPECT_EQ(Bootstrap::from_environment("slurm").ranks, 1u);
}

// A training pod's RANK and WORLD_SIZE, and in it an mpirun: neither is taken on trust.
TEST_F(BootstrapEnvironment, TwoThatDisagree) {
  for (const auto& [name, value] : {std::pair{"RANK", "0"},
                                    {"WORLD_SIZE", "1"},
                                    {"OMPI_COMM_WORLD_RANK", "1"},
                                    {"OMPI_COMM_WORLD_SIZE", "2"},
                                    {"MASTER_ADDR", "h"}})
    set(name, value);
  EXPECT_EQ(refusal(),
            "launcher: torchrun says rank 0 of 1 (RANK, WORLD_SIZE), but mpi says rank 1 of 2 (OMPI_COMM_WORLD_RANK, "
            "OMPI_COMM_WORLD_SIZE): choose with --launcher torchrun, --launcher mpi or --launcher none; in a program "
            "of yours with the argument of Bootstrap::from_environment");
  EXPECT_EQ(Bootstrap::from_environment("mpi").rank, 1u);
  set("OMPI_COMM_WORLD_RANK", "0");
  EXPECT_NE(refusal().find("choose with --launcher"), std::string::npos) << "of different sizes";
  ::unsetenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_EQ(Bootstrap::from_environment().ranks, 1u) << "half of one is none";
  set("OMPI_COMM_WORLD_RANK", "1");
  set("OMPI_COMM_WORLD_SIZE", "2");
  set("RANK", "1");  // alike: a script has copied them
  set("WORLD_SIZE", "2");
  EXPECT_EQ(Bootstrap::from_environment().rank, 1u);
  set("RANK", "0");
  set("TORCHELASTIC_RUN_ID", "none");  // mpirun started torchrun
  EXPECT_EQ(Bootstrap::from_environment().rank, 0u);
}

TEST_F(BootstrapEnvironment, Secrets) {
  set("TRANSLOAD_RANK", "0");
  set("TRANSLOAD_RANKS", "1");
  EXPECT_EQ(Bootstrap::from_environment().secret, "");
  const std::string path = testing::TempDir() + "transload_secret_" + std::to_string(::getpid());
  std::ofstream(path) << "from a file\n";
  set("TRANSLOAD_SECRET_FILE", path.c_str());
  ::chmod(path.c_str(), 0640);
  EXPECT_NE(refusal().find("TRANSLOAD_SECRET_FILE: " + path + ": others than its owner"), std::string::npos);
  ::chmod(path.c_str(), 0600);
  EXPECT_EQ(Bootstrap::from_environment().secret, "from a file");
  std::ofstream(path, std::ios::trunc) << "from elsewhere\r\n";
  EXPECT_EQ(Bootstrap::from_environment().secret, "from elsewhere");
  std::ofstream(path, std::ios::trunc) << std::string(5000, 'x');
  EXPECT_NE(refusal().find("4097 bytes, but must be 1 to 4096"), std::string::npos) << refusal();
  set("TRANSLOAD_SECRET", "at once");
  EXPECT_EQ(Bootstrap::from_environment().secret, "at once");
  ::unsetenv("TRANSLOAD_SECRET");
  std::ofstream(path, std::ios::trunc) << "\n";
  EXPECT_NE(refusal().find("0 bytes, but must be 1 to 4096"), std::string::npos) << refusal();
  ::unlink(path.c_str());
  EXPECT_NE(refusal().find("No such file"), std::string::npos) << refusal();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);  // is not waited for
  EXPECT_NE(refusal().find("not a regular file"), std::string::npos) << refusal();
  ::unlink(path.c_str());
}

TEST_F(BootstrapEnvironment, SecretsOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  set("TRANSLOAD_RANK", "0");
  set("TRANSLOAD_RANKS", "1");
  const std::string path = testing::TempDir() + "transload_secret_" + std::to_string(::getpid());
  std::ofstream(path) << "from a file\n";
  set("TRANSLOAD_SECRET_FILE", path.c_str());
  ::chmod(path.c_str(), 0600);
  ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
  EXPECT_NE(refusal().find("it must belong to this user"), std::string::npos) << refusal();
  ::unlink(path.c_str());
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
  set("TRANSLOAD_PORT", "1");
  set("TRANSLOAD_JOB", std::string(5000, 'x').c_str());
  EXPECT_EQ(refusal().find("TRANSLOAD_JOB: 5000 bytes, but at most "), 0u) << refusal();
  set("TRANSLOAD_JOB", "");  // nothing is no word
  EXPECT_EQ(Bootstrap::from_environment().job, "");
  set("TRANSLOAD_RANK", "");
  EXPECT_FALSE(Bootstrap::has_environment());
}

}  // namespace
}  // namespace transload
