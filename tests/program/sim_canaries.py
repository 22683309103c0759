# Every planted bug that ships is found; of the others tools/canaries says so.
# Contract 8.9.
import re

from _common import expect, finish_test, run

status, out, err = run("sim", "--canaries", seconds=840)
print(out)
count = re.search(r"^(\d+) canaries, (\d+) found, 0 missed", out, re.M)
expect(status == 0 and err == "" and "MISSED" not in out, f"all are found -> {status} {err}")
expect(count is not None and int(count[1]) >= 20 and count[1] == count[2], "there are at least 20")
finish_test()
