# transload sim --time: bad usage is refused, the same times again, and what a cluster of GPUs reaches of its wire: at
# least 90 % at the library's defaults on 2, 4 and 8 nodes, and less where too little is under way. The times are
# virtual: none of them is this machine's.
import re

from _common import expect, finish_test, run

BAR = 90.0
# Nodes, and tokens a rank: with fewer, the start and the tail of a call weigh more.
DEFAULTS = ((2, 4096), (4, 1024), (8, 1024))


def refused(named, *arguments):
    status, out, err = run("sim", *arguments)
    good = status == 2 and out == "" and err.count("\n") == 1 and named in err and err.startswith("transload: ")
    expect(good, f"sim {' '.join(arguments)} -> {status}: {err.strip()[:140]}")


for named, *arguments in (
    ("--nodes: '1': must be a whole number from 2 to 64", "--time", "--nodes", "1"),
    ("--gpus", "--time", "--gpus", "0"),
    ("512 ranks: must be at most 256", "--time", "--nodes", "64", "--gpus", "8"),
    ("--sms", "--time", "--sms", "0"),
    ("--wire", "--time", "--wire", "fast"),
    ("--latency-us", "--time", "--latency-us", "1.5"),
    ("--slots", "--time", "--slots", "65537"),
    ("--channels", "--time", "--channels", "1025"),
    ("--batch: '5': must be at most half of the slots, 4", "--time", "--slots", "8", "--batch", "5"),
    ("--tokens", "--time", "--tokens", "0"),
    ("--hidden: '7160': must be a multiple of 16", "--time", "--hidden", "7160"),
    ("--top-k", "--time", "--top-k", "33"),
    ("--experts: '4': must be at least --top-k, 8", "--time", "--experts", "4"),
    ("--dtype: 'fp4': must be bf16 or fp8", "--time", "--dtype", "fp4"),
    ("--rails: 'network': with --time it must be proxy or queues", "--time", "--rails", "network"),
    ("--command-ns", "--time", "--command-ns", "-1"),
    ("--seed", "--time", "--seed", "x"),
    ("--time", "--time", "--scenario", "tiny_2x2"),
    ("--time", "--time", "--seeds", "2"),
    ("--time", "--time", "--explain"),
    ("--nodes: '2': is allowed only with --time", "--nodes", "2"),
    ("--dtype: 'fp8': is allowed only with --time", "--dtype", "fp8"),
):
    refused(named, *arguments)


def times(*arguments):
    """Of each call: its microseconds, its share of the wire in percent, and what bounds it."""
    status, out, err = run("sim", "--time", *map(str, arguments))
    print(out)
    expect(status == 0 and err == "" and "virtual time" in out, f"sim --time {arguments} -> {status} {err}")
    lines = re.findall(r"^(dispatch, cached|combine) +([0-9.]+) +\d+ +([0-9.]+)% .* {3}(\S.*)$", out, re.M)
    expect(len(lines) == 2, f"two calls are told: {lines}")
    return {name: (float(us), float(share), bound) for name, us, share, bound in lines}


small = ("--gpus", 2, "--tokens", 128)
expect(times(*small) == times(*small), "a world has the same times again")
expect(times(*small) != times(*small, "--seed", 2), "and another routing has others")

for nodes, tokens in DEFAULTS:
    for call, (_, share, bound) in times("--nodes", nodes, "--tokens", tokens).items():
        expect(share >= BAR and bound == "the wire", f"{call}: {nodes} nodes reach {share} %, bound by {bound}")

_, share, bound = times("--nodes", 2, "--rails", "proxy")["dispatch, cached"]
expect(share >= 85, f"by a proxy that takes 4 million commands a second, {share} %, bound by {bound}")

# What cannot reach it: one row a ring under way; a proxy that is asked for every row by itself; too few processors.
for bounds, *arguments in (
    ("slots", "--slots", 1),
    ("slots", "--slots", 2, "--latency-us", 20),
    ("commands", "--rails", "proxy", "--batch", 1),
    ("stores", "--sms", 4),
):
    _, share, bound = times("--nodes", 2, "--tokens", 1024, *arguments)["dispatch, cached"]
    expect(share < BAR - 5 and bound == bounds, f"{arguments}: {share} % of the wire, bound by {bound}")
finish_test()
