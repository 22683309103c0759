// fork and exec of the ranks, their pipes and their shared pages.
#include "cli/launch/children.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "cli/number.h"
#include "cli/show/usage.h"
#include "cli/text.h"
#include "os/clock.h"
#include "os/host.h"

namespace transload::cli {
namespace {

constexpr const char* kServed = "TRANSLOAD_SERVED";
constexpr const char* kBoardFile = "TRANSLOAD_BOARD_FILE";
constexpr const char* kReportFile = "TRANSLOAD_REPORT_FILE";

StatusBoard map_board(int file, uint32_t ranks) {
  void* pages = mmap(nullptr, ranks * sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (pages == MAP_FAILED)
    refuse("--node-sizes: {} ranks: the memory for their pages cannot be had: {}", ranks, std::strerror(errno));
  return {static_cast<StatusPage*>(pages), ranks};
}

// This process's environment without the names that `extra` sets, then `extra`.
std::vector<std::string> environment_with(const std::vector<std::string>& extra) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry, name = text.substr(0, text.find('='));
    bool replaced = false;
    for (const std::string& e : extra) replaced = replaced || e.compare(0, name.size() + 1, name + "=") == 0;
    if (!replaced) out.push_back(text);
  }
  out.insert(out.end(), extra.begin(), extra.end());
  return out;
}

int inherited(const char* name) { return int(number(name, std::getenv(name), {0, INT_MAX})); }

// This runs after fork and before exec: nothing here may allocate or lock.
struct Exec {
  char** arguments;
  char** environment;
  int keep[2];
  pid_t parent;

  [[noreturn]] void run() const {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kFaulted);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(s, SIG_DFL);
    for (const int file : keep) fcntl(file, F_SETFD, 0);
    execve("/proc/self/exe", arguments, environment);
    _exit(kFaulted);
  }
};

}  // namespace

Children::Children(Share share, const Where& where, char** arguments) {
  const uint32_t ranks = share.ranks;
  for (uint32_t first = 0; first < ranks; first += share.of_a_process) {
    Child& child = children_.emplace_back();
    child.first = first;
    child.count = std::min(share.of_a_process, ranks - first);
  }
  board_file_ = memfd_create("transload-board", MFD_CLOEXEC);
  if (board_file_ < 0 || ftruncate(board_file_, off_t(ranks * sizeof(StatusPage))) != 0)
    refuse("--node-sizes: {} ranks: the file for their pages cannot be made: {}", ranks, text_of_error(errno));
  try {
    board_ = map_board(board_file_, ranks);
    for (Child& child : children_) start(child, where, arguments);
  } catch (...) {
    end();
    throw;
  }
}

Children::~Children() { end(); }

void Children::end() {
  for (const Child& child : children_) {
    if (child.pid > 0 && !child.ended) {
      kill(child.pid, SIGKILL);
      waitpid(child.pid, nullptr, 0);
    }
    if (child.report >= 0) close(child.report);
  }
  if (board_.pages != nullptr) munmap(board_.pages, board_.count * sizeof(StatusPage));
  close(board_file_);
}

void Children::start(Child& child, const Where& where, char** arguments) {
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) != 0)
    refuse("--node-sizes: rank {}: a pipe cannot be made: {}", child.first, text_of_error(errno));
  std::vector<std::string> texts = environment_with(
      {"MASTER_ADDR=127.0.0.1", text::format("TRANSLOAD_PORT={}", where.port),
       text::format("TRANSLOAD_SECRET={}", where.secret), text::format("TRANSLOAD_RANK={}", child.first),
       text::format("TRANSLOAD_RANKS={}", board_.count), text::format("{}=1", kServed),
       text::format("{}={}", kBoardFile, board_file_), text::format("{}={}", kReportFile, pipes[1])});
  std::vector<char*> environment;
  environment.reserve(texts.size() + 1);
  for (std::string& text : texts) environment.push_back(text.data());
  environment.push_back(nullptr);
  const Exec exec{arguments, environment.data(), {board_file_, pipes[1]}, getpid()};
  const pid_t pid = fork();
  if (pid == 0) exec.run();
  const int error = errno;
  close(pipes[1]);
  if (pid < 0) {
    close(pipes[0]);
    refuse("--node-sizes: rank {}: a process cannot be started: {}", child.first, text_of_no_thread(error));
  }
  fcntl(pipes[0], F_SETFL, O_NONBLOCK);
  child.pid = pid;
  child.report = pipes[0];
  child.active_ns = now_ns();
}

void Children::read_report(Child& child) {
  char buffer[65536];
  for (ssize_t n; (n = read(child.report, buffer, sizeof buffer)) != -1 || errno == EINTR;) {
    if (n > 0) {
      child.text.append(buffer, size_t(n));
    } else if (n == 0) {
      close(child.report);
      child.report = -1;
      return;
    }
  }
}

void Children::look(int timeout_ms) {
  std::vector<pollfd> files;
  for (const Child& child : children_)
    if (child.report >= 0) files.push_back({child.report, POLLIN, 0});
  poll(files.data(), files.size(), timeout_ms);
  for (Child& child : children_) {
    const bool over = !child.ended && waitpid(child.pid, &child.status, WNOHANG) == child.pid;
    child.ended = child.ended || over;
    if (child.report >= 0) read_report(child);
    uint64_t activity = child.text.size();
    for (uint32_t r = child.first; r < child.first + child.count; ++r) {
      StatusPage& page = board_.of(r);
      if (over) page.gone = 1;
      activity += page.steps + page.progress.rows + page.progress.epoch;
    }
    if (activity != child.activity) child.active_ns = now_ns();
    child.activity = activity;
  }
}

void Children::signal(Child& child, int signal) {
  if (child.ended) return;
  kill(child.pid, signal);
  if (signal == SIGKILL) child.killed_by_us = true;
}

bool has_inheritance() {
  return std::getenv(kServed) != nullptr && std::getenv(kBoardFile) != nullptr && std::getenv(kReportFile) != nullptr;
}

Inheritance take_inheritance(uint32_t ranks) {
  const int file = inherited(kBoardFile), report = inherited(kReportFile);
  struct stat status;
  if (fstat(file, &status) != 0 || uint64_t(status.st_size) != ranks * sizeof(StatusPage))
    refuse("{}: {}: must be the descriptor of pages of {} ranks: only the program itself may set it", kBoardFile, file,
           ranks);
  if (fstat(report, &status) != 0 || !S_ISFIFO(status.st_mode))
    refuse("{}: {}: must be the descriptor of a pipe: only the program itself may set it", kReportFile, report);
  Inheritance out{map_board(file, ranks), report};
  close(file);
  fcntl(out.report, F_SETFD, FD_CLOEXEC);
  return out;
}

void write_all(int file, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = write(file, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) return;
    if (n > 0) done += size_t(n);
  }
}

}  // namespace transload::cli
