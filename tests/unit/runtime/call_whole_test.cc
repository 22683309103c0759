// How a call that throws is left: as it found the group, with an Error that all ranks can live with, or as a fault.
#include "runtime/call/whole_call.h"

#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>

namespace transload {
namespace {

struct GaveUp {
  std::string operation, reason;
};

struct OneCall {
  bool waited_for = false, started = false;

  bool counted_on() const { return waited_for; }
  bool begun() const { return started; }
  [[noreturn]] void give_up(const char* operation, const std::string& reason) { throw GaveUp{operation, reason}; }
};

// What comes out of a call that throws so.
std::string outcome(OneCall call, const std::function<int()>& run) {
  try {
    return std::to_string(whole_call(call, "dispatch", run));
  } catch (const GaveUp& gone) {
    return "gave up in " + gone.operation + ": " + gone.reason;
  } catch (const Error& error) {
    return std::string("Error: ") + error.what();
  } catch (const std::exception& error) {
    return std::string("exception: ") + error.what();
  }
}

TEST(WholeCall, BeforeItHasBegunNothingIsLost) {
  const OneCall call;
  EXPECT_EQ(outcome(call, [] { return 7; }), "7");
  EXPECT_EQ(outcome(call, []() -> int { throw Error(Code::kInvalidArgument, "x: 3"); }), "Error: x: 3");
  EXPECT_EQ(outcome(call, []() -> int { throw std::bad_alloc(); }),
            "Error: dispatch: out of memory; the group is still usable");
  EXPECT_EQ(outcome(call, []() -> int { throw std::runtime_error("odd"); }), "exception: odd");
}

TEST(WholeCall, WhileOthersWaitItIsAFault) {
  const OneCall call{.waited_for = true, .started = true};
  EXPECT_EQ(outcome(call, [] { return 7; }), "7");
  EXPECT_EQ(outcome(call, []() -> int { throw Error(Code::kInvalidArgument, "x: 3"); }), "gave up in dispatch: x: 3");
  EXPECT_EQ(outcome(call, []() -> int { throw std::bad_alloc(); }), "gave up in dispatch: out of memory");
  EXPECT_EQ(outcome(call, []() -> int { throw std::runtime_error("odd"); }), "gave up in dispatch: odd");
}

// Nobody waits for it any more, but the others have gone on to the next call.
TEST(WholeCall, AnErrorAfterwardsLeavesTheGroupGood) {
  const OneCall call{.waited_for = false, .started = true};
  EXPECT_EQ(outcome(call, []() -> int { throw Error(Code::kTooManyRows, "rows_max: 3"); }), "Error: rows_max: 3");
  EXPECT_EQ(outcome(call, []() -> int { throw std::bad_alloc(); }), "gave up in dispatch: out of memory");
}

}  // namespace
}  // namespace transload
