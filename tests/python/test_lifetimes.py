"""Who owns what for how long: arrays, leases, handles, groups; and that many calls cost no memory."""
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from ranks import BF16, on_threads, run_all, same, small, tokens_of

import transload


def one_rank(**options):
    return transload.Group(0, 1, **small(options))


def test_arrays_outlive_their_group():
    x, ids, weights = tokens_of(0, 20)
    with one_rank() as g:
        got = g.dispatch(x, ids, weights)
        back = g.combine(got.x, got.handle)
        kept = [got.x, got.topk_idx, got.source, back.x]
        copies = [each.copy() for each in kept]
        late = got  # whose arrays are not made yet
    del g, got, back
    gc.collect()
    with one_rank() as other:  # whose memory may lie where the first one's was
        other.dispatch(*tokens_of(1, 20))
    for each, copy in zip(kept, copies):
        same(each, copy)
    same(late.topk_weights[late.topk_idx < 0], np.zeros((late.topk_idx < 0).sum(), np.float32))


def test_leases_are_given_back():
    """By the last array of a call, whoever it is, and by none before."""
    with one_rank() as g:
        got = g.dispatch(*tokens_of(0, 20))
        part = got.x[3:5]
        whole = g.memory().leased_bytes
        assert whole > 0
        del got
        gc.collect()
        assert g.memory().leased_bytes == whole
        del part
        gc.collect()
        assert g.memory().leased_bytes == 0


def test_capsules_free_without_python():
    """A lease ends when a consumer of DLPack lets go of it, on a thread of its own; unused capsules hold nothing."""
    with one_rank() as g:
        for _ in range(50):
            array = g.dispatch(*(memoryview(each) for each in tokens_of(0, 20, dtype=np.float32, hidden=32))).x
            taken = np.from_dlpack(array)
            array.__dlpack__()
            array.__dlpack__(max_version=(1, 1))
            del array
            assert g.memory().leased_bytes > 0
            box = [taken]
            del taken
            thread = threading.Thread(target=box.clear)
            thread.start()
            thread.join()
            gc.collect()
            assert g.memory().leased_bytes == 0


def test_freed_by_other_threads_while_calls_run():
    inputs = [tokens_of(rank, 30) for rank in range(2)]

    def work(g):
        dropped, full = [], threading.Semaphore(0)

        def drop():
            for _ in range(200):
                full.acquire()
                dropped.pop(0)

        thread = threading.Thread(target=drop)
        thread.start()
        first = g.dispatch(*inputs[g.rank])
        for _ in range(200):
            got = g.dispatch(inputs[g.rank][0], handle=first.handle)
            same(got.x, first.x)
            dropped.append(got)
            full.release()
        thread.join()
        del got, first
        return g.memory().leased_bytes

    assert on_threads((2,), work) == [0, 0]


def test_many_handles():
    """500 of them at once, each good when its turn comes."""
    def work(g):
        made = []
        for seed in range(500):
            x, ids, weights = tokens_of(g.rank, 4, seed=seed)
            got = g.dispatch(x, ids, weights)
            made.append((got.handle, x, got.x.copy()))
        for handle, x, rows in reversed(made):
            same(g.dispatch(x, handle=handle).x, rows)

    on_threads((2,), work)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def resident_kib():
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def calls(g, count):
    """Of every kind, refused ones among them."""
    x, ids, weights = tokens_of(0, 8)
    for _ in range(count):
        got = g.dispatch(x, ids, weights)
        y = g.empty(got.x.shape)
        y[:] = got.x
        g.combine(y, got.handle, bias=x)
        again = g.dispatch(x, handle=got.handle)
        assert again.x.shape == got.x.shape and got.topk_idx.shape[1] == 2
        try:
            g.combine(x[:, :8], got.handle)
            raise AssertionError("a wrong shape was taken")
        except transload.InvalidArgument:
            pass


def grown(what):
    """KiB and descriptors that this process has more after it."""
    before = resident_kib(), descriptors()
    what()
    return resident_kib() - before[0], descriptors() - before[1]


def groups(count):
    for _ in range(count):
        on_threads((1, 1), lambda g: g.dispatch(*tokens_of(g.rank, 4)).rows)


def grown_by_groups():
    """KiB that groups leave behind, which ends as soon as they leave little: some goes later than its group."""
    groups(10)
    before = resident_kib()
    for _ in range(10):
        groups(1)
        before = min(before, resident_kib())
    groups(20)
    until = time.monotonic() + 120
    while resident_kib() - before >= 1000 and time.monotonic() < until:
        time.sleep(0.05)
    return resident_kib() - before


def run_python(text, **environment):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True, timeout=300,
                          check=False, env={**os.environ, **environment})
    return done.returncode, done.stdout, done.stderr


