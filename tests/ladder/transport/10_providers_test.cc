// Rung 10: which of the providers that libfabric lists carries a group, when some of them do not open. Each case is a
// process of its own over the fabric of tests/scrambled, which lists what a case tells it to.
#include <transload/status.h>

#include "wires.h"

namespace transload::test {
namespace {

class Rung10Providers : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = scramble(""); !why.empty()) GTEST_SKIP() << why;
  }
  // Runs `body` in a process of its own, which is the first to ask.
  static std::string over(const std::string& settings, const std::function<void(CrewRank&)>& body) {
    setenv("SCRAMBLED_FABRIC", settings.c_str(), 1);
    return run_crew({.ranks = 1, .as = As::kProcesses, .region_bytes = 4096, .victim = -1}, body);
  }
  static LibfabricOptions options_for(CrewRank& me, const std::string& provider = "") {
    LibfabricOptions options;
    options.ranks = 2;
    options.counterparts = {1};
    options.provider = provider;
    options.source_address = "127.0.0.1";
    options.region = me.region();
    options.region_bytes = me.region_bytes();
    return options;
  }
  static void expect_name(const LibfabricLink& link, const std::string& provider) {
    require(link.name() == "libfabric " + provider, link.name() + ": " + link.skipped());
  }
  static void expect_text(const std::string& text, const std::string& part) {
    require(text.find(part) != std::string::npos, "\"" + text + "\" does not say \"" + part + "\"");
  }
  static std::string refusal(const LibfabricOptions& options) {
    try {
      LibfabricLink link(options);
    } catch (const Error& error) {
      require(error.code() != Code::kFault, "not a refusal");
      return error.what();
    }
    return "";
  }
};

TEST_F(Rung10Providers, TheUniverseIsTheRanks) {
  EXPECT_EQ("", over("universe=2", [](CrewRank& me) { expect_name(LibfabricLink(options_for(me)), "scrambled"); }));
  EXPECT_NE("", over("universe=1", [](CrewRank& me) { LibfabricLink link(options_for(me)); }));
}

TEST_F(Rung10Providers, ItIsKnownBeforeTheFirstQuestion) {
  EXPECT_EQ("", over("universe=2", [](CrewRank& me) {
              std::string why;
              require(libfabric_available(2, why), why);
              expect_name(LibfabricLink(options_for(me)), "scrambled");
            }));
}

TEST_F(Rung10Providers, WhatTheUserSaysOfTheUniverseStays) {
  EXPECT_EQ("", over("universe=299", [](CrewRank& me) {
              setenv("FI_UNIVERSE_SIZE", "300", 1);
              expect_text(refusal(options_for(me)), "enable: Invalid argument");
            }));
}

TEST_F(Rung10Providers, ALargerGroupThanTheFirstNeedsAnother) {
  const std::string list = "list=verbs;ofi_rxm|tcp;ofi_rxm";
  EXPECT_EQ("", over(list, [](CrewRank& me) {
              expect_name(LibfabricLink(options_for(me)), "verbs;ofi_rxm");
              LibfabricOptions larger = options_for(me);
              larger.ranks = 5;
              const LibfabricLink link(larger);
              expect_name(link, "tcp;ofi_rxm");
              expect_text(link.skipped(), "told of 2 ranks, by FI_UNIVERSE_SIZE or by the first group of this process");
              expect_text(link.skipped(), "start the program with FI_UNIVERSE_SIZE=5");
            }));
  EXPECT_EQ("", over(list, [](CrewRank& me) {
              setenv("FI_UNIVERSE_SIZE", "5", 1);
              expect_name(LibfabricLink(options_for(me)), "verbs;ofi_rxm");
              LibfabricOptions larger = options_for(me);
              larger.ranks = 5;
              expect_name(LibfabricLink(larger), "verbs;ofi_rxm");
            }));
}

TEST_F(Rung10Providers, ACopyOfWhoeverAskedHearsWhyThereIsNone) {
  EXPECT_EQ("", over("", [](CrewRank& me) {
              std::string why;
              require(libfabric_available(2, why), why);
              const std::string copied = run_crew({.ranks = 1, .as = As::kProcesses}, [&](CrewRank&) {
                expect_text(refusal(options_for(me)), "here, in a copy (fork) of a process that has asked it");
              });
              require(copied.empty(), copied);
            }));
}

