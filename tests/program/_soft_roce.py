# What both tests over a soft RoCE device do: whole jobs and rungs of the transport ladder, run in the emulated machine
# of _guest.py over verbs, and judged here by what its console shows.
import json

from _common import LATE_MS, expect, finish_test, run_json, skip
from _guest import boot, make_image, why_not

PROVIDER = "verbs;ofi_rxm"
# So that no rung runs over TCP instead; and five ranks may come after two in one process.
ONLY_VERBS = "env 'FI_PROVIDER=verbs,ofi_rxm' FI_UNIVERSE_SIZE=5"
WORKLOAD = "--tokens 40 --hidden 264 --experts 13 --top-k 6 --iterations 2"
DEADLINE_MS = 30000
SENT = "cat /sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts"


def job(shape):
    how = f"--provider '{PROVIDER}' --quiet --json - --deadline-ms {DEADLINE_MS}"
    return f"transload run --node-sizes {shape} {WORKLOAD} {how}"


def result_of(console, name, wanted):
    """The one object of a job that ended with this exit status, else None."""
    status, said = console.step(name)
    objects = [json.loads(line) for line in said if line.startswith("{")]
    if expect(status == wanted and len(objects) == 1, f"{name}: exit status {status}, {len(objects)} object"):
        return objects[0]
    print("\n".join(said))
    return None


def verified(console, shape):
    """A job whose every output is right, and equal to that of this machine over loopback."""
    result = result_of(console, f"run {shape}", 0)
    if result is None:
        return
    expect(result["verified"] and result["fault"] is None, f"run {shape}: every output is right")
    out = result["transports"]["scale_out"]
    expect(out == f"libfabric {PROVIDER}", f"run {shape}: over {out}")
    rows = result["dispatch"]["scale_out_rows"]
    expect(rows > 0, f"run {shape}: {rows} rows crossed")
    _, here, _ = run_json("run", *WORKLOAD.split(), "--node-sizes", shape, "--scale-out", "loopback")
    expect(here and result["digest"] == here["digest"], f"run {shape}: the digests of loopback")


def killed(console):
    result = result_of(console, "kill", 3)
    if result is None:
        return
    fault = result["fault"]
    named = (fault["culprit_rank"], fault["kind"])
    expect(named == (1, "lost"), f"kill: all name rank {named[0]}, {named[1]}")
    reports = [(r["rank"], r["culprit_rank"]) for r in fault["reports"]]
    expect(reports == [(0, 1), (2, 1)], f"kill: those that are left say so, each of them: {reports}")
    after = [r["after_ms"] for r in fault["reports"]]
    expect(after and max(after) <= DEADLINE_MS + LATE_MS, f"kill: in time, {after} ms after a call's begin")


def climbed(console, name, rungs):
    status, said = console.step(name)
    wrong = [line for line in said if "[  FAILED  ]" in line or "[  SKIPPED ]" in line]
    passed = [line for line in said if "[       OK ]" in line]
    good = expect(status == 0 and not wrong and passed, f"{name}: {len(passed)} passed, exit status {status} {wrong}")
    missing = [rung for rung in rungs if not any(f"/Rung{rung}" in line for line in passed)]
    expect(not missing, f"{name}: rungs {' '.join(rungs)}, without {missing}")
    if not good:
        print("\n".join(said))


def need_machine():
    why = why_not()
    if why:
        skip(f"soft RoCE: {why}")


def spoiled():
    """A machine that lacks a module, one that panics and one that does not end are found."""
    need_machine()
    crash = ("crash", 10, "sh -c 'echo c >/proc/sysrq-trigger'")
    console = boot(make_image([crash], left_out="ib_uverbs"), 120)
    status, said = console.step("device")
    expect(status == 1 and "rdma_rxe" in " ".join(said), f"without ib_uverbs: {status} {' '.join(said)}")
    found = console.why_ended == "it ended before its last step" and "Kernel panic" in console.last()
    expect(found and console.step("crash")[0] is None, f"a panic: {console.why_ended}")
    console = boot(make_image([("sleep", 300, "sleep 300")]), 20)
    expect(console.why_ended == "it was still running after 20 s", f"a step without end: {console.why_ended}")


def play(shapes, ladders, seconds):
    """`ladders`: name -> (rungs, GoogleTest's filter, seconds)."""
    need_machine()
    steps = [(f"run {shape}", 60, job(shape)) for shape in shapes]
    steps.append(("kill", 60, job("1,1,1") + " --fault kill:1@2"))
    for name, (_, which, limit) in ladders.items():
        steps.append((name, limit, f"{ONLY_VERBS} ladder_transport --gtest_color=no '--gtest_filter={which}'"))
    steps.append(("packets", 10, SENT))
    console = boot(make_image(steps), seconds)
    whole = expect(console.why_ended == "", f"the machine ran to its end {console.why_ended}")
    expect(console.step("device")[0] == 0, f"it made a device: {' '.join(console.step('device')[1])}")
    for shape in shapes:
        verified(console, shape)
    killed(console)
    for name, (rungs, _, _) in ladders.items():
        climbed(console, name, rungs)
    _, said = console.step("packets")
    expect(said and said[0].isdigit() and int(said[0]) > 10000, f"packets that the device sent: {' '.join(said)}")
    for line in console.lines:
        if line.startswith("== ") and " ends with " in line:
            print(line)
    if not whole:
        print(f"the last of what it said:\n{console.last()}")
    finish_test()
