"""A round trip in the manner of DeepEP's scripts: processes on GPUs, NCCL as the reference, lines that tell of times.

tests/python/deepep/run runs it as it runs theirs, so that what stands in for GPUs and NCCL is itself tried.
--lost WHERE UNITS: what is expected is so many units in the last place too large, in "one" element or "all".
"""
import argparse

import deep_ep
import torch
import torch.distributed as dist
from utils import bench, bench_kineto, cast_to_fp8, init_dist


def expected_rows(x, ids, rank, ranks, local):
    """What must come to this rank, by an all-to-all."""
    chosen = [((ids // local == other) & (ids >= 0)).any(1).nonzero()[:, 0] for other in range(ranks)]
    sent = torch.tensor([len(each) for each in chosen], dtype=torch.int32, device="cuda")
    came = torch.empty_like(sent)
    dist.all_to_all_single(came, sent)
    rows = torch.empty((int(came.sum()), x.shape[1]), dtype=x.dtype, device="cuda")
    dist.all_to_all_single(rows, torch.cat([x[each] for each in chosen]), came.tolist(), sent.tolist())
    return rows, came


def expected_sums(x, ids):
    """[T, H]: expert e multiplies by e % 7 + 1; rounded for each choice, then added in fp32."""
    total = torch.zeros(x.shape, dtype=torch.float32, device="cuda")
    for choice in range(ids.shape[1]):
        expert = ids[:, choice:choice + 1]
        total += torch.where(expert < 0, 0, x * (expert % 7 + 1).to(x.dtype)).float()
    return total.to(x.dtype)


def test_main(args, rank, ranks, buffer):
    local = args.num_experts // ranks
    tokens = args.num_tokens - rank % 2
    x = torch.randn((tokens, args.hidden), dtype=torch.bfloat16, device="cuda")
    scores = torch.rand((tokens, args.num_experts), dtype=torch.float32, device="cuda")
    weights, ids = torch.topk(scores, args.num_topk, dim=-1, sorted=False)
    ids.masked_fill_(torch.rand_like(weights) < 0.1, -1)
    counts = torch.empty(ranks, dtype=torch.int64, device="cuda")
    dist.all_gather_into_tensor(counts, torch.tensor([tokens], device="cuda"))
    assert counts.tolist() == [args.num_tokens - other % 2 for other in range(ranks)]

    for fp8 in (False, True):
        for do_expand in (False, True):
            if rank == 0:
                print(f"[testing] Running with {fp8=}, {do_expand=} ...", end="", flush=True)
            given = cast_to_fp8(x) if fp8 else x
            values = given[0] if fp8 else x
            rows, came = expected_rows(values, ids, rank, ranks, local)
            got, _, _, handle, event = buffer.dispatch(given, ids, weights, num_experts=args.num_experts,
                                                       do_expand=do_expand, previous_event=buffer.capture(),
                                                       async_with_compute_stream=True)
            event.current_stream_wait()
            got = got[0] if fp8 else got
            assert got.device == torch.empty(0, device="cuda").device
            assert handle.psum_num_recv_tokens_per_scaleup_rank.tolist() == came.cumsum(0).tolist()
            if not do_expand:
                assert torch.equal(got.view(torch.uint8), rows.view(torch.uint8))
            else:
                slots = handle.recv_src_metadata[:, 2:]
                row, choice = (slots >= 0).nonzero(as_tuple=True)
                assert torch.equal(got[slots[row, choice].long()].view(torch.uint8), rows[row].view(torch.uint8))
                if not fp8:
                    check_sums(args, buffer, got, handle, x, ids, rank)
            if rank == 0:
                print(" passed", flush=True)

    seconds = bench(lambda: buffer.dispatch(x, ids, weights, num_experts=args.num_experts))[0]
    kernels = bench_kineto(lambda: buffer.dispatch(x, ids, weights, num_experts=args.num_experts), ("dispatch",))
    if rank == 0:
        print(f"[timing] {x.numel() * 2 / 1e9 / seconds:.2f} GB/s, {kernels[0] * 1e6:.2f} us", flush=True)


def check_sums(args, buffer, got, handle, x, ids, rank):
    """Experts of this rank, then combine."""
    first, begin = rank * (args.num_experts // dist.get_world_size()), 0
    y = got.clone()
    for expert, end in enumerate(handle.psum_num_recv_tokens_per_expert.tolist()):
        y[begin:end] *= (first + expert) % 7 + 1
        begin = end
    combined = buffer.combine(y, handle)[0]
    expected = expected_sums(x, ids)
    where, units = args.lost
    if where == "all" or (where == "one" and rank == 0):
        lost = expected.view(torch.int16) if where == "all" else expected.view(torch.int16)[:1, :1]
        lost += int(units)
    assert torch.equal(combined, expected), "combined rows differ"


def test_loop(local_rank, num_local_ranks, args):
    rank, ranks, group = init_dist(local_rank, num_local_ranks)
    torch.manual_seed(rank)
    buffer = deep_ep.ElasticBuffer(group, num_max_tokens_per_rank=args.num_tokens, hidden=args.hidden,
                                   num_topk=args.num_topk, allow_multiple_reduction=False, explicitly_destroy=True)
    test_main(args, rank, ranks, buffer)
    buffer.destroy()
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--num-processes", type=int, default=8)
    parser.add_argument("--num-tokens", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=7168)
    parser.add_argument("--num-topk", type=int, default=4)
    parser.add_argument("--num-experts", type=int, default=256)
    parser.add_argument("--lost", nargs=2, default=("none", 0))
    told = parser.parse_args()
    torch.multiprocessing.spawn(test_loop, args=(told.num_processes, told), nprocs=told.num_processes)
