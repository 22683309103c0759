# Two hosts: two network namespaces joined by a veth pair of our own, two ranks in each. Nothing but the network passes
# between them: abstract sockets, and with them shared memory, stay inside a namespace. Then the cable is pulled.
# Contract 8.10.
import json
import os
import re
import shutil
import subprocess
import sys
import time

from _common import LATE_MS, PATIENCE_S, PATIENT, PROGRAM, environment, expect, finish_test, path, skip
from _hosts import ADDRESSES, CABLES, HOSTS, await_rows, build, ip, none_left, tear_down

JOB = ("--tokens", "60", "--hidden", "512", "--experts", "16", "--top-k", "4", "--quiet")
LONG_JOB = ("--tokens", "4000", "--hidden", "2048", "--experts", "16", "--top-k", "4", "--quiet")
PORT = "29655"


class Ranks:
    """Four ranks, two on each host, started by nobody but us."""

    def __init__(self, *arguments, node_sizes="2,2", job=JOB):
        self.processes, self.spoken = [], []
        for rank in range(4):
            names = {"TRANSLOAD_RANK": str(rank), "TRANSLOAD_RANKS": "4"}
            names |= {"MASTER_ADDR": ADDRESSES[0], "TRANSLOAD_PORT": PORT}
            command = ["ip", "netns", "exec", HOSTS[rank // 2], PROGRAM, "run", "--node-sizes", node_sizes]
            command += [*job, *arguments, "--json", path(f"{rank}.json")]
            self.processes.append(
                subprocess.Popen(
                    command, env=environment(names), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
            )

    def alive(self):
        return all(process.poll() is None for process in self.processes)

    def finish(self, seconds=PATIENCE_S):
        """Exit statuses, and what each rank said; whoever is late is killed."""
        until = time.monotonic() + seconds
        for process in self.processes:
            try:
                self.spoken.append(process.communicate(timeout=max(0.1, until - time.monotonic()))[0])
            except subprocess.TimeoutExpired:
                process.kill()
                self.spoken.append(process.communicate()[0] + f"\nstill running after {seconds} s")
        return [process.returncode for process in self.processes]

    def kill(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def written(rank):
    try:
        with open(path(f"{rank}.json"), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def clear():
    for rank in range(4):
        if os.path.exists(path(f"{rank}.json")):
            os.remove(path(f"{rank}.json"))


def verified():
    ranks = Ranks("--iterations", "3", "--deadline-ms", "60000")
    try:
        statuses = ranks.finish()
        if not expect(statuses == [0, 0, 0, 0], f"two hosts: exit statuses {statuses} {''.join(ranks.spoken)}"):
            return
        results = [written(rank) for rank in range(4)]
        result = results[0]
        if not expect(result is not None and results[1:] == [None] * 3, "one object, written by rank 0"):
            return
        expect(result["verified"] and result["mismatch"] is None and result["fault"] is None, "every output is right")
        links = result["transports"]
        expect(links["scale_up"] == "shm", f"inside a host: {links['scale_up']}")
        expect(links["scale_out"].startswith("libfabric "), f"between hosts: {links['scale_out']}")
        expect(result["dispatch"]["scale_out_rows"] > 0, f"{result['dispatch']['scale_out_rows']} rows crossed")
    finally:
        ranks.kill()
        clear()


def again(times):
    """Short runs: connections are young and sockets small, and every rank waits for the others between its calls."""
    for _ in range(times):
        ranks = Ranks("--iterations", "4", "--warmup", "0", "--deadline-ms", "60000")
        try:
            statuses = ranks.finish()
            if not expect(statuses == [0, 0, 0, 0], f"a short run: exit statuses {statuses} {''.join(ranks.spoken)}"):
                return
        finally:
            ranks.kill()
            clear()


def refused(what, names, *arguments, node_sizes="2,2"):
    ranks = Ranks("--deadline-ms", "60000", *arguments, node_sizes=node_sizes)
    try:
        statuses = ranks.finish()
        expect(statuses == [2, 2, 2, 2], f"{what}: exit statuses {statuses}")
        for rank, text in enumerate(ranks.spoken):
            good = text.count("\n") == 1 and all(name in text for name in names)
            expect(good, f"{what}: rank {rank} says why on one line: {text.strip()}")
    finally:
        ranks.kill()
        clear()


def cable_pulled(what, ranks, check):
    """When rows cross; then all end, and `check` looks at what they said."""
    try:
        await_rows()
        if not expect(ranks.alive(), f"{what}: the ranks are at work"):
            ranks.kill()
            ranks.finish(5)
            print("\n".join(ranks.spoken))
            return
        ip("-n", HOSTS[0], "link", "set", CABLES[0], "down")
        statuses = ranks.finish()
        expect(statuses == [3, 3, 3, 3], f"{what}: exit statuses {statuses}")
        check()
    finally:
        ranks.kill()
        clear()
        ip("-n", HOSTS[0], "link", "set", CABLES[0], "up", check=False)


def cut(deadline_ms):
    """Pulls the cable in the middle of a run. Each side names the lowest rank of the other, within its time."""
    ranks = Ranks("--iterations", "1000000", "--warmup", "0", "--deadline-ms", str(deadline_ms), *PATIENT)

    def check():
        for rank, text in enumerate(ranks.spoken):
            unreachable = 2 if rank < 2 else 0
            expect(
                f"rank {unreachable} is unreachable" in text,
                f"cut: rank {rank} names rank {unreachable} as unreachable: {text.strip()[:300]}",
            )
            waited = re.search(r"after (\d+) ms", text)
            in_time = waited and int(waited[1]) <= deadline_ms + LATE_MS
            expect(in_time, f"cut: rank {rank} in time: {waited and waited[0]}")
        for rank in range(4):
            result = written(rank)
            if result is None:
                continue
            fault = result["fault"]
            expect(
                (fault["culprit_rank"], fault["kind"]) == (2 if rank < 2 else 0, "unreachable"),
                f"cut: rank {rank} writes rank {fault['culprit_rank']}, {fault['kind']}",
            )
            late = [r["after_ms"] for r in fault["reports"] if r["after_ms"] > deadline_ms + LATE_MS]
            expect(fault["reports"] and not late, f"cut: rank {rank}'s reports are in time {late}")

    cable_pulled("cut", ranks, check)


def slow_down(rate):
    """Of both ends of the cable. False: this kernel cannot."""
    for host, cable in zip(HOSTS, CABLES):
        words = ["ip", "netns", "exec", host, "tc", "qdisc", "add", "dev", cable, "root", "tbf", "rate", rate]
        done = subprocess.run([*words, "burst", "64kb", "latency", "400ms"], capture_output=True, timeout=60)
        if done.returncode != 0:
            return False
    return True


def cut_in_a_call(deadline_ms):
    """A dispatch that takes many seconds loses its link: both parts say so in time, and over which link it went."""
    if shutil.which("tc") is None or not slow_down("20mbit"):
        print("SKIPPED: a link that is cut in the middle of a call: tc or its tbf is not here")
        return
    ranks = Ranks("--iterations", "1", "--warmup", "0", "--deadline-ms", str(deadline_ms), *PATIENT, job=LONG_JOB)

    def check():
        for rank, text in enumerate(ranks.spoken):
            there = (2, 3) if rank < 2 else (0, 1)
            named = any(f"rank {other} is unreachable" in text for other in there)
            expect(named, f"cut in a call: rank {rank} names a rank of the other part: {text.strip()[:400]}")
            expect(f"rank {rank} was in dispatch" in text, f"cut in a call: rank {rank} was in dispatch")
            expect("the link to it is libfabric " in text, f"cut in a call: rank {rank} names the link")
        sides = [{re.search(r"rank (\d) is unreachable", text)[1] for text in side} for side in
                 (ranks.spoken[:2], ranks.spoken[2:])]
        expect(all(len(side) == 1 for side in sides), f"cut in a call: a part agrees on one culprit {sides}")

    cable_pulled("cut in a call", ranks, check)


def main():
    if shutil.which("ip") is None:
        skip("two hosts: the program ip (iproute2) is not here")
    try:
        try:
            build()
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            skip(f"two hosts: no network namespaces here: {error}")
        verified()
        again(12)
        refused("loopback", ["scale_out", "loopback", "libfabric"], "--scale-out", "loopback")
        refused("one node over both hosts", ["topology", "one node", "network namespace"], node_sizes="4")
        cut(3000)
        cut_in_a_call(5000)
    finally:
        tear_down()
    expect(none_left(), "no namespace is left")
    finish_test()


sys.exit(main())
