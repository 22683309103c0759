// Bodies of control frames: whatever a peer sends is read or refused; what was read says the same once it is packed.
//
// Input: the frame's type, then its body; of a hello or a challenge also what follows the versions of this build.
#include "control/frame.h"
#include "tests/fuzz/target.h"

namespace transload {
namespace {

// What is read from `body` is what would be sent, byte for byte, so nothing of it is lost or made up.
template <class Frame>
void read_and_pack(std::string_view body, std::optional<Frame> (*unpack)(std::string_view)) {
  const std::optional<Frame> frame = unpack(body);
  if (!frame) return;
  const std::string sent = pack(*frame);
  TRANSLOAD_CHECK(unpack_head(sent.data()).body_bytes == body.size());
  TRANSLOAD_CHECK(std::string_view(sent).substr(kFrameHeadBytes) == body);
}

// A body that begins as both builds agree, so that no input has to guess their versions.
std::string of_this_build(std::string_view rest) {
  const std::string sent = pack(Challenge{});  // with an empty nonce, which is a length
  return sent.substr(kFrameHeadBytes, sent.size() - kFrameHeadBytes - sizeof(uint32_t)) + std::string(rest);
}

void read(FrameType type, std::string_view body) {
  switch (type) {
    case FrameType::kHello:
      read_and_pack(of_this_build(body), unpack_hello);
      return read_and_pack(body, unpack_hello);
    case FrameType::kWelcome:
      return read_and_pack(body, unpack_welcome);
    case FrameType::kRefused:
      return read_and_pack(body, unpack_refused);
    case FrameType::kGather:
      return read_and_pack(body, unpack_gather);
    case FrameType::kGathered:
      return read_and_pack(body, unpack_gathered);
    case FrameType::kMessage:
      return read_and_pack(body, unpack_message);
    case FrameType::kChallenge:
      read_and_pack(of_this_build(body), unpack_challenge);
      return read_and_pack(body, unpack_challenge);
    default:
      return;
  }
}

}  // namespace
}  // namespace transload

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload;
  if (bytes > 0) read(FrameType(data[0]), text_of(data + 1, bytes - 1));
  return 0;
}
