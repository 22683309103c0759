// The frames of the control channel: a length, a type, a body. Lengths are bounded and bodies checked on both sides.
#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/verdict.h"
#include "layout/regions.h"

namespace transload {

constexpr uint32_t kControlMagic = 0x31644C54;  // "TLd1": how a control channel of any version begins
// Version of the control channel and of calls. Builds of one group have this and kLayoutVersion in common. The two
// versions are the first words after the magic, in every version.
constexpr uint32_t kProtocolVersion = 4;
constexpr uint32_t kControlRanksMax = 4096;
constexpr size_t kNameBytesMax = 256;
constexpr size_t kGatherBytesMax = 1 << 20;    // what one rank may say in one round
constexpr size_t kRoundBytesMax = 64 << 20;    // what all ranks together may say in one round
constexpr size_t kMessageBytesMax = 64 << 10;  // the longest Message
constexpr size_t kNoteBytesMax = 1 << 10;      // the longest note of a Hello
constexpr size_t kFrameHeadBytes = 5;          // a u32 for the length of the body, a u8 for the type
constexpr size_t kFrameBytesMax = kGatherBytesMax + 4096;
constexpr size_t kHelloBytesMax = 4 * kControlRanksMax + 4096;  // all that a stranger may make us read
constexpr size_t kProofBytesMax = 64;                           // the longest proof or nonce

// How many bytes each rank of a group of `ranks` may say in one round.
constexpr size_t gather_bytes_max(uint32_t ranks) { return std::min(kGatherBytesMax, kRoundBytesMax / ranks); }

enum class FrameType : uint8_t {
  kHello = 1,  // member -> server: who I am
  kWelcome,    // server -> member: everybody is here
  kRefused,    // server -> member: why, and whether trying again may help
  kGather,     // member -> server: my part of a round
  kGathered,   // server -> member: some parts of a round
  kFarewell,   // server -> member: your goodbye was heard
  kMessage,    // both ways: a Message of verdict.h
  kChallenge,  // server -> member, first of all: which build I am, and what your proof must cover
};

struct Versions {
  uint32_t protocol = kProtocolVersion;
  uint32_t layout = kLayoutVersion;
  bool operator==(const Versions&) const = default;
};
std::string text_of(const Versions& versions);

struct Challenge {
  std::string nonce;
};

struct Hello {
  std::string name;
  uint32_t rank = 0;
  uint32_t ranks = 0;
  uint64_t server = 0;   // number of the server that I mean; 0: any server
  uint64_t process = 0;  // nonce of my process: by it a server knows whether it lives in the same process
  uint32_t deadline_ms = 0;
  std::vector<uint32_t> node_of_rank;
  std::string note = {};  // what I know that may keep others from coming
  std::string job = {};
  std::string nonce = {};  // the server's proof must cover this nonce
  std::string proof = {};  // proof of all fields above and the server's nonce; empty without a secret
};

struct Refused {
  bool retry = false;
  std::string why;
};

struct Welcome {
  bool arbiter_in_rank_0 = false;
  std::string proof;  // proof of said_in(Welcome) and the member's nonce; empty without a secret
};

struct Gather {
  uint32_t round = 0;
  uint32_t deadline_ms = 0;
  std::string mine;
};

// What the ranks first, first + 1, ... said in a round. `reach`: the server's address as a rank of another host sees
// it.
struct Gathered {
  uint32_t round = 0;
  uint32_t first = 0;
  std::string reach;
  std::vector<std::string> parts;
};

struct FrameHead {
  uint32_t body_bytes;
  uint8_t type;
};

std::string pack(const Challenge& challenge);
std::string pack(const Hello& hello);
std::string pack(const Welcome& welcome);
std::string pack(const Refused& refused);
std::string pack(const Gather& gather);
std::string pack(const Gathered& gathered);
std::string pack(const Message& message);
std::string pack_farewell();

FrameHead unpack_head(const char* bytes);
// What proofs cover: the body of the frame up to them.
std::string said_in(const Hello& hello);
std::string said_in(const Welcome& welcome);

// The versions in a challenge or a hello of any version. Empty if it is neither.
std::optional<Versions> unpack_versions(std::string_view body);
// Each is empty if the body is not that of such a frame.
std::optional<Challenge> unpack_challenge(std::string_view body);
std::optional<Hello> unpack_hello(std::string_view body);
std::optional<Welcome> unpack_welcome(std::string_view body);
std::optional<Refused> unpack_refused(std::string_view body);
std::optional<Gather> unpack_gather(std::string_view body);
std::optional<Gathered> unpack_gathered(std::string_view body);
std::optional<Message> unpack_message(std::string_view body);
// Whether a rendezvous of a group of `ranks` ranks says this to its members.
bool is_for_members(const Message& message, uint32_t ranks);

}  // namespace transload
