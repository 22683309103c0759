# The main job, small, under Open MPI's mpirun: four processes that we do not start, told apart by OMPI_COMM_WORLD_*.
# (Names of other launchers, set by hand: launchers.py.)
import json
import os
import shutil
import subprocess

from _common import FOLDER, PATIENCE_S, PROGRAM, environment, expect, finish_test, path, run_json, skip

ROUTING = os.path.join(os.path.dirname(__file__), "../../examples/data/routing.safetensors")
SHAPE = ("--tokens", "64", "--hidden", "256", "--routing", ROUTING, "--layer", "3", "--iterations", "2")
JOB = ("--node-sizes", "2,2", *SHAPE)


def mpirun(port, *arguments):
    # Its own session folder, so that none of its files meets those of another test.
    names = {"TRANSLOAD_PORT": str(port), "TMPDIR": FOLDER.name}
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "4", PROGRAM, "run", *arguments]
    done = subprocess.run(command, env=environment(names), capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, done.stdout, done.stderr


if shutil.which("mpirun") is None:
    skip("mpirun: Open MPI is not here")

status, out, err = mpirun(29671, *JOB, "--quiet", "--json", path("mpi.json"))
if expect(status == 0, f"verified: exit status {status} {err[-800:]}"):
    with open(path("mpi.json"), encoding="utf-8") as file:
        result = json.load(file)
    expect(result["verified"] and result["fault"] is None, "every output is right")
    expect(result["topology"]["node_sizes"] == [2, 2], "on two nodes")
    expect(out == "", f"--quiet says nothing: {out[:200]}")
    _, alone, _ = run_json("run", *JOB)
    expect(result["digest"] == alone["digest"], "the digests of ranks that we start ourselves")

status, out, err = mpirun(29672, *JOB, "--quiet", "--json", "-")
expect(status == 0 and out.count('"verified":true') == 1 and json.loads(out)["verified"], "one object for all ranks")

# mpirun ends the other ranks when the first one exits with an error, so each says its status itself.
shell = f'"$0" "$@"; echo "rank $OMPI_COMM_WORLD_RANK: status $?"'
names = environment({"TRANSLOAD_PORT": "29673", "TMPDIR": FOLDER.name})
command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "4", "bash", "-c", shell, PROGRAM, "run", *JOB]
done = subprocess.run([*command, "--channels", "0"], env=names, capture_output=True, text=True, timeout=PATIENCE_S)
statuses = sorted(line for line in done.stdout.splitlines() if line.startswith("rank "))
expect(statuses == [f"rank {r}: status 2" for r in range(4)], f"a wrong flag: {statuses}")
complaints = [line for line in done.stderr.splitlines() if "--channels" in line]
expect(len(complaints) == 4 and len(set(complaints)) == 1, f"each rank says why, alike: {complaints}")

status, _, err = mpirun(29674, "--node-sizes", "2,1", *SHAPE)
expect(status == 2 and "--node-sizes" in err, f"as many ranks as were started: exit status {status}")
finish_test()
