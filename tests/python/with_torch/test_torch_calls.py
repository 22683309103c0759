"""Dispatch and combine of torch's tensors: what comes, what is refused, whatever torch's own state is."""
import numpy as np
import pytest
import torch
from ranks import BF16, check_dispatch, combined, numpy_type, on_threads, same, small, tokens_of
from torch_ranks import defaults, to_numpy, to_torch, torch_tokens

import transload
import transload.torch as tl

NODES = [(1,), (3,), (2, 2)]
TYPES = ["bfloat16", "float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool", "complex64",
         "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"]


class AsNumpy:
    """What came, as `check_dispatch` looks at it."""

    def __init__(self, got, ids, dtype=BF16):
        self.rows = self.rows_needed = got.x.shape[0]
        self.x = to_numpy(got.x, dtype)
        self.source, self.topk_weights = got.source.numpy(), got.topk_weights.detach().numpy()
        assert got.topk_idx.dtype == ids.dtype
        self.topk_idx = got.topk_idx.numpy()
        self.rows_on_device = got.rows_on_device.numpy()
        self.expert_counts_on_device = got.expert_counts_on_device.numpy()
        self.expert_counts = self.expert_counts_on_device.tolist()
        self.source_rows = got.rows_of_sources_on_device.tolist()
        self.rows_of_sources_on_device = got.rows_of_sources_on_device.numpy()


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("ids", [np.int32, np.int64])
def test_trip(nodes, ids):
    inputs = [tokens_of(rank, 5 + 3 * rank if rank != 1 else 0, ids=ids) for rank in range(sum(nodes))]
    backs = [None] * len(inputs)

    def work(g):
        x, topk_idx, topk_weights = map(to_torch, inputs[g.rank])
        got = tl.dispatch(g, x, topk_idx, topk_weights)
        check_dispatch(g.rank, AsNumpy(got, topk_idx), inputs)
        assert got.scales is None and not got.x.requires_grad
        y = got.x * (g.rank + 1.5)
        backs[g.rank] = to_numpy(y, BF16)
        again = tl.dispatch(g, x, handle=got.handle)
        assert torch.equal(again.x, got.x) and again.handle is got.handle
        assert again.topk_idx is None and again.topk_weights is None and again.source is None
        return tl.combine(g, y, got.handle), tl.combine(g, y, got.handle, topk_weights=got.topk_weights, bias=x)

    for rank, (seen, (biased, weights)) in enumerate(on_threads(nodes, work)):
        all_ids = [each[1] for each in inputs]
        same(to_numpy(seen, BF16), combined(rank, nodes, all_ids, backs).astype(BF16))
        same(to_numpy(biased, BF16), combined(rank, nodes, all_ids, backs, [inputs[rank][0]]).astype(BF16))
        same(weights.numpy(), np.where(all_ids[rank] < 0, np.float32(0), inputs[rank][2]))


@pytest.mark.parametrize("name", TYPES)
def test_types(name):
    inputs = [tokens_of(rank, 9, dtype=numpy_type(name)) for rank in range(2)]

    def work(g):
        x, ids, weights = map(to_torch, inputs[g.rank])
        for got in (tl.dispatch(g, x, ids, weights), g.dispatch(x, ids, weights)):
            assert got.x.dtype == getattr(torch, name)
            check_dispatch(g.rank, AsNumpy(got, ids, inputs[0][0].dtype), inputs)

    on_threads((2,), work, dtype="fp32" if inputs[0][0].itemsize <= 4 else "fp64")


def test_dimensions_are_kept():
    flat = [torch_tokens(rank, 12) for rank in range(2)]

    def work(g):
        x, ids, weights = (each.reshape(2, 3, 2, -1) for each in flat[g.rank])
        got = tl.dispatch(g, x, ids, weights)
        expected = tl.dispatch(g, *flat[g.rank])
        assert torch.equal(got.x, expected.x)
        back, sums = tl.combine(g, got.x, got.handle, topk_weights=got.topk_weights, bias=(x, x))
        assert back.shape == x.shape and sums.shape == weights.shape
        assert torch.equal(back, tl.combine(g, got.x, expected.handle, bias=(flat[g.rank][0],) * 2).view(x.shape))
        one = tl.dispatch(g, x[0, 0, 0], ids[0, 0, 0], weights[0, 0, 0])
        assert tl.combine(g, one.x, one.handle).shape == (64,)

    on_threads((2,), work)


