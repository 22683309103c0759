# A killed or stopped rank: exit status 3, and every survivor names it, by the deadline that was told; afterwards
# nothing is left.
# Contract 8.2, 8.3, 8.4, 8.6.
import re
import time

from _common import LATE_MS, PATIENT, all_gone, expect, finish, finish_test, left_behind, run_json, start, until

SHAPE = ("--tokens", "96", "--hidden", "512", "--iterations", "3", "--warmup", "1")
DEADLINE_MS = 3000
DEADLINES = ("--deadline-ms", str(DEADLINE_MS), *PATIENT)


def fault(text, node_sizes, *more):
    print(f"-- {text} on {node_sizes} {' '.join(more)}")
    ranks, culprit = sum(map(int, node_sizes.split(","))), int(text[5 : text.index("@")])
    status, result, err = run_json(
        "run", "--node-sizes", node_sizes, *SHAPE, *DEADLINES, "--fault", text, *more
    )
    if not expect(
        status == 3 and result is not None and result["fault"] is not None,
        f"exit status {status} {err if status != 3 else ''}",
    ):
        return
    seen = result["fault"]
    expect(not result["verified"] and result["mismatch"] is None, "no wrong result")
    expect(seen["culprit_rank"] == culprit, f"the culprit is {seen['culprit_rank']}")
    # A stopped process still holds its connections: it is silent. One whose death is noticed is lost.
    expect(seen["kind"] == ("silent" if text.startswith("stop") else "lost"), f"it is {seen['kind']}")
    expect(
        [r["rank"] for r in seen["reports"]] == [r for r in range(ranks) if r != culprit],
        "one report from every survivor",
    )
    expect(all(r["culprit_rank"] == culprit for r in seen["reports"]), "all name the same culprit")
    late = [r["after_ms"] for r in seen["reports"] if r["after_ms"] > DEADLINE_MS + LATE_MS]
    expect(not late and "LATE" not in err, f"all in time {late}")
    expect(
        all({"operation", "role", "channel", "waiting_for", "seen", "expected"} <= r.keys() for r in seen["reports"]),
        "each says what it waited for",
    )
    operations = {r["operation"] for r in seen["reports"]}
    phase = text.partition("/")[2]
    # Between two calls a rank may hear of it before it enters the next one.
    may = {"combine"} if phase == "combine" else {"combine", "idle"} if phase == "expert" else {"dispatch"}
    expect(operations and operations <= may, f"in {operations}")
    expect(all_gone(), f"nothing is left behind {left_behind()}")


fault("kill:5@3", "4,4")
fault("stop:2@3", "4,4")
fault("kill:0@1", "4,4", "--scale-out", "loopback")
fault("stop:7@2/combine", "4,4")
fault("kill:3@1/notify", "2,2")
fault("stop:0@2/notify", "2,2", "--scale-out", "loopback")
fault("kill:2@2/expert", "2,2")
fault("stop:1@1/expert", "3")
fault("kill:4@2/combine", "1,1,3", "--landing", "ring", "--combine-source", "push")
fault("kill:1@3", "1,1", "--warmup", "0")
fault("stop:4@1", "4,4")
fault("kill:6@2/combine", "3,5", "--scale-out", "loopback")



def recovered(text, node_sizes, *more):
    """The ranks that are left make a group of their own in the same processes, and verify an iteration in it."""
    print(f"-- {text} on {node_sizes} {' '.join(more)}, and recovered")
    faulted = (*DEADLINES, "--fault", text, "--recover")
    status, result, err = run_json("run", "--node-sizes", node_sizes, *SHAPE, *faulted, *more)
    culprit = int(re.search(r":(\d+)@", text)[1])
    expect(status == 0 and result is not None and result["verified"], f"exit status {status} {err if status else ''}")
    seen = (result or {}).get("fault") or {}
    expect(seen.get("culprit_rank") == culprit and seen.get("recovered") is True, f"recovered without {culprit}")
    expect(all_gone(), f"nothing is left behind {left_behind()}")


recovered("kill:5@3", "4,4")
recovered("stop:2@1", "2,2")
recovered("kill:0@2/combine", "1,1,2")  # its node goes with it
recovered("stop:1@2/notify", "2")  # one rank is left
recovered("absent:3@1", "2,2")
recovered("leave:0@2", "3", "--threads")
recovered("absent:1@2", "1,2", "--threads")

# The launcher itself dies or is interrupted: its ranks go with it.
for name, signal, status in (("Ctrl-C", 2, 130), ("SIGTERM", 15, 143), ("SIGKILL", 9, -9)):
    process = start(
        ("run", "--node-sizes", "2,2", "--tokens", "64", "--hidden", "64", "--iterations", "100000", "--quiet")
    )
    there = until(lambda: sum(one.startswith("process") for one in left_behind()) >= 5)
    expect(there, f"{name}: the launcher and its ranks are there")
    time.sleep(1)
    process.send_signal(signal)
    returned, _, _ = finish(process)
    expect(returned == status, f"{name}: exit status {returned}")
    expect(all_gone(), f"{name}: nothing is left behind {left_behind()}")
finish_test()
