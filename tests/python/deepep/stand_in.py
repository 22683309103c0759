"""Runs a script that is written for DeepEP on GPUs, unmodified, with ranks on CPUs: tests/python/deepep/run starts it.

usage: stand_in.py REPORTS DEEPEP SCRIPT [ARGUMENT...]; REPORTS: a folder for what each rank compared; DEEPEP: the one
with deep_ep/utils, or ""

"cuda" is read as "cpu", gloo stands for NCCL, spawned processes are forked, torch.compile does nothing. Of their timing
helpers bench() calls once and bench_kineto() never, and what they give means nothing. The script finds Transload where
it imports deep_ep, and beside that DeepEP's own helpers (math, gate, refs), where a copy of DeepEP has them.
"""
import functools
import importlib
import importlib.util
import json
import os
import pathlib
import random
import runpy
import sys
import types
import warnings
import weakref

import torch
import torch.distributed as dist
from torch.overrides import TorchFunctionMode

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


# --- devices ---


def on_cpu(value):
    """The CPU for a GPU, anything else as it is."""
    if isinstance(value, torch.device) and value.type == "cuda" or isinstance(value, str) and value.startswith("cuda"):
        return torch.device("cpu")
    return value


class CudaAsCpu(TorchFunctionMode):
    """While it is active, calls of torch that name a GPU mean the CPU; equal() goes by what `Compared` says."""

    def __init__(self, compared):
        super().__init__()
        self.compared = compared

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.cuda:
            return args[0]
        args = tuple(map(on_cpu, args))
        kwargs = {name: on_cpu(value) for name, value in (kwargs or {}).items()}
        if func is torch.equal:
            return self.compared.equal(*args, **kwargs)
        return func(*args, **kwargs)


class Compared:
    """How combined elements differ from what a script expects of them.

    The scripts add by choice, Transload by rank, both in fp32, so the last bit of a bf16 may differ. A combined tensor
    is equal to another if no element is further off; how many are is reported, and judged by who started this.
    """

    def __init__(self):
        self.combined = {}  # what combine() returned, weakly, by its id
        self.elements = self.differ = self.worst = 0
        self.dispatches = 0  # that came to their end

    def watch(self, kind):
        """Takes note of what the combine() of a class returns, and counts its dispatches."""
        combine = kind.combine
        for name in ("dispatch", "low_latency_dispatch"):
            if hasattr(kind, name):
                setattr(kind, name, self._counted(getattr(kind, name)))

        def watched(*args, **kwargs):
            out = combine(*args, **kwargs)
            self.combined[id(out[0])] = weakref.ref(out[0])
            return out

        kind.combine = watched

    def _counted(self, dispatch):
        @functools.wraps(dispatch)
        def counted(*args, **kwargs):
            out = dispatch(*args, **kwargs)
            self.dispatches += 1
            return out

        return counted

    def equal(self, one, other):
        alike = one.shape == other.shape and one.dtype == other.dtype == torch.bfloat16
        if not alike or not any(self.combined.get(id(each), lambda: None)() is each for each in (one, other)):
            return torch.equal(one, other)
        steps = (in_order(one) - in_order(other)).abs()
        self.elements += steps.numel()
        self.differ += int((steps > 0).sum())
        self.worst = max(self.worst, int(steps.max()) if steps.numel() else 0)
        return self.worst <= 1

    def report(self, folder, rank):
        told = {"elements": self.elements, "differ": self.differ, "worst": self.worst, "dispatches": self.dispatches}
        (pathlib.Path(folder) / f"{rank}.json").write_text(json.dumps(told))


def in_order(x):
    """int32 of bf16: neighbours differ by 1, 0 and -0 do not differ."""
    bits = x.contiguous().view(torch.int16).to(torch.int32)
    return torch.where(bits < 0, -(bits & 0x7FFF), bits)


# --- processes and what they say to each other ---


def as_gloo_can(tensor):
    """The same memory, of a type that gloo sends."""
    return tensor.view(torch.uint8) if tensor.dtype in FP8 else tensor


def stand_in_for_nccl():
    init, all_gather, all_to_all = dist.init_process_group, dist.all_gather, dist.all_to_all_single

    def init_process_group(*_, init_method=None, world_size=-1, rank=-1, **__):
        init("gloo", init_method=init_method, world_size=world_size, rank=rank)

    def all_gather_into_tensor(out, mine, group=None, async_op=False):
        parts = [torch.empty_like(as_gloo_can(mine)) for _ in range(dist.get_world_size(group))]
        all_gather(parts, as_gloo_can(mine), group=group)
        as_gloo_can(out).view(len(parts), *parts[0].shape).copy_(torch.stack(parts))

    def all_to_all_single(out, mine, *sizes, **options):
        all_to_all(as_gloo_can(out), as_gloo_can(mine), *sizes, **options)

    dist.init_process_group = init_process_group
    dist.all_gather_into_tensor = all_gather_into_tensor
    dist.all_to_all_single = all_to_all_single