def test_room_is_zero_where_nothing_came():
    inputs = [torch_tokens(rank, 7) for rank in range(2)]

    def work(g):
        x, ids, weights = inputs[g.rank]
        fp8, scales = x.to(torch.float8_e4m3fn), torch.full((7, 2), 3.0)
        for _ in range(3):  # the memory was used before
            g.empty((1 << 18,), torch.float32).fill_(float("nan"))
            got = tl.dispatch(g, x, ids, weights, rows_max=40)
            rows = int(got.rows_on_device)
            assert got.x.shape == (40, 64) and got.handle.rows == 40 and 0 < rows < 40
            assert not got.x[rows:].any() and got.x[:rows].any()
            assert not tl.dispatch(g, x, handle=got.handle).x[rows:].any()
            small = tl.dispatch(g, fp8, ids, weights, scales=scales, rows_max=40)
            assert not small.x[rows:].view(torch.uint8).any() and not small.scales[rows:].any()
            assert torch.equal(small.scales[:rows], torch.full((rows, 2), 3.0))
            assert torch.equal(tl.combine(g, got.x, got.handle), tl.combine(g, torch.nan_to_num(got.x), got.handle))

    on_threads((2,), work, scales_max=2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_defaults_of_torch_do_not_matter(dtype):
    inputs = [torch_tokens(rank, 6) for rank in range(2)]

    def work(g):
        x, ids, weights = inputs[g.rank]
        x = x.clone().requires_grad_()
        got = tl.dispatch(g, x, ids, weights, rows_max=30)
        assert got.x.device.type == "cpu" and got.topk_weights.dtype == torch.float32
        back = tl.combine(g, got.x, got.handle, topk_weights=got.topk_weights)[0]
        back.backward(torch.ones(back.shape, dtype=back.dtype, device="cpu"))
        return back, x.grad

    expected = on_threads((2,), work)
    with defaults(dtype, "meta"):
        for seen, one in zip(on_threads((2,), work), expected):
            assert all(torch.equal(a, b) for a, b in zip(seen, one))


def test_inference_mode_and_views():
    inputs = [torch_tokens(rank, 6) for rank in range(2)]

    def work(g):
        x, ids, weights = inputs[g.rank]
        expected = tl.combine(g, (got := tl.dispatch(g, x, ids, weights)).x, got.handle)
        with torch.inference_mode():
            inside = tl.dispatch(g, x.clone(), ids, weights.clone())
            assert torch.equal(tl.combine(g, inside.x, inside.handle), expected)
        wide = torch.cat([x, x]).requires_grad_()
        for view in (wide[:6], wide.view(2, 6, 64)[1]):  # no leaf, but of one
            got = tl.dispatch(g, view, ids, weights.t().contiguous().t().contiguous())
            assert got.x.requires_grad and torch.equal(tl.combine(g, got.x, got.handle), expected)

    on_threads((2,), work)


def one_rank(**options):
    return transload.Group(0, 1, **small({"scales_max": 2, **options}))


class Tagged(torch.Tensor):
    """A plain subclass: its memory is its own."""


def test_subclasses_with_memory():
    x, ids, weights = torch_tokens(0, 4)
    with one_rank() as g:
        for kind in (torch.nn.Parameter(x, requires_grad=False), x.as_subclass(Tagged)):
            assert torch.equal(g.dispatch(kind, ids, weights).x, g.dispatch(x, ids, weights).x)
        assert torch.equal(tl.dispatch(g, torch.nn.Parameter(x), ids, weights).x, g.dispatch(x, ids, weights).x)


def test_refusals():
    """Each by name; the group is as it was."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    x, ids, weights = torch_tokens(0, 4)
    fake = FakeTensorMode(allow_non_fake_inputs=True).from_tensor(x)
    with one_rank() as g:
        handle = tl.dispatch(g, x, ids, weights).handle
        wide = torch.zeros(4, 128, dtype=torch.bfloat16)
        for call, words in (
            (lambda: g.dispatch(fake, ids, weights), "x: a FakeTensor, which has no memory of its own"),
            (lambda: g.combine(fake, handle), "handle: "),
            (lambda: g.dispatch(x.to("meta"), ids, weights), "x: .*meta"),
            (lambda: tl.dispatch(g, x.to("meta"), ids, weights), "x: .*meta"),
            (lambda: tl.dispatch(g, x, ids.to("meta"), weights), "topk_idx: .*meta"),
            (lambda: tl.dispatch(g, x, fake, weights), "topk_idx: a FakeTensor"),
            (lambda: g.dispatch(x.clone().requires_grad_(), ids, weights), "x: a tensor that requires grad"),
            (lambda: g.dispatch(x, ids, weights.clone().requires_grad_()), "topk_weights: a tensor that requires grad"),
            (lambda: g.dispatch(x, ids.double().requires_grad_(), weights), "topk_idx: a tensor that requires grad"),
            (lambda: tl.dispatch(g, x, ids.double().requires_grad_(), weights), "topk_idx: a tensor that requires"),
            (lambda: tl.dispatch(g, x.float().requires_grad_(), ids, weights), "x: of torch.float32 and requires grad"),
            (lambda: tl.dispatch(g, x.to_sparse(), ids, weights), "x: "),
            (lambda: tl.dispatch(g, wide[:, ::2], ids, weights), "x: .*contiguous"),
            (lambda: tl.dispatch(g, x, ids.float(), weights), "topk_idx: float32"),
            (lambda: tl.dispatch(g, x, ids, weights.bfloat16()), "topk_weights: bfloat16"),
            (lambda: tl.dispatch(g, x, ids), "topk_weights: not given"),
            (lambda: tl.dispatch(g, x, ids, weights, handle=handle), "topk_idx, topk_weights: given with a handle"),
            (lambda: tl.dispatch(g, x, handle=3), "handle: 3, must be that of transload.torch.dispatch"),
            (lambda: tl.dispatch(None, x, ids, weights), "group: None, must be a transload.Group"),
            (lambda: tl.combine(3, x, handle), "group: 3, must be a transload.Group"),
            (lambda: tl.combine(g, x, g.dispatch(x, ids, weights).handle), "handle: .*transload.torch.dispatch"),
            (lambda: tl.combine(g, x[:1], handle), "x: "),
            (lambda: tl.combine(g, x.float(), handle), "x: .*float32"),
            (lambda: tl.combine(g, x, handle, bias=(x, x, x)), "bias: 3 of them, must be one or a pair"),
            (lambda: tl.combine(g, x, handle._replace(routing=7)), "handle: 7, must be that of a dispatch"),
            (lambda: torch.ops.transload.dispatch(x, ids, weights, "nobody"), "group: 'nobody', must be the key of"),
        ):
            with pytest.raises(transload.InvalidArgument, match=words):
                call()
        with torch.no_grad():  # nothing is lost then
            assert torch.equal(g.dispatch(x.clone().requires_grad_(), ids, weights).x, g.dispatch(x, ids, weights).x)
        with one_rank() as other, pytest.raises(transload.InvalidArgument, match="handle"):
            tl.combine(other, x, handle)
        assert torch.equal(tl.combine(g, tl.dispatch(g, x, handle=handle).x, handle),
                           tl.combine(g, tl.dispatch(g, x, ids, weights).x, handle))
    with pytest.raises(transload.InvalidArgument, match="closed"):
        tl.dispatch(g, x, ids, weights)


def test_what_one_rank_cannot_differentiate_all_refuse():
    inputs = [torch_tokens(rank, 6, dtype=np.float32) for rank in range(2)]

    def work(g):
        x, ids, weights = inputs[g.rank]
        with pytest.raises(transload.InvalidArgument, match="x: of torch.float32 and requires grad") as caught:
            tl.dispatch(g, x.clone().requires_grad_(g.rank == 1), ids, weights)
        assert caught.value.alike
        return tl.dispatch(g, x, ids, weights).x.shape[1]

    assert on_threads((2,), work, dtype="fp32", deadline_s=60) == [64, 64]


def test_repr():
    x, ids, weights = torch_tokens(0, 4)
    with one_rank() as g:
        got = tl.dispatch(g, x, ids, weights)
        rows = got.x.shape[0]
        assert repr(got) == f"transload.torch.Dispatched([{rows}, 64], torch.bfloat16)"
        assert repr(got.handle) == f"transload.torch.Handle({rows} rows)"
