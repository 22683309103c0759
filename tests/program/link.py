# `transload link` between two ranks of this machine: rows are compared, figures stand beside raw writes, and rows that
# have not come are found by both ends.
import json

from _common import expect, finish, finish_test, free_port, skip, start


def link(*more):
    """What rank 0 and rank 1 did: exit status, lines, what was said."""
    place = {"MASTER_ADDR": "127.0.0.1", "TRANSLOAD_PORT": free_port(), "WORLD_SIZE": "2"}
    arguments = ("link", "--rows", "200", "--row-bytes", "64,4096", *more)
    ranks = [start(arguments, {**place, "RANK": str(rank)}) for rank in (0, 1)]
    ends = []
    for process in ranks:
        status, out, err = finish(process)
        if "this build has no libfabric" in err:
            skip(err.strip())
        ends.append((status, [json.loads(line) for line in out.splitlines()], err))
    return ends


def cases(lines):
    return [(line["case"], line.get("row_bytes")) for line in lines]


(status, lines, err), (other_status, other_lines, other_err) = link()
expect((status, other_status) == (0, 0), f"a good link: both ends are content {err}{other_err}")
good = [("counted", None), ("checked", 64), ("checked", 4096), ("rows", 64), ("rows", 4096), ("count", None)]
expect(cases(lines) == good, f"every word and row is looked at before any is timed: {cases(lines)}")
checked = [line for line in lines if line["case"] == "checked"]
expect(all(line["wrong_rows_of_a_rank"] == 0 for line in checked), "no row is wrong")
expect(lines[0]["falls_of_a_word"] == 0, "no word fell")
expect(not other_lines, "one rank speaks")

(status, lines, err), (other_status, other_lines, other_err) = link("--spoil")
expect((status, other_status) == (1, 1), f"a spoiled link: neither end is content ({status}, {other_status})")
expect(cases(lines) == [("spoiled", 64), ("spoiled", 4096)], f"nothing is timed after it: {cases(lines)}")
expect(all(line["wrong_rows_of_a_rank"] > 0 for line in lines), "wrong rows are counted")
expect("was wrong when its count came" in err, f"and the first is named: {err.strip()}")
finish_test()
