# Shared by the tests of GPUs that fill the queues of a NIC: the NIC is a thread, and ranks are threads of one process.
import os

from _common import PROGRAM, finish, object_of, run, skip, start

BESIDE = os.path.join(os.path.dirname(PROGRAM), "soft_nic_gpu")
SOFT_NIC = BESIDE if os.path.exists(BESIDE) else os.path.join(os.path.dirname(PROGRAM), "..", "gpu", "soft_nic_gpu")
WORKLOAD = ("--device", "cuda", "--sms", "8", "--hidden", "272", "--experts", "13", "--top-k", "6", "--iterations", "3",
            "--scale-out", "loopback")
status, out, err = run("limits")
gpus = [line.split(maxsplit=2) for line in out.splitlines() if line.startswith("gpus ")]
if status != 0 or not gpus:
    print(f"WRONG limits -> {status} {out} {err}")
    raise SystemExit(1)
if gpus[0][1] == "0":
    skip(gpus[0][2])
if not os.path.exists(SOFT_NIC):
    skip("the program with soft NICs was not built: tools/nvshmem_headers fetches what it needs")


def job(settings, *arguments):
    command = ("run", *WORKLOAD, "--threads", "--quiet", "--json", "-", *arguments)
    status, out, err = finish(start(command, extra={"SOFT_NIC": settings}, program=SOFT_NIC), 60)
    return status, object_of(out), err.strip()[:600]
