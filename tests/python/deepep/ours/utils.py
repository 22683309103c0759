"""What round_trip.py shares, as the scripts of DeepEP do: start-up on GPUs, casts, timing."""
import inspect
import os

import torch
import torch.distributed as dist


def init_dist(local_rank, num_local_ranks):
    options = {
        "backend": "nccl",
        "init_method": f"tcp://{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}",
        "world_size": int(os.environ.get("WORLD_SIZE", 1)) * num_local_ranks,
        "rank": int(os.environ.get("RANK", 0)) * num_local_ranks + local_rank,
    }
    if "device_id" in inspect.signature(dist.init_process_group).parameters:
        options["device_id"] = torch.device(f"cuda:{local_rank}")
    dist.init_process_group(**options)
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device("cuda")
    torch.cuda.set_device(local_rank)
    return dist.get_rank(), dist.get_world_size(), dist.new_group(list(range(options["world_size"])))


def cast_to_fp8(x):
    """(fp8 [T, H], scales [T, H / 128])"""
    blocks = x.float().view(len(x), -1, 128)
    largest = blocks.abs().amax(2).clamp(1e-4)
    return (blocks * (448 / largest[:, :, None])).to(torch.float8_e4m3fn).view(x.shape), largest / 448


def bench(fn):
    """Seconds of a call on a GPU."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    fn()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3, 0, 0


def bench_kineto(fn, kernel_names):
    """Seconds of kernels on a GPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        fn()
    return tuple(sum(each.cuda_time for each in profile.key_averages() if name in each.key) for name in kernel_names)
