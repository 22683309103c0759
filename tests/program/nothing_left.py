# However a run ends, nothing of it stays: no process, listening port, mapping or file of a memfd, Unix socket, or name
# in shared memory. What there is to lose is written down while the run is alive.
# Contract 8.8.
import os
import signal
import threading
import time

from _common import MARK, PATIENT, expect, finish, finish_test, left_behind, start, until

SHAPE = ("run", "--node-sizes", "2,2", "--tokens", "64", "--hidden", "256", "--quiet", "--deadline-ms", "3000",
         *PATIENT)
ENDLESS = (*SHAPE, "--iterations", "1000000")


def processes():
    return set(filter(str.isdigit, os.listdir("/proc")))


def ours(others=frozenset()):
    """Processes of the run, which are none of the others."""
    for pid in processes() - others:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if MARK.encode() in file.read() and int(pid) != os.getpid():
                    yield int(pid)
        except OSError:
            pass  # it has just ended, or is not ours to ask


def lines_of(name):
    try:
        with open(name, encoding="utf-8", errors="replace") as file:
            return file.readlines()
    except OSError:
        return []


def held_by(pid):
    """Inodes of the sockets that a process holds, and of the memfds that it has mapped or open."""
    sockets, memfds = set(), {int(line.split()[4]) for line in lines_of(f"/proc/{pid}/maps") if "/memfd:" in line}
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("socket:["):
                sockets.add(int(target[8:-1]))
            elif "/memfd:" in target:
                memfds.add(os.stat(f"/proc/{pid}/fd/{fd}").st_ino)
    except OSError:
        pass
    return sockets, memfds


def listening():
    """Port and inode of every listening TCP socket."""
    rows = [line.split() for table in ("tcp", "tcp6") for line in lines_of(f"/proc/net/{table}")[1:]]
    return {(int(row[1].rpartition(":")[2], 16), int(row[9])) for row in rows if row[3] == "0A"}


def unix_sockets():
    """Inode of every Unix socket."""
    return {int(line.split()[6]) for line in lines_of("/proc/net/unix")[1:]}


class Witness(threading.Thread):
    """Writes down what the processes of a run hold, until told to stop."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.processes, self.ports, self.unix, self.memfds = set(), set(), set(), set()
        self.others = processes()  # a busy machine has hundreds, and each look costs

    def run(self):
        while not self.ended.wait(0.02):
            held = set()
            self.others &= processes()
            for pid in ours(self.others):
                self.processes.add(pid)
                sockets, memfds = held_by(pid)
                held |= sockets
                self.memfds |= memfds
            self.ports |= {entry for entry in listening() if entry[1] in held}
            self.unix |= unix_sockets() & held

    def left(self):
        """What of it is still there."""
        there = left_behind()
        there += [f"port {port}" for port, inode in listening() & self.ports]
        there += [f"Unix socket {inode}" for inode in unix_sockets() & self.unix]
        for pid in processes():
            there += [f"memfd {inode} in process {pid}" for inode in held_by(pid)[1] & self.memfds]
        return there


def see(what, arguments, statuses, act=None):
    """Runs the program; `act(process, witness)` does something to it on its way. Then nothing may be left."""
    witness = Witness()
    witness.start()
    process = start(arguments)
    try:
        if act is not None:
            act(process, witness)
    finally:
        status, _, err = finish(process)
        witness.ended.set()
        witness.join()
    expect(status in statuses, f"{what}: exit status {status} {err if status not in statuses else ''}")
    gone = until(lambda: not witness.left(), 60)
    expect(gone, f"{what}: nothing is left {witness.left()}")
    return witness


def when_at_work(deed, processes=5, memfds=5):
    """Does it once all ranks have begun to exchange tokens: each has a memfd, and a launcher of processes one more."""

    def act(process, witness):
        seen = until(lambda: len(witness.processes) >= processes and len(witness.memfds) >= memfds)
        expect(seen, f"{len(witness.processes)} processes and {len(witness.memfds)} memfds were seen")
        time.sleep(0.7)
        expect(process.poll() is None, "it is at work")
        deed(process, witness)

    return act


def kill_a_rank(process, witness):
    os.kill(max(pid for pid in ours() if pid != process.pid), signal.SIGKILL)


seen = see("verified", (*SHAPE, "--iterations", "150"), [0])
expect(len(seen.processes) == 5, f"the launcher and four ranks were seen: {len(seen.processes)}")
expect(len(seen.ports) > 0, f"{len(seen.ports)} listening ports were seen")
expect(len(seen.memfds) > 4, f"{len(seen.memfds)} memfds were seen: the launcher's and one of each rank at least")
see("verified, loopback", (*SHAPE, "--iterations", "20", "--scale-out", "loopback"), [0])
see("bad usage", (*SHAPE, "--hidden", "7"), [2])
see("bad input", (*SHAPE, "--routing", "/nonexistent/routing"), [2])
for fault in ("kill:3@2", "kill:0@1", "stop:2@2", "stop:1@1/combine", "kill:1@1/notify", "stop:0@2/expert"):
    see(fault, (*SHAPE, "--iterations", "3", "--fault", fault), [3])
see("a rank is killed by somebody else", ENDLESS, [3], when_at_work(kill_a_rank))
see("the launcher is killed", ENDLESS, [-9], when_at_work(lambda process, _: process.kill()))
see("the launcher is interrupted", ENDLESS, [130], when_at_work(lambda process, _: process.send_signal(signal.SIGINT)))
# A signal means what it means elsewhere, whatever the network's library does with it when it is loaded.
see(
    "threads are interrupted",
    (*ENDLESS, "--threads"),
    [-signal.SIGINT],
    when_at_work(lambda process, _: process.send_signal(signal.SIGINT), processes=1, memfds=4),
)
finish_test()
