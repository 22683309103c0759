// Proofs of a secret on libsodium: see secret.h.
#include "control/secret.h"

#include <sodium.h>

#include "base/bytes.h"
#include "base/check.h"

namespace transload {

static_assert(kProofBytes == crypto_auth_BYTES);

namespace {

std::string random_bytes(size_t count) {
  TRANSLOAD_CHECK(sodium_init() >= 0);
  std::string bytes(count, 0);
  randombytes_buf(bytes.data(), bytes.size());
  return bytes;
}

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

std::string hash(std::string_view text, size_t bytes) {
  std::string out(bytes, 0);
  crypto_generichash(reinterpret_cast<unsigned char*>(out.data()), bytes, bytes_of(text), text.size(), nullptr, 0);
  return out;
}

}  // namespace

std::string random_nonce() { return random_bytes(kNonceBytes); }

std::string random_secret() {
  std::string text;
  for (const char byte : random_bytes(32)) {
    text += "0123456789abcdef"[uint8_t(byte) >> 4];
    text += "0123456789abcdef"[uint8_t(byte) & 15];
  }
  return text;
}

std::string proof(const std::string& secret, const Statement& statement) {
  if (secret.empty()) return {};
  const std::string key = hash(secret, crypto_auth_KEYBYTES);
  ByteWriter message;
  message.u8(uint8_t(statement.by)).text(statement.nonce).text(statement.text);
  const std::string text = message.take();
  std::string out(kProofBytes, 0);
  crypto_auth(reinterpret_cast<unsigned char*>(out.data()), bytes_of(text), text.size(), bytes_of(key));
  return out;
}

bool proves(const std::string& given, const std::string& secret, const Statement& statement) {
  if (secret.empty()) return true;
  const std::string right = proof(secret, statement);
  return given.size() == right.size() && sodium_memcmp(given.data(), right.data(), right.size()) == 0;
}

uint32_t hash_below(std::string_view text, uint32_t bound) {
  const std::string bytes = hash(text, 16);
  return uint32_t(ByteReader(bytes).u64() % bound);
}

}  // namespace transload
