# RDMA without a card: jobs and the ladder over the provider verbs, on a soft RoCE device of an emulated machine.
import sys

from _soft_roce import play

# "ordered" matches both wires: as verbs is, and as if it kept no order. Rung 07 is soft_roce_long's: with five threads
# of one process, each with an endpoint, it has ended in a segmentation fault once, whose cause is not known.
LADDERS = {
    "threads": (
        ("01", "02", "03", "04", "05", "06", "11"),
        "Wires/*ordered_threads-*Rung02*.Rows64/*:*Rung02*.Rows128/*:*Rung02*.Rows512/*:*Rung07*",
        150,
    ),
}

sys.exit(play(("1,1", "2,2", "1,2"), LADDERS, 240))
