# On GPUs: the shapes of a run are verified there, and their digests are those of the CPU for the same seed.
# Contract 1.2, 6.1.
import json
import re

from _common import expect, finish, finish_test, run, run_json, skip, start

status, out, err = run("limits")
gpus = [line.split(maxsplit=2) for line in out.split("\n") if line.startswith("gpus ")]
if status != 0 or not gpus:
    print(f"WRONG limits -> {status} {out} {err}")
    raise SystemExit(1)
if gpus[0][1] == "0":
    skip(gpus[0][2])
COUNT = int(gpus[0][1])

SHAPE = (
    "--hidden",
    "272",
    "--experts",
    "13",
    "--top-k",
    "5",
    "--iterations",
    "2",
    "--warmup",
    "1",
    "--seed",
    "7",
)


def tokens_of(node_sizes):
    ranks = sum(map(int, node_sizes.split(",")))
    return ",".join(str((97, 64, 0, 33)[r % 4]) for r in range(ranks))


def on_cpu(node_sizes, what):
    arguments = ("run", "--node-sizes", node_sizes, "--tokens", tokens_of(node_sizes), *SHAPE, *what)
    status, result, err = run_json(*arguments, "--scale-out", "loopback")
    return result if expect(status == 0, f"cpu {node_sizes} {' '.join(what)} ({status}) {err}") else None


def on_gpus(node_sizes, *what):
    arguments = ("run", "--node-sizes", node_sizes, "--tokens", tokens_of(node_sizes), *SHAPE, *what)
    status, result, err = run_json(*arguments, "--device", "cuda", "--sms", "8")
    good = status == 0 and result["verified"] and result["device"] == "cuda" and result["method"] == "events"
    name = f"cuda {node_sizes} {' '.join(what)}"
    if not expect(good, f"{name} is verified ({status}) {result and result['mismatch']} {err.strip()}"):
        return None
    for span in (result["dispatch"]["first_us"], result["dispatch"]["cached_us"], result["combine"]["us"]):
        expect(0 < span["min"] <= span["median"] <= span["max"], f"{name}: a time {span}")
    return result


# What changes the bytes, and for each the ways that must not: on every shape, and more of them on one.
DROP = ("--rows-max", "60", "--overflow", "drop")
RING, PUSH, GRAPH = ("--landing", "ring"), ("--combine-source", "push"), ("--graph",)
WAYS = {
    (): ((), (*RING, *PUSH), ("--rows-max", "194", *GRAPH)),
    ("--dtype", "fp8"): ((),),
    (*DROP, "--biases", "2"): ((), GRAPH),
    ("--combine-wire", "fp32"): ((),),
}
MORE_WAYS = {
    (): (RING, PUSH, ("--channels", "7", "--slots", "1"), ("--threads",), (*PUSH, "--rows-max", "194", *GRAPH)),
    ("--dtype", "fp8", "--scales", "ue8m0"): ((), (*RING, *PUSH)),
    DROP: ((*RING, *PUSH, *GRAPH),),
}
NETWORK = ("--scale-out", "libfabric", "--provider", "tcp;ofi_rxm")
NETWORK_WAYS = {
    (): (NETWORK, (*NETWORK, "--rail-queue", "32", "--rail-batch", "2"), (*NETWORK, *RING, *PUSH),
         (*NETWORK, "--rows-max", "194", *GRAPH)),
    ("--dtype", "fp8"): (NETWORK,),
    ("--dtype", "fp8", "--scales", "ue8m0"): (NETWORK,),
    (*DROP, "--biases", "2"): (NETWORK,),
    ("--combine-wire", "fp32"): (NETWORK,),
}


def network_memory():
    """It says where the rings lie and why, and refuses memory of the GPUs in the same words where that cannot be."""
    small = ("run", "--device", "cuda", "--sms", "8", "--node-sizes", "1,1", "--tokens", "4", "--hidden", "16",
             "--iterations", "1", *NETWORK)

    def told(*memory):
        status, out, err = run(*small, *memory)
        found = re.search(r"^ *network memory +(gpu|pinned): [0-9]+ MiB: (.+)$", out, re.M)
        return status, found and found[1], found and found[2], err

    status, place, why, err = told()
    if not expect(status == 0 and place, f"network memory, auto: {place}: {why} ({status}) {err.strip()}"):
        return
    status, *asked, err = told("--network-memory", "pinned")
    good = status == 0 and asked == ["pinned", "asked for"]
    expect(good, f"network memory, pinned: {asked} ({status}) {err.strip()}")
    status, asked, _, err = told("--network-memory", "gpu")
    if place == "gpu":
        expect(status == 0 and asked == "gpu", f"network memory, gpu: {asked} ({status}) {err.strip()}")
    else:
        refusal = f"network_memory: gpu, must be auto or pinned: {why}"
        expect(status == 2 and refusal in err, f"network memory, gpu: refused in those words ({status}) {err.strip()}")


