# Ranks on CPUs that fill the queues of a NIC themselves, as the warps of a GPU do; the NIC is a thread. Jobs have the
# digests of loopback, also where queues have room for little; a card that breaks its promise is found; a rank that
# dies, stops or stays away is named by all.
# Contract 3.6, 8.2, 8.3.
import os

from _common import LATE_MS, PATIENT, PROGRAM, expect, finish, finish_test, object_of, run_json, skip, start

SOFT_NIC = os.path.join(os.path.dirname(PROGRAM), "..", "tests", "soft_nic", "transload")
WORKLOAD = ("--hidden", "272", "--experts", "13", "--top-k", "6", "--iterations", "3", "--scale-out", "loopback")
DEADLINE_MS = 3000
if not os.path.exists(SOFT_NIC):
    skip("the program with soft NICs was not built")


def job(settings, *arguments):
    command = ("run", *WORKLOAD, "--quiet", "--json", "-", *arguments)
    status, out, err = finish(start(command, extra={"SOFT_NIC": settings}, program=SOFT_NIC))
    return status, object_of(out), err.strip()[:300]


def same(shape, settings, *more):
    ranks = sum(int(size) for size in shape.split(","))
    shaped = ("--node-sizes", shape, "--tokens", ",".join(("40", "0", "64", "33", "7", "50")[:ranks]), *more)
    _, base, err = run_json("run", *WORKLOAD, *shaped)
    if not expect(base is not None and base["verified"], f"{shape} over loopback is verified {err}"):
        return
    status, result, err = job(settings, *shaped)
    what = f"{shape}, {settings} {' '.join(more)}"
    if expect(status == 0 and result.get("verified"), f"{what}: verified ({status}) {err}"):
        expect(result["transports"]["scale_out"] == "soft NIC", f"{what}: rows went by a soft NIC")
        expect(result["digest"] == base["digest"], f"{what}: the digests of loopback")


def fault(text, shape, kind):
    victim = int(text[text.index(":") + 1 : text.index("@")])
    there = text.startswith("absent")  # it hears of it when it comes, later than the others
    left = [rank for rank in range(sum(int(size) for size in shape.split(","))) if there or rank != victim]
    status, result, err = job("seed=5", "--node-sizes", shape, "--tokens", "96", "--fault", text, "--deadline-ms",
                              str(DEADLINE_MS), *PATIENT)
    seen = result.get("fault") or {}
    if not expect(status == 3 and seen, f"{text} on {shape}: exit status {status} {err}"):
        return
    expect((seen["culprit_rank"], seen["kind"]) == (victim, kind),
           f"{text} on {shape}: rank {seen['culprit_rank']} is {seen['kind']}")
    expect(not result["verified"] and result["mismatch"] is None, f"{text} on {shape}: no wrong result")
    expect([r["rank"] for r in seen["reports"]] == left, f"{text} on {shape}: all that are left report")
    expect(all(r["culprit_rank"] == victim for r in seen["reports"]), f"{text} on {shape}: the same culprit")
    late = [r["after_ms"] for r in seen["reports"] if r["rank"] != victim and r["after_ms"] > DEADLINE_MS + LATE_MS]
    expect(not late, f"{text} on {shape}: in time {late}")


same("1,1", "seed=1")
same("2,2", "seed=2")
same("2,2", "seed=3", "--threads")
same("1,5", "seed=4,depth=2", "--channels", "1", "--slots", "1")
same("2,2,2", "seed=5,depth=1", "--dtype", "fp8")
same("1,1,1,1,1,1", "seed=6", "--landing", "ring", "--combine-source", "push")
same("2,2", "seed=7", "--dtype", "fp8", "--scales", "ue8m0")
same("2,2", "seed=8", "--combine-wire", "fp32")
same("2,2", "seed=9", "--rows-max", "60", "--overflow", "drop", "--biases", "2")

LARGER = ("--tokens", "300", "--hidden", "2048", "--iterations", "10", "--slots", "2", "--deadline-ms", "3000",
          *PATIENT)
for seed in (1, 2):
    status, result, err = job(f"spoils,seed={seed}", *LARGER, "--node-sizes", "1,1")
    expect(status in (1, 3) and not result.get("verified"), f"spoiled, seed {seed}: found ({status}) {err}")

fault("kill:3@2", "2,2", "lost")
fault("kill:1@1/combine", "1,1,2", "lost")
fault("stop:1@2/notify", "2,2", "silent")
fault("absent:2@2", "2,2", "absent")
finish_test()
