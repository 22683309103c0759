# Ten seconds of seeds that nobody has tried. A failure prints the command that repeats it.
import re

from _common import expect, finish_test, run

status, out, err = run("sim", "--scenario", "all", "--seconds", "10", seconds=840)
print(out)
expect(status == 0 and err == "", f"fresh seeds pass -> {status} {err}")
expect(re.search(r"^fresh seeds, from --seed \d+$", out, re.M) is not None, "the first seed is said")
finish_test()
