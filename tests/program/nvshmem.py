# Jobs whose network regions lie in NVSHMEM's heap: over the library of tests/nvshmem_double, so that all is real but
# NVSHMEM and GPUs. The digests are those of loopback, and what stands in the way is said in one line.
import json
import os
import re

from _common import PATIENT, PROGRAM, expect, finish, finish_test, run, run_json, skip, start

BUILD = os.path.join(os.path.dirname(PROGRAM), "..", "tests")
HEAPED = os.path.join(BUILD, "heaped", "transload")
DOUBLE = os.path.join(BUILD, "nvshmem_double", "libnvshmem_host.so.3")
if not os.path.exists(HEAPED) or not os.path.exists(DOUBLE):
    skip("the program whose ranks on CPUs may use NVSHMEM, or its library, was not built")
WORKLOAD = ("--tokens", "40,0,64,33", "--hidden", "272", "--experts", "13", "--top-k", "6", "--iterations", "3")
SMALL = ("--tokens", "16", "--hidden", "64", "--experts", "4", "--top-k", "2", "--iterations", "1")


def job(settings, *arguments, library=DOUBLE, program=HEAPED, **variables):
    names = {"TRANSLOAD_NVSHMEM": library, "NVSHMEM_DOUBLE": settings, **variables}
    names = {name: value for name, value in names.items() if value is not None}
    return finish(start(("run", *arguments, "--scale-out", "nvshmem"), extra=names, program=program))



def verified():
    for shape, *more in (("1,1,1,1",), ("2,2",), ("1,3", "--channels", "1", "--slots", "1"), ("2,2", "--dtype", "fp8"),
                         ("1,1,2", "--combine-wire", "fp32", "--landing", "ring")):
        what = " ".join((shape, *more))
        _, base, _ = run_json("run", *WORKLOAD, "--node-sizes", shape, *more, "--scale-out", "loopback")
        status, out, err = job("turned", *WORKLOAD, "--node-sizes", shape, *more, "--json", "-", "--quiet")
        if not expect(status == 0, f"{what}: verified over the heap ({status}) {err.strip()[:300]}"):
            continue
        result = json.loads(out)
        expect(result["transports"]["scale_out"] == "nvshmem, peer memory", f"{what}: {result['transports']}")
        expect(result["digest"] == base["digest"], f"{what}: the digests of loopback")
    _, out, _ = job("", *SMALL, "--node-sizes", "1,1", "--channels", "5", NVSHMEM_MAX_TEAMS="9")
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    rc = lines.get("NVSHMEM_IBGDA_NUM_RC_PER_PE", "")
    expect(" 6: channels + 1" in rc, f"the report says what NVSHMEM was told: {rc.strip()}")
    teams = lines.get("NVSHMEM_MAX_TEAMS", "")
    expect("9: the user's" in teams, f"and what the user has told it: {teams.strip()}")
    expect("NVSHMEM's heap" in out, "and where the network region lies")


def refused(what, text, settings, *arguments, code=2, **how):
    status, out, err = job(settings, *(arguments or ("--node-sizes", "1,1")), *SMALL, **how)
    lines = [line for line in err.splitlines() if line.strip()]
    expect(status == code and len(lines) == 1 and text in lines[0], f"{what} ({status}): {err.strip()[:400]}")
    expect("verified" not in out, f"{what}: nothing was moved")