TEST_F(Rung10Providers, ACopyOfWhoeverAskedTakesNoCard) {
  EXPECT_EQ("", over("list=verbs;ofi_rxm|tcp;ofi_rxm,copies", [](CrewRank& me) {
              expect_name(LibfabricLink(options_for(me)), "verbs;ofi_rxm");
              const std::string copied = run_crew({.ranks = 1, .as = As::kProcesses}, [&](CrewRank&) {
                const LibfabricLink link(options_for(me));
                expect_name(link, "tcp;ofi_rxm");
                expect_text(link.skipped(),
                            "provider = \"verbs;ofi_rxm\": this is a copy (fork) of a process that has");
              });
              require(copied.empty(), copied);
            }));
}

TEST_F(Rung10Providers, OneThatIsNotFoundByItsNameIsSkipped) {
  EXPECT_EQ("", over("list=tcp;ofi_rxm|tcp,shut=tcp;ofi_rxm", [](CrewRank& me) {
              const LibfabricLink link(options_for(me));
              expect_name(link, "tcp");
              expect_text(link.skipped(), "provider = \"tcp;ofi_rxm\": libfabric lists it, but does not find it");
            }));
}

TEST_F(Rung10Providers, OneWhoseEndpointDoesNotOpenIsSkipped) {
  EXPECT_EQ("", over("list=verbs;ofi_rxm|tcp;ofi_rxm,dead=verbs;ofi_rxm", [](CrewRank& me) {
              const LibfabricLink link(options_for(me));
              expect_name(link, "tcp;ofi_rxm");
              expect_text(link.skipped(), "libfabric verbs;ofi_rxm: enable: Invalid argument");
            }));
}

TEST_F(Rung10Providers, TheBestThatOpensSkipsNone) {
  EXPECT_EQ("", over("list=tcp|tcp;ofi_rxm,dead=tcp", [](CrewRank& me) {
              const LibfabricLink link(options_for(me));
              expect_name(link, "tcp;ofi_rxm");
              require(link.skipped().empty(), link.skipped());
            }));
}

TEST_F(Rung10Providers, WhereNoneOpensEachSaysWhy) {
  EXPECT_EQ("", over("list=efa|tcp,shut=efa,dead=tcp", [](CrewRank& me) {
              const std::string text = refusal(options_for(me));
              expect_text(text, "provider = \"efa\": libfabric lists it");
              expect_text(text, "; libfabric tcp: enable: Invalid argument");
            }));
}

TEST_F(Rung10Providers, TheOneThatWasAskedForIsNotReplaced) {
  EXPECT_EQ("", over("list=tcp;ofi_rxm|tcp,shut=tcp;ofi_rxm", [](CrewRank& me) {
              const std::string text = refusal(options_for(me, "tcp;ofi_rxm"));
              expect_text(text, "provider = \"tcp;ofi_rxm\": libfabric lists it, but does not find it");
              require(text.find("interface") == std::string::npos, text);
            }));
}

TEST_F(Rung10Providers, AnAddressThatIsNotOursIsStillToBlame) {
  EXPECT_EQ("", over("", [](CrewRank& me) {
              LibfabricOptions options = options_for(me);
              options.source_address = "203.0.113.7";
              expect_text(refusal(options), "source_address = \"203.0.113.7\": provider \"scrambled\" has no");
            }));
}

TEST_F(Rung10Providers, TheNicThatIsNamedIsTaken) {
  const std::string two = "nics=efa_0-rdm|efa_1-rdm";
  const auto domain = [](CrewRank& me, const std::string& nic, bool asked_for) {
    LibfabricOptions options = options_for(me);
    options.nic = nic;
    options.nic_asked_for = asked_for;
    return LibfabricLink(options).domain();
  };
  EXPECT_EQ("", over(two, [&](CrewRank& me) {
              require(domain(me, "", false) == "efa_0-rdm", "any is the first");
              require(domain(me, "efa_1", false) == "efa_1-rdm", "the nearest is not taken");
              require(domain(me, "efa_1-rdm", true) == "efa_1-rdm", "the one that was asked for is not taken");
              require(domain(me, "efa", false) == "efa_0-rdm", "one that is not there is not done without");
            }));
  EXPECT_EQ("", over(two, [&](CrewRank& me) {
              LibfabricOptions options = options_for(me);
              options.nic = "efa";
              options.nic_asked_for = true;
              expect_text(
                  refusal(options),
                  "nic = \"efa\": provider \"scrambled\" does not have it, but has \"efa_0-rdm\", \"efa_1-rdm\"");
            }));
}

TEST_F(Rung10Providers, PlainTcpComesBeforeThoseThatNobodyKnows) {
  EXPECT_EQ("", over("list=net|net;ofi_rxm|tcp|tcp;ofi_rxm,dead=tcp;ofi_rxm",
                     [](CrewRank& me) { expect_name(LibfabricLink(options_for(me)), "tcp"); }));
}

}  // namespace
}  // namespace transload::test
