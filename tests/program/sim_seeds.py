# 1,000 fixed worlds over all scenarios, one in 20 of them twice, and every mark of the core reached on the way.
# A few seeds of each over the other kinds of rail, too.
# Contract 8.8.
import re

from _common import expect, finish_test, run

WORLDS = 1000
SLOW = ("8x8", "top_k_32")  # a world of these costs as much as thirty others
LONG = ("64x8",)


def worlds(names, seeds, *more):
    arguments = [part for name in names for part in ("--scenario", name)] + list(more)
    status, out, err = run("sim", *arguments, "--seeds", str(seeds), seconds=840)
    print(out)
    done = re.search(r"^(\d+) worlds, 0 failed \((\d+) run twice", out, re.M)
    expect(status == 0 and err == "" and done is not None, f"{len(names)} scenarios pass -> {status} {err}")
    return out, int(done[1]) if done else 0, int(done[2]) if done else 0


_, listed, _ = run("sim", "--list")
names = re.findall(r"^  (\S+) ", listed.split("\ncanaries\n")[0], re.M)
quick = [name for name in names if name not in SLOW + LONG]
out, count, twice = worlds(quick, -(-WORLDS // len(quick)))
expect(count >= WORLDS and twice >= count // 25, f"{count} worlds, {twice} of them twice")
situations = {name: times for name, times in re.findall(r"^  (\w+) +(\d+)$", out, re.M)}
expect(len(situations) >= 15, f"{len(situations)} situations are counted")
for name, times in situations.items():
    expect(int(times) > 0, f"{name} is reached: {times}")
_, count, _ = worlds(SLOW, 3)
expect(count == 3 * len(SLOW), f"{count} large worlds")
for rails in ("proxy", "queues"):  # all that this machine has time for, over rails that they were not made for
    _, count, _ = worlds(("all",), 3, "--rails", rails)
    expect(count >= 3 * len(quick) - 6, f"{count} worlds over {rails}")
finish_test()
