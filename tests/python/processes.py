"""Ranks as processes that do what the test tells them, one thing after another."""
import multiprocessing
import os
import resource

import numpy as np
from ranks import small, tokens_of

import transload

PATIENCE_S = 300  # for what hangs: no test passes because of it


def trip(group, seed=1):
    """A dispatch and a combine; how many rows came and the bytes that came back."""
    got = group.dispatch(*tokens_of(group.rank, 6, seed=seed))
    return got.rows, group.combine(got.x, got.handle).x.tobytes()


def limit_descriptors(left):
    """So many more can be opened from now on, or any number again. What the limit is then."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = hard
    if left is not None:
        taken = {int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}
        most = [number for number in range(hard) if number not in taken][left]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def obey(pipe, index):
    """(word, arguments) in, (ok, what came of it) out, until the pipe ends."""
    group = None
    while True:
        try:
            word, arguments = pipe.recv()
        except EOFError:
            return
        try:
            if word == "make":
                group, answer = transload.Group(**arguments), None
            elif word == "drop":
                group, answer = None, None
            elif word == "limit":
                answer = limit_descriptors(**arguments)
            else:
                answer = {"trip": trip, "gather": lambda g: g.gather(str(os.getpid()))}[word](group)
            pipe.send((True, answer))
        except BaseException as error:  # pylint: disable=broad-except
            pipe.send((False, error))


class Ranks:
    """As many processes, which end with the block."""

    def __init__(self, count, method="spawn"):
        context = multiprocessing.get_context(method)
        self.pipes, self.processes = [], []
        for index in range(count):
            mine, theirs = context.Pipe()
            self.pipes.append(mine)
            self.processes.append(context.Process(target=obey, args=(theirs, index), daemon=True))
            self.processes[-1].start()
            theirs.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.join()

    def tell(self, index, word, **arguments):
        self.pipes[index].send((word, arguments))

    def hear(self, index):
        """(ok, answer or exception)."""
        assert self.pipes[index].poll(PATIENCE_S), f"rank {index} hangs"
        return self.pipes[index].recv()

    def all(self, word, indices=None):
        """Every rank does it at once; their answers."""
        indices = range(len(self.pipes)) if indices is None else indices
        for index in indices:
            self.tell(index, word)
        return [self.hear(index) for index in indices]

    def make(self, where, indices=None, **options):
        indices = list(range(len(self.pipes)) if indices is None else indices)
        for rank, index in enumerate(indices):
            self.tell(index, "make", rank=rank, ranks=len(indices), bootstrap=where, **small(options))
        answers = [self.hear(index) for index in indices]
        assert all(ok for ok, _ in answers), answers


def expected_trips(nodes, seed=1):
    """What `trip` gives on each rank, by NumPy."""
    from ranks import BF16, combined, rows_of

    inputs = [tokens_of(rank, 6, seed=seed) for rank in range(sum(nodes))]
    ids = [each[1] for each in inputs]
    backs = [np.array([inputs[s][0][t] for s, t in rows_of(rank, ids)], BF16).reshape(-1, 64)
             for rank in range(len(inputs))]
    return [(len(backs[rank]), combined(rank, nodes, ids, backs).astype(BF16).tobytes())
            for rank in range(len(inputs))]
