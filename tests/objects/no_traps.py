"""No kernel traps: a fault must leave the context usable. Reads the machine code of the objects that ship.

Contract 8.7.

no_traps.py SOURCE_DIR [NVCC OBJECT...]
"""
import os
import subprocess
import sys
import tempfile

PROBE = """
__global__ void plain(int* p) { p[threadIdx.x] = 1; }
__global__ void traps(int* p) { if (p[threadIdx.x] == 7) __trap(); }
__global__ void stacks(int* p, int n) {
  volatile int values[64];
  for (int i = 0; i < n; ++i) values[i] = p[i];
  p[0] = values[p[1]];
}
"""


def check_the_tool(cubin, nvcc):
    """What this reads as a trap and as the stack, the compiler means so, on both architectures."""
    with tempfile.TemporaryDirectory() as folder:
        source, made = os.path.join(folder, "probe.cu"), os.path.join(folder, "probe.o")
        with open(source, "w", encoding="utf-8") as file:
            file.write(PROBE)
        subprocess.run([nvcc, "-O3", "-gencode=arch=compute_90a,code=sm_90a", "-gencode=arch=compute_100a,code=sm_100a",
                        "-c", source, "-o", made], check=True)
        seen = set()
        for kernel in cubin.kernels_of(made):
            name, opcodes = cubin.source_name(kernel.name), cubin.opcodes(kernel)
            seen.add((name, kernel.arch))
            stacks = opcodes[cubin.STORE_LOCAL] > 0 and opcodes[cubin.LOAD_LOCAL] > 0 and kernel.stack_bytes > 0
            has = {"traps": opcodes[cubin.TRAP] > 0, "stacks": stacks}
            wrong = [what for what, there in has.items() if there != (what == name)]
            if wrong:
                sys.exit(f"the probe {name} for {kernel.arch} reads wrongly: {has}")
        if len(seen) != 6:
            sys.exit(f"of 3 probes for 2 architectures these were read: {sorted(seen)}")


def main():
    if len(sys.argv) < 4:
        print("skipped: this build has no kernels, as it has no CUDA")
        sys.exit(77)
    source_dir, nvcc, *objects = sys.argv[1:]
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.join(source_dir, "tools"))
    import cubin
    check_the_tool(cubin, nvcc)
    kernels = [kernel for path in objects for kernel in cubin.kernels_of(path)]
    if not kernels:
        sys.exit(f"no kernel in {len(objects)} objects")
    traps = [(kernel, cubin.opcodes(kernel)[cubin.TRAP]) for kernel in kernels]
    for kernel, count in traps:
        if count:
            print(f"{cubin.source_name(kernel.name)} {kernel.arch}: {count} trap instructions")
    wrong = sum(count > 0 for _, count in traps)
    print(f"{len(kernels)} kernels, {wrong} that trap")
    sys.exit(1 if wrong else 0)


main()
