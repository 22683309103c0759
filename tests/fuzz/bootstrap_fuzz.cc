// Environments of launchers, sane or not: a rank's place in its group, or an Error that names a variable.
//
// Input: NAME=value, a line each: all variables that there are.
#include "transload/bootstrap.h"

#include <unistd.h>

#include <utility>

#include "control/frame.h"
#include "tests/fuzz/target.h"
#include "transload/status.h"

namespace transload {
namespace {

void check(const Bootstrap& bootstrap) {
  TRANSLOAD_CHECK(bootstrap.ranks >= 1 && bootstrap.ranks <= kControlRanksMax && bootstrap.rank < bootstrap.ranks);
  TRANSLOAD_CHECK(!bootstrap.host.empty() && (bootstrap.port != 0 || bootstrap.job.empty()));
  TRANSLOAD_CHECK(!bootstrap.serve || bootstrap.rank == 0);
}

}  // namespace
}  // namespace transload

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload;
  std::vector<std::string> lines = lines_of(text_of(data, bytes));
  std::vector<char*> entries;
  for (std::string& line : lines)
    if (line.find('=') != std::string::npos) entries.push_back(line.data());
  entries.push_back(nullptr);
  char** const before = std::exchange(environ, entries.data());
  try {
    check(Bootstrap::from_environment());
    TRANSLOAD_CHECK(Bootstrap::has_environment());
  } catch (const Error& error) {
    TRANSLOAD_CHECK(error.code() == Code::kInvalidArgument && *error.what() != 0);
  }
  environ = before;
  return 0;
}
