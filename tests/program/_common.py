# Shared by the tests of the program: running it, finding what it left behind, reading and writing safetensors files.
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid

if len(sys.argv) != 2:
    sys.exit(f"usage: {sys.argv[0]} path-of-transload")
PROGRAM = os.path.abspath(sys.argv[1])
FOLDER = tempfile.TemporaryDirectory(prefix="transload-test-")
MARK = f"TRANSLOAD_TEST_MARK={uuid.uuid4()}"
PLANTS = "TRANSLOAD_CANARY", "TRANSLOAD_MUTATION"
LAUNCHER_NAMES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "OMPI_COMM_WORLD_RANK",
    "PMIX_RANK",
    "PMIX_NAMESPACE",
    "PMI_RANK",
    "PMI_SIZE",
    "PALS_RANKID",
    "SLURM_PROCID",
)
PATIENCE_S = 300  # for what hangs: no test passes because of it, and a busy machine may be slow
# Ranks start late on a busy machine, and the deadlines that are tested are those of calls.
PATIENT = ("--create-deadline-ms", "60000")
LATE_MS = 20000  # a fault that comes so long after its deadline came by another one
failures = 0


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(77)


def environment(extra=None):
    # tools/canaries_without_simulator and tools/mutations plant their bugs in the program too.
    mine = [k for k in os.environ if k.startswith("TRANSLOAD_") and k not in PLANTS]
    names = {k: v for k, v in os.environ.items() if k not in LAUNCHER_NAMES and k not in mine}
    key, value = MARK.split("=")
    return {**names, key: value, **(extra or {})}


def start(arguments, extra=None, program=PROGRAM, **how):
    return subprocess.Popen(
        [program, *arguments], env=environment(extra), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    )


def finish(process, seconds=PATIENCE_S):
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += f"\nstill running after {seconds} s"
    return process.returncode, out, err


def run(*arguments, extra=None, seconds=PATIENCE_S, **how):
    return finish(start(arguments, extra, **how), seconds)


def object_of(out):
    return json.loads(out) if out.strip() else {}


def run_json(*arguments, extra=None, seconds=PATIENCE_S, **how):
    """Exit status, the JSON object (None without one), and what was said on stderr."""
    status, out, err = run(*arguments, "--quiet", "--json", "-", extra=extra, seconds=seconds, **how)
    return status, json.loads(out) if out.strip() else None, err


# Below the ports that systems give to whoever connects, which stay taken for a minute after they are closed, and
# above those that a job's name leads to. The next port is taken too: ranks that are left meet there.
PORTS = itertools.cycle(range(28200 + os.getpid() % 2000 * 2, 32700, 2))


def is_free(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    return str(next(port for port in PORTS if is_free(port) and is_free(port + 1)))


def expect(good, what):
    global failures
    print(("ok    " if good else "WRONG ") + what, flush=True)
    failures += not good
    return good


def named_files():
    shared = {f"/dev/shm/{name}" for name in os.listdir("/dev/shm") if "transload" in name}
    names = (name for name in os.listdir("/tmp") if name.startswith("transload"))
    # Other tests, and a build of the Python package, may run beside this one.
    return shared | {f"/tmp/{name}" for name in names if not name.startswith(("transload-test-", "transload-build-"))}


FILES_BEFORE = named_files()


def left_behind():
    """Our processes that still run, and names in shared memory and temporary folders."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if MARK.encode() in file.read() and int(pid) != os.getpid():
                    found.append(f"process {pid}")
        except OSError:
            pass
    found += sorted(named_files() - FILES_BEFORE)
    return found


def until(true, seconds=PATIENCE_S):
    """Waits for it. What it was at last."""
    end = time.monotonic() + seconds
    while not (seen := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return seen


def all_gone():
    """Whether nothing is left behind, or soon is: who is killed needs its time to go."""
    return until(lambda: not left_behind(), 60)


def finish_test():
    left = left_behind()
    expect(not left, f"nothing is left behind {left}")
    print(f"{failures} wrong" if failures else "all right")
    sys.exit(1 if failures else 0)


def path(name):
    return os.path.join(FOLDER.name, name)


def write_file(name, header, data=b"", header_bytes=None):
    """A safetensors file whose header may lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    with open(path(name), "wb") as file:
        file.write(struct.pack("<Q", len(text) if header_bytes is None else header_bytes) + text + data)
    return path(name)


def read_file(name):
    """Tensors of a safetensors file: name -> (dtype, shape, bytes)."""
    with open(name, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    return {k: (v["dtype"], v["shape"], data[v["data_offsets"][0] : v["data_offsets"][1]]) for k, v in header.items()}