def compare(node_sizes, all_ways):
    for what, ways in all_ways.items():
        wanted = on_cpu(node_sizes, what)
        for way in ways:
            result = on_gpus(node_sizes, *what, *way)
            if result and wanted:
                name = f"{node_sizes} {' '.join(what + way)}"
                expect(result["digest"] == wanted["digest"], f"{name}: the digests of the CPU")
                for call in ("dispatch", "combine"):
                    rows, most = result[call]["scale_out_rows"], wanted[call]["scale_out_rows"]
                    expect(rows == most, f"{name}: {rows} rows of a {call} crossed, {most} on the CPU")
            if result:
                expect(result["cuda"]["graph"] == ("--graph" in way), "it says whether calls were replayed")


for node_sizes in ("2", "1,1", "2,2", "1,3"):
    compare(node_sizes, WAYS)
compare("2,2", MORE_WAYS)

# Between nodes over a network, by the proxies of the ranks.
status, out, err = run("run", "--node-sizes", "1,1", "--tokens", "4", "--hidden", "16", *NETWORK)
if status == 0:
    network_memory()
    for node_sizes in ("1,1", "2,2", "1,1,1,1", "1,2"):
        compare(node_sizes, NETWORK_WAYS)
else:
    print(f"not over a network: {err.strip()}")

# How ranks are dealt out.
result = on_gpus("2,2", "--gpus", "1")
if result:
    expect(result["cuda"]["gpus"] == 1 and result["cuda"]["ranks_per_gpu"] == 4, f"one GPU: {result['cuda']}")
result = on_gpus("1,3", "--ranks-per-gpu", "4")
if result:
    expect(result["cuda"]["gpus"] == 1, f"four ranks on a GPU: {result['cuda']}")
result = on_gpus("2")
if result:
    expect(result["cuda"]["gpus"] == min(COUNT, 2), f"two ranks on {COUNT} GPUs: {result['cuda']}")

# Room for too few rows, in a call that fails for them.
small = ("run", "--device", "cuda", "--node-sizes", "2", "--tokens", "40", "--hidden", "32", "--rows-max", "5")
for more in ((), ("--graph",)):
    status, out, err = run(*small, *more)
    lines = err.strip().split("\n")
    good = all(line.startswith("transload: rank ") and "rows_max: " in line for line in lines)
    expect(status == 2 and out == "" and good, f"too little room {more} is told -> {status} {err.strip()}")

for named, *more in (
    ("--gpus", "--gpus", str(COUNT + 1)),
    ("--sms", "--sms", "1000"),
    ("--ranks-per-gpu", "--node-sizes", str(COUNT * 2), "--ranks-per-gpu", "1"),
):
    status, out, err = run("run", "--device", "cuda", "--node-sizes", "2", "--tokens", "4", "--hidden", "16", *more)
    good = status == 2 and out == "" and err.count("\n") == 1 and named in err
    expect(good, f"{' '.join(more)} is refused -> {status} {err.strip()}")

# Under another launcher each process is a rank and LOCAL_RANK chooses its GPU.
def under_launcher(port, local_ranks):
    joined = ("run", "--node-sizes", "2", "--tokens", tokens_of("2"), *SHAPE, "--device", "cuda", "--sms", "8")
    names = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "TRANSLOAD_PORT": port}
    started = [
        start((*joined, "--quiet", "--json", "-"), {**names, "RANK": str(r), "LOCAL_RANK": str(local_rank)})
        for r, local_rank in enumerate(local_ranks)
    ]
    return [finish(process) for process in started]


if COUNT >= 2:
    seen = under_launcher("29631", (0, 1))
    if expect([s for s, _, _ in seen] == [0, 0], f"torchrun's names: {[(s, e) for s, _, e in seen]}"):
        wanted = on_cpu("2", ())
        expect(wanted and json.loads(seen[0][1])["digest"] == wanted["digest"], "torchrun's names: the CPU's digests")
else:
    print("SKIPPED ranks under another launcher: they need 2 GPUs")

# Two processes on one GPU would wait for each other while they take turns.
seen = under_launcher("29632", (0, 0))
good = all(s == 2 and "device: ranks 0 and 1 are on GPU-" in e for s, _, e in seen)
expect(good, f"two processes on one GPU are refused -> {[(s, e) for s, _, e in seen]}")
finish_test()
