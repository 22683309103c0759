"""Ranks as processes: however they are started, whoever fails, and what a copy of one may do."""
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from processes import Ranks, expected_trips
from ranks import on_threads, run_all, small, tokens_of

import transload


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_started_by(method):
    rendezvous = transload.Rendezvous(secret="of the job")
    with Ranks(3, method) as ranks:
        ranks.make(rendezvous.where, nodes=(1, 2), secret="of the job")
        assert ranks.all("trip") == [(True, each) for each in expected_trips((1, 2))]
        pids = [str(process.pid) for process in ranks.processes]
        assert ranks.all("gather") == [(True, pids)] * 3


def fails(ranks, survivors, kind, culprit):
    """A trip now fails alike on those ranks, and at once from then on."""
    for ok, error in ranks.all("trip", survivors):
        assert not ok and type(error) is transload.Fault and error.code == "fault", error
        assert (error.kind, error.culprit_rank, error.own_view) == (kind, culprit, False), error
        # Who has not entered the call when the verdict comes is idle.
        assert error.rank in survivors and error.operation in ("idle", "dispatch", "combine") and error.after_ms >= 0
        assert f"rank {culprit}" in str(error) and error.detail
    again = ranks.all("trip", survivors)
    assert all(not ok and (error.kind, error.culprit_rank) == (kind, culprit) for ok, error in again)


def survive(ranks, survivors):
    """Those ranks make a group of their own, and it works."""
    ranks.all("drop", survivors)
    second = transload.Rendezvous()
    ranks.make(second.where, survivors, nodes=(len(survivors),))
    assert ranks.all("trip", survivors) == [(True, each) for each in expected_trips((len(survivors),))]


def test_a_killed_rank():
    rendezvous = transload.Rendezvous()
    with Ranks(3) as ranks:
        ranks.make(rendezvous.where, nodes=(1, 2), deadline_s=60)
        assert all(ok for ok, _ in ranks.all("trip"))
        for index in (0, 1):
            ranks.tell(index, "trip")  # they wait for the one that is killed
        ranks.processes[2].kill()
        for index in (0, 1):
            ok, error = ranks.hear(index)
            assert not ok and (error.kind, error.culprit_rank) == ("lost", 2), error
        fails(ranks, [0, 1], "lost", 2)
        survive(ranks, [0, 1])


def test_a_stopped_rank():
    rendezvous = transload.Rendezvous()
    with Ranks(3) as ranks:
        ranks.make(rendezvous.where, nodes=(3,), deadline_s=3)
        os.kill(ranks.processes[1].pid, signal.SIGSTOP)
        fails(ranks, [0, 2], "silent", 1)
        survive(ranks, [0, 2])


def test_a_rank_that_does_not_come():
    rendezvous = transload.Rendezvous()
    with Ranks(2) as ranks:
        ranks.make(rendezvous.where, nodes=(2,), deadline_s=2)
        fails(ranks, [0], "absent", 1)
        late, error = ranks.all("trip", [1])[0]
        assert not late and error.culprit_rank == 1
        survive(ranks, [0, 1])


@pytest.mark.parametrize("nodes", [(2,), (1, 1)])
def test_a_rank_without_descriptors(nodes):
    """Whatever it wants them for while a group is made: all hear of it, and a new group can be made."""
    rendezvous = transload.Rendezvous()
    with Ranks(2) as ranks:
        for left in (1, 3, 6):
            ranks.tell(1, "limit", left=left)
            most = ranks.hear(1)[1]
            for index in (0, 1):
                ranks.tell(index, "make", rank=index, ranks=2, bootstrap=rendezvous.where, **small({"nodes": nodes}))
            for ok, error in [ranks.hear(0), ranks.hear(1)]:
                assert not ok and isinstance(error, (transload.OutOfMemory, transload.Fault)), error
                assert f"ulimit -n {most}" in str(error) and getattr(error, "culprit_rank", 1) == 1, error
        ranks.tell(1, "limit", left=None)
        ranks.hear(1)
        ranks.make(rendezvous.where, nodes=nodes)
        assert ranks.all("trip") == [(True, each) for each in expected_trips(nodes)]


