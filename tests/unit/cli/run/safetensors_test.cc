// Safetensors files: what is written is read again, and no broken file does more than be refused.
#include "cli/run/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "cli/show/usage.h"

namespace transload::cli {
namespace {

class TemporaryFile {
 public:
  TemporaryFile() {
    const int file = mkstemp(path_.data());
    if (file >= 0) close(file);
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }
  void write(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }
  std::string read() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::string path_ = testing::TempDir() + "transload-test-XXXXXX";
};

TEST(Safetensors, WrittenAndReadAgain) {
  const TemporaryFile file;
  const int16_t small[4] = {-1, 0, 255, -32768};
  const int64_t large[2] = {int64_t(1) << 40, -1};
  const uint16_t halves[6] = {0x3C00, 0xC000, 0x0001, 0x8000, 0x7C00, 0x3555};
  const uint16_t bf16[2] = {0x3F80, 0x8000};
  write_safetensors(file.path(), {{"small", "I16", {2, 2}, small},
                                  {"large", "I64", {1, 2}, large},
                                  {"halves", "F16", {3, 2}, halves},
                                  {"bf16", "BF16", {2, 1}, bf16},
                                  {"empty", "F32", {0, 7}, nullptr}});
  const SafetensorsReader reader(file.path());
  const std::vector<std::string> whole = {"I16", "I32", "I64"}, real = {"F16", "BF16", "F32"};
  EXPECT_EQ(reader.integers(reader.matrix("small", whole), 4), (std::vector<int64_t>{-1, 0, 255, -32768}));
  EXPECT_EQ(reader.integers(reader.matrix("large", whole), 2), (std::vector<int64_t>{int64_t(1) << 40, -1}));
  const auto values = reader.floats(reader.matrix("halves", real), 6);
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], -2.0f);
  EXPECT_EQ(values[2], 0x1p-24f);
  EXPECT_TRUE(values[3] == 0 && std::signbit(values[3]));
  EXPECT_TRUE(std::isinf(values[4]));
  EXPECT_EQ(values[5], 0x1.554p-2f);
  EXPECT_EQ(reader.floats(reader.matrix("bf16", real), 1)[0], 1.0f);
  EXPECT_EQ(reader.matrix("empty", real).shape, (std::vector<uint64_t>{0, 7}));
  EXPECT_THROW(reader.matrix("none", real), UsageError);
  EXPECT_THROW(reader.matrix("small", real), UsageError);
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const TemporaryFile file;
  const int32_t ids[4] = {1, 2, 3, 4};
  write_safetensors(file.path(), {{"ids", "I32", {2, 2}, ids}});
  const std::string whole = file.read();
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    file.write(whole.substr(0, bytes));
    EXPECT_THROW(SafetensorsReader{file.path()}, UsageError) << bytes << " bytes";
  }
  file.write(whole);
  EXPECT_NO_THROW(SafetensorsReader{file.path()});
}

// Headers that are well-formed and lie: about shapes, about where bytes are, about how many there are.
TEST(Safetensors, ATensorIsAsLongAsItsShape) {
  const TemporaryFile file;
  const auto refusal = [&](const std::string& header, size_t bytes) -> std::string {
    const uint64_t length = header.size();
    file.write(std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + std::string(bytes, '\0'));
    try {
      const SafetensorsReader reader(file.path());
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  const auto tensor = [](const char* shape, const char* offsets) {
    return std::string(R"({"ids":{"dtype":"I32","shape":)") + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  EXPECT_EQ(refusal(tensor("[2,2]", "[0,16]"), 16), "");
  EXPECT_NE(refusal(tensor("[2,3]", "[0,16]"), 16), "");
  EXPECT_NE(refusal(tensor("[2,2]", "[0,20]"), 24), "");
  EXPECT_NE(refusal(tensor("[2,2]", "[8,24]"), 16), "");
  EXPECT_NE(refusal(tensor("[2,2]", "[16,0]"), 16), "");
  EXPECT_NE(refusal(tensor("[4611686018427387905,1]", "[0,4]"), 16), "") << "2^64 + 4 bytes";
}

// One byte changed anywhere: either refused, or what it says lies inside the file.
TEST(Safetensors, EveryChangedByteIsHarmless) {
  const TemporaryFile file;
  const int32_t ids[4] = {1, 2, 3, 4};
  write_safetensors(file.path(), {{"ids", "I32", {2, 2}, ids}});
  const std::string whole = file.read();
  int refused = 0, read = 0;
  for (size_t at = 0; at + sizeof ids < whole.size(); ++at)
    for (const char c : {'\0', '"', '9', '-', '}', '\xFF'}) {
      std::string broken = whole;
      broken[at] = c;
      file.write(broken);
      try {
        const SafetensorsReader reader(file.path());
        const auto& entry = reader.matrix("ids", {"I16", "I32", "I64"});
        read += reader.integers(entry, entry.shape[0] * entry.shape[1]).size() <= 16;
      } catch (const UsageError& error) {
        ++refused;
        EXPECT_EQ(one_line(error.what()), error.what());
      }
    }
  EXPECT_GT(refused, 0);
  EXPECT_GT(read, 0);
}

}  // namespace
}  // namespace transload::cli
