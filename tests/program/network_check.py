# tools/network_check between two hosts that are network namespaces: from start to end, as an ordinary user, and what it
# says of wrong usage and of hosts that do not come together. What its stages find is in network_check_long.py.
import os
import subprocess
import sys
from types import SimpleNamespace

from _common import FOLDER, PATIENCE_S, PROGRAM, environment, expect, finish_test, path
from _hosts import ADDRESSES, HOSTS, ip
from _network_check import (
    NOBODY, PORT, PROVIDER, QUICK, STAGES, TOOL, Side, anybody_may, both, mischief, on_two_hosts, told
)

sys.path.insert(0, os.path.dirname(TOOL))
from network import facts, stages  # noqa: E402  (after the line above)


def all_well():
    ordinary = all(anybody_may("test", "-x", file) for file in (PROGRAM, TOOL, sys.executable))
    os.chmod(FOLDER.name, 0o755)
    sides = both(*QUICK, user=NOBODY if ordinary else ())
    who = "an ordinary user" if ordinary else "root"
    told(f"all is well, {who}", sides, 0, "all is well", "  scale-out: libfabric: asked for", *STAGES[1:])
    for host, side in enumerate(sides):
        lines = side.result()["lines"]
        stages = list(dict.fromkeys(one["stage"] for one in lines if "ok" in one))
        expect(stages == STAGES, f"host {host + 1} went through {stages}")
        figures = {(one["case"], one.get("row_bytes")): one for one in lines if "share_of_raw" in one}
        wanted = {("rows", 256), ("rows", 14336), ("dispatch", None), ("combine", None)}
        expect(set(figures) == wanted, f"host {host + 1} has {sorted(map(str, figures))}")
        expect(all(one["gb_per_s_each_way"] > 0 and one["raw_gb_per_s_each_way"] > 0 for one in figures.values()),
               f"host {host + 1}: every figure has one of raw writes beside it")
        checked = [(one["rows"], one["wrong_rows_of_a_rank"]) for one in lines if one.get("case") == "checked"]
        expect(checked == [(300, 0), (300, 0)], f"host {host + 1}: rows, wrong ones {checked}")
        counted = [one["falls_of_a_word"] for one in lines if one.get("case") == "counted"]
        expect(counted == [0], f"host {host + 1}: a word fell {counted} times")
        result = side.result()
        expect(result["verdict"] == "all is well", f"host {host + 1}: {result['verdict']}")
        row = result["table"].get(PROVIDER, {})
        expect(set(row) == {"rows of 256", "rows of 14336", "dispatch", "combine", "us of a count"}
               and all(mine > 0 and raw > 0 for mine, raw in row.values()), f"host {host + 1}: the table has {row}")
        hosts = [one for one in lines if one.get("case") == "host"]
        expect(len(hosts) == 2 and all(one["libfabric"].startswith("libfabric ") and PROVIDER in one["providers"]
                                       for one in hosts), f"host {host + 1}: what limits says of the hosts: {hosts}")
    reports = [side.said.splitlines()[1:-1] for side in sides]
    expect(len(reports[0]) > 10 and reports[0][-5:] == reports[1][-5:], "both end in the same table")