def test_nobody_comes_to_the_meeting():
    rendezvous = transload.Rendezvous()
    with pytest.raises(transload.Fault) as caught:
        transload.Group(0, 2, bootstrap=rendezvous, **small({"create_deadline_s": 0.5}))
    assert caught.value.operation == "create" and caught.value.culprit_rank == 1
    with pytest.raises(transload.Fault) as caught:
        transload.Group(0, 2, bootstrap=f"127.0.0.1:{rendezvous.port}", secret="wrong", name="other",
                        **small({"create_deadline_s": 0.5}))
    assert caught.value.operation == "create"


def test_the_rendezvous_goes():
    rendezvous = [transload.Rendezvous()]
    made = run_all([lambda index=index: transload.Group(index, 2, nodes=(2,), bootstrap=rendezvous[0], **small({}))
                    for index in range(2)])
    rendezvous.clear()

    def rank(g):
        with pytest.raises(transload.Fault) as caught:
            while True:
                g.dispatch(*tokens_of(g.rank, 4))
        assert (caught.value.kind, caught.value.culprit_rank) == ("rendezvous", None)
        with pytest.raises(transload.Fault):
            g.check()

    run_all([lambda g=g: rank(g) for g in made])


FORKED = """
    import gc, os, sys, numpy, transload
    rendezvous = transload.Rendezvous()
    def call(g):
        x = numpy.ones((3, 64), numpy.float32)
        return g.dispatch(x, numpy.zeros((3, 1), numpy.int64), numpy.ones((3, 1), numpy.float32))
    options = dict(experts=4, hidden=64, dtype="fp32")
    group, second = transload.Group(0, 1, **options), transload.Group(0, 1, **options)
    first = call(group)
    pid = os.fork()
    if pid == 0:
        for attempt in (lambda: call(group), lambda: group.combine(numpy.ones((3, 64)), first.handle), group.check,
                        group.memory, lambda: group.empty(4), lambda: group.gather("")):
            try:
                attempt()
                os._exit(3)
            except transload.InvalidArgument as error:
                if "fork of the process that made the group" not in str(error):
                    os._exit(4)
        second.close()
        second.close()
        del group, first, rendezvous
        gc.collect()
        with transload.Group(0, 1, **options) as mine:
            ok = call(mine).x.sum() == 192
        sys.exit(0 if ok else 5)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(status, call(group).x.sum(), call(second).x.sum(), first.x.sum())
"""


def test_a_forked_child():
    """Its groups raise by name and are dropped quietly; the parent's go on."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKED)], capture_output=True,
                          text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 192.0 192.0 192.0\n", "")


FORKED_IN_A_CALL = """
    import gc, os, sys, threading, numpy, transload
    rendezvous, made, dispatch, rows = transload.Rendezvous(), threading.Barrier(3), threading.Event(), []
    groups = [None, None]
    def rank(index):
        g = groups[index] = transload.Group(index, 2, bootstrap=rendezvous, experts=4, hidden=64, dtype="fp32")
        made.wait()
        index == 1 and dispatch.wait()
        x = numpy.ones((3, 64), numpy.float32)
        rows.append(g.dispatch(x, numpy.zeros((3, 1), numpy.int64), numpy.ones((3, 1), numpy.float32)).rows)
    threads = [threading.Thread(target=rank, args=(index,)) for index in range(2)]
    [thread.start() for thread in threads]
    made.wait()
    while True:  # until rank 0 is in its call
        try:
            groups[1].memory(), groups[0].decisions()
        except transload.InvalidArgument as error:
            break
    pid = os.fork()
    if pid == 0:
        try:
            groups[0].check()
            os._exit(3)
        except transload.InvalidArgument as error:
            if "fork of the process that made the group" not in str(error):
                os._exit(4)
        groups[0].close()
        groups.clear()
        gc.collect()
        sys.exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    dispatch.set()
    [thread.join() for thread in threads]
    print(status, sorted(rows))
"""


def test_a_child_forked_in_a_call():
    """It is told that it is a copy, not that a thread is busy that the copy does not have."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKED_IN_A_CALL)],
                          capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 [0, 6]\n", "")


