// Proofs that two ends of a connection know the same secret, and random bytes to make secrets and nonces of.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace transload {

constexpr size_t kNonceBytes = 32;
constexpr size_t kProofBytes = 32;

std::string random_nonce();
// A secret as text, to be given to processes that are to prove it.
std::string random_secret();

// Which end makes the proof. A proof is of no use to someone who passes it back to the end that made it.
enum class Prover : uint8_t { kMember = 1, kServer };

// What a proof covers.
struct Statement {
  Prover by;
  std::string_view nonce;  // nonce of the end that asks for the proof
  std::string_view text;
};

// HMAC-SHA-512-256 by the secret, over the statement. Empty without a secret.
std::string proof(const std::string& secret, const Statement& statement);
// Whether `given` is the proof of a statement; it takes the same time whatever is given. True without a secret.
bool proves(const std::string& given, const std::string& secret, const Statement& statement);

// A number below `bound` that follows from the text, the same in every build.
uint32_t hash_below(std::string_view text, uint32_t bound);

}  // namespace transload
