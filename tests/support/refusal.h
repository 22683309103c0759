// The text with which a call is refused.
#pragma once
#include <gtest/gtest.h>
#include <transload/status.h>

#include <string>

namespace transload::test {

// The text of the Error with this code that `call` throws; "" if it throws none.
template <class Call>
std::string refusal(Call call, Code code = Code::kInvalidArgument) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "";
}

}  // namespace transload::test