INTERRUPTED = """
    import os, signal, sys, threading, ml_dtypes, numpy, transload
    rendezvous, begin, leave = transload.Rendezvous(), threading.Barrier(2), threading.Event()
    groups, first, faults, rows = [None, None], [None, None], [None, None], []
    x = numpy.ones((3, 64), numpy.float32)
    def call(index):
        return groups[index].dispatch(x, numpy.zeros((3, 1), numpy.int64), numpy.ones((3, 1), numpy.float32))
    def make(index):
        groups[index] = transload.Group(index, 2, bootstrap=rendezvous, experts=4, hidden=64, dtype="fp32",
                                        deadline_s=60)
        first[index] = call(index)
        begin.wait()
    def absent():
        make(1)
        try:
            while True:  # until rank 0 is in its call, and has given Python's lock away
                groups[0].memory()
        except transload.InvalidArgument:
            pass
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        leave.wait()
        try:
            rows.append(call(1).rows)
        except transload.Fault as error:
            faults[1] = error
    thread = threading.Thread(target=absent)
    thread.start()
    signal.signal(signal.SIGUSR1, lambda *_: leave.set())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins without one
    make(0)
"""
CTRL_C = INTERRUPTED + """
    try:
        {call}
    except KeyboardInterrupt as error:
        assert error.__context__ is None
    try:
        groups[0].check()
    except transload.Fault as error:
        faults[0] = error
    leave.set()
    thread.join()
    for error in faults:
        print(error.kind, error.culprit_rank, error.detail)
    print(rows)
"""
HANDLED = INTERRUPTED + """
    rows.append(call(0).rows)
    thread.join()
    print(sorted(rows))
"""


@pytest.mark.parametrize("call", [
    pytest.param("call(0)", id="dispatch"),
    pytest.param("groups[0].dispatch(x, handle=first[0].handle)", id="cached"),
    pytest.param("groups[0].combine(first[0].x.astype(ml_dtypes.bfloat16), first[0].handle)", id="combine"),
    pytest.param("groups[0].gather('')", id="gather"),
])
def test_ctrl_c_in_a_call(call):
    """It ends the wait, and the group; nobody waits for the deadline, which would be another fault."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(CTRL_C).format(call=call), "SIGINT"],
                          capture_output=True, text=True, timeout=300, check=False)
    told = "failed 0 interrupted by its caller: KeyboardInterrupt\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{told}{told}[]\n", "")


def test_a_signal_that_is_handled_in_a_call():
    """Its handler runs while the call waits, here for what the handler starts."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(HANDLED), "SIGUSR1"], capture_output=True, text=True,
                          timeout=300, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 6]\n", "")


def test_ctrl_c_while_a_group_is_made():
    """Nobody else comes."""
    text = """
        import signal, transload
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        rendezvous = transload.Rendezvous()
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            transload.Group(0, 2, nodes=(2,), bootstrap=rendezvous, experts=4, hidden=64, create_deadline_s=60)
        except KeyboardInterrupt as error:
            print(repr(error.__context__))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True, timeout=300,
                          check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")


class Comm:
    """What is used of mpi4py's communicators, between threads."""

    def __init__(self, rank, ranks, shared):
        self.rank, self.ranks, self.shared = rank, ranks, shared

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.ranks

    def allgather(self, mine):
        said, barrier = self.shared
        said[self.rank] = mine
        barrier.wait(300)
        all_said = list(said)
        barrier.wait(300)
        return all_said


def communicators(ranks):
    shared = [None] * ranks, threading.Barrier(ranks)
    return [Comm(rank, ranks, shared) for rank in range(ranks)]


@pytest.mark.parametrize("make", [
    lambda comm, options: transload.Group.from_mpi(comm, **options),
    lambda comm, options: transload.Group.from_all_gather(comm.allgather, comm.rank, comm.ranks, **options),
], ids=["mpi", "all-gather"])
def test_of_a_communicator(make):
    """Nodes by host: all ranks are on this one."""
    def rank(comm):
        with make(comm, small({})) as g:
            assert g.nodes == (3,)
            return g.dispatch(*tokens_of(g.rank, 6)).rows

    assert sum(run_all([lambda comm=comm: rank(comm) for comm in communicators(3)])) > 0


