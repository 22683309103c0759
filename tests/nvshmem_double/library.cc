// A libnvshmem_host.so.3 of the tests' own: worlds of processes of one host, whose heaps are shared memory. It has the
// calls that the library makes, waits for ever where NVSHMEM would, and promises as little: what malloc gives is dirt.
//
// NVSHMEM_DOUBLE says how it misbehaves, several words with commas between them; @PE where only that one does:
//   version=A.B.C   it is that version
//   status=N        init returns 0, and leaves the process in that status
//   error@PE=N      init returns that
//   hang@PE         init does not return
//   dies@PE         its process ends in init
//   late@PE=MS      init returns so much later
//   stuck@PE        malloc does not return
//   full            malloc has no room
//   apart=PE        nobody maps that PE's memory
//   nics=N          it drives so many NICs: 0 if nothing is said
//   queues=N        to each PE, instead of NVSHMEM_IBGDA_NUM_RC_PER_PE
//   depth=N         of a queue, instead of NVSHMEM_QP_DEPTH
//   own=BYTES       of its heap are its own
//   turned          PEs are numbered from the last rank to the first
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kMost = 64;
constexpr size_t kPage = 4096;

// What all processes of a world share.
struct Shared {
  std::atomic<uint32_t> arrived;
  struct Heap {
    std::atomic<int> pid;
    int fd;
    std::atomic<uint64_t> asked;  // of malloc
  } heaps[kMost];
};

struct IdBytes {  // behind the head of an id
  int head, pid, fd;
};

// As NVSHMEM 3.4.5 has them in memory, by offset: what the caller declares is not trusted here.
template <size_t kBytes>
struct Record {
  char bytes[kBytes] = {};

  Record() { put(0, int((1 << 16) + kBytes)); }
  template <class T>
  void put(size_t at, const T& value) {
    std::memcpy(bytes + at, &value, sizeof(value));
  }
};
using HeapState = Record<776>;
using NicState = Record<8384>;
using Queue = Record<184>;
using Completion = Record<72>;
struct Key {
  uint32_t key;
  uint64_t end;
};

struct Me {
  Shared* shared = nullptr;
  int fd = -1;
  int pe = -1, pes = 0, status = 0;
  size_t heap_bytes = 0, own = 0, used = 0;
  std::vector<char*> bases;
  std::vector<uint64_t> chunk_ends;  // of the heap, in pieces of the granularity
  std::vector<Queue> queues;
  std::vector<Completion> completions;
  std::vector<char> shown;
  std::vector<Key> local, remote;
} g_me;

std::string settings() {
  const char* const said = std::getenv("NVSHMEM_DOUBLE");
  return said == nullptr ? "" : "," + std::string(said) + ",";
}

// The text behind "word=", "" if that is not there.
std::string value_of(const std::string& word) {
  const std::string all = settings();
  const size_t at = all.find("," + word + "=");
  if (at == std::string::npos) return "";
  const size_t begin = at + word.size() + 2;
  return all.substr(begin, all.find(',', begin) - begin);
}

bool is_set(const std::string& word) { return settings().find("," + word + ",") != std::string::npos; }

void nap() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }

[[noreturn]] void hang() {
  for (;;) nap();
}

// Processes wait for each other here, without a deadline, as often as it is asked.
void barrier() {
  Shared& all = *g_me.shared;
  const uint32_t mine = all.arrived.fetch_add(1) / uint32_t(g_me.pes);
  while (all.arrived.load() < (mine + 1) * uint32_t(g_me.pes)) nap();
}

void* map(int fd, size_t bytes) {
  void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return at == MAP_FAILED ? nullptr : at;
}

int open_of(int pid, int fd) {
  const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
  return open(path.c_str(), O_RDWR | O_CLOEXEC);
}

int make_file(size_t bytes) {
  const int fd = memfd_create("nvshmem double", MFD_CLOEXEC);
  return fd >= 0 && ftruncate(fd, off_t(bytes)) == 0 ? fd : -1;
}

// A setting of the library, which must have reached this process as a number.
size_t number_of(const char* variable) {
  const char* const said = std::getenv(variable);
  return said == nullptr ? 0 : std::strtoull(said, nullptr, 10);
}

size_t number_of(const char* word, const char* variable) {
  const std::string said = value_of(word);
  return said.empty() ? number_of(variable) : std::strtoull(said.c_str(), nullptr, 10);
}

