# Under a launcher's environment the program starts nothing and joins; the first rank speaks, all exit alike. Ranks of
# different launches never meet, and strangers are let in nowhere.
import json
import os
import shutil
import subprocess

from _common import PATIENCE_S, PROGRAM, environment, expect, finish, finish_test, free_port, path, run, run_json, start

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
    "60000",
)


def ranks(make, arguments=WORKLOAD, count=3):
    port = free_port()
    started = [start(arguments, {"MASTER_ADDR": "127.0.0.1", "TRANSLOAD_PORT": port, **make(r)}) for r in range(count)]
    return [finish(process) for process in started]


def torchrun(r):
    return {"RANK": str(r), "WORLD_SIZE": "3", "LOCAL_RANK": str(r), "MASTER_PORT": "1"}


_, alone, _ = run_json(*WORKLOAD[:-4], "--deadline-ms", "60000")
for name, make in (
    ("TRANSLOAD_RANK", lambda r: {"TRANSLOAD_RANK": str(r), "TRANSLOAD_RANKS": "3"}),
    ("torchrun", torchrun),
    ("mpirun", lambda r: {"OMPI_COMM_WORLD_RANK": str(r), "OMPI_COMM_WORLD_SIZE": "3"}),
    ("srun", lambda r: {"SLURM_PROCID": str(r), "SLURM_NTASKS": "3", "SLURM_LOCALID": str(r)}),
    ("mpiexec", lambda r: {"PMI_RANK": str(r), "PMI_SIZE": "3", "MPI_LOCALRANKID": str(r), "MPI_LOCALNRANKS": "3"}),
    ("PALS", lambda r: {"PALS_RANKID": str(r), "PMI_SIZE": "3", "PALS_LOCAL_RANKID": str(r), "PALS_APID": "a"}),
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
    expect([s for s, _, _ in seen] == statuses, f"the rest continues without rank {victim}: {[s for s, _, _ in seen]}")
    spoken = seen[1 if victim == 0 else 0][1]
    report = json.loads(spoken)["fault"] if spoken else {}
    expect(report.get("recovered") is True and report.get("culprit_rank") == victim, "and says so")

# Two launches in one second, as two torchruns are: each has its own run, and none has rows of the other.
PAIR = ("run", "--node-sizes", "2", *WORKLOAD[3:-2], "--deadline-ms", "60000")


def of_pair(job, r, **names):
    names = {"RANK": str(r), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(29500 + job), **names}
    return start((*PAIR, "--seed", str(job + 1)), names)


seeds = [run_json(*PAIR[:-5], "--seed", str(job + 1))[1]["digest"] for job in range(2)]
for trial in range(4):
    started = [of_pair(job, r) for r in range(2) for job in ((0, 1) if r == 0 else (1, 0))]
    seen = [finish(process) for process in started]
    expect([s for s, _, _ in seen] == [0] * 4, f"two launches at once: {[(s, e) for s, _, e in seen]}")
    expect([json.loads(o)["digest"] for _, o, _ in seen[:2] if o] == seeds, "each has its own rows")

# The same where they do meet: the port is forced, and rank 0 of the first still waits for its other rank.
port = free_port()
waiting = of_pair(0, 0, TRANSLOAD_PORT=port)
for r, word in ((1, 'rendezvous of job "29500", but rank 1 is of job "29501"'), (0, "Address already in use")):
    status, out, err = finish(of_pair(1, r, TRANSLOAD_PORT=port))
    good = status == 2 and out == "" and word in err and "TRANSLOAD_PORT" in err and port in err
    expect(good, f"rank {r} of another launch at its port: {status} {err}")
seen = [finish(of_pair(0, 1, TRANSLOAD_PORT=port)), finish(waiting)]
expect([s for s, _, _ in seen] == [0, 0], f"the first launch continues: {[(s, e) for s, _, e in seen]}")

nameless = {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"}
status, _, err = run(*PAIR, extra=nameless)
expect(status == 2 and "TRANSLOAD_JOB" in err, f"a launcher that does not say which launch this is: {status} {err}")

# Who does not know the secret gets no seat, and is no hindrance.
secret = path("secret")
with open(secret, "w", opener=lambda name, flags: os.open(name, flags, 0o600), encoding="utf-8") as file:
    file.write("only for us\n")
port = free_port()
waiting = of_pair(0, 0, TRANSLOAD_PORT=port, TRANSLOAD_SECRET="only for us")
for names in ({}, {"TRANSLOAD_SECRET": "a guess"}):
    status, _, err = finish(of_pair(0, 1, TRANSLOAD_PORT=port, **names))
    expect(status == 2 and "does not prove the job's secret" in err, f"without the secret: {status} {err}")
seen = [finish(of_pair(0, 1, TRANSLOAD_PORT=port, TRANSLOAD_SECRET_FILE=secret)), finish(waiting)]
expect([s for s, _, _ in seen] == [0, 0], f"with the secret: {[(s, e) for s, _, e in seen]}")
os.chmod(secret, 0o644)
status, _, err = run(*PAIR, extra={**nameless, "TRANSLOAD_SECRET_FILE": secret})
expect(status == 2 and f"TRANSLOAD_SECRET_FILE: {secret}: others" in err, f"a secret that all may read: {status} {err}")

# A shell that a launcher has opened for one task.
shell = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_ID": "7", "SLURM_NNODES": "1"}
status, _, err = run(*WORKLOAD, extra=shell)
good = status == 2 and "SLURM_NTASKS" in err and "--launcher none" in err
expect(good, f"three ranks in a shell of one task: {status} {err}")
status, out, err = run(*WORKLOAD, "--launcher", "none", extra=shell)
expect(status == 0 and json.loads(out)["digest"] == alone["digest"], f"--launcher none: {status} {err}")
status, _, err = run(*WORKLOAD, "--launcher", "pmi", extra=shell)
expect(status == 2 and "PMI_RANK" in err, f"a launcher that is not there: {status} {err}")
status, out, err = run("run", "--node-sizes", "1", "--tokens", "4", "--hidden", "64", extra=shell)
expect(status == 0 and "slurm: rank 0 of 1 (SLURM_PROCID" in out, f"the table says who was asked: {status} {err}")

mpirun = shutil.which("mpirun")
if mpirun:
    done = subprocess.run(
        [mpirun, "--allow-run-as-root", "--oversubscribe", "-n", "3", PROGRAM, *WORKLOAD],
        text=True,
        timeout=PATIENCE_S,
        env=environment({"MASTER_ADDR": "127.0.0.1", "TRANSLOAD_PORT": free_port()}),
        capture_output=True,
    )
    if expect(done.returncode == 0, f"mpirun -n 3: exit status {done.returncode} {done.stderr[-500:]}"):
        expect(json.loads(done.stdout)["digest"] == alone["digest"], "mpirun -n 3: the same digests")
else:
    print("SKIPPED mpirun: it is not here")
finish_test()
