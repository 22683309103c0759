"""Runs the program over loopback and over NVSHMEM's heap in turns, on two GPUs of one host with nodes of 1,1. There the
heap's rails are peer memory too, so both should take the same time.

python bench/nvshmem_heap.py PROGRAM [--turns 3] [--tokens 1024]
TRANSLOAD_NVSHMEM names the library, if the loader does not know it.
Prints a line of JSON for each run, and one with the ratios of the medians (the heap's over loopback's).
"""
from in_turns import compare, turn_options

given = turn_options(__doc__).parse_args()
compare("heap_1,1", "heap_of_loopback", given,
        {way: ((given.program, "--scale-out", way), {}) for way in ("loopback", "nvshmem")})
