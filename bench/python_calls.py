"""Measures what a call from Python costs over one from C++: one rank, 8 tokens of 64, so that the call itself is small.

Calls are measured with NumPy's arrays (python) and, where torch is, with its tensors: by the same calls (torch;
no_table: where tensors cross by __dlpack__ alone), by those of transload.torch without gradients (functions) and with
them (autograd), and by V1's buffer of transload.deep_ep.
C++ and Python take turns: `bench_python_calls` (built from bench/python_calls.cc) is started once and times a batch
whenever it is told to.

python bench/python_calls.py [--program FILE] [--json FILE]
"""
import argparse
import importlib.metadata
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import time
import types

try:
    import ml_dtypes
    import numpy as np

    import transload
except ImportError as missing:
    sys.exit(f"python_calls: {missing}: pip install '.[numpy]' in the clone")

if importlib.util.find_spec("torch"):
    import transload.deep_ep
    import transload.torch as tl

CASES = ("first", "cached", "combine")
TOKENS, HIDDEN, EXPERTS, TOP_K = 8, 64, 8, 2  # as in python_calls.cc
ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "build/host/bin/bench_python_calls"
BUILD = f"(cd {ROOT} && cmake --preset host && cmake --build --preset host --target {PROGRAM.name})"


class FromNumpy:
    """The same calls with NumPy's arrays; each output becomes an array."""

    def __init__(self):
        self.group = transload.Group(0, 1, experts=EXPERTS, hidden=HIDDEN, tokens_max=64, top_k_max=TOP_K)
        self.x = np.ones((TOKENS, HIDDEN), ml_dtypes.bfloat16)
        self.topk_idx = (np.arange(TOKENS * TOP_K).reshape(TOKENS, TOP_K) % EXPERTS).astype(np.int64)
        self.topk_weights = np.ones((TOKENS, TOP_K), np.float32)
        self.handle = self.first().handle
        self.y = self.group.empty(self.x.shape)
        self.y[:] = self.x

    def first(self):
        got = self.group.dispatch(self.x, self.topk_idx, self.topk_weights)
        _ = got.x, got.topk_idx, got.topk_weights, got.source, got.expert_counts, got.rows
        return got

    def cached(self):
        return self.group.dispatch(self.x, handle=self.handle).x

    def combine(self):
        return self.group.combine(self.y, self.handle).x

    def us(self, case, count):
        call = getattr(self, case)
        begin = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - begin) / count * 1e6


class FromTorch(FromNumpy):
    """The same calls with torch's tensors."""

    differentiable = False

    def __init__(self):
        import torch

        self.group = transload.Group(0, 1, experts=EXPERTS, hidden=HIDDEN, tokens_max=64, top_k_max=TOP_K)
        self.x = torch.ones(TOKENS, HIDDEN, dtype=torch.bfloat16, requires_grad=self.differentiable)
        self.topk_idx = torch.arange(TOKENS * TOP_K).view(TOKENS, TOP_K) % EXPERTS
        self.topk_weights = torch.ones(TOKENS, TOP_K, requires_grad=self.differentiable)
        self.handle = self.first().handle
        self.y = self.group.empty((TOKENS, HIDDEN), torch.bfloat16).fill_(1).requires_grad_(self.differentiable)


class WithoutTable(FromTorch):
    """By __dlpack__ alone, as of a torch without DLPack's C exchange table."""

    def __init__(self):
        import torch

        class Tensor(torch.Tensor):
            __dlpack_c_exchange_api__ = __c_dlpack_exchange_api__ = None
            __torch_function__ = torch._C._disabled_torch_function_impl

        super().__init__()
        assert not transload.has_exchange_table(Tensor)
        self.x, self.topk_idx, self.topk_weights, self.y = (
            each.as_subclass(Tensor) for each in (self.x, self.topk_idx, self.topk_weights, self.y))


