# Half a minute of random runs and faults: every round verified, survivors recovered, and nothing grew.
# Contract 8.6.
import re

from _common import expect, finish_test, run

under = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}  # of a launcher that does not count
status, out, err = run(
    "run", "--soak", "30", "--node-sizes", "2,2", "--seed", "11", "--launcher", "none", extra=under, seconds=240
)
expect(status == 0, f"exit status {status} {out[-400:]} {err[-400:]}")
last = re.search(r"(\d+) rounds verified, (\d+) of them with a fault", out)
expect(bool(last) and int(last[1]) >= 8 and int(last[2]) >= 2, f"{last[0] if last else out[-200:]}")
expect("seed 11" in out, "the seed is said")

status, out, err = run("run", "--soak", "1", "--hidden", "64")
expect(status == 2 and "--soak" in err and "--hidden" in err, f"what it chooses itself is not for others to say: {err}")
finish_test()