def test_nodes_by_host(monkeypatch):
    from transload import _native, bootstrap

    def nodes(hosts):
        def rank(comm):
            here = _native.Bootstrap()
            here.rank, here.ranks = comm.rank, comm.ranks
            # What it says of its host is all that differs between hosts.
            gather = iter([lambda mine: comm.allgather(len(hosts[comm.rank]).to_bytes(8, "little")),
                           lambda mine: comm.allgather(hosts[comm.rank].encode().ljust(len(mine), b"\0"))])
            return bootstrap.nodes_of(here, lambda mine: next(gather)(mine))

        return run_all([lambda comm=comm: rank(comm) for comm in communicators(len(hosts))])

    monkeypatch.setattr(_native, "host_identity", lambda: "x")
    assert nodes(["a/1", "a/1", "bcd/1"]) == [[2, 1]] * 3
    assert nodes(["a/1"]) == [[1]]
    with pytest.raises(transload.InvalidArgument, match="nodes: rank 2 is on the host of rank 0, but rank 1 is not"):
        nodes(["a/1", "b/1", "a/1"])


LAUNCHED = """
    import numpy, transload
    with transload.Group.from_environment(experts=4, hidden=64, dtype="fp32") as g:
        x = numpy.full((2, 64), g.rank + 1.0, numpy.float32)
        got = g.dispatch(x, numpy.array([[0], [2]]), numpy.ones((2, 1), numpy.float32))
        print(g.rank, g.nodes, got.x.sum())
"""


def test_of_a_launcher():
    """Two processes with torchrun's variables."""
    with transload_port() as port:
        variables = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
                     "TRANSLOAD_PORT": str(port)}
        started = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(LAUNCHED)], text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    env={**os.environ, **variables, "RANK": str(rank), "LOCAL_RANK": str(rank)})
                   for rank in range(2)]
    said = [process.communicate(timeout=300) for process in started]
    assert [out for out, _ in said] == ["0 (2,) 192.0\n", "1 (2,) 192.0\n"], said


def test_nodes_by_launcher(monkeypatch):
    """As many ranks a node as it says that a host has."""
    from transload import _native, bootstrap

    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "203.0.113.1", "LOCAL_WORLD_SIZE": "2",
                        "TRANSLOAD_PORT": "20000"}.items():
        monkeypatch.setenv(name, value)
    here = _native.Bootstrap.from_environment()
    assert here.local_ranks == 2 and bootstrap.nodes_of(here, None) == [2, 2]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(transload.InvalidArgument, match="nodes: None, must be how many ranks each node has"):
        bootstrap.nodes_of(_native.Bootstrap.from_environment(), None)


class transload_port:
    """A port that is free, as far as can be known."""

    def __enter__(self):
        self.rendezvous = transload.Rendezvous()
        port = self.rendezvous.port
        del self.rendezvous
        return port

    def __exit__(self, *_):
        pass


LEAVES = """
    import sys, threading, transload
    def hold():
        group = transload.Group(1, 2, bootstrap=sys.argv[1], experts=8, hidden=64, tokens_max=64, top_k_max=4,
                                slab_bytes=4 << 20, create_deadline_s=60)
        made.set()
        threading.Event().wait()
    made = threading.Event()
    threading.Thread(target=hold, daemon=True).start()
    made.wait()
"""


def test_a_program_that_ends_says_goodbye():
    """Whatever still holds its group."""
    rendezvous = transload.Rendezvous()
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(LEAVES), rendezvous.where])
    with transload.Group(0, 2, bootstrap=rendezvous, **small({})) as g:
        assert process.wait(300) == 0
        with pytest.raises(transload.Fault, match="it has left the group") as caught:
            g.dispatch(*tokens_of(0, 4))
        assert (caught.value.kind, caught.value.culprit_rank) == ("absent", 1)


def test_without_a_launcher():
    with pytest.raises(transload.InvalidArgument, match="launcher: 'torchrun': RANK is not set"):
        transload.Group.from_environment("torchrun", experts=4)


def test_groups_by_name():
    """Several in one rendezvous, at one time; its secret comes with it."""
    rendezvous = transload.Rendezvous(secret="of the job")

    def rank(index):
        made = [transload.Group(index, 2, nodes=(2,), bootstrap=rendezvous, name=name, **small({}))
                for name in ("one", "two")]
        return [g.dispatch(*tokens_of(index, 4)).rows for g in made]

    answers = run_all([lambda index=index: rank(index) for index in range(2)])
    assert answers[0][0] == answers[0][1] and on_threads((2,), lambda g: g.rank) == [0, 1]