class ByFunctions(FromTorch):
    """By transload.torch; what a layer looks at becomes a tensor."""

    def first(self):
        got = tl.dispatch(self.group, self.x, self.topk_idx, self.topk_weights)
        _ = got.x, got.topk_idx, got.topk_weights
        return got

    def cached(self):
        return tl.dispatch(self.group, self.x, handle=self.handle).x

    def combine(self):
        return tl.combine(self.group, self.y, self.handle)


class ByAutograd(ByFunctions):
    """With gradients."""

    differentiable = True


class Alone:
    """A communicator of one rank, as mpi4py's."""

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 1

    def allgather(self, value):
        return [value]


class ByDeepEp(FromTorch):
    """By V1's buffer of transload.deep_ep; before a first dispatch it is asked for the layout, as programs do."""

    def __init__(self):
        self.buffer = transload.deep_ep.Buffer(None, comm=Alone())
        super().__init__()
        self.y = self.cached()  # in memory of the buffer's own group

    def first(self):
        per_rank, per_node, per_expert, in_rank, _ = self.buffer.get_dispatch_layout(self.topk_idx, EXPERTS)
        *_, handle, _ = self.buffer.dispatch(
            self.x, topk_idx=self.topk_idx, topk_weights=self.topk_weights, num_tokens_per_rank=per_rank,
            num_tokens_per_rdma_rank=per_node, is_token_in_rank=in_rank, num_tokens_per_expert=per_expert)
        return types.SimpleNamespace(handle=handle)

    def cached(self):
        return self.buffer.dispatch(self.x, handle=self.handle)[0]

    def combine(self):
        return self.buffer.combine(self.y, self.handle)[0]


class FromCpp:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def us(self, case, count):
        self.process.stdin.write(f"{case} {count}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=PROGRAM, help="bench_python_calls [%(default)s]")
    parser.add_argument("--batches", type=int, default=501,
                        help="how many batches; short ones, so that other work disturbs few [501]")
    parser.add_argument("--count", type=int, default=100, help="calls of a batch [100]")
    parser.add_argument("--json", help="a file to add lines to")
    options = parser.parse_args()
    if not options.program.is_file():
        sys.exit(f"--program {options.program}: is not there; to build it: {BUILD}")
    sides = {"cpp": FromCpp(options.program), "python": FromNumpy()}
    how = {"python": f"stable ABI {transload.build_info()['stable_abi']}"}
    if importlib.util.find_spec("torch"):
        of_torch = {"torch": FromTorch(), "no_table": WithoutTable(), "functions": ByFunctions(),
                    "autograd": ByAutograd(), "deep_ep": ByDeepEp()}
        sides |= of_torch
        how |= dict.fromkeys(of_torch, f"torch {importlib.metadata.version('torch')}")
    else:
        print("torch is not installed: its rows are skipped")
    command, lines = f"python bench/python_calls.py --batches {options.batches} --count {options.count}", []
    for case in CASES:
        seen = {side: [] for side in sides}
        for batch in range(options.batches):
            turns = list(sides)
            for turn in range(len(turns)):  # who comes last is taken off the processor most often
                side = turns[(batch + turn) % len(turns)]
                seen[side].append(sides[side].us(case, options.count))
        cpp = statistics.median(seen["cpp"])
        print(f"{case:<8} C++ {cpp:6.2f} us", end="")
        for side in how:
            over = statistics.median(b - a for a, b in zip(seen["cpp"], seen[side]))
            print(f"   {side} {over:5.2f} us over", end="")
            lines.append({"case": f"{side}_{case}", "executor": "cpu", "ranks": 1, "tokens": TOKENS, "hidden": HIDDEN,
                          "us": {"cpp": round(cpp, 2), "python": round(statistics.median(seen[side]), 2)},
                          "over_us": round(over, 2), "python": f"{transload.__version__}, {how[side]}",
                          "command": command})
        print()
    if options.json:
        with open(options.json, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