// Memory is added to the heap at its end, a chunk at a time.
void grow(size_t until) {
  const size_t granularity = number_of("NVSHMEM_CUMEM_GRANULARITY"),
               end = g_me.chunk_ends.empty() ? 0 : size_t(g_me.chunk_ends.back()),
               missing = until > end ? until - end : 0;
  if (missing > 0) g_me.chunk_ends.push_back(end + (missing + granularity - 1) / granularity * granularity);
}

// What a kernel would read, in memory of the host.
void make_queues() {
  const size_t queues = number_of("queues", "NVSHMEM_IBGDA_NUM_RC_PER_PE"), all = queues * size_t(g_me.pes);
  g_me.queues.assign(all, {});
  g_me.completions.assign(all, {});
  g_me.shown.assign(all * 64, 0);
  for (size_t i = 0; i < all; ++i) {
    constexpr int kConnected = 3;
    g_me.completions[i].put(4, kConnected);
    g_me.completions[i].put(16, &g_me.shown[64 * i]);
    g_me.queues[i].put(4, kConnected);
    g_me.queues[i].put(8, uint32_t(i));
    g_me.queues[i].put(40, uint16_t(number_of("depth", "NVSHMEM_QP_DEPTH")));
    g_me.queues[i].put(72, &g_me.completions[i]);
  }
}

// Each chunk has keys of its own.
void make_keys() {
  const size_t granularity = number_of("NVSHMEM_CUMEM_GRANULARITY");
  const auto base = reinterpret_cast<uint64_t>(g_me.bases[size_t(g_me.pe)]);
  g_me.local.clear();
  g_me.remote.clear();
  uint64_t at = 0;
  for (uint32_t chunk = 0; chunk < g_me.chunk_ends.size(); ++chunk)
    for (const uint64_t end = g_me.chunk_ends[chunk]; at < end; at += granularity) {
      g_me.local.push_back({chunk + 1, base + end});
      for (int pe = 0; pe < g_me.pes; ++pe) g_me.remote.push_back({uint32_t(1000 * pe) + chunk + 1, end});
    }
}

// The first 64 lie in the state, the rest where it says.
void put_keys(NicState& state, const std::vector<Key>& keys, size_t near_at, size_t far_at) {
  constexpr size_t kNear = 64;
  for (size_t i = 0; i < keys.size() && i < kNear; ++i) state.put(near_at + i * sizeof(Key), keys[i]);
  if (keys.size() > kNear) state.put(far_at, keys.data() + kNear);
}

// What the heap has, and where the pages of blocks end, of which there are few.
size_t file_bytes() { return g_me.own + g_me.heap_bytes + 16 * kPage; }

// 0, or which step failed.
int enter(const IdBytes& id, int rank, int ranks) {
  const int shared = open_of(id.pid, id.fd);
  g_me.shared = static_cast<Shared*>(map(shared, sizeof(Shared)));
  close(shared);
  if (g_me.shared == nullptr) return 101;
  g_me.pes = ranks;
  g_me.pe = is_set("turned") ? ranks - 1 - rank : rank;
  if (is_set("hang@" + std::to_string(g_me.pe))) hang();
  if (is_set("dies@" + std::to_string(g_me.pe))) _exit(9);
  g_me.heap_bytes = number_of("NVSHMEM_SYMMETRIC_SIZE");
  g_me.own = g_me.used = number_of("own", "");
  const int heap = g_me.heap_bytes == 0 ? -1 : make_file(file_bytes());
  if (heap < 0) return 102;
  g_me.shared->heaps[g_me.pe].fd = heap;
  g_me.shared->heaps[g_me.pe].pid = int(getpid());
  barrier();
  for (int pe = 0; pe < ranks; ++pe) {
    const Shared::Heap& theirs = g_me.shared->heaps[pe];
    const int fd = open_of(theirs.pid, theirs.fd);
    g_me.bases.push_back(static_cast<char*>(map(fd, file_bytes())));
    close(fd);
    if (g_me.bases.back() == nullptr) return 103;
  }
  barrier();
  close(heap);
  grow(g_me.own);
  make_queues();
  if (const std::string ms = value_of("late@" + std::to_string(g_me.pe)); !ms.empty())
    std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(ms)));
  return 0;
}

}  // namespace

