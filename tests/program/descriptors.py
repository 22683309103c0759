# A rank that runs out of descriptors while a group is made: every rank says so, with the limit, and blames no other.
import itertools
import resource

from _common import PATIENT, expect, finish, finish_test, free_port, run, start

SMALL = ("--tokens", "4", "--hidden", "16", "--experts", "8", "--top-k", "2", "--iterations", "1", "--warmup", "0")


def few(most):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def two_ranks(nodes, most):
    """(status, what it said) of two processes, the second of which may have so many descriptors."""
    arguments = ("run", "--node-sizes", nodes, *SMALL, *PATIENT)
    port, started = free_port(), []
    for rank, lower in enumerate((None, few(most))):
        names = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "TRANSLOAD_PORT": port}
        started.append(start(arguments, names, preexec_fn=lower))
    return [(status, out + err) for status, out, err in map(finish, started)]


# From so few that the rank only meets the other one, to enough. What the other prints is the verdict.
for nodes in ("2", "1,1"):
    for most in itertools.count(4):
        seen = two_ranks(nodes, most)
        if [status for status, _ in seen] == [0, 0]:
            break
        told = [f"ulimit -n {most}" in said and "rank 0 is" not in said for _, said in seen]
        expect(all(told) and all(status in (2, 3) for status, _ in seen), f"{nodes} with {most} descriptors: {seen}")
    expect(most > 6, f"{nodes}: {most} descriptors were enough")

# Ranks of one process, which share them.
for most in range(18, 200, 6):
    status, out, err = run("run", "--node-sizes", "2,2", "--threads", *SMALL, *PATIENT, "--launcher", "none",
                           preexec_fn=few(most))
    if status == 0:
        break
    expect(f"ulimit -n {most}" in out + err, f"ranks as threads with {most} descriptors: {status} {out}{err}")
expect(status == 0, f"ranks as threads with {most} descriptors: {status} {out}{err}")
finish_test()