def refusals():
    here = "scale_out: nvshmem"
    refused("ranks on CPUs", f"{here} on CPUs, must be libfabric or loopback: its memory is that of GPUs", "",
            program=PROGRAM)
    refused("no library", "TRANSLOAD_NVSHMEM may say where libnvshmem_host.so.3 is", "", library="/nowhere/lib.so")
    refused("another version", f"{DOUBLE} is NVSHMEM 3.5.0, must be 3.4.5: its structures differ", "version=3.5.0")
    refused("a library of another kind", "libc.so.6 has no nvshmemx_", "", library="libc.so.6")
    refused("no way between the ranks", "its init left the process in status 1, must be 2 or more", "status=1")
    refused("init fails", "its init failed with 7 (rank 1)", "error@1=7")
    refused("a heap without room", "its heap has no room for a network region of", "full")
    refused("a small heap of the user's", "NVSHMEM_SYMMETRIC_SIZE: 4096, must be at least", "",
            NVSHMEM_SYMMETRIC_SIZE="4096")
    refused("few queues of the user's", "NVSHMEM_IBGDA_NUM_RC_PER_PE: 2, must be at least 5", "",
            NVSHMEM_IBGDA_NUM_RC_PER_PE="2")
    refused("two NICs a rank", "NVSHMEM_IBGDA_ENABLE_MULTI_PORT: 1, must be 0", "",
            NVSHMEM_IBGDA_ENABLE_MULTI_PORT="1")
    refused("nobody's memory is to be mapped", f"{here}, must be libfabric: NVSHMEM_DISABLE_P2P is set on rank 0", "",
            NVSHMEM_DISABLE_P2P="1")
    refused("a rail that is not mapped", "shares no peer memory with rank", "apart=1")
    refused("more than one rank a process", "ranks 0 and 1 are in one process, must each be in a process of its own",
            "", "--node-sizes", "1,1", "--threads")
    refused("a provider", "--provider: 'tcp': is allowed only with --scale-out auto or libfabric", "",
            "--node-sizes", "1,1", "--provider", "tcp")
    short = ("--node-sizes", "1,1,1", "--create-deadline-ms", "5000")
    refused("init never returns on one rank", "its init has not returned after 5000 ms on ranks 1 of 3",
            "late@1=600000", *short)
    refused("nor on any", "its init has not returned after 5000 ms on ranks 0, 1, 2 of 3", "hang@2", *short)
    refused("nor does malloc", "its malloc has not returned after 5000 ms on ranks", "stuck@2", *short)


def faults():
    """A rank that is killed is named as over any network, and the world is lost to those that are left."""
    some = ("--tokens", "64", "--hidden", "64", "--node-sizes", "1,1,1", "--deadline-ms", "3000",
            *PATIENT)
    status, out, err = job("", *some, "--fault", "kill:1@2")
    named = status == 3 and "fault: rank 1 is lost" in out + err
    expect(named, f"a killed rank is named ({status}) {err.strip()[:300]}")
    status, out, err = job("", *some, "--fault", "kill:1@2", "--recover")
    why = "for good: a group that used it was ended by a fault of rank 1"
    refused_all = (out + err).count(why) == 2
    expect(refused_all, f"those that are left are refused a group, by name ({status}) {(out + err)[-400:]}")


def limits():
    names = {"TRANSLOAD_NVSHMEM": DOUBLE, "NVSHMEM_QP_DEPTH": "4096"}
    status, out, _ = run("limits", extra=names)
    what = ", for GPUs, which drive a NIC by it between hosts; only with --scale-out nvshmem"
    there = re.search(rf"^nvshmem +yes +{re.escape(DOUBLE)}{what}$", out, re.MULTILINE)
    expect(status == 0 and there, "limits: it is there")
    expect(re.search(r"^nvshmem setting +yours +NVSHMEM_QP_DEPTH: 4096$", out, re.MULTILINE), "what the user has set")
    ours = r"^nvshmem setting +ours +NVSHMEM_IBGDA_NUM_RC_PER_PE: channels \+ 1: a queue belongs to a ring$"
    expect(re.search(ours, out, re.MULTILINE), "and what is set otherwise")
    status, out, _ = run("limits", extra={"TRANSLOAD_NVSHMEM": "/nowhere/lib.so"})
    expect(status == 0 and re.search(r"^nvshmem +no .*/nowhere/lib.so", out, re.MULTILINE), "limits: it is not there")


verified()
refusals()
faults()
limits()
finish_test()