def wrong_usage():
    names = ",".join(ADDRESSES)
    for word, *arguments in (
        ("--hosts", "--ranks", "2"),
        ("--hosts: '10.77.0.1': must be two", "--hosts", ADDRESSES[0]),
        ("must be two different hosts", "--hosts", f"{ADDRESSES[0]},{ADDRESSES[0]}"),
        ("--hosts: 'no.such.host.invalid': not a host", "--hosts", f"{ADDRESSES[0]},no.such.host.invalid"),
        ("neither is an address of this host", "--hosts", "10.99.0.1,10.99.0.2"),
        ("--ranks: '0': must be", "--hosts", names, "--ranks", "0"),
        ("--port: '80': must be", "--hosts", names, "--port", "80"),
        ("--me: '3': must be 1 or 2", "--hosts", names, "--me", "3"),
        ("--hosts: '10.77.0.2': not an address of this host", "--hosts", names, "--me", "2"),
        ("--gpus: '0': must be", "--hosts", names, "--gpus", "0"),
        ("--gpus: is not allowed with --ranks", "--hosts", names, "--gpus", "1", "--ranks", "1"),
        ("--row-bytes: 24: must be a multiple", "--hosts", names, "--row-bytes", "24"),
        ("--tokens: '0': must be", "--hosts", names, "--tokens", "0"),
        ("--patience: 'x': must be", "--hosts", names, "--patience", "x"),
        ("--bogus", "--hosts", names, "--bogus"),
        ("--program: '/nowhere': no program", "--hosts", names, "--program", "/nowhere"),
        ("--out: '/proc/x'", "--hosts", names, "--program", PROGRAM, "--out", "/proc/x"),
    ):
        if "--program" not in arguments:
            arguments += ["--program", PROGRAM]
        if "--out" not in arguments:
            arguments += ["--out", path("usage")]
        done = subprocess.run(["ip", "netns", "exec", HOSTS[0], sys.executable, TOOL, *arguments], capture_output=True,
                              text=True, env=environment(), timeout=PATIENCE_S, check=False)
        expect(done.returncode == 2 and word in done.stderr and done.stdout == "" and done.stderr.count("\n") == 1,
               f"{' '.join(arguments[:4])} -> {done.returncode}: {done.stderr.strip()[:160]}")


def nobody_comes():
    side = Side(0, *QUICK, "--patience", "1", hosts=f"{ADDRESSES[0]},10.77.0.9")
    side.finish()
    expect(side.process.returncode == 1 and "meet: host 10.77.0.9 did not come" in side.said,
           f"a wrong address: {side.said.strip()[-300:]}")
    side = Side(1, *QUICK, "--patience", "1")
    side.finish()
    expect(side.process.returncode == 1 and f"meet: host {ADDRESSES[0]} was not reached" in side.said,
           f"a host that has not been started: {side.said.strip()[-300:]}")


def port_blocked():
    rule = ("to", ADDRESSES[0], "ipproto", "tcp", "dport", str(PORT + 1), "unreachable", "priority", "1")
    if ip("-n", HOSTS[1], "rule", "add", *rule, check=False).returncode != 0:
        print("SKIPPED: a blocked port: this kernel has no rules by port")
        return
    try:
        sides = both(*QUICK, "--patience", "3")
    finally:
        ip("-n", HOSTS[1], "rule", "delete", *rule, check=False)
    told("a blocked port", sides, 1, "FAILED ", f" s  reach {ADDRESSES[0]} from {ADDRESSES[1]}",
         f"host {ADDRESSES[1]}: port {PORT + 1} of host {ADDRESSES[0]} was not reached: Network is unreachable",
         "1 FAILED")
    expect(not any("link" in one["stage"] for one in sides[0].result()["lines"] if "ok" in one), "no stage after it")


def hosts_differ():
    sides = [Side(0, *QUICK, "--ranks", "1"), Side(1, *QUICK, "--ranks", "3")]
    for side in sides:
        side.finish()
    told("other arguments", sides, 1, f"--ranks: 1 on {ADDRESSES[0]}, 3 on {ADDRESSES[1]}: must be alike")
    without = mischief("without", 'if [[ $1 == limits ]]; then "$program" limits | grep -v "ofi_rxm$"; exit; fi')
    sides = [Side(0, *QUICK), Side(1, *QUICK, program=without)]
    for side in sides:
        side.finish()
    told("a provider that one lacks", sides, 1, f"host {ADDRESSES[1]} has no provider {PROVIDER}; it has net")
    broken = mischief("broken", "echo no library >&2; exit 127")
    sides = [Side(0, *QUICK), Side(1, *QUICK, program=broken)]
    for side in sides:
        side.finish()
    told("a program that does not start", sides, 1, f"host {ADDRESSES[1]}: ", "exit status 127: no library")


