# As soft_roce: the whole ladder of threads and processes, some of it through proxies, and machines that have to fail.
import sys

from _soft_roce import play, spoiled

# Rung 07 by threads, five endpoints in one process, has ended in a segmentation fault once, whose cause is not known.
RUNGS = ("01", "02", "03", "04", "05", "06", "07", "11")
LADDERS = {
    "threads": (RUNGS, "Wires/*ordered_threads", 300),
    "processes": ((*RUNGS, "08"), "Wires/*ordered_processes:Wires/*ordered_processes_pieces-*Rung08*_pieces", 500),
    # The rest takes longer over a proxy, on an emulated processor, than a test has patience.
    "proxied": (("01", "04"), "Wires/Rung01*threads_proxied:Wires/Rung04*.TheSource*threads_proxied", 120),
}

spoiled()
sys.exit(play(("1,1", "2,2", "1,2"), LADDERS, 860))
