# transload sim: bad usage is refused, a seed gives one digest, a canary is explained, the lists are there.
import re

from _common import expect, finish_test, path, run


def refused(named, *arguments):
    status, out, err = run("sim", *arguments)
    good = status == 2 and out == "" and err.count("\n") == 1 and named in err and err.startswith("transload: ")
    expect(good, f"sim {' '.join(arguments)[:90]} -> {status}: {err.strip()[:140]}")


for named, *arguments in (
    ("--bogus", "--bogus"),
    ("--scenario", "--scenario", "nowhere"),
    ("--scenario", "--scenario", ""),
    ("--scenario", "--scenario", "/nowhere/x.toml"),
    ("--scenario", "--scenario", "hybrid_2x4", "--scenario", "nowhere"),
    ("--seed", "--seed", "x"),
    ("--seed", "--seed", "-1"),
    ("--seeds", "--seeds", "0"),
    ("--seeds", "--seeds", "1e3"),
    ("--seconds", "--seconds", "0"),
    ("--seconds", "--seconds", "1.5"),
    ("--seconds", "--seconds", "1", "--seeds", "1"),
    ("--rails", "--rails", "smooth"),
    ("--rails", "--scenario", "stopped_proxy", "--rails", "queues"),
    ("--exhaustive", "--exhaustive", "ring", "--rails", "proxy"),
    ("--jobs", "--jobs", "0"),
    ("--jobs", "--jobs", "many"),
    ("--canary", "--canary", "parrot"),
    ("--canary", "--canary", "none"),
    ("--explain", "--explain", "--seeds", "2"),
    ("--explain", "--explain", "--seconds", "1"),
    ("--explain", "--explain", "--scenario", "all"),
    ("--canaries", "--canaries", "--scenario", "tiny_2x2"),
    ("ring, wrap, cards, two_hop or all", "--exhaustive", "moon"),
    ("--exhaustive", "--exhaustive", ""),
    ("--exhaustive", "--exhaustive", "ring", "--scenario", "tiny_2x2"),
    ("--exhaustive", "--exhaustive", "ring", "--seeds", "2"),
    ("--canary", "--exhaustive", "ring", "--canary", "parrot"),
):
    refused(named, *arguments)

with open(path("bad.toml"), "w", encoding="utf-8") as file:
    file.write('name = "bad"\nabout = "Bad."\nnode_sizes = [2, 0]\n')
refused("node_sizes", "--scenario", path("bad.toml"))


def digests(*arguments):
    status, out, err = run("sim", *arguments)
    expect(status == 0 and err == "" and out.endswith(")\n"), f"sim {' '.join(arguments)} -> {status} {err}")
    return re.findall(r"digest [0-9a-f]{16}", out)


once, again = digests("--scenario", "hybrid_2x4", "--seed", "7"), digests("--scenario", "hybrid_2x4", "--seed", "7")
expect(once == again and len(once) == 2, f"a seed has one digest {once} {again}")
other = digests("--scenario", "hybrid_2x4", "--seed", "8")
expect(other != once, f"another seed has another {other}")
many = ("--scenario", "tiny_2x2", "--scenario", "slots_1", "--seed", "3", "--seeds", "60")
alone, together = digests(*many, "--jobs", "1"), digests(*many, "--jobs", "2")
expect(alone == together and len(alone) == 3, f"threads do not change it {alone} {together}")

# Every scenario can be run over other rails, and is another world there.
rails = [digests("--scenario", "hybrid_2x4", "--seed", "7", "--rails", way) for way in ("network", "proxy", "queues")]
expect(rails[0] == once and rails[1] != once and rails[2] not in (once, rails[1]), f"rails are other worlds {rails}")
planted = ("--scenario", "hybrid_2x4", "--rails", "proxy", "--canary", "proxy_sleeps")
status, out, err = run("sim", *planted, "--seeds", "20")
command = re.search(r"transload (sim .*--rails proxy .*--explain)\n", out)
expect(status == 1 and command is not None and run(*command[1].split())[0] == 1, f"which the command keeps {err}")

# The failure names the command that explains it, which tells ring, channel, and who published what.
planted = ("--scenario", "tiny_2x2", "--canary", "no_store_fence")
status, out, err = run("sim", *planted, "--seeds", "20")
command = re.search(r"transload (sim .*--explain)\n", out)
expect(status == 1 and command is not None and "FAILED tiny_2x2, seed " in out, f"a canary fails a world {err}")
if command is not None:
    first, second = run(*command[1].split()), run(*command[1].split())
    expect(first == second and first[0] == 1, "the explanation replays")
    for word in ("landing: ", "no_store_fence", "dispatch ring between peers from rank ", ", channel 0", "not ordered"):
        expect(word in first[1], f"it says: {word}")
status, out, err = run("sim", "--scenario", "tiny_2x2", "--explain")
expect(status == 0 and "all checkers are satisfied" in out, "a good world is called good")

# Every schedule of a tiny world, and the one that a planted bug breaks.
status, out, err = run("sim", "--exhaustive", "ring")
expect(status == 0 and err == "" and out.count("  all: ") == 4, f"all schedules of ring hold -> {status} {err}")
status, out, err = run("sim", "--exhaustive", "ring", "--canary", "source_reused")
expect(status == 1 and "BROKEN reuse: " in out, f"a walk finds a canary -> {status} {err}")

status, out, err = run("sim", "--list")
expect(status == 0 and err == "", f"--list -> {status}")
for word in ("hybrid_2x4", "The standard world", "drop_off_by_one", "the row at rows_max is stored", "liveness",
             "two_hop"):
    expect(word in out, f"--list shows {word}")
finish_test()
