// Asking for GPUs, and dealing them out.
#include "cli/launch/gpus.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/math.h"
#include "cli/show/usage.h"
#include "cli/text.h"
#include "gpu/device_info.h"
#include "os/host.h"

namespace transload::cli {
namespace {

constexpr unsigned kAskSeconds = 60;

std::string text_of(const Gpus& gpus) { return text::format("{} {} {}", gpus.count, gpus.sms, gpus.reason); }

Gpus from_text(const std::string& text) {
  const size_t space = text.find(' '), second = text.find(' ', space + 1);
  if (space == std::string::npos || second == std::string::npos)
    return {"no GPU: the process that asked the CUDA driver ended without a word", 0, 0};
  return {text.substr(second + 1), uint32_t(std::strtoul(text.c_str(), nullptr, 10)),
          uint32_t(std::strtoul(text.c_str() + space + 1, nullptr, 10))};
}

const char* way_of(const DeviceInfo& gpu) {
  return gpu.vmm_by_fd ? "VMM file descriptors"
         : gpu.ipc     ? "CUDA IPC"
                       : "nothing: ranks must be threads of one process";
}

const char* nic_of(const DeviceInfo& gpu) {
  return !gpu.gpu_direct        ? "out of a NIC's reach"
         : !gpu.writes_in_order ? "in a NIC's reach, without order"
         : gpu.dma_buf          ? "in a NIC's reach, as a dma-buf too"
                                : "in a NIC's reach, by address alone";
}

}  // namespace

Gpus find_gpus() {
  Gpus out;
  try {
    const Devices found = find_devices();
    out.reason = found.reason;
    out.count = uint32_t(found.devices.size());
    for (const DeviceInfo& gpu : found.devices) out.sms = out.sms == 0 ? gpu.sms : std::min(out.sms, gpu.sms);
  } catch (const Error& error) {
    out = {one_line(error.what()), 0, 0};
  }
  return out;
}

Gpus ask_for_gpus() {
  int pipes[2];
  if (pipe(pipes) != 0) refuse("--device: 'cuda': a pipe cannot be made: {}", text_of_error(errno));
  const pid_t pid = fork();
  if (pid == 0) {
    close(pipes[0]);
    alarm(kAskSeconds);
    const std::string text = text_of(find_gpus());
    _exit(write(pipes[1], text.data(), text.size()) == ssize_t(text.size()) ? 0 : 1);
  }
  const int error = errno;
  close(pipes[1]);
  std::string text;
  char buffer[1024];
  for (ssize_t n; pid > 0 && ((n = read(pipes[0], buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR));)
    if (n > 0) text.append(buffer, size_t(n));
  close(pipes[0]);
  if (pid < 0) refuse("--device: 'cuda': a process cannot be started: {}", text_of_no_thread(error));
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
  return from_text(text);
}

void assign_gpus(Options& options, const Gpus& gpus, bool joined) {
  if (gpus.count == 0) refuse("--device: 'cuda': {}", gpus.reason);
  if (options.gpus > gpus.count)
    refuse("--gpus: {}: must be at most {}, as many as this process sees", options.gpus, gpus.count);
  if (options.gpus == 0) options.gpus = gpus.count;
  if (joined) {
    if (options.ranks_per_gpu > 1)
      refuse("--ranks-per-gpu: {}: must be 1 under a launcher: ranks of one GPU are threads of one process",
             options.ranks_per_gpu);
    options.ranks_per_gpu = 1;
  } else {
    if (options.fault && by_signal(*options.fault))
      refuse(
          "--fault: kill and stop need ranks that are processes, as under a launcher, but here they are threads of "
          "one");
    const uint32_t least = uint32_t(ceil_div(options.ranks(), options.gpus));
    if (options.ranks_per_gpu == 0) options.ranks_per_gpu = least;
    if (options.ranks_per_gpu < least)
      refuse("--ranks-per-gpu: {}: must be at least {}, for {} ranks on {} GPU{}", options.ranks_per_gpu, least,
             options.ranks(), options.gpus, options.gpus == 1 ? "" : "s");
    options.gpus = uint32_t(ceil_div(options.ranks(), options.ranks_per_gpu));
  }
  if (uint64_t(options.group.sms) * options.ranks_per_gpu > gpus.sms)
    refuse("--sms: {} for each of {} rank{} on a GPU: must be at most {} in all, as many as it has", options.group.sms,
           options.ranks_per_gpu, options.ranks_per_gpu == 1 ? "" : "s", gpus.sms);
}

void prepare_environment() { setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1); }

void print_gpus() {
  prepare_environment();
  const Devices found = find_devices();
  if (found.devices.empty()) {
    text::print("{:<18} {:>10}  {}\n", "gpus", 0, one_line(found.reason));
    return;
  }
  text::print(
      "{:<18} {:>10}  ranks of one GPU are threads of one process and share its SMs, {} each unless --sms says "
      "otherwise\n",
      "gpus", found.devices.size(), GroupOptions().sms);
  for (const DeviceInfo& gpu : found.devices)
    text::print("{:<18} {:>10}  {}, {}, sm_{}{}, {} SMs, {} MiB, reached from other processes by {}; {}\n", "gpu",
                gpu.device, gpu.pci, gpu.name, gpu.major, gpu.minor, gpu.sms, gpu.memory_bytes >> 20, way_of(gpu),
                nic_of(gpu));
}

}  // namespace transload::cli