def stand_in_for_spawn(compared, reports):
    def forked(fn, args=(), nprocs=1, join=True, daemon=False, start_method="fork"):
        def rank(index, *rest):
            torch.set_num_threads(1)
            if index:
                warnings.filterwarnings("ignore", "deep_ep:")  # the first rank says it
            fn(index, *rest)
            compared.report(reports, int(os.environ.get("RANK", 0)) * nprocs + index)

        return torch.multiprocessing.start_processes(rank, args, nprocs, join, daemon, "fork")

    torch.multiprocessing.spawn = forked


def stand_in_for_cuda():
    default_device = torch.set_default_device
    torch.set_default_device = lambda device: default_device(on_cpu(device))
    torch.cuda.set_device = lambda device: None
    torch.cuda.current_device = lambda: 0
    torch.cuda.synchronize = lambda device=None: None
    torch.compile = lambda model=None, **_: model if model is not None else lambda each: each


# --- helpers of theirs ---


def bench(fn, *_, **__):
    fn()
    return 1.0, 1.0, 1.0


def bench_kineto(fn, kernel_names, *_, num_kernels_per_period=1, **__):
    each = 1.0 if num_kernels_per_period == 1 else [1.0] * num_kernels_per_period
    return (each,) * len(kernel_names) if isinstance(kernel_names, tuple) else each


class Environment(types.ModuleType):
    """deep_ep.utils.envs: start-up, seeds, printing."""

    def __init__(self):
        super().__init__("deep_ep.utils.envs")
        self.local_rank = self.global_seed = 0

    def init_dist(self, local_rank, num_local_ranks, seed=0):
        self.local_rank = local_rank
        nodes, node = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        where = f"tcp://{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        size, rank = nodes * num_local_ranks, node * num_local_ranks + local_rank
        dist.init_process_group("nccl", init_method=where, world_size=size, rank=rank)
        torch.set_default_dtype(torch.bfloat16)
        torch.set_default_device("cuda")
        self.init_seed(seed)
        return rank, size, dist.new_group(list(range(size)))

    def init_seed(self, global_seed):
        self.global_seed = global_seed
        torch.manual_seed(global_seed + dist.get_rank())
        random.seed(global_seed + dist.get_rank())

    def get_global_seed(self):
        return self.global_seed

    def get_local_seed(self):
        return self.global_seed + dist.get_rank()

    def dist_print(self, s="", once_in_node=False):
        if not once_in_node or self.local_rank == 0:
            print(s, flush=True)
        dist.barrier()


def helpers_in(folder):
    """Modules beside deep_ep.utils: DeepEP's own, and ours for start-up and timing."""
    testing = types.ModuleType("deep_ep.utils.testing")
    testing.bench, testing.bench_kineto = bench, bench_kineto
    sys.modules["deep_ep.utils.testing"] = testing
    sys.modules["deep_ep.utils.envs"] = Environment()
    for name in ("math", "gate", "refs"):
        path = pathlib.Path(folder) / "deep_ep/utils" / f"{name}.py"
        if path.exists():
            spec = importlib.util.spec_from_file_location(f"deep_ep.utils.{name}", path)
            module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)


def helpers_beside(script):
    """The module `utils` beside a script of the first versions, with our timing."""
    if (pathlib.Path(script).parent / "utils.py").exists():
        utils = importlib.import_module("utils")
        utils.bench, utils.bench_kineto = bench, bench_kineto


def put_in_place():
    """Transload's module under the name deep_ep, whatever else is installed."""
    import transload.deep_ep._C
    import transload.deep_ep.utils.event

    for name in [each for each in sys.modules if each.startswith("transload.deep_ep")]:
        sys.modules[name.removeprefix("transload.")] = sys.modules[name]
    return transload.deep_ep


def main(reports, helpers, script, *arguments):
    compared = Compared()
    stand_in_for_cuda()
    stand_in_for_nccl()
    stand_in_for_spawn(compared, reports)
    deep_ep = put_in_place()
    for name in ("Buffer", "ElasticBuffer"):
        if hasattr(deep_ep, name):
            compared.watch(getattr(deep_ep, name))
    if helpers:
        helpers_in(helpers)
    sys.argv = [script, *arguments]
    sys.path[0] = str(pathlib.Path(script).parent)
    helpers_beside(script)
    with CudaAsCpu(compared):
        runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
