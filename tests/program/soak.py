# Ten seconds of random runs and faults, and more of them until enough have been there: every round verified, survivors
# recovered, and nothing grew.
# Contract 8.6.
import re

from _common import expect, finish_test, run

under = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}  # of a launcher that does not count
rounds = faults = 0
for seed in range(11, 31):
    status, out, err = run("run", "--soak", "10", "--node-sizes", "2,2", "--seed", str(seed), "--launcher", "none",
                           extra=under)
    last = re.search(r"(\d+) rounds verified, (\d+) of them with a fault", out)
    if not expect(status == 0 and last, f"exit status {status} {out[-400:]} {err[-400:]}"):
        break
    expect(f"seed {seed}" in out, "the seed is said")
    rounds, faults = rounds + int(last[1]), faults + int(last[2])
    if rounds >= 8 and faults >= 2:
        break
expect(rounds >= 8 and faults >= 2, f"{rounds} rounds verified, {faults} of them with a fault")

status, out, err = run("run", "--soak", "1", "--hidden", "64")
expect(status == 2 and "--soak" in err and "--hidden" in err, f"what it chooses itself is not for others to say: {err}")
finish_test()
