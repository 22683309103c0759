# On GPUs: a rank that is a process and is killed or stopped, or that is a thread and does not come, is named by the
# one that is left, in time, on one node and over a network by proxies.
# Contract 8.2, 8.3, 8.4.
import json
import re

from _common import LATE_MS, PATIENT, expect, finish, finish_test, free_port, run, skip, start

status, out, err = run("limits")
found = re.search(r"^gpus +([0-9]+) +(.*)", out, re.M)
if status != 0 or found is None:
    print(f"WRONG limits -> {status} {out} {err}")
    raise SystemExit(1)
if int(found[1]) < 2:
    skip(f"two GPUs are needed: {found[1]} {found[2]}")

DEADLINE_MS = 2000
SHAPE = ("run", "--device", "cuda", "--sms", "8", "--tokens", "96", "--hidden", "512", "--iterations", "4", "--warmup",
         "1", "--deadline-ms", str(DEADLINE_MS), *PATIENT, "--quiet", "--json", "-")
NETWORK = ("--scale-out", "libfabric", "--provider", "tcp;ofi_rxm")


def told(name, culprit, kind, status, out, err):
    said = f"{name} ({status}) {err.strip()[-400:]}"
    if not expect(status == 3 and out.strip() != "", f"{said}: the other rank tells a fault"):
        return
    seen = json.loads(out)["fault"]
    expect(seen["culprit_rank"] == culprit and seen["kind"] == kind, f"{said}: {seen['kind']} {seen['culprit_rank']}")
    late = [r["after_ms"] for r in seen["reports"] if r["rank"] != culprit and r["after_ms"] > DEADLINE_MS + LATE_MS]
    expect(not late, f"{said}: in time {late}")


def of_processes(text, kind, *way):
    culprit = int(re.search(r":(\d+)@", text)[1])
    names = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "TRANSLOAD_PORT": str(free_port())}
    ranks = [
        start((*SHAPE, "--fault", text, *way), {**names, "RANK": str(r), "LOCAL_RANK": str(r)}) for r in range(2)
    ]
    status, out, err = finish(ranks[1 - culprit], 60)
    if text.startswith("stop"):
        ranks[culprit].kill()
    finish(ranks[culprit], 60)
    told(f"{text} {' '.join(way)}", culprit, kind, status, out, err)


for way in (("--node-sizes", "2"), ("--node-sizes", "1,1"), ("--node-sizes", "1,1", *NETWORK)):
    of_processes("kill:1@3/expert", "lost", *way)
    of_processes("kill:0@2/expert", "lost", *way)
    of_processes("stop:1@2/expert", "silent", *way)
    told(f"absent:1@3 {' '.join(way)}", 1, "absent", *run(*SHAPE, "--fault", "absent:1@3", *way))
finish_test()
