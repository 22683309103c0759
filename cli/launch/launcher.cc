// Ranks as processes, as threads, or as one process under another launcher.
#include "cli/launch/launcher.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/time_units.h"
#include "cli/launch/children.h"
#include "cli/run/fault_injection.h"
#include "cli/run/recovery.h"
#include "cli/run/worker.h"
#include "cli/show/usage.h"
#include "cli/text.h"
#include "control/secret.h"
#include "os/clock.h"
#include "os/host.h"

namespace transload::cli {
namespace {

std::atomic<int> interrupted{0};

// While it lives, Ctrl-C and its like end the run instead of the launcher.
class Interruptions {
 public:
  Interruptions() {
    struct sigaction action = {};
    action.sa_handler = [](int signal) { interrupted = signal; };
    for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &action, &before_[i]);
  }
  ~Interruptions() {
    for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &before_[i], nullptr);
  }

 private:
  static constexpr int kSignals[3] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction before_[3];
};

// One line that overwrites itself, on a terminal only.
class ProgressLine {
 public:
  explicit ProgressLine(const Options& options)
      : shown_(!options.quiet && isatty(STDERR_FILENO)), warmup_(options.warmup), iterations_(options.iterations) {}
  ~ProgressLine() {
    if (shown_) std::fputs("\r\033[K", stderr);
  }
  void show(const StatusBoard& board) {
    if (!shown_ || now_ns() - last_ns_ < 100 * kMillisecondNs) return;
    last_ns_ = now_ns();
    uint64_t iteration = UINT64_MAX;
    for (uint32_t r = 0; r < board.count; ++r) iteration = std::min<uint64_t>(iteration, board.of(r).iteration);
    if (iteration == 0)
      text::print(stderr, "\r\033[Kranks are starting");
    else if (iteration <= warmup_)
      text::print(stderr, "\r\033[Kwarm-up {} of {}", iteration, warmup_);
    else
      text::print(stderr, "\r\033[Kiteration {} of {}", iteration - warmup_, iterations_);
  }

 private:
  const bool shown_;
  const uint64_t warmup_, iterations_;
  uint64_t last_ns_ = 0;
};

std::string ending_of(const Child& child) {
  if (child.killed_by_us) return "killed by the launcher";
  if (WIFSIGNALED(child.status))
    return text::format("signal {} ({})", WTERMSIG(child.status), strsignal(WTERMSIG(child.status)));
  return text::format("exit status {}", WEXITSTATUS(child.status));
}

