"""Programs of training's shape: two autograd functions over a buffer that is kept, and custom ops with the handle by
number. Outputs and gradients against a dense layer.
"""
import itertools

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from deep_ep_ranks import NODES, on_ranks  # noqa: E402
from dense import EXPERTS, FACTORS, HIDDEN, Tokens, everybody, received, same  # noqa: E402

from transload import deep_ep  # noqa: E402
from transload.deep_ep import utils  # noqa: E402


class Kept:
    """The buffer of a rank, made anew if another group comes, or if it has too few bytes."""

    buffer = None

    def get(self, group, hidden_bytes):
        nvl = rdma = 0
        for config_of in (deep_ep.Buffer.get_dispatch_config, deep_ep.Buffer.get_combine_config):
            config = config_of(group.size())
            nvl = max(config.get_nvl_buffer_size_hint(hidden_bytes, group.size()), nvl)
            rdma = max(config.get_rdma_buffer_size_hint(hidden_bytes, group.size()), rdma)
        had = self.buffer
        if had is None or had.group != group or had.num_nvl_bytes < nvl or had.num_rdma_bytes < rdma:
            self.buffer = deep_ep.Buffer(group, nvl, rdma)
        return self.buffer


def event_before(asynchronous):
    return utils.EventOverlap(utils.EventHandle()) if asynchronous else None


class FusedDispatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, indices, probs, kept, group, asynchronous):
        buffer = kept.get(group, x.size(1) * max(x.element_size(), 2))
        how = {"async_finish": asynchronous, "allocate_on_comm_stream": asynchronous}
        per_rank, per_node, per_expert, in_rank, layout_event = buffer.get_dispatch_layout(
            indices, EXPERTS, previous_event=event_before(asynchronous), **how)
        got, got_indices, got_probs, counts, handle, event = buffer.dispatch(
            x,
            topk_idx=indices,
            topk_weights=probs,
            num_tokens_per_rank=per_rank,
            num_tokens_per_rdma_rank=per_node,
            is_token_in_rank=in_rank,
            num_tokens_per_expert=per_expert,
            previous_event=layout_event,
            **how,
        )
        if asynchronous:
            event.current_stream_wait()
        ctx.buffer, ctx.handle, ctx.how = buffer, handle, how
        return got, got_indices, got_probs, torch.tensor(counts, device="cpu"), handle

    @staticmethod
    def backward(ctx, grad, _indices, grad_probs, _counts, _handle):
        asynchronous = ctx.how["async_finish"]
        grad_x, grad_weights, event = ctx.buffer.combine(
            grad.contiguous(), ctx.handle, topk_weights=grad_probs.float(), previous_event=event_before(asynchronous),
            **ctx.how)
        if asynchronous:
            event.current_stream_wait()
        return grad_x, None, grad_weights, None, None, None


class FusedCombine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kept, group, handle, asynchronous):
        buffer = kept.get(group, x.size(1) * max(x.element_size(), 2))
        how = {"async_finish": asynchronous, "allocate_on_comm_stream": asynchronous}
        out, _, event = buffer.combine(x, handle=handle, previous_event=event_before(asynchronous), **how)
        if asynchronous:
            event.current_stream_wait()
        ctx.buffer, ctx.handle, ctx.how = buffer, handle, how
        return out

    @staticmethod
    def backward(ctx, grad):
        asynchronous = ctx.how["async_finish"]
        got = ctx.buffer.dispatch(
            grad.contiguous(), handle=ctx.handle, previous_event=event_before(asynchronous), **ctx.how)
        assert len(got) == 6
        if asynchronous:
            got[5].current_stream_wait()
        return got[0], None, None, None, None


def local_layer(rank, ranks, x, ids, probs):
    """The experts of a rank, differentiable in x and probs: choices by a map of rows and experts."""
    local = EXPERTS // ranks
    chosen, weight = torch.zeros(len(x), local, dtype=torch.long), torch.zeros(len(x), local, dtype=torch.float32)
    row, choice = torch.nonzero(ids != -1, as_tuple=True)
    chosen[row, ids[row, choice]] = 1
    weight = weight.index_put((row, ids[row, choice]), probs[row, choice], accumulate=True)
    factors = FACTORS[rank * local:(rank + 1) * local]
    return (x.float() * (weight * chosen * factors).sum(dim=1, keepdim=True)).to(torch.bfloat16)


def check_gradients(tokens, x, probs, out):
    """out against the layer; gradients of (out * ones and twos).sum() against those that the layer has."""
    same(out.detach(), tokens.layer())
    scale = (torch.arange(HIDDEN) % 2 + 1).to(torch.float32)
    (out.float() * scale).sum().backward()
    factors = (tokens.weights * tokens.chosen()).sum(dim=1, keepdim=True)
    same(x.grad, (factors * scale).to(torch.bfloat16))
    same(probs.grad, tokens.chosen() * (tokens.x.float() * scale).sum(dim=1, keepdim=True))


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_autograd_functions_over_a_kept_buffer(nodes, asynchronous):
    """Megatron's: two layers' forward, then their backward, by handles that were kept."""
    layers = [everybody(sum(nodes), seed=seed) for seed in (1, 2)]
    deep_ep.Buffer.set_num_sms(20)

    def work(group):
        kept, rank, open_layers = Kept(), group.rank(), []
        for tokens in layers:
            mine = tokens[rank]
            x, probs = mine.x.clone().requires_grad_(), mine.weights.clone().requires_grad_()
            got, ids, got_probs, per_expert, handle = FusedDispatch.apply(
                x, mine.ids, probs, kept, group, asynchronous)
            expected = received(rank, tokens)
            for seen, wanted in zip((got, ids, got_probs), expected):
                same(seen.detach(), wanted)
            assert per_expert.tolist() == expected[3]
            y = local_layer(rank, group.size(), got, ids, got_probs)
            out = FusedCombine.apply(y, kept, group, handle, asynchronous)
            open_layers.append((mine, x, probs, out))
        for each in reversed(open_layers):
            check_gradients(*each)
        first = kept.buffer
        return kept.get(group, 2 * HIDDEN) is first and kept.get(group, 4 * HIDDEN) is not first

    assert all(on_ranks(nodes, work))


