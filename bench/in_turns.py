"""Runs two ways of the program in turns on GPUs of one host, nodes of 1,1, and prints a line of JSON for each run and
one with the ratios of the medians. Scripts beside it share it."""
import argparse
import json
import os
import statistics
import subprocess

SHAPE = ("--device", "cuda", "--node-sizes", "1,1", "--hidden", "7168", "--experts", "256",
         "--top-k", "8", "--iterations", "30", "--warmup", "5", "--json", "-", "--quiet")
CALLS = {
    "dispatch_first": ("dispatch", "first_us"),
    "dispatch_cached": ("dispatch", "cached_us"),
    "combine": ("combine", "us"),
}


def turn_options(about):
    """The options that all such scripts have."""
    options = argparse.ArgumentParser(description=about)
    options.add_argument("program", help="the program transload")
    options.add_argument("--turns", type=int, default=3, help="runs of each way [3]")
    options.add_argument("--tokens", type=int, default=1024,
                         help="tokens of a rank; few, because each run verifies all that it gets [1024]")
    return options


def measured(name, command, environment, tokens):
    words = (command[0], "run", *SHAPE, "--tokens", str(tokens), *command[1:])
    run = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False,
                         env={**os.environ, **environment})
    if run.returncode != 0:
        raise SystemExit(f"{name} ended with {run.returncode}: {run.stderr.strip()[-600:]}")
    result = json.loads(run.stdout)
    if not result["verified"]:
        raise SystemExit(f"{name}: rows were wrong")
    return {call: result[of][span]["median"] for call, (of, span) in CALLS.items()}


def compare(case, ratio_case, given, ways):
    """`given`: the parsed options. `ways`: by name, a command and the variables that it needs; the second is compared
    with the first."""
    base, other = ways
    of_way = {name: [] for name in ways}
    for _ in range(given.turns):
        for name, found in of_way.items():
            found.append(measured(name, *ways[name], given.tokens))
            print(json.dumps({"case": case, "method": name, "tokens": given.tokens, "us": found[-1]}), flush=True)
    middle = {name: {call: statistics.median(f[call] for f in found) for call in CALLS}
              for name, found in of_way.items()}
    ratios = {call: round(middle[other][call] / middle[base][call], 3) for call in CALLS}
    print(json.dumps({"case": ratio_case, "turns": given.turns, "tokens": given.tokens, "ratio": ratios}))
