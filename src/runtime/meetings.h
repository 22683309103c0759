// What a rendezvous does, without sockets: groups by name, their gathers, their arbiters. Frames in, frames out.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/frame.h"
#include "runtime/verdict.h"

namespace transload {

// A connection that says nothing intelligible for so long is shown out (port scanners).
constexpr uint64_t kHelloNs = 10'000 * kMillisecondNs;
// A rank that comes so soon after its group was given up is told so, instead of waiting alone for the next one.
constexpr uint64_t kLateNs = 2'000 * kMillisecondNs;

// A frame for a connection; many may share one.
struct Letter {
  uint64_t to = 0;
  std::shared_ptr<const std::string> frame;  // null: nothing to say
  bool close = false;                        // afterwards
  bool droppable = false;                    // not worth queueing
};

struct MeetingsOptions {
  bool in_rank_0 = false;  // the server lives in the process of rank 0 of its groups
  uint64_t server = 0;     // its number, to be told from others at the same port
  std::string job;         // ranks of another are refused; "": of every job, each apart
  std::string secret;      // that ranks must prove; "": whoever comes is trusted
};

// Where a connection ends and begins.
struct Ends {
  std::string server;   // its address here
  bool remote = false;  // the member is on another host
};

class Meetings {
 public:
  using Letters = std::vector<Letter>;

  explicit Meetings(MeetingsOptions options) : options_(std::move(options)) {}
  Letters opened(uint64_t connection, Ends ends, uint64_t now);
  Letters frame(uint64_t connection, FrameType type, std::string_view body, uint64_t now);
  Letters closed(uint64_t connection, uint64_t now);
  Letters tick(uint64_t now);
  // How many bytes a connection may send in one frame.
  size_t frame_bytes_max(uint64_t connection) const;
  bool pending() const;  // tick often
  size_t connections() const { return guests_.size(); }
  size_t parties() const { return parties_.size(); }

 private:
  enum class Seat : uint8_t { kEmpty, kHere, kLeft, kLost };
  struct Place {
    Seat seat = Seat::kEmpty;
    uint64_t connection = 0;
    uint32_t rounds = 0;  // that it took part in
  };
  struct Round {
    std::vector<std::optional<std::string>> parts;
    uint32_t count = 0;
    uint64_t expires_at = 0;
  };
  // One generation of a name.
  struct Party {
    explicit Party(const Hello& hello) : ranks(hello.ranks), places(hello.ranks), arbiter(hello.node_of_rank) {}
    uint32_t ranks;
    std::vector<Place> places;
    uint32_t came = 0;
    uint32_t gone = 0;
    uint64_t expires_at = 0;  // of the waiting for everyone
    uint64_t judged_at = 0;
    uint64_t beat_at = 0;
    std::map<uint32_t, Round> rounds;
    Arbiter arbiter;
    bool full() const { return came == ranks; }
    bool judged() const { return arbiter.verdict().kind != FaultKind::kNone; }
  };
  struct Guest {
    Ends ends;
    uint64_t since = 0;
    std::string nonce;  // that its proof must cover
    std::shared_ptr<Party> party;
    uint32_t rank = 0;
    std::string its_nonce;  // that mine must cover
  };

  Letters hello(uint64_t connection, const Hello& hello, uint64_t now);
  std::optional<Refused> stranger(const Guest& guest, const Hello& hello) const;
  std::optional<Refused> place_for(const Hello& hello, uint64_t now, std::shared_ptr<Party>& party);
  Letters seat(Guest& guest, uint64_t connection, uint32_t rank, uint64_t now);
  void welcome(const Party& party, Letters& letters) const;
  Letters gather(Guest& guest, Gather gather, uint64_t now);
  void give_round(Party& party, uint32_t number, Letters& letters);
  Letters message(Guest& guest, uint64_t connection, Message message, uint64_t now);
  void tick_party(Party& party, uint64_t now, Letters& letters);
  std::optional<uint32_t> missing(const Party& party, uint64_t now) const;
  void tell(Party& party, const std::vector<Message>& messages, Letters& letters, uint64_t now);
  void to_all(const Party& party, std::string frame, bool droppable, Letters& letters) const;
  std::string reach(const Party& party) const;

  MeetingsOptions options_;
  std::map<uint64_t, Guest> guests_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<Party>> current_;  // by job and name
  std::vector<std::shared_ptr<Party>> parties_;
  uint64_t last_tick_ = 0;
};

}  // namespace transload
