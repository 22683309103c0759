// Maps a file and checks its header before any element is read. The writer makes the header first, then appends the
// data.
#include "cli/run/safetensors.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/float.h"
#include "cli/show/usage.h"
#include "cli/text.h"
#include "os/file.h"

namespace transload::cli {
namespace {

constexpr uint64_t kHeaderMax = 100 << 20;

uint64_t bytes_of(const std::string& dtype) {
  static const std::pair<const char*, uint64_t> kSizes[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"U16", 2}, {"I16", 2}, {"F16", 2},
      {"BF16", 2}, {"U32", 4}, {"I32", 4}, {"F32", 4},     {"U64", 8},     {"I64", 8}, {"F64", 8}};
  for (const auto& [name, bytes] : kSizes)
    if (dtype == name) return bytes;
  return 0;
}

float f32_from_f16(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000 | fraction << 13);
  if (exponent == 0) return std::copysign(float(fraction) * 0x1p-24f, std::bit_cast<float>(sign | 0x3F800000));
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

template <class Value>
Value at(const char* data, uint64_t i) {
  Value value;
  std::memcpy(&value, data + i * sizeof(Value), sizeof(Value));
  return value;
}

// A JSON list of whole numbers that are not negative.
bool whole_numbers(const nlohmann::json& list, std::vector<uint64_t>& out) {
  if (!list.is_array()) return false;
  for (const auto& value : list) {
    if (!value.is_number_unsigned()) return false;
    out.push_back(value.get<uint64_t>());
  }
  return true;
}

// Bytes of a tensor; false if they do not fit 64 bits.
template <class AnyTensor>
bool size_of(const AnyTensor& tensor, uint64_t& bytes) {
  bytes = bytes_of(tensor.dtype);
  for (const uint64_t n : tensor.shape)
    if (__builtin_mul_overflow(bytes, n, &bytes)) return false;
  return true;
}

}  // namespace

SafetensorsReader::SafetensorsReader(const std::string& path) : path_(path) {
  std::string why;
  const Descriptor file = open_regular(path, O_RDONLY, why);
  if (!file) refuse("--routing: '{}': {}", path, why);
  struct stat status;
  if (fstat(file.get(), &status) != 0) refuse("--routing: '{}': {}", path, std::strerror(errno));
  bytes_ = uint64_t(status.st_size);
  if (bytes_ < 8) refuse("--routing: '{}': {} bytes: too short to be a safetensors file", path, bytes_);
  void* data = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) refuse("--routing: '{}': {}", path, std::strerror(errno));
  data_ = static_cast<const char*>(data);
  try {
    parse();
  } catch (...) {
    munmap(data, bytes_);
    throw;
  }
}

SafetensorsReader::~SafetensorsReader() { munmap(const_cast<char*>(data_), bytes_); }

void SafetensorsReader::parse() {
  const uint64_t header_bytes = at<uint64_t>(data_, 0);
  if (header_bytes > kHeaderMax || header_bytes > bytes_ - 8)
    refuse("--routing: '{}': a header of {} bytes in a file of {}: it is truncated, or is no safetensors file", path_,
           header_bytes, bytes_);
  const auto header = nlohmann::json::parse(data_ + 8, data_ + 8 + header_bytes, nullptr, false);
  if (!header.is_object()) refuse("--routing: '{}': its header is not a JSON object", path_);
  const uint64_t room = bytes_ - 8 - header_bytes;
  for (const auto& item : header.items()) {
    const std::string& name = item.key();
    const auto& value = item.value();
    if (name == "__metadata__") continue;
    const auto bad = [&](const std::string& what) {
      refuse("--routing: '{}': tensor '{}': {}", path_, one_line(name), what);
    };
    FileTensor entry{.name = name, .dtype = {}, .shape = {}};
    std::vector<uint64_t> offsets;
    if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() || !value.contains("shape") ||
        !whole_numbers(value["shape"], entry.shape) || !value.contains("data_offsets") ||
        !whole_numbers(value["data_offsets"], offsets) || offsets.size() != 2)
      bad("must have dtype, shape and data_offsets");
    entry.dtype = value["dtype"].get<std::string>();
    if (offsets[0] > offsets[1] || offsets[1] > room)
      bad(text::format("must be at bytes {} to {} of the data, but the file has {}: it is truncated", offsets[0],
                       offsets[1], room));
    uint64_t bytes = 0;
    if (bytes_of(entry.dtype) != 0 && (!size_of(entry, bytes) || bytes != offsets[1] - offsets[0]))
      bad(text::format("{} bytes do not fit its shape and dtype {}", offsets[1] - offsets[0], entry.dtype));
    entry.begin = 8 + header_bytes + offsets[0];
    entry.end = 8 + header_bytes + offsets[1];
    entries_.push_back(std::move(entry));
  }
}

