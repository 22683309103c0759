"""Two ways of the program in turns on GPUs of one host, nodes of 1,1: a line of JSON for each run, and one with the
ratios of the medians. Shared by the scripts beside it."""
import json
import os
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


def measured(name, command, environment):
    run = subprocess.run((command[0], "run", *SHAPE, *command[1:]), capture_output=True, text=True, timeout=100,
                         check=False, env={**os.environ, **environment})
    if run.returncode != 0:
        raise SystemExit(f"{name} ended with {run.returncode}: {run.stderr.strip()[-600:]}")
    result = json.loads(run.stdout)
    if not result["verified"]:
        raise SystemExit(f"{name}: rows were wrong")
    return {call: result[of][span]["median"] for call, (of, span) in CALLS.items()}


def compare(case, ratio_case, turns, ways):
    """`ways`: by name a command and what of the environment it needs. The first is what the second is compared with."""
    base, other = ways
    of_way = {name: [] for name in ways}
    for _ in range(turns):
        for name, found in of_way.items():
            found.append(measured(name, *ways[name]))
            print(json.dumps({"case": case, "method": name, "tokens": TOKENS, "us": found[-1]}), flush=True)
    middle = {name: {call: statistics.median(f[call] for f in found) for call in CALLS}
              for name, found in of_way.items()}
    ratios = {call: round(middle[other][call] / middle[base][call], 3) for call in CALLS}
    print(json.dumps({"case": ratio_case, "turns": turns, "ratio": ratios}))
