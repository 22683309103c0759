# tools/network_check with a fault in every stage, each of which must be told with the host that it is of.
import signal
import time

from _common import expect, finish_test
from _hosts import ADDRESSES, CABLES, HOSTS, ip
from _network_check import PORT, QUICK, Side, both, mischief, on_two_hosts, told


def stages_red():
    """Each stage of a provider fails by what it is there to find."""
    program = mischief("mischief", """
if [[ $1 == run && $* != *--fault* ]]; then exec "$program" "$@" --fault kill:3@1; fi
words=()
for word in "$@"; do [[ $word == --spoil || $word == --fault || $word == kill:* ]] || words+=("$word"); done
set -- "${words[@]}\"""")
    sides = both(*QUICK, program=program)
    told("stages that see nothing", sides, 1, "a spoiled run was not found: rank 0 ended with exit status 0, not 1",
         "rank 0 ended with exit status 3, not 0: ", "rank 3 is lost", f"[rank 3 is of host {ADDRESSES[1]}]",
         "rank 0 ended with exit status 0, not 3: ", "3 FAILED")
    wrong = mischief("wrong", '[[ $1 != link ]] || set -- "$@" --spoil')
    sides = both(*QUICK, program=wrong)
    told("wrong rows", sides, 1, "FAILED", "link tcp;ofi_rxm",
         "row 3 of ring 0, from rank 2 to rank 0, of 14336 bytes, was wrong when its count came")


def until_said(side, word, seconds=60):
    """Reads what it says up to a line with this word."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        line = side.process.stdout.readline()
        if not line or word in line:
            return word in line
    return False


def in_the_middle(what, act, *words, rows=20000000):
    """The link stage of many rows is under way when something happens to the second host, or to the cable."""
    sides = [Side(host, *QUICK[:2], "--rows", str(rows), "--row-bytes", "256", "--port", str(PORT), "--patience",
                  "3") for host in (0, 1)]
    begun = until_said(sides[0], f"reach {ADDRESSES[1]} from {ADDRESSES[0]}")
    expect(begun, f"{what}: both came to the link")
    time.sleep(1)
    begin = time.monotonic()
    act(sides[1].process)
    try:
        sides[0].finish(60)
    finally:
        sides[1].process.kill()
        sides[1].finish()
    missing = [word for word in words if word not in sides[0].said]
    expect(sides[0].process.returncode == 1 and not missing,
           f"{what}: told after {time.monotonic() - begin:.0f} s, missing {missing}"
           + (f": {sides[0].said[-1500:]}" if missing else ""))


def body():
    stages_red()
    there = f"host {ADDRESSES[1]}"
    in_the_middle("a side that is killed", lambda process: process.kill(), "is lost", f" is of {there}]",
                  f"{there} has ended its connection")
    in_the_middle("a side that is stopped", lambda process: process.send_signal(signal.SIGSTOP),
                  f"{there} said nothing for", rows=100000)
    in_the_middle("a cable that is pulled", lambda _: ip("-n", HOSTS[1], "link", "set", CABLES[1], "down"),
                  "is unreachable", f"{there} said nothing for")


on_two_hosts(body)
finish_test()