def grown_of_its_own(text):
    """What `text` prints, of a process whose malloc keeps no arena a thread, and little of what was freed."""
    folder = os.path.dirname(__file__)
    status, out, err = run_python(f"import sys\nsys.path.insert(0, {folder!r})\nfrom test_lifetimes import *\n{text}",
                                  MALLOC_ARENA_MAX="1", MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536")
    assert (status, err) == (0, "")
    return [int(word) for word in out.split()]


def test_calls_cost_no_memory():
    """10,000 of them."""
    kib, files = grown_of_its_own(
        "with one_rank() as g:\n  calls(g, 300)\n  print(*grown(lambda: calls(g, 3400)))")
    assert kib < 1000 and files == 0


def test_groups_cost_no_memory():
    kib, files = grown_of_its_own("before = descriptors()\nprint(grown_by_groups(), descriptors() - before)")
    assert kib < 1000 and files == 0


def test_exit_is_silent():
    """Groups, arrays, handles and errors in modules, in cycles, in threads that do not end: nothing is printed."""
    text = """
        import threading, numpy, transload
        group = transload.Group(0, 1, experts=4, hidden=64, dtype="fp32")
        x = numpy.ones((3, 64), numpy.float32)
        got = group.dispatch(x, numpy.zeros((3, 1), numpy.int64), numpy.ones((3, 1), numpy.float32))
        rows, capsule, handle = got.x, got.x, got.handle
        cycle = [group, got, transload.Rendezvous()]
        cycle.append(cycle)
        try:
            group.dispatch(3)
        except transload.Error as error:
            kept = error
        def rank(index, meeting, called):
            g = transload.Group(index, 2, experts=4, hidden=64, dtype="fp32", bootstrap=meeting)
            entered.release()
            if called:
                g.dispatch(x, numpy.zeros((3, 1), numpy.int64), numpy.ones((3, 1), numpy.float32))
            threading.Event().wait()
        entered, meeting, other = threading.Semaphore(0), transload.Rendezvous(), transload.Rendezvous()
        for arguments in ((0, meeting, True), (1, meeting, False), (0, other, False)):
            threading.Thread(target=rank, args=arguments, daemon=True).start()
        entered.acquire(), entered.acquire()
        print(rows.sum())
    """
    assert run_python(text) == (0, "192.0\n", "")


ENDS_LATE = """
    import sys, threading, time, numpy, transload
    class Last:
        def __init__(self):
            self.meeting = transload.Rendezvous()
        def __del__(self, wait=time.sleep):
            del self.meeting
            wait(1)  # the thread asks for Python's lock meanwhile
    last = Last()
    waits = {"wait": time.sleep}  # apart from what must end before it
    gather = eval("lambda *_, **named: any(wait(0.05) for _ in iter(int, 1))", waits)
    Slow = type("Slow", (), {"__dlpack__": gather, "__index__": gather, "__repr__": gather})
    options = dict(experts=4, hidden=64)
    def make(bootstrap):
        transload.Group(0, 2, nodes=(2,), bootstrap=bootstrap, **options)
    def dispatch(**slow):
        last.group = transload.Group(0, 1, **options)
        last.group.dispatch(**{"x": numpy.ones((1, 128), numpy.uint8), **slow})
    thread = threading.Thread(target=lambda: CALL, daemon=True)
    thread.start()
    places = []
    while len(places) < 20 or len(set(places[-20:])) > 1:  # until it waits
        time.sleep(0.005)
        frame = sys._current_frames()[thread.ident]
        places.append((frame.f_code.co_name, frame.f_lasti))
    print(places[-1][0])
"""


@pytest.mark.parametrize("call,place", [
    ("make(last.meeting.where)", "__init__"),
    ("make(gather)", "<genexpr>"),
    ("dispatch(x=Slow())", "<genexpr>"),
    ("dispatch(rows_max=Slow())", "<genexpr>"),
    ("dispatch(refused=Slow())", "<genexpr>"),
    ("dispatch(landing=Slow())", "<genexpr>"),
])
def test_a_call_that_ends_after_the_interpreter(call, place):
    """Its thread stays where it asks for Python's lock: in the call, or in Python's code that the call asks."""
    assert run_python(ENDS_LATE.replace("CALL", call)) == (0, f"{place}\n", "")


def test_ranks_dropped_by_threads_at_the_same_time():
    """Freeing waits for peers that need Python's lock meanwhile."""
    rendezvous = transload.Rendezvous()

    def rank(index):
        group = transload.Group(index, 3, nodes=(3,), bootstrap=rendezvous, **small({"deadline_s": 60}))
        got = group.dispatch(*tokens_of(index, 30))
        rows = group.combine(got.x, got.handle).x
        del group
        return rows.dtype == BF16

    assert run_all([lambda index=index: rank(index) for index in range(3)]) == [True] * 3
