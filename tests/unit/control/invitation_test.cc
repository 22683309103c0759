// Invitations: what a caller's all-gather gives is what each rank put in, or the rank is named.
#include "control/invitation.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/refusal.h"

namespace transload {
namespace {

Invitation host_invitation() {
  Invitation invitation;
  invitation.host = "boot/1";
  invitation.addresses = "10.0.0.1 10.0.0.2";
  invitation.secret = "abcd";
  invitation.server = 9;
  invitation.port = 4000;
  return invitation;
}

Invitation guest_invitation() {
  Invitation invitation;
  invitation.host = "boot/2";
  return invitation;
}

std::string refusal_of_bytes(uint32_t rank, const std::string& bytes) {
  return test::refusal([&] { Invitation::unpack(rank, bytes); });
}

TEST(Invitation, ComesBackAsItWent) {
  const std::string said = host_invitation().pack();
  EXPECT_EQ(said.size(), Invitation::kBytes);
  const Invitation host = Invitation::unpack(0, said), guest = Invitation::unpack(3, guest_invitation().pack());
  EXPECT_EQ(host.host, "boot/1");
  EXPECT_EQ(host.addresses, "10.0.0.1 10.0.0.2");
  EXPECT_EQ(host.secret, "abcd");
  EXPECT_EQ(host.server, 9u);
  EXPECT_EQ(host.port, 4000u);
  EXPECT_EQ(host.problem, "");
  EXPECT_EQ(guest.host, "boot/2");
  Invitation none = guest_invitation();
  none.problem = "no port";
  EXPECT_EQ(Invitation::unpack(0, none.pack()).problem, "no port");
  none.host = "";
  none.code = Code::kOutOfMemory;
  const Invitation short_one = Invitation::unpack(3, none.pack());
  EXPECT_EQ(short_one.problem, "no port");
  EXPECT_EQ(short_one.code, Code::kOutOfMemory);
}

TEST(Invitation, IsOneThatItsRankCouldSend) {
  const auto changed = [](Invitation invitation, const std::function<void(Invitation&)>& change) {
    change(invitation);
    return invitation.pack();
  };
  const std::string of_host[] = {
      changed(host_invitation(), [](Invitation& invitation) { invitation.port = 0; }),
      changed(host_invitation(), [](Invitation& invitation) { invitation.server = 0; }),  // that is any
      changed(host_invitation(), [](Invitation& invitation) { invitation.host = ""; }),
      changed(host_invitation(), [](Invitation& invitation) { invitation.problem = "and yet it serves"; }),
      host_invitation().pack().substr(1),
      host_invitation().pack() + '\0',
      host_invitation().pack().replace(Invitation::kBytes - 1, 1, "x"),
      std::string(Invitation::kBytes, 0),
      std::string(Invitation::kBytes, '\xFF'),
  };
  for (const std::string& bytes : of_host)
    EXPECT_EQ(refusal_of_bytes(0, bytes), "all_gather: what it gave for rank 0 is not what rank 0 put in");
  std::string far_port = host_invitation().pack();
  const size_t port_at = 4 * 4 + 6 + 17 + 0 + 4 + 8;
  ASSERT_EQ(uint8_t(far_port[port_at]), 4000 % 256);
  far_port[port_at + 2] = 1;  // 65536 more
  EXPECT_NE(refusal_of_bytes(0, far_port), "");
  const std::string of_guest[] = {
      host_invitation().pack(),
      changed(guest_invitation(), [](Invitation& invitation) { invitation.host = ""; }),
      changed(guest_invitation(), [](Invitation& invitation) { invitation.code = Code::kOutOfMemory; }),
      changed(guest_invitation(), [](Invitation& invitation) { invitation.secret = "mine"; }),
  };
  for (const std::string& bytes : of_guest)
    EXPECT_EQ(refusal_of_bytes(7, bytes), "all_gather: what it gave for rank 7 is not what rank 7 put in");
}

}  // namespace
}  // namespace transload
