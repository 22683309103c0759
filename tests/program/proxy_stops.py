# The thread that drives the network for a GPU stands still, as if stuck inside a provider: its rank is the culprit, on
# every rank, within the deadline, and the process ends; also where warps wait for room in the queue of commands.
# Contract 8.3.
import ctypes
import glob
import json
import os
import re
import threading
import time

from _common import LATE_MS, MARK, PATIENT, expect, finish, finish_test, path, run, skip, start, until

PTRACE_SEIZE, PTRACE_INTERRUPT, WAIT_ALL = 0x4206, 0x4207, 0x40000000

DEADLINE_MS = 6000
status, out, err = run("limits")
found = re.search(r"^gpus +([1-9][0-9]*)", out, re.M)
if not found:
    skip("no GPU here")


def environment_of(task):
    with open(f"/proc/{task}/environ", "rb") as file:
        return file.read().split(b"\0")


def threads_named(name):
    """Those of processes that this test has started."""
    found = []
    for file in glob.glob("/proc/[0-9]*/task/[0-9]*/comm"):
        task = int(file.split("/")[4])
        try:
            with open(file, encoding="ascii") as text:
                if text.read().strip() == name and MARK.encode() in environment_of(task):
                    found.append(task)
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


def rank_of(task):
    """The first rank of the process of that thread."""
    return int(dict(one.partition(b"=")[::2] for one in environment_of(task))[b"TRANSLOAD_RANK"])


def stopped(what, gpus, words, *more):
    """One of two proxies is stopped. `words`: one of these is why."""
    file = path(f"{what.replace(' ', '_')}.json")
    job = start(
        (
            *("run", "--device", "cuda", "--node-sizes", "1,1", "--gpus", str(gpus), "--scale-out", "libfabric"),
            *("--hidden", "512", "--iterations", "3000", "--deadline-ms", str(DEADLINE_MS), *PATIENT, *more),
            *("--json", file),
        )
    )
    there = until(lambda: len(threads_named("transload-proxy")) == 2 or job.poll() is not None, 60)
    proxies = threads_named("transload-proxy")
    expect(there and len(proxies) == 2, f"{what}: two proxies: {proxies}")
    time.sleep(1)
    victim = rank_of(proxies[-1]) if proxies and gpus == 2 else None  # of one process it could be either
    if proxies:
        stop_thread(proxies[-1])
    status, out, err = finish(job)
    said = f"{out}\n{err}"
    expect(status == 3, f"{what}: the run ends by itself, and says so: {status}")
    expect(any(word in said for word in words), f"{what}: it says why: {said[-2000:]}")
    fault = {}
    if os.path.exists(file):
        with open(file, encoding="utf-8") as text:
            fault = json.load(text)["fault"] or {}
    if not expect(fault, f"{what}: a fault is told"):
        return
    culprit = fault["culprit_rank"] if victim is None else victim
    named = [(r["rank"], r["culprit_rank"]) for r in fault["reports"]]
    expect(fault["kind"] == "failed", f"{what}: the culprit has {fault['kind']}")
    expect(named == [(0, culprit), (1, culprit)], f"{what}: each rank names {culprit}: {named}")
    late = [r["after_ms"] for r in fault["reports"] if r["after_ms"] > DEADLINE_MS + LATE_MS]
    expect(not late, f"{what}: in time {late}")


STILL, FULL = "its proxy has stood still", "its proxy takes no commands"
gpus = min(2, int(found[1]))
stopped("a few tokens", gpus, (STILL, FULL), "--tokens", "64")
# More commands in a call than the queue has room for: a warp waits for room as long as the watcher counts his looks,
# and either may be the first to say so. That the warp does alone is rung 12 of the ladder.
stopped("no room", gpus, (STILL, FULL), "--tokens", "512", "--rail-queue", "32", "--rail-batch", "1")
finish_test()
