"""Shared by the tests of deep_ep: ranks as threads, each with a process group of torch (gloo) of its own, and one that
stands in for mpi4py; a recorder that stands in for streams.
"""
import contextlib
import itertools
import os
import queue
import threading

import torch
import torch.distributed as dist

PATIENCE_S = 300  # for what hangs: no test passes because of it
NODES = [(1,), (2,), (1, 2), (8,), (4, 4)]


def process_group(store, rank, size):
    """A process group of gloo, without torch.distributed's global state, so that ranks may be threads."""
    group = dist.ProcessGroup(store, rank, size)
    group._register_backend(torch.device("cpu"), dist.ProcessGroup.BackendType.GLOO,
                            dist.ProcessGroupGloo(store, rank, size))
    group._set_default_backend(dist.ProcessGroup.BackendType.GLOO)
    return group


@contextlib.contextmanager
def variables(**values):
    """Environment variables, for a block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def run_all(calls):
    """What each call returned, each on a thread of its own; the first exception at once, if there is one."""
    answers, ended = [None] * len(calls), queue.Queue()

    def call(index):
        try:
            answers[index] = calls[index]()
            ended.put(None)
        except BaseException as error:  # pylint: disable=broad-except
            ended.put(error)

    for index in range(len(calls)):
        threading.Thread(target=call, args=(index,), daemon=True).start()
    for _ in calls:
        try:
            error = ended.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError("a rank hangs") from None
        if error is not None:
            raise error
    return answers


def on_ranks(nodes, work):
    """work(process group) of each rank; what they returned, by rank. All are on this host, and count as these nodes."""
    store, size = dist.HashStore(), sum(nodes)
    with variables(TRANSLOAD_NODES=",".join(map(str, nodes))):
        return run_all([lambda rank=rank: work(process_group(store, rank, size)) for rank in range(size)])


class Comm:
    """The three methods of an mpi4py communicator, over threads."""

    def __init__(self, barrier, parts, rank):
        self.barrier, self.parts, self.rank = barrier, parts, rank

    @classmethod
    def of(cls, size):
        barrier, parts = threading.Barrier(size, timeout=PATIENCE_S), [None] * size
        return [cls(barrier, parts, rank) for rank in range(size)]

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return len(self.parts)

    def allgather(self, value):
        self.parts[self.rank] = value
        self.barrier.wait()
        parts = list(self.parts)
        self.barrier.wait()
        return parts


class Recorder:
    """Stands in for streams: `said` is what was asked of it. A mark is done when `finished` holds it."""

    def __init__(self):
        self.said, self.finished = [], set()
        self._marks, self._streams = itertools.count(), itertools.count()
        self._here = threading.local()

    def current(self):
        return getattr(self._here, "stream", "main")

    def make(self):
        return f"own{next(self._streams)}"

    @contextlib.contextmanager
    def on(self, stream):
        before = self.current()
        self._here.stream = stream
        try:
            yield stream
        finally:
            self._here.stream = before

    def record(self, stream):
        mark = next(self._marks)
        self.said.append(("record", stream, mark))
        return mark

    def wait(self, stream, mark):
        self.said.append(("wait", stream, mark))

    def done(self, mark):
        return mark in self.finished

    def belongs(self, tensor, stream):
        self.said.append(("belongs", tensor.data_ptr(), stream))

    def did(self, what):
        """For the work of a test: says on which stream it was given."""
        self.said.append(("call", self.current(), what))
