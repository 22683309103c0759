"""The program over loopback and over NVSHMEM's heap in turns, on two GPUs of one host: 1,1, where the heap's rails are
peer memory too, so that both should take the same time.

python bench/nvshmem_heap.py PROGRAM [--turns 3]
TRANSLOAD_NVSHMEM names the library, if the loader does not know it.
Prints a line of JSON for each run, and one with the ratios of the medians (the heap's over loopback's).
"""
import argparse
import json
import statistics
import subprocess

TOKENS = 1024  # few, because each run verifies all it gets
SHAPE = ("--device", "cuda", "--node-sizes", "1,1", "--tokens", str(TOKENS), "--hidden", "7168", "--experts", "256",
         "--top-k", "8", "--iterations", "30", "--warmup", "5", "--json", "-", "--quiet")
CALLS = {
    "dispatch_first": ("dispatch", "first_us"),
    "dispatch_cached": ("dispatch", "cached_us"),
    "combine": ("combine", "us"),
}


def measured(program, way):
    run = subprocess.run((program, "run", *SHAPE, "--scale-out", way), capture_output=True, text=True, timeout=100,
                         check=False)
    if run.returncode != 0:
        raise SystemExit(f"--scale-out {way} ended with {run.returncode}: {run.stderr.strip()[-600:]}")
    result = json.loads(run.stdout)
    if not result["verified"]:
        raise SystemExit(f"--scale-out {way}: rows were wrong")
    return {call: result[of][span]["median"] for call, (of, span) in CALLS.items()}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("program")
    options.add_argument("--turns", type=int, default=3)
    given = options.parse_args()
    of_way = {"loopback": [], "nvshmem": []}
    for _ in range(given.turns):
        for way, found in of_way.items():
            found.append(measured(given.program, way))
            print(json.dumps({"case": "heap_1,1", "method": way, "tokens": TOKENS, "us": found[-1]}), flush=True)
    middle = {way: {call: statistics.median(f[call] for f in found) for call in CALLS} for way, found in of_way.items()}
    ratios = {call: round(middle["nvshmem"][call] / middle["loopback"][call], 3) for call in CALLS}
    print(json.dumps({"case": "heap_of_loopback", "turns": given.turns, "ratio": ratios}))


main()
