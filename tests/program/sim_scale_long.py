# 512 ranks in one world: within 10 minutes and 8 GiB on one core; how cost grows from 8 ranks to 512 is printed.
import re
import resource
import time

from _common import expect, finish_test, path, run

GIB = 1 << 30
SECONDS_MAX = 600

WORLD = """name = "nodes_{nodes}"
about = "Nodes of 8."
node_sizes = [{sizes}]
experts = {experts}
top_k = 8
hidden_bytes = 128
tokens = 64
channels = 1
slots = 2

[[call]]
op = "dispatch"
landing = "either"

[[call]]
op = "combine"
source = "either"
"""


def one_world(scenario):
    """Events, seconds of the processor, and the most memory that any child has had so far."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    status, out, err = run("sim", "--scenario", scenario, "--seed", "1", "--jobs", "1", seconds=SECONDS_MAX)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"(\d+) events", out)
    expect(status == 0 and found is not None and "1 worlds, 0 failed" in out, f"{scenario}: {status} {err}")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return int(found[1]) if found else 0, seconds, after.ru_maxrss * 1024


print("ranks     events   seconds  events/s   us a rank pair     MiB")
for nodes in (1, 2, 4, 8, 16, 32, 64):
    name = path(f"nodes_{nodes}.toml")
    with open(name, "w", encoding="utf-8") as file:
        file.write(WORLD.format(nodes=nodes, sizes=", ".join(["8"] * nodes), experts=16 * nodes))
    events, seconds, memory = one_world(name)
    ranks = 8 * nodes
    pair = seconds * 1e6 / ranks**2
    print(f"{ranks:5} {events:10} {seconds:9.2f} {events / seconds:9.0f} {pair:16.1f} {memory >> 20:7}")

begin = time.monotonic()
events, seconds, memory = one_world("64x8")
expect(time.monotonic() - begin < SECONDS_MAX, f"64x8: {events} events in {seconds:.0f} s")
expect(memory < 8 * GIB, f"64x8: {memory / GIB:.2f} GiB, at most 8")
finish_test()