def gpus_that_are_not_there():
    sides = both("--gpus", "64", *QUICK)
    told("more GPUs than there are", sides, 1, f"--gpus: 64, must be at most 0, which host {ADDRESSES[1]} has",
         "no GPU", "2 FAILED")
    expect(not any("link" in one["stage"] for one in sides[0].result()["lines"] if "ok" in one), "no stage after it")
    cards = mischief("cards", 'if [[ $1 == limits ]]; then "$program" limits; echo "near 0 0000:10:1c.0 efa0 2 steps"; '
                     'echo "gpu 0 0000:10:1c.0, a card"; exit; fi')
    told("what limits says of GPUs", both("--gpus", "64", *QUICK, program=cards), 1, "  GPU 0000:10:1c.0, a card",
         "  nearest NIC of GPU 0000:10:1c.0 efa0 2 steps", "--gpus: 64, must be at most 1")
    on_cpus = mischief("on_cpus", """
if [[ $1 == limits ]]; then
  "$program" limits; echo "gpu 0 0000:10:1c.0, a card"; echo "nvshmem $HAS_NVSHMEM of the test"; exit
fi
if [[ $* == *"--scale-out nvshmem"* ]]; then echo "transload: scale_out: nvshmem drives no NIC" >&2; exit 2; fi
words="$* "; cuda=" --device cuda --gpus 1 "
[[ $1 != run || $words == *"$cuda"* ]] || { echo "no rank on a GPU: $*" >&2; exit 1; }
[[ $1 != run || $words == *" --iterations 10 "* ]] || { echo "not 300 rows in dispatches of 16: $*" >&2; exit 1; }
for ((i = 1; i <= $#; ++i)); do [[ ${!i} != --device ]] || set -- "${@:1:i-1}" "${@:i+4}"; done""")
    os.environ["HAS_NVSHMEM"] = "no"
    sides = both("--gpus", "1", *QUICK, program=on_cpus)
    told("ranks that are said to be on GPUs", sides, 0, "1 ranks on each, on GPUs", f"run {PROVIDER}",
         f"run {PROVIDER}, fp8", "  in 10 iterations", f"not tried       run nvshmem: host {ADDRESSES[1]}: of the test",
         "all is well, but not tried: run nvshmem; ")
    lines = sides[0].result()["lines"]
    expect(all("kill" not in one["stage"] for one in lines if "ok" in one), "nobody is killed")
    runs = [(one["dtype"], one["iterations"]) for one in lines if one.get("case") == "verified"]
    expect(runs == [("bf16", 10), ("fp8", 10)], f"as many rows as a link's, in bf16 and fp8: {runs}")
    os.environ["HAS_NVSHMEM"] = "yes"
    sides = both("--gpus", "1", *QUICK, program=on_cpus)
    told("a run over NVSHMEM that is refused", sides, 1, "  NVSHMEM: of the test",
         "rank 0 ended with exit status 2, not 0: transload: scale_out: nvshmem drives no NIC", "1 FAILED")
    del os.environ["HAS_NVSHMEM"]


def cards_are_shown():
    """Of an RDMA device what /sys has, in a folder like it."""
    facts.INFINIBAND = path("infiniband")
    port = os.path.join(facts.INFINIBAND, "mlx5_0", "ports", "1")
    os.makedirs(port)
    os.makedirs(os.path.join(facts.INFINIBAND, "mlx5_0", "device"))
    os.symlink("/sys/bus/pci/drivers/mlx5_core", os.path.join(facts.INFINIBAND, "mlx5_0", "device", "driver"))
    for name, text in (("../../fw_ver", "28.43.2026"), ("state", "4: ACTIVE"), ("rate", "400 Gb/sec (4X NDR)"),
                       ("link_layer", "InfiniBand")):
        with open(os.path.join(port, name), "w", encoding="ascii") as file:
            file.write(text + "\n")
    said = []
    stages.Check.show_host(SimpleNamespace(say=said.append), "here", facts.of_this_host(PROGRAM))
    shown = [line for line in said if "RDMA device" in line]
    expect(shown == ["  RDMA device mlx5_0: driver mlx5_core, firmware 28.43.2026; port 1 4: ACTIVE, "
                     "400 Gb/sec (4X NDR), InfiniBand"], f"a card is shown: {shown}")


def body():
    cards_are_shown()
    gpus_that_are_not_there()
    wrong_usage()
    all_well()
    nobody_comes()
    port_blocked()
    hosts_differ()


on_two_hosts(body)
finish_test()
