// Headers of tokens: whatever a rank of another node says of one, its forwarder moves the token to owners that granted
// room for it, and logs each once; or it accuses that rank.
//
// Input: the header and its entries, as they lie in a slot. What is missing is zeros.
#include "tests/fuzz/target.h"
#include "tests/support/one_forwarder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload;
  using test::OneForwarder;
  struct {
    Header header{};
    HeaderEntry entries[OneForwarder::kTopK]{};
  } token;
  std::memcpy(static_cast<void*>(&token), data, std::min(bytes, sizeof token));
  OneForwarder rank;
  if (!rank.forwards_token(token.header, token.entries)) {
    TRANSLOAD_CHECK(rank.log_room_used() == 0);
    TRANSLOAD_CHECK(rank.told().size() == 1 && rank.told()[0].rank == 2);
    return 0;
  }
  TRANSLOAD_CHECK(rank.told().empty() && rank.log_room_used() == OneForwarder::kLogWidth);
  TRANSLOAD_CHECK(token.header.source == 2 && token.header.token == 4);
  const Route first = rank.log()[0], second = rank.log()[1];
  TRANSLOAD_CHECK(first.target == kNoRoute ? second.target == kNoRoute : first.target < second.target);
  return 0;
}
