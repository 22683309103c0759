// Files in the safetensors format: 8 bytes little-endian header length, a JSON header, raw data.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace transload::cli {

// Reads two-dimensional tensors of one file. Whatever is wrong with the file is a UsageError of one line.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(const std::string& path);
  ~SafetensorsReader();
  SafetensorsReader(const SafetensorsReader&) = delete;
  SafetensorsReader& operator=(const SafetensorsReader&) = delete;

  struct FileTensor {
    std::string name, dtype;
    std::vector<uint64_t> shape;
    uint64_t begin = 0, end = 0;  // bounds of the tensor's bytes in the file
  };
  // The tensor of this name, which must have two dimensions and one of the types.
  const FileTensor& matrix(const std::string& name, const std::vector<std::string>& dtypes) const;

  // The first `count` elements as int64 (I16, I32, I64) or float (F16, BF16, F32).
  std::vector<int64_t> integers(const FileTensor& entry, uint64_t count) const;
  std::vector<float> floats(const FileTensor& entry, uint64_t count) const;

 private:
  void parse();
  std::string path_;
  const char* data_ = nullptr;
  uint64_t bytes_ = 0;
  std::vector<FileTensor> entries_;
};

struct StoredTensor {
  std::string name, dtype;
  std::vector<uint64_t> shape;
  const void* data;  // has the length that shape and dtype give
};
// Throws UsageError if the file cannot be written.
void write_safetensors(const std::string& path, const std::vector<StoredTensor>& tensors);

}  // namespace transload::cli
