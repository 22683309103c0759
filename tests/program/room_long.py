# 8 ranks of 4096 tokens x 7168 bf16 run in 16 GiB, checks included.
import os
import time

from _common import PROGRAM, expect, finish_test, skip, start

GIB = 1 << 30


def available():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))


def held_by(process):
    """Bytes of the launcher and its ranks, shared pages divided among them."""
    sum_bytes = 0
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        pids = [process.pid, *map(int, file.read().split())]
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                sum_bytes += next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return sum_bytes


if available() < 12 * GIB:
    skip(f"{available() / GIB:.1f} GiB are available, 12 are needed")
routing = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/data/routing.safetensors")
process = start(
    (
        "run",
        "--node-sizes",
        "4,4",
        "--tokens",
        "4096",
        "--routing",
        routing,
        "--layer",
        "3",
        "--iterations",
        "1",
        "--quiet",
    )
)
most = 0
while process.poll() is None:
    try:
        most = max(most, held_by(process))
    except OSError:
        pass
    time.sleep(0.5)
out, err = process.communicate()
expect(process.returncode == 0, f"{os.path.basename(PROGRAM)} verified it: exit status {process.returncode} {err}")
expect(GIB < most < 16 * GIB, f"at most {most / GIB:.1f} GiB at once")
finish_test()
