# Under a launcher's environment the program starts nothing and joins; the first rank speaks, all exit alike.
import json
import shutil
import socket
import subprocess

from _common import PROGRAM, environment, expect, finish, finish_test, run_json, start

WORKLOAD = (
    "run",
    "--node-sizes",
    "2,1",
    "--tokens",
    "30",
    "--hidden",
    "64",
    "--experts",
    "8",
    "--top-k",
    "3",
    "--iterations",
    "2",
    "--quiet",
    "--json",
    "-",
    "--deadline-ms",
    "5000",
)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def ranks(make, arguments=WORKLOAD, count=3):
    port = free_port()
    started = [start(arguments, {"MASTER_ADDR": "127.0.0.1", "TRANSLOAD_PORT": port, **make(r)}) for r in range(count)]
    return [finish(process) for process in started]


def torchrun(r):
    return {"RANK": str(r), "WORLD_SIZE": "3", "LOCAL_RANK": str(r), "MASTER_PORT": "1"}


_, alone, _ = run_json(*WORKLOAD[:-4], "--deadline-ms", "5000")
for name, make in (
    ("TRANSLOAD_RANK", lambda r: {"TRANSLOAD_RANK": str(r), "TRANSLOAD_RANKS": "3"}),
    ("torchrun", torchrun),
    ("mpirun", lambda r: {"OMPI_COMM_WORLD_RANK": str(r), "OMPI_COMM_WORLD_SIZE": "3"}),
    ("srun", lambda r: {"SLURM_PROCID": str(r), "SLURM_NTASKS": "3", "SLURM_LOCALID": str(r)}),
):
    seen = ranks(make)
    if not expect(
        [s for s, _, _ in seen] == [0, 0, 0], f"{name}'s names: exit statuses {[s for s, _, _ in seen]} {seen[0][2]}"
    ):
        continue
    expect(
        json.loads(seen[0][1])["digest"] == alone["digest"],
        f"{name}'s names: the digests of ranks that we start ourselves",
    )
    expect(seen[1][1] == seen[2][1] == "", f"{name}'s names: only rank 0 speaks")

seen = ranks(torchrun, ("run", "--node-sizes", "2,1", "--tokens", "30", "--hidden", "60"))
expect(
    all(s == 2 and err.count("\n") == 1 and "--hidden" in err for s, _, err in seen), "bad usage: every rank says so"
)
seen = ranks(torchrun, (*WORKLOAD, "--fault", "kill:1@2"))
expect([s for s, _, _ in seen] == [3, -9, 3], f"a rank that dies: exit statuses {[s for s, _, _ in seen]}")
report = json.loads(seen[0][1])["fault"] if seen[0][1] else {}
expect(
    report.get("culprit_rank") == 1 and [r["rank"] for r in report["reports"]] == [0, 2],
    "the lowest survivor writes all reports",
)
seen = ranks(torchrun, (*WORKLOAD, "--fault", "kill:0@1"))
expect([s for s, _, _ in seen] == [-9, 3, 3], f"rank 0 dies: exit statuses {[s for s, _, _ in seen]}")
report = json.loads(seen[1][1])["fault"] if seen[1][1] else {}
expect(
    report.get("culprit_rank") == 0 and [r["rank"] for r in report["reports"]] == [1, 2],
    "the lowest survivor writes all reports",
)
for victim, statuses in ((1, [0, -9, 0]), (0, [-9, 0, 0])):
    seen = ranks(torchrun, (*WORKLOAD, "--fault", f"kill:{victim}@1", "--recover"))
    expect([s for s, _, _ in seen] == statuses, f"the rest goes on without rank {victim}: {[s for s, _, _ in seen]}")
    spoken = seen[1 if victim == 0 else 0][1]
    report = json.loads(spoken)["fault"] if spoken else {}
    expect(report.get("recovered") is True and report.get("culprit_rank") == victim, "and says so")

mpirun = shutil.which("mpirun")
if mpirun:
    done = subprocess.run(
        [mpirun, "--allow-run-as-root", "--oversubscribe", "-n", "3", PROGRAM, *WORKLOAD],
        text=True,
        timeout=120,
        env=environment({"MASTER_ADDR": "127.0.0.1", "TRANSLOAD_PORT": free_port()}),
        capture_output=True,
    )
    if expect(done.returncode == 0, f"mpirun -n 3: exit status {done.returncode} {done.stderr[-500:]}"):
        expect(json.loads(done.stdout)["digest"] == alone["digest"], "mpirun -n 3: the same digests")
else:
    print("SKIPPED mpirun: it is not here")
finish_test()