HANDLES, NUMBERS, BUFFERS = {}, itertools.count(1), {}


@torch.library.custom_op("transload_test::dispatch", mutates_args=())
def dispatch_op(x: torch.Tensor, indices: torch.Tensor, probs: torch.Tensor,
                number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    buffer = BUFFERS[number]
    per_rank, per_node, per_expert, in_rank, _ = buffer.get_dispatch_layout(indices, EXPERTS)
    got, ids, got_probs, counts, handle, _ = buffer.dispatch(
        x, topk_idx=indices, topk_weights=probs, num_tokens_per_rank=per_rank, num_tokens_per_rdma_rank=per_node,
        is_token_in_rank=in_rank, num_tokens_per_expert=per_expert)
    key = next(NUMBERS)
    HANDLES[key] = buffer, handle
    return got, ids, got_probs, torch.tensor(counts, device="cpu"), torch.tensor(key, device="cpu")


@torch.library.custom_op("transload_test::combine", mutates_args=())
def combine_op(y: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    buffer, handle = HANDLES[key.item()]
    return buffer.combine(y, handle)[0]


def _dispatch_saves(ctx, inputs, output):
    ctx.key = output[4].item()


def _dispatch_backward(ctx, grad, _ids, grad_probs, _counts, _key):
    buffer, handle = HANDLES.pop(ctx.key)
    grad_x, grad_weights, _ = buffer.combine(grad.contiguous(), handle, topk_weights=grad_probs.float())
    return grad_x, None, grad_weights, None


def _combine_saves(ctx, inputs, output):
    ctx.key = inputs[1].item()


def _combine_backward(ctx, grad):
    buffer, handle = HANDLES[ctx.key]
    return buffer.dispatch(grad.contiguous(), handle=handle)[0], None


dispatch_op.register_autograd(_dispatch_backward, setup_context=_dispatch_saves)
combine_op.register_autograd(_combine_backward, setup_context=_combine_saves)


@pytest.mark.parametrize("nodes", NODES)
def test_custom_ops_with_the_handle_by_number(nodes):
    """torchtitan's."""
    tokens = everybody(sum(nodes))

    def work(group):
        mine, number = tokens[group.rank()], next(NUMBERS)
        BUFFERS[number] = deep_ep.Buffer(group, 1 << 20, 0)
        x, probs = mine.x.clone().requires_grad_(), mine.weights.clone().requires_grad_()
        got, ids, got_probs, counts, key = torch.ops.transload_test.dispatch(x, mine.ids, probs, number)
        assert counts.tolist() == received(group.rank(), tokens)[3]
        out = torch.ops.transload_test.combine(local_layer(group.rank(), group.size(), got, ids, got_probs), key)
        check_gradients(mine, x, probs, out)
        return BUFFERS.pop(number).group is group

    assert all(on_ranks(nodes, work))
    assert not HANDLES


def test_defaults_of_torch_do_not_matter():
    """Programs set them, and mean their own tensors. The default device is a thread's own."""
    tokens = [Tokens(rank, 6) for rank in range(2)]
    names = ("num_tokens_per_rank", "num_tokens_per_rdma_rank", "num_tokens_per_expert", "is_token_in_rank")

    def calls(group):
        buffer, mine = deep_ep.Buffer(group, 0, 0, low_latency_mode=True), tokens[group.rank()]
        layout = dict(zip(names, buffer.get_dispatch_layout(mine.ids, EXPERTS)))
        got = buffer.dispatch(mine.x, topk_idx=mine.ids, topk_weights=mine.weights, **layout)
        by_rank = buffer.dispatch(mine.x, **layout)
        packed, count, slow, _, _ = buffer.low_latency_dispatch(mine.x, mine.ids, 8, EXPERTS, round_scale=True)
        back = buffer.low_latency_combine(packed[0].to(torch.bfloat16), mine.ids, mine.weights, slow)[0]
        return got, by_rank, (packed, count, back), buffer.combine(got[0], got[4], topk_weights=got[2])

    def work(group):
        with torch.device("meta"):
            assert torch.ones(1).dtype == torch.bfloat16 and torch.ones(1).is_meta
            return calls(group)

    torch.set_default_dtype(torch.bfloat16)
    try:
        seen = on_ranks((2,), work)
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(seen, on_ranks((2,), calls)):
        for mine, wanted in zip(torch.utils._pytree.tree_leaves(one), torch.utils._pytree.tree_leaves(other)):
            if isinstance(wanted, torch.Tensor) and wanted.dim() != 3:  # past the counts they hold nothing
                same(mine, wanted)