// Takes what a child process wrote: a line for each of its ranks, as far as they came.
void take_words(const Child& child, RunOutcome& out) {
  for (size_t begin = 0, end; (end = child.text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    try {
      WorkerResult result = WorkerResult::from_text(child.text.substr(begin, end - begin));
      if (result.rank < out.results.size()) out.results[result.rank] = std::move(result);
    } catch (const std::exception&) {
      continue;  // the text is not a report of a rank
    }
  }
  for (uint32_t r = child.first; r < child.first + child.count; ++r)
    if (!out.results[r]) out.endings[r] = ending_of(child);
}

struct RanksHere {
  uint32_t first, count;
};

// Ranks of this process.
struct RanksOfProcess {
  const Options& options;
  const Workload& workload;
  Bootstrap bootstrap;  // complete except for the rank
  StatusBoard board;
  RanksHere here;
};
using Say = std::function<void(uint32_t rank, WorkerResult result)>;

void run_rank(const RanksOfProcess& crew, uint32_t rank, const Say& say) {
  Bootstrap bootstrap = crew.bootstrap;
  bootstrap.rank = rank;
  auto worker = std::make_unique<Worker>(crew.options, crew.workload, bootstrap, crew.board);
  WorkerResult result = worker->run();
  if (!goes_on(crew.options, result)) return say(rank, std::move(result));
  worker.reset();
  Recovery recovery(crew.options, bootstrap, crew.board.of(rank), result.fault->culprit_rank);
  recovery.run(result);
  say(rank, std::move(result));
}

// Runs ranks, each in a thread of its own if there are several; no rank begins before all threads exist. `say` gets the
// result of each rank while its group still lives.
void run_ranks(const RanksOfProcess& crew, const Say& say) {
  const RanksHere& here = crew.here;
  if (here.count == 1) return run_rank(crew, here.first, say);
  std::vector<std::thread> threads;
  std::promise<bool> all_there;
  const std::shared_future<bool> begin = all_there.get_future().share();
  std::string why_not;
  try {
    for (uint32_t r = here.first; r < here.first + here.count; ++r)
      threads.emplace_back([&crew, &say, begin, r] {
        if (begin.get()) run_rank(crew, r, say);
      });
  } catch (const std::system_error& error) {
    why_not = text_of_no_thread(error.code().value());
  }
  all_there.set_value(why_not.empty());
  for (std::thread& thread : threads) thread.join();
  if (!why_not.empty())
    refuse("--node-sizes: {} ranks in a process: a thread cannot be started: {}", here.count, why_not);
}

int status_of(const WorkerResult& result) {
  if (result.recovery == kRecovered) return kVerified;
  return result.fault ? kFaulted : !result.error.empty() ? kBadUsage : result.mismatch ? kWrongResult : kVerified;
}

// Watches the processes of a run until all have ended. Only ranks on the CPU get signals: a process each.
class Watch {
 public:
  Watch(const Options& options, Children& children) : options_(options), children_(children) {
    if (options.fault && by_signal(*options.fault)) fault_ = &*options.fault;
  }

  void until_all_ended(RunOutcome& out) {
    ProgressLine line(options_);
    while (!all_ended()) {
      children_.look(fault_ != nullptr && out.fault_ns == 0 ? 1 : 20);
      line.show(children_.board());
      if (interrupted != 0) {
        for (Child& child : children_.all()) children_.signal(child, SIGKILL);
        out.signal = interrupted;
      }
      do_fault(out);
      notice_trouble(out);
      end_stragglers();
    }
    children_.look(0);
  }

 private:
  bool all_ended() {
    return std::all_of(children_.all().begin(), children_.all().end(), [](const Child& c) { return c.ended; });
  }

  void do_fault(RunOutcome& out) {
    if (fault_ == nullptr || out.fault_ns != 0) return;
    StatusPage& page = children_.board().of(fault_->rank);
    if (!halted(page)) return;
    out.victim_rows = fault_->phase == FaultPhase::kExpert ? page.expert_rows : page.progress.rows;
    out.victim_rows_total = page.progress.rows_total;
    out.fault_ns = trouble_ns_ = now_ns();
    page.gone = 1;
    children_.signal(children_.all()[fault_->rank], fault_->verb == FaultVerb::kStop ? SIGSTOP : SIGKILL);
  }

  // Notes that a rank has ended without a whole report, or with a bad one, because others will miss it.
  void notice_trouble(RunOutcome& out) {
    if (trouble_ns_ != 0) return;
    for (const Child& child : children_.all())
      if (child.ended && (!WIFEXITED(child.status) || WEXITSTATUS(child.status) > kWrongResult)) {
        trouble_ns_ = now_ns();
        if (!WIFEXITED(child.status) || child.text.empty()) out.fault_ns = trouble_ns_;
      }
  }

  // Kills a stopped victim when all others have ended, and at once a rank that has shown no work for too long.
  void end_stragglers() {
    const auto& all = children_.all();
    const bool stopped_here = fault_ != nullptr && fault_->verb == FaultVerb::kStop && trouble_ns_ != 0;
    if (stopped_here &&
        std::count_if(all.begin(), all.end(), [](const Child& c) { return c.ended; }) + 1 >= int64_t(all.size()))
      children_.signal(children_.all()[fault_->rank], SIGKILL);
    const uint64_t deadline_ns =
        std::max(options_.group.deadline_ms, options_.group.create_deadline_ms) * kMillisecondNs;
    const uint64_t patience_ns = trouble_ns_ != 0 ? 2 * deadline_ns + 10 * kSecondNs : 4 * deadline_ns + 60 * kSecondNs;
    for (Child& child : children_.all()) {
      const bool victim = stopped_here && &child == &children_.all()[fault_->rank];
      if (!victim && !child.ended && now_ns() - std::max(trouble_ns_, child.active_ns) > patience_ns)
        children_.signal(child, SIGKILL);
    }
  }

  const Options& options_;
  Children& children_;
  const FaultSpec* fault_ = nullptr;  // the fault that the launcher has to cause; null: none
  uint64_t trouble_ns_ = 0;
};

}  // namespace

RunOutcome run_processes(const Options& options, char** arguments) {
  const uint32_t ranks = options.ranks();
  RunOutcome out;
  out.results.resize(ranks);
  out.endings.resize(ranks);
  const Interruptions interruptions;
  const std::string secret = random_secret();
  const Rendezvous rendezvous("127.0.0.1", 0, secret);
  Children children({ranks, options.ranks_per_process()}, {rendezvous.port(), secret}, arguments);
  Watch(options, children).until_all_ended(out);
  for (const Child& child : children.all()) take_words(child, out);
  return out;
}

RunOutcome run_threads(const Options& options, const Workload& workload) {
  const uint32_t ranks = options.ranks();
  const std::string secret = random_secret();
  const Rendezvous rendezvous("127.0.0.1", 0, secret);
  const auto pages = std::make_unique<StatusPage[]>(ranks);
  RunOutcome out;
  out.results.resize(ranks);
  out.endings.resize(ranks);
  Bootstrap bootstrap;
  bootstrap.ranks = ranks;
  bootstrap.port = rendezvous.port();
  bootstrap.secret = secret;
  run_ranks({.options = options,
             .workload = workload,
             .bootstrap = bootstrap,
             .board = {pages.get(), ranks},
             .here = {0, ranks}},
            [&](uint32_t rank, WorkerResult result) { out.results[rank] = std::move(result); });
  return out;
}

bool is_child() { return has_inheritance(); }

int be_child(const Options& options, const Workload& workload) {
  const Inheritance inherited = take_inheritance(options.ranks());
  Bootstrap bootstrap = Bootstrap::from_environment("env");
  bootstrap.serve = false;
  const RanksHere here{bootstrap.rank, std::min(options.ranks_per_process(), options.ranks() - bootstrap.rank)};
  std::mutex saying;
  int status = kVerified;
  run_ranks({.options = options, .workload = workload, .bootstrap = bootstrap, .board = inherited.board, .here = here},
            [&](uint32_t, const WorkerResult& result) {
              const std::lock_guard lock(saying);
              write_all(inherited.report, result.to_text() + "\n");
              status = std::max(status, status_of(result));
            });
  close(inherited.report);
  return status;
}

}  // namespace transload::cli
