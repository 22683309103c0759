// Finding the rendezvous: a launcher's address, or one that rank 0 gathers through the caller's own function.
#include "control/meeting_point.h"

#include <algorithm>
#include <utility>

#include "control/address.h"
#include "control/frame.h"
#include "control/invitation.h"
#include "control/secret.h"
#include "os/clock.h"
#include "os/host.h"
#include "transload/status.h"

namespace transload {

namespace {

constexpr uint32_t kPortPatienceMs = 2000;  // time for an earlier server of this port to go

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (const char letter : text) {
    if (letter != ' ') {
      word += letter;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

// Rank 0 opens a server at a free port.
void open_for_all(const Bootstrap& bootstrap, MeetingPoint& point, Invitation& invitation) {
  const std::string made = bootstrap.secret.empty() ? random_secret() : "";
  point.served = shared_server({kAllInterfaces, 0, bootstrap.job, made.empty() ? bootstrap.secret : made}, 0);
  const std::string host = bare_host(bootstrap.host);
  std::string addresses = is_loopback(host) ? "" : host.substr(0, Invitation::kAddressesMax);
  for (const std::string& address : own_addresses()) {
    if (addresses.size() + address.size() + 1 <= Invitation::kAddressesMax) addresses += " " + address;
  }
  invitation.secret = made;
  invitation.port = point.served->port();
  invitation.server = point.served->number();
  invitation.addresses = addresses;
}

std::vector<Invitation> gather_invitations(const Bootstrap& bootstrap, const Invitation& mine) {
  const std::string said = mine.pack();
  std::string all(bootstrap.ranks * said.size(), 0);
  bootstrap.all_gather(said.data(), said.size(), all.data());
  std::vector<Invitation> invitations;
  for (uint32_t rank = 0; rank < bootstrap.ranks; ++rank)
    invitations.push_back(Invitation::unpack(rank, std::string_view(all).substr(rank * said.size(), said.size())));
  return invitations;
}

// What goes wrong is told to all, so that all fail alike.
MeetingPoint gather_meeting_point(const Bootstrap& bootstrap) {
  MeetingPoint point;
  Invitation mine;
  try {
    mine.host = host_identity();
    if (bootstrap.rank == 0) open_for_all(bootstrap, point, mine);
  } catch (const Error& error) {
    mine.problem = std::string(error.what()).substr(0, Invitation::kProblemMax);
    if (error.code() == Code::kOutOfMemory) mine.code = Code::kOutOfMemory;
  }
  const std::vector<Invitation> invitations = gather_invitations(bootstrap, mine);
  for (const Invitation& invitation : invitations)
    if (!invitation.problem.empty())
      throw Error(invitation.code,
                  "rank " + std::to_string(&invitation - invitations.data()) + ": " + invitation.problem);
  const Invitation& first = invitations[0];
  const bool one_host = std::all_of(invitations.begin(), invitations.end(),
                                    [&](const Invitation& invitation) { return invitation.host == first.host; });
  point.hosts = words_of(first.addresses);
  if (one_host || point.hosts.empty()) point.hosts = {"127.0.0.1", "::1"};
  point.port = first.port;
  point.server = first.server;
  point.secret = bootstrap.secret.empty() ? first.secret : bootstrap.secret;
  return point;
}

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text.empty() ? "none" : text;
}

// If the host's name does not lead to this host, a sentence for the other ranks, who dial that name; else "". Only rank
// 0 can tell.
std::string doubt_of(const std::string& host, uint32_t deadline_ms) {
  std::string why;
  const uint64_t patience_ns = std::min(deadline_ms * kMillisecondNs / 2, kLookUpNs);
  const std::vector<std::string> named = addresses_of(host, now_ns() + patience_ns, why);
  if (named.empty() || std::any_of(named.begin(), named.end(), is_own)) return "";
  const std::string text = "no other rank came: bootstrap.host (MASTER_ADDR) is " + host + ", " + listed(named) +
                           ", but rank 0 listens on another host, " + listed(own_addresses());
  return text.substr(0, kNoteBytesMax);
}

// Where to listen for "localhost". The others dial what that name stands for: on some machines ::1 alone.
std::string loopback(uint32_t deadline_ms) {
  std::string why;
  const uint64_t patience_ns = std::min(deadline_ms * kMillisecondNs / 2, kLookUpNs);
  const std::vector<std::string> named = addresses_of("localhost", now_ns() + patience_ns, why);
  const auto is_v4 = [](const std::string& address) { return address.find(':') == std::string::npos; };
  return named.empty() || std::any_of(named.begin(), named.end(), is_v4) ? "127.0.0.1" : named.front();
}

// Opens the server. If that fails, the error says which variable chose the port.
void serve(const Bootstrap& bootstrap, uint32_t deadline_ms, MeetingPoint& point) {
  // A name may stand for another address here than elsewhere (Debian maps a host's own name to 127.0.1.1).
  const std::string& host = point.hosts.front();
  const std::string address = host == "localhost" ? loopback(deadline_ms) : is_address(host) ? host : kAllInterfaces;
  if (is_address(host) && !is_own(host))
    throw Error(Code::kInvalidArgument, "bootstrap.host (MASTER_ADDR): " + host +
                                            ", must be an address of rank 0's host, which has " +
                                            listed(own_addresses()));
  if (address == kAllInterfaces) point.note = doubt_of(host, deadline_ms);
  try {
    point.served = shared_server({address, bootstrap.port, bootstrap.job, bootstrap.secret},
                                 std::min(deadline_ms, kPortPatienceMs));
  } catch (const Error& error) {
    if (error.code() != Code::kInvalidArgument) throw;
    throw Error(Code::kInvalidArgument,
                "bootstrap.port: " + std::to_string(bootstrap.port) + ": " + error.what() +
                    " (another job may serve there: TRANSLOAD_PORT sets another port, on all ranks alike)");
  }
  point.server = point.served->number();
  if (address != kAllInterfaces) return;
  if (!point.note.empty()) point.hosts.clear();
  point.hosts.insert(point.hosts.end(), {"127.0.0.1", "::1"});  // the name may not lead to this host
}

}  // namespace

MeetingPoint find_meeting_point(const Bootstrap& bootstrap, uint32_t deadline_ms) {
  if (bootstrap.port == 0 && bootstrap.all_gather) return gather_meeting_point(bootstrap);
  MeetingPoint point;
  point.hosts = {bare_host(bootstrap.host)};
  point.port = bootstrap.port;
  point.secret = bootstrap.secret;
  if (bootstrap.port == 0) {
    if (bootstrap.ranks > 1)
      throw Error(Code::kInvalidArgument,
                  "bootstrap.port: 0, but without an all_gather it must be the rendezvous's port; this launcher does "
                  "not say which launch this is, so TRANSLOAD_JOB or TRANSLOAD_PORT must: alike on all ranks, another "
                  "for each launch");
    point.served = shared_server({"127.0.0.1", 0, bootstrap.job, bootstrap.secret}, 0);
    point.hosts = {"127.0.0.1"};
    point.port = point.served->port();
    point.server = point.served->number();
  } else if (bootstrap.serve) {
    serve(bootstrap, deadline_ms, point);
  }
  return point;
}

}  // namespace transload
