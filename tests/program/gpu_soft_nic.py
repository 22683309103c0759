# GPUs that fill the queues of a NIC themselves, by the code for a real one. Jobs have the digests of loopback, also
# where queues have room for little; a rank that stays away or leaves is named by all.
# Contract 3.6, 8.2.
from _common import LATE_MS, PATIENT, expect, finish_test, run_json
from _gpu_soft_nic import WORKLOAD, job

DEADLINE_MS = 2000


def same(shape, settings, *more):
    ranks = sum(int(size) for size in shape.split(","))
    shaped = ("--node-sizes", shape, "--tokens", ",".join(("40", "0", "64", "33")[:ranks]), *more)
    _, base, err = run_json("run", *WORKLOAD, *shaped)
    if not expect(base is not None and base["verified"], f"{shape} over loopback is verified {err}"):
        return
    status, result, err = job(settings, *shaped)
    what = f"{shape}, {settings} {' '.join(more)}"
    if expect(status == 0 and result.get("verified"), f"{what}: verified ({status}) {err}"):
        way = result["transports"]["scale_out"]
        expect(way == "soft NIC, by GPUs", f"{what}: rows went by {way}")
        expect(result["digest"] == base["digest"], f"{what}: the digests of loopback")


same("1,1", "seed=1")
same("2,2", "seed=2")
same("2,2", "seed=3,depth=128", "--dtype", "fp8")
same("1,3", "seed=4,depth=2", "--channels", "1", "--slots", "1")
same("1,1,2", "seed=5,depth=1", "--landing", "ring", "--combine-source", "push")
same("2,2", "seed=6", "--rows-max", "194", "--graph")
same("2,2", "seed=7", "--dtype", "fp8", "--scales", "ue8m0")
same("2,2", "seed=8", "--combine-wire", "fp32")
same("2,2", "seed=9", "--rows-max", "60", "--overflow", "drop", "--biases", "2")


def fault(text, shape):
    victim = int(text[text.index(":") + 1 : text.index("@")])
    status, result, err = job("seed=5", "--node-sizes", shape, "--tokens", "96", "--fault", text, "--deadline-ms",
                              str(DEADLINE_MS), *PATIENT)
    seen = result.get("fault") or {}
    what = f"{text} on {shape}"
    if not expect(status == 3 and seen, f"{what}: exit status {status} {err}"):
        return
    expect((seen["culprit_rank"], seen["kind"]) == (victim, "absent"),
           f"{what}: rank {seen['culprit_rank']} is {seen['kind']}")
    expect(all(r["culprit_rank"] == victim for r in seen["reports"]), f"{what}: all name the same culprit")
    late = [r["after_ms"] for r in seen["reports"] if r["rank"] != victim and r["after_ms"] > DEADLINE_MS + LATE_MS]
    expect(not late, f"{what}: in time {late}")


# Ranks are threads, so none can be killed or stopped: one stays away, one frees its group and goes.
fault("absent:2@2", "2,2")
fault("leave:1@2", "1,1")
fault("leave:3@2", "2,2")
finish_test()
