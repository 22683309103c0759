# The thread that drives the network for a GPU stands still, as if stuck inside a provider: its rank is the culprit, on
# every rank, within the deadline, and the process ends.
# Contract 8.3.
import ctypes
import glob
import os
import re
import signal
import threading
import time

from _common import PATIENT, expect, finish, finish_test, run, skip, start

PTRACE_SEIZE, PTRACE_INTERRUPT, WAIT_ALL = 0x4206, 0x4207, 0x40000000

status, out, err = run("limits")
if not re.search(r"^gpus +[1-9]", out, re.M):
    skip("no GPU here")


def threads_named(name):
    found = []
    for path in glob.glob("/proc/[0-9]*/task/[0-9]*/comm"):
        try:
            with open(path, encoding="ascii") as file:
                if file.read().strip() == name:
                    found.append(int(path.split("/")[4]))
        except OSError:
            pass  # it has ended
    return sorted(found)


def stop_thread(task):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if libc.ptrace(request, task, None, None) != 0:
            skip(f"this machine lets nobody stop a thread: {os.strerror(ctypes.get_errno())}")
    threading.Thread(target=await_thread, args=(task,), daemon=True).start()


def await_thread(task):
    """A process whose thread is traced has ended only once the tracer has waited for that thread."""
    try:
        while os.WIFSTOPPED(os.waitpid(task, WAIT_ALL)[1]):
            pass
    except ChildProcessError:
        pass


job = start(
    (
        *("run", "--device", "cuda", "--node-sizes", "1,1", "--gpus", "1", "--scale-out", "libfabric"),
        *("--tokens", "64", "--hidden", "512", "--iterations", "3000", "--deadline-ms", "2000", *PATIENT),
    )
)
until = time.monotonic() + 60
proxies = []
while len(proxies) < 2 and time.monotonic() < until and job.poll() is None:
    time.sleep(0.05)
    proxies = threads_named("transload-proxy")
expect(len(proxies) == 2, f"two proxies: {proxies}")
time.sleep(1)
if proxies:
    stop_thread(proxies[0])
status, out, err = finish(job)
said = f"{out}\n{err}"
expect(status not in (0, -signal.SIGKILL), f"the run ends by itself, and says so: {status}")
expect("its proxy has stood still" in said or "its proxy takes no commands" in said, f"who is to blame: {said[-2000:]}")
finish_test()
