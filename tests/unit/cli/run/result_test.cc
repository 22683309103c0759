// A rank's result as text: what comes back is what went, or it is refused.
#include "cli/run/result.h"

#include <gtest/gtest.h>

#include "cli/show/usage.h"

namespace transload::cli {
namespace {

WorkerResult faulted() {
  WorkerResult result;
  result.rank = 3;
  result.call_us[kCombine] = {1.5, 2};
  result.decisions = {{"scale-out", "loopback", "asked for"}};
  result.mismatch = WrongValue{"combine.x", 2, kCombine, 3, 4, 5, "6", "7"};
  result.fault.emplace();
  result.fault->kind = FaultKind::kSilent;
  result.fault->culprit_rank = 1;
  return result;
}

std::string refusal_of(const std::string& text) {
  try {
    WorkerResult::from_text(text);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

std::string with(const std::string& old, const std::string& now) {
  std::string text = faulted().to_text();
  EXPECT_NE(text.find(old), std::string::npos) << text;
  return text.replace(text.find(old), old.size(), now);
}

TEST(WorkerResult, ComesBackAsItWent) {
  const std::string text = faulted().to_text();
  const WorkerResult back = WorkerResult::from_text(text);
  EXPECT_EQ(back.to_text(), text);
  EXPECT_EQ(back.rank, 3u);
  EXPECT_EQ(back.fault->kind, FaultKind::kSilent);
  EXPECT_EQ(back.mismatch->call, uint32_t(kCombine));
}

TEST(WorkerResult, OfNoRankIsRefused) {
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string("[1"), with("\"rank\":3", "\"rank\":\"\"")})
    EXPECT_EQ(refusal_of(text).find("run: the result of a rank is malformed: "), 0u) << text;
  for (const char* kind : {"0", "99", "-1"})
    EXPECT_NE(refusal_of(with("\"kind\":2", std::string("\"kind\":") + kind)).find("of kind "), std::string::npos)
        << kind;
  EXPECT_EQ(refusal_of(with("\"call\":1", "\"call\":6")), "run: a rank found a mismatch in call 6, must be 0 to 5");
}

}  // namespace
}  // namespace transload::cli
