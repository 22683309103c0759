"""What frameworks call of ElasticBuffer: their arguments, in their order, what they read; against a dense layer.

An expert multiplies by dense.factor, a choice by its weight. Weights are eighths, so that all sums are exact in bf16.
"""
import itertools

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import dense_v2 as dense  # noqa: E402
from dense_v2 import HIDDEN, TOKENS_MAX, TOP_K  # noqa: E402
from deep_ep_ranks import NODES, on_ranks  # noqa: E402

from transload import deep_ep  # noqa: E402


def programs(nodes, program):
    """program(process group, tokens, experts) of each rank gives [T, H]; what comes must be the dense layer's."""
    ranks, experts = sum(nodes), 2 * sum(nodes)
    for counts in dense.COUNTS.values():
        everybody = dense.world(ranks, counts, experts)
        out = on_ranks(nodes, lambda group: program(group, everybody[group.rank()], experts))
        for mine, seen in zip(everybody, out):
            assert seen.dtype == torch.bfloat16 and torch.equal(seen, weighted(mine))


def weighted(mine):
    """[T, H]: the dense layer."""
    scale = torch.where(mine.ids < 0, 0, dense.factor(mine.ids) * mine.weights).sum(1)
    return (mine.x * scale[:, None]).to(mine.x.dtype)


