# Ranks on CPUs whose rails go through the queue of commands and the proxy that ranks on GPUs have: the digests of ranks
# without them, on one host and between two (network namespaces), and faults with the same culprits.
# Contract 3.6, 8.2, 8.3.
import os
import shutil
import subprocess

from _common import (
    LATE_MS, PATIENT, PROGRAM, environment, expect, finish, finish_test, object_of, run_json, skip, start
)
from _hosts import ADDRESSES, CABLES, HOSTS, await_rows, build, ip, none_left, tear_down

PROXIED = os.path.join(os.path.dirname(PROGRAM), "..", "tests", "proxied", "transload")
if not os.path.exists(PROXIED):
    skip("the program with proxies was not built: no libfabric here")
WORKLOAD = ("--hidden", "272", "--experts", "13", "--top-k", "6", "--iterations", "3")
SIX = ("--tokens", "40,0,64,33,7,50")
DEADLINE_MS = 3000
PORT = "29677"
NETWORK = ("--scale-out", "libfabric", "--deadline-ms", str(DEADLINE_MS), *PATIENT, "--quiet", "--json", "-")


def without_proxies(shape, *more):
    _, base, err = run_json("run", *WORKLOAD, "--node-sizes", shape, "--scale-out", "loopback", *more)
    expect(base is not None and base["verified"], f"{shape} {' '.join(more)} over loopback is verified {err}")
    return base or {"digest": None}


def same(what, base, status, out, err):
    result = object_of(out)
    good = status == 0 and result.get("verified")
    if not expect(good, f"{what}: by proxies it is verified ({status}) {err.strip()[:300]}"):
        return
    way = result["transports"]["scale_out"]
    expect(way.startswith("libfabric ") and way.endswith(", by a proxy"), f"{what}: rows went by {way}")
    expect(result["digest"] == base["digest"], f"{what}: the digests of loopback")


def on_one_host(shape, *more):
    base = without_proxies(shape, *SIX, *more)
    job = start(("run", *WORKLOAD, "--node-sizes", shape, *SIX, *more, *NETWORK), program=PROXIED)
    same(f"{shape} {' '.join(more)}", base, *finish(job))


class OnTwoHosts:
    """Ranks by proxies, those of the first node on the first host, all others on the second."""

    def __init__(self, shape, *more):
        sizes = [int(size) for size in shape.split(",")]
        self.processes = []
        for rank in range(sum(sizes)):
            names = {"TRANSLOAD_RANK": str(rank), "TRANSLOAD_RANKS": str(sum(sizes)), "TRANSLOAD_PORT": PORT}
            names["MASTER_ADDR"] = ADDRESSES[0]
            command = ["ip", "netns", "exec", HOSTS[int(rank >= sizes[0])], PROXIED, "run", *WORKLOAD, "--node-sizes"]
            self.processes.append(
                subprocess.Popen([*command, shape, *more, *NETWORK], env=environment(names), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True))

    def finish(self):
        return [finish(process) for process in self.processes]


def between_hosts(shape, *more):
    base = without_proxies(shape, *SIX, *more)
    told = OnTwoHosts(shape, *SIX, *more).finish()
    expect(all(status == 0 for status, _, _ in told), f"{shape} on two hosts: {[status for status, _, _ in told]}")
    same(f"{shape} {' '.join(more)} on two hosts", base, *told[0])


def fault(text, shape, kind):
    """The culprit is named by all that are left, by the deadline that was told."""
    victim = int(text[text.index(":") + 1 : text.index("@")])
    ranks = OnTwoHosts(shape, "--tokens", "96", "--fault", text)
    left = [(rank, process) for rank, process in enumerate(ranks.processes) if rank != victim]
    told = [(rank, *finish(process)) for rank, process in left]
    if text.startswith("stop"):
        ranks.processes[victim].kill()
    finish(ranks.processes[victim])
    statuses = [status for _, status, _, _ in told]
    speaker = object_of(told[0][2])
    seen = speaker.get("fault") or {}
    if not expect(statuses == [3] * len(told) and seen, f"{text} on {shape}: exit statuses {statuses} {told[0][3]}"):
        return
    expect((seen["culprit_rank"], seen["kind"]) == (victim, kind),
           f"{text} on {shape}: rank {seen['culprit_rank']} is {seen['kind']}")
    expect(not speaker["verified"] and speaker["mismatch"] is None, f"{text} on {shape}: no wrong result")
    expect([r["rank"] for r in seen["reports"]] == [rank for rank, _ in left], f"{text} on {shape}: all report")
    expect(all(r["culprit_rank"] == victim for r in seen["reports"]), f"{text} on {shape}: the same culprit")
    late = [r["after_ms"] for r in seen["reports"] if r["after_ms"] > DEADLINE_MS + LATE_MS]
    expect(not late, f"{text} on {shape}: in time {late}")


def cable_pulled():
    """Ranks whose commands go nowhere any more: each part names the lowest rank of the other."""
    ranks = OnTwoHosts("2,2", "--tokens", "60", "--iterations", "1000000", "--warmup", "0")
    try:
        await_rows()
        expect(all(process.poll() is None for process in ranks.processes), "a cable that is pulled: ranks are at work")
        ip("-n", HOSTS[0], "link", "set", CABLES[0], "down")
        told = ranks.finish()
    finally:
        for process in ranks.processes:
            process.kill()
        ip("-n", HOSTS[0], "link", "set", CABLES[0], "up", check=False)
    for rank, (status, _, err) in enumerate(told):
        other = 2 if rank < 2 else 0
        expect(status == 3 and f"rank {other} is unreachable" in err,
               f"a cable that is pulled: rank {rank} ends with {status}: {err.strip()[:300]}")


def main():
    for shape, *more in (("3,3",), ("1,5", "--channels", "1", "--slots", "1"), ("2,2,2", "--dtype", "fp8"),
                         ("1,1,1,1,1,1", "--landing", "ring", "--combine-source", "push"),
                         ("3,3", "--dtype", "fp8", "--scales", "ue8m0"), ("3,3", "--combine-wire", "fp32"),
                         ("3,3", "--rows-max", "60", "--overflow", "drop", "--biases", "2")):
        on_one_host(shape, *more)
    try:
        if shutil.which("ip") is None:
            print("SKIPPED: between two hosts: the program ip (iproute2) is not here")
            return
        try:
            build()
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            print(f"SKIPPED: between two hosts: no network namespaces here: {error}")
            return
        between_hosts("3,3")
        between_hosts("2,1,3", "--channels", "7")
        fault("kill:3@2", "2,2", "lost")
        fault("kill:1@1/combine", "1,1,2", "lost")
        fault("stop:1@2/notify", "2,2", "silent")
        cable_pulled()
    finally:
        tear_down()
    expect(none_left(), "no namespace is left")


main()
finish_test()
