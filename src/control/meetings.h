// What a rendezvous does, without sockets: groups by name, their gathers, their arbiters. Frames in, frames out.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/frame.h"
#include "control/verdict.h"

namespace transload {

// A connection that says nothing intelligible for kHelloNs is closed (port scanners). Of more than kStrangersMax at
// once the oldest is closed.
constexpr uint64_t kHelloNs = 10'000 * kMillisecondNs;
constexpr size_t kStrangersMax = kControlRanksMax;
// A rank that comes within kLateNs after its group was given up is told so, instead of waiting alone for the next one.
// At most kFinishedMax such groups are remembered.
constexpr uint64_t kLateNs = 2'000 * kMillisecondNs;
constexpr size_t kFinishedMax = 64;
// Bounds the seats of all groups that not everybody has come to, because strangers may open a group with every
// connection. Beyond it the oldest such group is given up.
constexpr uint64_t kOpenSeatsMax = 16 * kControlRanksMax;
// How long a rank that has come may find no room. After that its group hears that it cannot be served.
constexpr uint64_t kTurnedAwayNs = 1'500 * kMillisecondNs;

// A frame for a connection. Many letters may share one frame.
struct Letter {
  uint64_t to = 0;
  std::shared_ptr<const std::string> frame;  // null: nothing to say
  bool close = false;                        // close the connection afterwards
  bool droppable = false;                    // dropped if others are still queued
};

struct MeetingsOptions {
  uint64_t process = 0;  // nonce of the process that the server lives in
  uint64_t server = 0;   // number of the server, by which ranks tell it from others at the same port
  std::string job;       // ranks of another job are refused; "": every job is served, and ranks of two jobs never meet
  std::string secret;    // the secret that ranks must prove; "": whoever comes is trusted
};

// What the server knows of the two ends of a connection.
struct Ends {
  std::string server;         // address of the server at this end
  bool remote = false;        // the member is on another host
  std::string unserved = {};  // why the server has no room for the member, which is heard once and told so
};

class Meetings {
 public:
  using Letters = std::vector<Letter>;

  explicit Meetings(MeetingsOptions options) : options_(std::move(options)) {}
  Letters opened(uint64_t connection, Ends ends, uint64_t now);
  Letters frame(uint64_t connection, FrameType type, std::string_view body, uint64_t now);
  Letters closed(uint64_t connection, uint64_t now);
  Letters tick(uint64_t now);
  // Tells groups that the rendezvous failed. Must be called when the server ends while groups use it.
  Letters end(uint64_t now, const std::string& why);
  // How many bytes a connection may send in one frame.
  size_t frame_bytes_max(uint64_t connection, FrameType type) const;
  // How many bytes may wait until the connection's member reads them.
  size_t waiting_bytes_max(uint64_t connection) const;
  bool pending() const;  // true: tick() must be called often
  bool in_use() const;   // true: a member is connected
  size_t connections() const { return guests_.size(); }
  size_t parties() const { return parties_.size(); }

 private:
  enum class SeatState : uint8_t { kEmpty, kHere, kLeft, kLost };
  struct PartySeat {
    SeatState seat = SeatState::kEmpty;
    uint64_t connection = 0;
  };
  // The gather that is under way. The next one begins when all ranks have given their part of this one.
  struct Round {
    std::vector<std::optional<std::string>> parts;
    uint32_t count = 0;
    uint64_t expires_at = 0;
  };
  struct Unserved {
    std::string why;
    uint64_t since = 0;
  };
  // A group that meets under a name. When it is over, the next group of that name is another party.
  struct Party {
    explicit Party(const Hello& hello)
        : of({hello.job, hello.name}), ranks(hello.ranks), places(hello.ranks), arbiter(hello.node_of_rank) {}
    const std::pair<std::string, std::string> of;  // the job and the name
    const uint32_t ranks;
    std::vector<PartySeat> places;
    uint32_t came = 0;
    uint32_t gone = 0;
    uint64_t expires_at = 0;  // when the wait for all ranks to come ends
    uint64_t judged_at = 0;
    uint64_t beat_at = 0;
    bool served_by_rank_0 = false;  // the server lives in rank 0's process
    std::string note;               // the note in rank 0's Hello
    std::map<uint32_t, Unserved> unserved;
    uint32_t rounds = 0;  // rounds that are over
    Round round;
    Arbiter arbiter;
    bool full() const { return came == ranks; }
    bool judged() const { return arbiter.verdict().kind != FaultKind::kNone; }
  };
  struct Guest {
    Ends ends;
    uint64_t since = 0;
    std::string nonce;  // nonce that the member's proof must cover
    std::shared_ptr<Party> party;
    uint32_t rank = 0;
    std::string its_nonce;  // nonce that the server's proof must cover
  };

  void notice_own_stop(uint64_t now);
  Letters hello(uint64_t connection, const Hello& hello, uint64_t now);
  std::optional<Refused> stranger(const Guest& guest, const Hello& hello) const;
  std::optional<Refused> place_for(const Hello& hello, uint64_t now, std::shared_ptr<Party>& party);
  Letters turn_away(uint64_t connection, const Hello& hello, Party* party, uint64_t now);
  void bound_open_seats(uint64_t now, Letters& letters);
  Letters seat(Guest& guest, uint64_t connection, const Hello& hello, uint64_t now);
  void welcome(const Party& party, Letters& letters) const;
  Letters gather(Guest& guest, Gather gather, uint64_t now);
  void give_round(Party& party, Letters& letters);
  Letters message(Guest& guest, uint64_t connection, const Message& message, uint64_t now);
  void tick_party(Party& party, uint64_t now, Letters& letters);
  std::optional<Message> missed(const Party& party, uint64_t now) const;
  std::optional<Message> missed_seats(const Party& party, uint64_t now) const;
  void forget_finished(uint64_t now);
  void tell(Party& party, const std::vector<Message>& messages, Letters& letters, uint64_t now);
  void to_all(const Party& party, std::string frame, bool droppable, Letters& letters) const;
  std::string reach(const Party& party) const;

  MeetingsOptions options_;
  std::map<uint64_t, Guest> guests_;
  std::set<uint64_t> strangers_;  // guests without a party; the oldest has the lowest number
  std::map<std::pair<std::string, std::string>, std::shared_ptr<Party>> current_;  // keyed by job and name
  std::vector<std::shared_ptr<Party>> parties_;
  uint64_t last_now_ = 0;
};

}  // namespace transload
