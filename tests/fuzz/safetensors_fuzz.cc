// Files that claim to be in the safetensors format: read, or refused in one line.
//
// Input: the file.
#include "cli/run/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/show/usage.h"
#include "tests/fuzz/target.h"

namespace transload::cli {
namespace {

void read(const std::string& path) {
  const SafetensorsReader file(path);
  for (const char* name : {"ids", "weights"}) {
    const bool ids = *name == 'i';
    const std::vector<std::string> types =
        ids ? std::vector<std::string>{"I16", "I32", "I64"} : std::vector<std::string>{"F16", "BF16", "F32"};
    const SafetensorsReader::FileTensor& entry = file.matrix(name, types);
    TRANSLOAD_CHECK(entry.shape.size() == 2 && entry.begin <= entry.end);
    const uint64_t count = entry.shape[0] * entry.shape[1];
    const size_t read = ids ? file.integers(entry, count).size() : file.floats(entry, count).size();
    TRANSLOAD_CHECK(read == count);
  }
}

}  // namespace
}  // namespace transload::cli

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload::cli;
  static const int file = memfd_create("fuzz", MFD_CLOEXEC);
  TRANSLOAD_CHECK(ftruncate(file, 0) == 0 && pwrite(file, data, bytes, 0) == ssize_t(bytes));
  try {
    read("/proc/self/fd/" + std::to_string(file));
  } catch (const UsageError& error) {
    TRANSLOAD_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
