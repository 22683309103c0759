// What ranks of the program tell each other: the ends of a link, and of a run their results. Refused with who said it,
// or what is read says the same once it is packed.
//
// Input: which words, then these words.
#include "cli/link/said.h"
#include "cli/run/result.h"
#include "cli/show/usage.h"
#include "tests/fuzz/target.h"

namespace transload::cli {
namespace {

constexpr uint32_t kRank = 5;

void read_number(std::string_view said) {
  const uint64_t number = NumberSaid::unpack(kRank, said);
  TRANSLOAD_CHECK(NumberSaid::pack(number) == said);
  constexpr Word kMost = 1 << 20;
  TRANSLOAD_CHECK(bounded_count(kRank, "rows", number, kMost) <= kMost);
}

void read_memory(std::string_view said) { TRANSLOAD_CHECK(RawMemorySaid::unpack(kRank, said).pack() == said); }

void read_result(std::string_view said) {
  const WorkerResult result = WorkerResult::from_text(std::string(said));
  TRANSLOAD_CHECK(!result.mismatch || *name_of(IterationCall(result.mismatch->call)) != 0);
  TRANSLOAD_CHECK(!result.fault || std::string_view(name_of(result.fault->kind)) != "none");
  const std::string text = result.to_text();
  TRANSLOAD_CHECK(WorkerResult::from_text(text).to_text() == text);
}

}  // namespace
}  // namespace transload::cli

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload::cli;
  if (bytes == 0) return 0;
  const std::string_view said = transload::text_of(data + 1, bytes - 1);
  const bool result = data[0] % 3 == 2;
  try {
    if (result) read_result(said);
    if (data[0] % 3 == 0) read_number(said);
    if (data[0] % 3 == 1) read_memory(said);
  } catch (const UsageError& error) {
    const std::string_view why = error.what();
    TRANSLOAD_CHECK(why.find(result ? "rank" : "rank 5") != std::string_view::npos);
  }
  return 0;
}
