// What a group says of the network that it took.
#include "runtime/network/scale_out_kinds.h"

#include <gtest/gtest.h>

namespace transload {
namespace {

TEST(NetworkReason, OfWhoAsked) {
  EXPECT_EQ(sentence_of({.asked = true}), "asked for");
  EXPECT_EQ(sentence_of({.asked = true, .on_gpus = true, .could_map = true}), "asked for");
  const std::string apart = "ranks 0 and 1 are on different hosts";
  EXPECT_EQ(sentence_of({.asked = true, .on_gpus = true, .could_map = true, .unmapped = apart}), "asked for; " + apart);
}

TEST(NetworkReason, OfRanksOnCpus) {
  EXPECT_EQ(sentence_of({}), "every rank has it");
  EXPECT_EQ(sentence_of({.could_map = true, .lacking = "this build has no libfabric"}),
            "all ranks share a host; this build has no libfabric");
}

// On one host rails that are mapped are best, whether NVSHMEM is there or not; between hosts a user should know of it.
TEST(NetworkReason, OfRanksOnGpus) {
  EXPECT_EQ(sentence_of({.on_gpus = true, .could_map = true}), "ranks on GPUs of one host map their rails");
  EXPECT_EQ(sentence_of({.on_gpus = true}),
            "every rank has it; nvshmem, by which GPUs drive a NIC, has run over none yet and is only for who asks for "
            "it");
}

}  // namespace
}  // namespace transload