def first_expert(group, experts):
    return group.rank() * (experts // group.size())


def experts_on_rows(x, ids, weights, first):
    """[M, H]: of rows with their choices, added for each row."""
    scale = torch.where(ids < 0, 0, dense.factor(ids + first) * weights).sum(1)
    return (x.float() * scale[:, None]).to(torch.bfloat16)


def experts_by_counts(x, counts, first, weights=None):
    """[N, H]: of rows by expert, of which each has counts[expert], gaps included."""
    whose = torch.arange(len(counts), device=x.device).repeat_interleave(torch.tensor(counts, device=x.device))
    scale = dense.factor(whose + first)
    return (x.float() * (scale if weights is None else scale * weights)[:, None]).to(torch.bfloat16)


# --- vLLM ---


def vllm_buffer(group):
    return deep_ep.ElasticBuffer(
        group=group, num_max_tokens_per_rank=TOKENS_MAX, hidden=HIDDEN, num_topk=TOP_K, use_fp8_dispatch=False,
        allow_hybrid_mode=False, prefer_overlap_with_compute=False, allow_multiple_reduction=False,
        num_cpu_timeout_secs=1800, num_gpu_timeout_secs=1800, explicitly_destroy=True)


def vllm_dispatch(buffer, mine, experts, do_expand, do_cpu_sync):
    assert buffer.get_theoretical_num_sms(num_experts=experts, num_topk=TOP_K) > 0
    return buffer.dispatch(
        x=mine.x, topk_idx=mine.ids, topk_weights=mine.weights, num_experts=experts,
        num_max_tokens_per_rank=TOKENS_MAX, do_expand=do_expand, do_cpu_sync=do_cpu_sync,
        async_with_compute_stream=False)


def vllm_decode(group, mine, experts):
    """Nothing waits for a count: rows past the last element of the prefix sums are masked."""
    buffer = vllm_buffer(group)
    x, ids, weights, handle, event = vllm_dispatch(buffer, mine, experts, False, False)
    assert event.event is None and handle.num_recv_tokens_per_expert_list == []
    assert len(x) == group.size() * TOKENS_MAX
    past = torch.arange(len(x), device=x.device) >= handle.psum_num_recv_tokens_per_scaleup_rank[-1]
    ids = torch.where(past[:, None] | (ids < 0), -1, ids + first_expert(group, experts))
    y = experts_on_rows(x, ids, weights, 0).masked_fill_(past[:, None], float("nan"))
    out = buffer.combine(x=y, handle=handle, topk_weights=None, async_with_compute_stream=False,
                         allocate_on_comm_stream=False)[0]
    buffer.destroy()
    return out


def vllm_prefill(group, mine, experts):
    buffer = vllm_buffer(group)
    x, ids, weights, handle, _ = vllm_dispatch(buffer, mine, experts, True, True)
    assert ids is None
    counts = handle.num_recv_tokens_per_expert_list
    y = experts_by_counts(x, counts, first_expert(group, experts), weights)
    out, none, event = buffer.combine(x=y, handle=handle, topk_weights=None, async_with_compute_stream=True,
                                      allocate_on_comm_stream=True)
    assert none is None
    event.current_stream_wait()
    buffer.destroy()
    return out


# --- SGLang ---


def sglang(group, mine, experts):
    """fp8 with scales in columns for the GEMM, 128 rows a piece; a rank with no token pads one that nobody gets."""
    buffer = deep_ep.ElasticBuffer(
        group, num_max_tokens_per_rank=TOKENS_MAX, hidden=HIDDEN, num_topk=TOP_K, use_fp8_dispatch=True,
        allow_hybrid_mode=True, sl_idx=0, prefer_overlap_with_compute=False)
    assert buffer.num_bytes > 0
    tokens, sms = len(mine.x), buffer.get_theoretical_num_sms(experts, TOP_K)
    x, ids, weights = mine.x, mine.ids, mine.weights
    if not tokens:
        x, ids = x.new_zeros((1, HIDDEN)), torch.full((1, TOP_K), -1, dtype=torch.int64, device="cpu")
        weights = weights.new_zeros((1, TOP_K))
    scales = torch.full((len(x), HIDDEN // 16), 0.5, dtype=torch.float32, device="cpu")
    (rows, row_scales), none, row_weights, handle, _ = buffer.dispatch(
        ((x * 2).to(torch.float8_e4m3fn), scales), topk_idx=ids, topk_weights=weights, num_experts=experts,
        num_max_tokens_per_rank=TOKENS_MAX, expert_alignment=128, num_sms=sms,
        num_qps=buffer.get_theoretical_num_qps(sms), use_tma_aligned_col_major_sf=True, do_cpu_sync=True,
        do_expand=True)
    assert none is None and row_scales.stride(0) == 1 and row_scales.stride(1) % 4 == 0
    came = handle.psum_num_recv_tokens_per_scaleup_rank[-1].item()
    counts, ends = handle.num_recv_tokens_per_expert_list, handle.psum_num_recv_tokens_per_expert
    assert len(rows) == sum(counts) and all(count % 128 == 0 for count in counts)
    assert came <= len(handle.recv_src_metadata)
    real = torch.zeros(len(rows), dtype=torch.bool, device="cpu")
    for begin, end in zip(itertools.accumulate([0, *counts]), ends.tolist()):
        real[begin:end] = True
    values = (rows.float().view(len(rows), HIDDEN // 16, 16) * row_scales[:, :, None]).view(rows.shape)
    y = experts_by_counts(values, counts, first_expert(group, experts), row_weights)
    y[~real] = float("nan")
    out = buffer.combine(y, handle=handle, topk_weights=None, num_sms=sms,
                         num_qps=buffer.get_theoretical_num_qps(sms))[0]
    return out[:tokens]


# --- torchtitan ---

_buffers, _handles, _ids = {}, {}, itertools.count()


@torch.library.custom_op("transload_test_v2::dispatch", mutates_args=())
def titan_dispatch(x: torch.Tensor, topk_idx: torch.Tensor, topk_weights: torch.Tensor, experts: int, expand: bool,
                   key: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    buffer = _buffers[key]
    rows, ids, weights, handle, _ = buffer.dispatch(
        x, topk_idx=topk_idx, topk_weights=topk_weights, num_experts=experts,
        num_max_tokens_per_rank=buffer.num_max_tokens_per_rank, num_sms=0, do_expand=expand, do_cpu_sync=True)
    number = next(_ids)
    _handles[number] = (buffer, handle)
    ends = handle.psum_num_recv_tokens_per_expert
    counts = torch.diff(ends, prepend=ends.new_zeros(1))  # nothing is aligned
    assert counts.tolist() == handle.num_recv_tokens_per_expert_list
    ids = counts if ids is None else ids
    return rows, ids, weights, torch.tensor([number], dtype=torch.int64, device="cpu")


def _keep_dispatch(ctx, inputs, output):
    ctx.made = _handles[output[3].item()]


def _dispatch_backward(ctx, grad_rows, _, grad_weights, __):
    buffer, handle = ctx.made
    grad_x, grad_topk_weights, event = buffer.combine(
        grad_rows, handle=handle, topk_weights=grad_weights.float(), async_with_compute_stream=True)
    event.current_stream_wait()
    return grad_x, None, grad_topk_weights, None, None, None


titan_dispatch.register_autograd(_dispatch_backward, setup_context=_keep_dispatch)


@torch.library.custom_op("transload_test_v2::combine", mutates_args=())
def titan_combine(y: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    buffer, handle = _handles[number.item()]
    out, _, event = buffer.combine(y, handle=handle, topk_weights=None, async_with_compute_stream=True)
    event.current_stream_wait()  # theirs waits later
    return out


def _keep_combine(ctx, inputs, output):
    ctx.made = _handles.pop(inputs[1].item())


def _combine_backward(ctx, grad_out):
    buffer, handle = ctx.made
    told = {"do_expand": True} if handle.do_expand else {}
    grad_y = buffer.dispatch(grad_out, handle=handle, num_sms=handle.num_sms, do_cpu_sync=False, **told)[0]
    return grad_y, None


titan_combine.register_autograd(_combine_backward, setup_context=_keep_combine)


def titan(expand):
    def program(group, mine, experts):
        """Forward, and the gradients of x and weights against those of the dense layer."""
        hint = deep_ep.ElasticBuffer.get_buffer_size_hint(group, TOKENS_MAX, HIDDEN, TOP_K)
        buffer = deep_ep.ElasticBuffer(
            group, num_bytes=hint, num_max_tokens_per_rank=TOKENS_MAX, hidden=HIDDEN, num_topk=TOP_K,
            use_fp8_dispatch=False, deterministic=True, explicitly_destroy=True)
        assert buffer.group is group and buffer.num_bytes == hint and buffer.num_max_tokens_per_rank == TOKENS_MAX
        key = next(_ids)
        _buffers[key] = buffer
        x, weights = mine.x.clone().requires_grad_(), mine.weights.clone().requires_grad_()
        rows, ids, row_weights, number = titan_dispatch(x, mine.ids, weights, experts, expand, key)
        first = first_expert(group, experts)
        if expand:
            y = experts_by_counts(rows, ids.tolist(), first, row_weights)
        else:
            y = experts_on_rows(rows, ids, row_weights, first)
        out = titan_combine(y, number)
        out.backward(mine.x)
        dense_x, dense_weights = mine.x.clone().requires_grad_(), mine.weights.clone().requires_grad_()
        weighted(dense.Tokens(dense_x, mine.ids, dense_weights, None)).backward(mine.x)
        assert torch.equal(x.grad, dense_x.grad)
        assert torch.equal(weights.grad, dense_weights.grad)
        del _buffers[key]  # theirs never calls destroy()
        return out.detach()

    return program


# --- LightLLM ---


def lightllm(group, mine, experts):
    """It keeps its own ids, moves the expanded rows, and writes into the handle where they lie."""
    buffer = deep_ep.ElasticBuffer(group, num_max_tokens_per_rank=TOKENS_MAX, hidden=HIDDEN, num_topk=TOP_K)
    x, _, weights, handle, _ = buffer.dispatch(
        mine.x, topk_idx=mine.ids, topk_weights=mine.weights, num_experts=experts,
        num_max_tokens_per_rank=TOKENS_MAX, expert_alignment=16, do_handle_copy=False, do_cpu_sync=True,
        do_expand=True, do_zero_padding=True)
    assert handle.topk_idx.data_ptr() == mine.ids.data_ptr()
    slots = handle.recv_src_metadata[:, 2:].clone()
    y = experts_by_counts(x, handle.num_recv_tokens_per_expert_list, first_expert(group, experts), weights)
    gaps = torch.ones(len(y), dtype=torch.bool, device="cpu")
    gaps[slots[slots >= 0].long()] = False
    assert not y[gaps].any()
    moved = torch.roll(torch.arange(len(y), device="cpu"), 3)
    moved_y = torch.empty_like(y)
    moved_y[moved] = y
    if len(y):
        handle.recv_src_metadata[:, 2:] = torch.where(slots < 0, -1, moved[slots.clamp(min=0).long()]).to(torch.int32)
    return buffer.combine(moved_y, handle)[0]


PROGRAMS = {"vLLM decode": vllm_decode, "vLLM prefill": vllm_prefill, "SGLang": sglang, "torchtitan": titan(False),
            "torchtitan by expert": titan(True), "LightLLM": lightllm}


@pytest.mark.filterwarnings("ignore:deep_ep:UserWarning")  # of arguments without an effect, which all of them give
@pytest.mark.parametrize("nodes", NODES, ids=str)
@pytest.mark.parametrize("framework", PROGRAMS)
def test_program(framework, nodes):
    programs(nodes, PROGRAMS[framework])
