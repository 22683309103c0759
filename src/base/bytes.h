// Little-endian records in a byte string. Reading checks every length: what comes from a socket is never trusted.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace transload {

class ByteWriter {
 public:
  ByteWriter& u8(uint8_t value) { return number(value, 1); }
  ByteWriter& u32(uint32_t value) { return number(value, 4); }
  ByteWriter& u64(uint64_t value) { return number(value, 8); }
  ByteWriter& text(std::string_view value) {
    u32(uint32_t(value.size()));
    bytes_.append(value);
    return *this;
  }
  std::string take() { return std::move(bytes_); }

 private:
  ByteWriter& number(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bytes_.push_back(char(value >> (8 * i)));
    return *this;
  }
  std::string bytes_;
};

// Reads past the end give zeros and make `ok` false for ever; so does a flag that is neither 0 nor 1.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}
  uint8_t u8() { return uint8_t(number(1)); }
  bool flag() {
    const uint8_t value = u8();
    ok_ = ok_ && value <= 1;
    return value == 1;
  }
  uint32_t u32() { return uint32_t(number(4)); }
  uint64_t u64() { return number(8); }
  std::string text() {
    const uint32_t size = u32();
    if (!ok_ || size > rest_.size()) {
      ok_ = false;
      return {};
    }
    std::string value(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return value;
  }
  bool ok() const { return ok_; }
  size_t left() const { return rest_.size(); }
  // True if all reads succeeded and nothing is left.
  bool done() const { return ok_ && rest_.empty(); }
  // True if all reads succeeded and only zeros are left: they fill up records of a fixed size.
  bool padded() const { return ok_ && rest_.find_first_not_of('\0') == std::string_view::npos; }

 private:
  uint64_t number(size_t bytes) {
    if (!ok_ || rest_.size() < bytes) {
      ok_ = false;
      return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i) value |= uint64_t(uint8_t(rest_[i])) << (8 * i);
    rest_.remove_prefix(bytes);
    return value;
  }
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace transload