extern "C" {

void nvshmemx_vendor_get_version_info(int* major, int* minor, int* patch) {
  *major = 3, *minor = 4, *patch = 5;
  if (const std::string version = value_of("version"); !version.empty())
    std::sscanf(version.c_str(), "%d.%d.%d", major, minor, patch);
}

int nvshmemx_get_uniqueid(void* id) {
  const int fd = make_file(sizeof(Shared));
  if (fd < 0) return 100;
  const IdBytes bytes{(1 << 16) + 128, int(getpid()), fd};
  std::memcpy(id, &bytes, sizeof(bytes));
  return 0;
}

int nvshmemx_set_attr_uniqueid_args(int rank, int ranks, const void* id, void* start) {
  const auto at = static_cast<char*>(start);
  std::memcpy(at + 32, &id, sizeof(id));
  std::memcpy(at + 40, &rank, sizeof(rank));
  std::memcpy(at + 44, &ranks, sizeof(ranks));
  return 0;
}

int nvshmemx_hostlib_init_attr(unsigned flags, void* start) {
  const auto at = static_cast<const char*>(start);
  int heads[3], rank, ranks;
  const IdBytes* id;
  std::memcpy(&heads[0], at, 4), std::memcpy(&heads[1], at + 16, 4), std::memcpy(&heads[2], at + 24, 4);
  std::memcpy(&id, at + 32, sizeof(id));
  std::memcpy(&rank, at + 40, 4), std::memcpy(&ranks, at + 44, 4);
  constexpr int kForm = 1 << 16;
  if (flags != 8 || heads[0] != kForm + 144 || heads[1] != kForm + 128 || heads[2] != kForm + 24) return 104;
  if (id == nullptr || id->head != kForm + 128 || ranks < 1 || ranks > kMost || g_me.status != 0) return 105;
  if (const std::string error = value_of("error@" + std::to_string(rank)); !error.empty()) return std::stoi(error);
  if (const std::string status = value_of("status"); !status.empty()) {
    g_me.status = std::stoi(status);
    return 0;
  }
  if (const int step = enter(*id, rank, ranks); step != 0) return step;
  g_me.status = 2;
  return 0;
}

int nvshmemx_init_status() { return g_me.status; }
int nvshmem_my_pe() { return g_me.pe; }
int nvshmem_n_pes() { return g_me.pes; }

// Blocks side by side. Collective: who asks for another length than the others has broken its promise.
void* nvshmem_malloc(size_t bytes) {
  if (is_set("stuck@" + std::to_string(g_me.pe))) hang();
  Shared::Heap* const heaps = g_me.shared->heaps;
  heaps[g_me.pe].asked = bytes;
  barrier();
  if (heaps[0].asked != bytes) {
    std::fprintf(stderr, "nvshmem double: malloc of %zu bytes here, of another length elsewhere\n", bytes);
    std::abort();
  }
  barrier();
  const size_t at = (g_me.used + kPage - 1) / kPage * kPage;
  const size_t most = g_me.own + g_me.heap_bytes;
  if (is_set("full") || bytes > g_me.heap_bytes || at > most - bytes) return nullptr;
  grow(at + bytes);
  g_me.used = at + bytes;
  char* const mine = g_me.bases[size_t(g_me.pe)] + at;
  std::memset(mine, 0xA5, bytes);
  return mine;
}

void* nvshmem_ptr(const void* mine, int pe) {
  if (pe < 0 || pe >= g_me.pes || value_of("apart") == std::to_string(pe)) return nullptr;
  return g_me.bases[size_t(pe)] + (static_cast<const char*>(mine) - g_me.bases[size_t(g_me.pe)]);
}

// For a module there are two records of the host, one behind the other.
int nvshmemx_cumodule_init(void* module) {
  if (g_me.status < 2) return 106;
  make_keys();
  const int nics = std::stoi("0" + value_of("nics"));
  HeapState heap;
  heap.put(4, g_me.pe);
  heap.put(8, g_me.pes);
  heap.put(40, g_me.bases[size_t(g_me.pe)]);
  heap.put(48, uint64_t(file_bytes()));
  heap.put(64, g_me.bases.data());
  heap.put(768, nics > 0);
  NicState nic;
  if (nics > 0) {
    nic.put(28, uint32_t(g_me.queues.size() / size_t(g_me.pes)));
    nic.put(40, uint64_t(__builtin_ctzll(number_of("NVSHMEM_CUMEM_GRANULARITY"))));
    nic.put(48, nics);
    nic.put(8272, g_me.queues.data());
    put_keys(nic, g_me.local, 56, 8296);
    put_keys(nic, g_me.remote, 1080, 8304);
  }
  std::memcpy(module, heap.bytes, sizeof(heap.bytes));
  std::memcpy(static_cast<char*>(module) + sizeof(heap.bytes), nic.bytes, sizeof(nic.bytes));
  return 0;
}
}