const SafetensorsReader::FileTensor& SafetensorsReader::matrix(const std::string& name,
                                                               const std::vector<std::string>& dtypes) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const FileTensor& e) { return e.name == name; });
  if (found == entries_.end()) {
    std::string names;
    for (size_t i = 0; i < entries_.size() && i < 8; ++i) names += (i == 0 ? "" : ", ") + one_line(entries_[i].name);
    if (entries_.size() > 8) names += ", ...";
    refuse("--routing: '{}': must have a tensor '{}', but has {}", path_, name, names.empty() ? "none" : names);
  }
  if (found->shape.size() != 2)
    refuse("--routing: '{}': tensor '{}': {} dimensions: must be 2", path_, name, found->shape.size());
  if (std::find(dtypes.begin(), dtypes.end(), found->dtype) == dtypes.end())
    refuse("--routing: '{}': tensor '{}': dtype {}: must be {}", path_, name, one_line(found->dtype),
           text::join(dtypes, ", "));
  return *found;
}

std::vector<int64_t> SafetensorsReader::integers(const FileTensor& entry, uint64_t count) const {
  const char* data = data_ + entry.begin;
  std::vector<int64_t> out(count);
  for (uint64_t i = 0; i < count; ++i)
    out[i] = entry.dtype == "I16"   ? at<int16_t>(data, i)
             : entry.dtype == "I32" ? at<int32_t>(data, i)
                                    : at<int64_t>(data, i);
  return out;
}

std::vector<float> SafetensorsReader::floats(const FileTensor& entry, uint64_t count) const {
  const char* data = data_ + entry.begin;
  std::vector<float> out(count);
  for (uint64_t i = 0; i < count; ++i)
    out[i] = entry.dtype == "F16"    ? f32_from_f16(at<uint16_t>(data, i))
             : entry.dtype == "BF16" ? f32_from_bf16(at<uint16_t>(data, i))
                                     : at<float>(data, i);
  return out;
}

void write_safetensors(const std::string& path, const std::vector<StoredTensor>& tensors) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::vector<uint64_t> ends{0};
  for (const StoredTensor& t : tensors) {
    uint64_t bytes = 0;
    TRANSLOAD_CHECK(size_of(t, bytes));
    header[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {ends.back(), ends.back() + bytes}}};
    ends.push_back(ends.back() + bytes);
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t text_bytes = text.size();
  std::string why;
  Descriptor created = open_regular(path, O_WRONLY | O_CREAT | O_TRUNC, why);
  // The message names the folder and not the file, so that ranks with the same trouble say the same.
  const std::string folder = std::filesystem::path(path).parent_path();
  if (!created) refuse("--dump: '{}': {}", folder, why);
  std::FILE* file = fdopen(created.release(), "wb");
  if (file == nullptr) refuse("--dump: '{}': {}", folder, std::strerror(errno));
  errno = 0;
  bool good = std::fwrite(&text_bytes, sizeof text_bytes, 1, file) == 1;
  good = good && std::fwrite(text.data(), text.size(), 1, file) == 1;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const uint64_t bytes = ends[i + 1] - ends[i];
    good = good && (bytes == 0 || std::fwrite(tensors[i].data, bytes, 1, file) == 1);
  }
  good = std::fclose(file) == 0 && good;
  if (!good) refuse("--dump: '{}': {}", folder, std::strerror(errno));
}

}  // namespace transload::cli
