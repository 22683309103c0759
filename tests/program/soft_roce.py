# RDMA without a NIC: jobs, and what counts and bytes rest on of the ladder, over the provider verbs, on a soft RoCE
# device of an emulated machine. The rest of the ladder is soft_roce_long's, so that this ends within 90 seconds.
import sys

from _soft_roce import play

# "ordered" matches both wires: as verbs is, and as if it kept no order.
TESTS = ("Rung01*.OneOfEachSize", "Rung02*.Rows14K", "Rung04*.TheSource*", "Rung11*")
LADDERS = {
    "threads": (("01", "02", "04", "11"), ":".join(f"Wires/{test}/*ordered_threads" for test in TESTS), 150),
}

sys.exit(play(("1,1", "2,2", "1,2"), LADDERS, 240))
