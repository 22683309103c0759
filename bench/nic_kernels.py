"""What the code that drives a NIC costs where there is none: runs the kernels for mapped rails and those that can fill
queues in turns, both on mapped rails. Nodes of 1,1, on two GPUs or on one.

python bench/nic_kernels.py PROGRAM SOFT_NIC_PROGRAM [--turns 3] [--tokens 1024]
SOFT_NIC_PROGRAM is gpu/soft_nic_gpu of a build with NVSHMEM's headers.
Prints a line of JSON for each run, and one with the ratios of the medians. It says nothing about a NIC: no entry is
filled. A kernel with more registers may also run fewer warps, which is part of what is measured.
"""
from in_turns import compare, turn_options

options = turn_options(__doc__)
options.add_argument("soft_nic_program")
given = options.parse_args()
ALIKE = ("--threads", "--scale-out", "loopback")
compare("nic_kernels_1,1", "nic_kernels_of_mapped", given, {
    "mapped": ((given.program, *ALIKE), {}),
    "ibgda_on_mapped": ((given.soft_nic_program, *ALIKE), {"SOFT_NIC": "mapped"}),
})
