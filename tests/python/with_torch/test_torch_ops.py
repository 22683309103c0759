"""torch.ops.transload: what torch's own checks say of the ops, and graphs that are compiled whole."""
import functools
import pathlib
import subprocess
import sys

import pytest
import torch
from ranks import on_threads, small
from test_torch_gradients import layer_inputs, moe
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from torch_ranks import Counted, torch_tokens

import transload
import transload.torch as tl

BACKENDS = ["eager", "aot_eager", "inductor"]


@pytest.fixture(autouse=True)
def compiler():
    """Each test compiles anew. Sizes that only the call knows are asked for, because rows are such."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        yield


def one_rank(**options):
    return transload.Group(0, 1, **small({"scales_max": 2, **options}))


@pytest.mark.parametrize("options", [{}, {"rows_max": 20}])
@pytest.mark.parametrize("differentiable", [False, True])
def test_opcheck(options, differentiable):
    x, ids, weights = torch_tokens(0, 6, top_k=3)
    ops = torch.ops.transload
    with one_rank() as g:
        got = ops.dispatch(x, ids, weights, g.key, **options)
        rows, handle = got[0].shape[0], got[-1]
        y, row_weights = got[0].clone(), got[3].clone()
        for each in (x, weights, y, row_weights):
            each.requires_grad_(differentiable)
        scales = torch.rand(6, 2)
        for op, arguments, more in (
            (ops.dispatch, (x, ids, weights, g.key), options),
            (ops.dispatch, (x.detach().view(torch.uint8), ids, weights, g.key, scales), options),
            (ops.combine, (y, handle, g.key, 6), {}),
            (ops.combine, (y, handle, g.key, 6, row_weights, x.detach(), x), {}),
            (ops.dispatch_backward, (y, handle, g.key, 6, row_weights), {}),
            (ops.combine_backward, (x, handle, g.key, rows), {}),
            (ops.combine_backward, (x.detach(), handle, g.key, rows, scales), {}),
        ):
            tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
            if op is not ops.dispatch:  # they cannot compare handles; graphs of it are below
                tests.append("test_aot_dispatch_dynamic")
            torch.library.opcheck(op.default, arguments, more, test_utils=tests)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{}, {"rows_max": 64}])
def test_whole_graphs(backend, options, monkeypatch):
    """The layer of the gradients' tests, forward and backward, as one graph each: what the eager one gives."""
    inputs, up, down = layer_inputs(1, (9,))

    def step(layer, g):
        x, ids, weights = inputs[0]
        leaves = [each.clone().requires_grad_() for each in (x, weights, up, down)]
        out = layer(g, leaves[0], ids, *leaves[1:], **options)
        out.float().square().sum().backward()
        return out.detach(), [leaf.grad for leaf in leaves]

    with one_rank() as g:
        expected, of_expected = step(moe, g)
        counted = Counted(monkeypatch)
        out, of_out = step(torch.compile(moe, fullgraph=True, backend=backend), g)
        assert counted() == {"dispatch": 1, "combine": 2, "cached": 1}
        assert torch.allclose(out.float(), expected.float(), rtol=0.02, atol=0.02)
        for seen, each in zip(of_out, of_expected):
            assert torch.allclose(seen.float(), each.float(), rtol=0.02, atol=0.02 * each.abs().max().item())


def test_ranks_with_and_without_tokens():
    """Ranks compile for themselves: other groups, other sizes, no rows at all."""
    tokens = (6, 0, 1)

    def layer(g, x, ids, weights, scale):
        got = tl.dispatch(g, x, ids, weights)
        return tl.combine(g, got.x * scale, got.handle, topk_weights=got.topk_weights)

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")

    def work(g):
        x, ids, weights = torch_tokens(g.rank, tokens[g.rank], top_k=3)
        scale = torch.full((), 2.0, dtype=torch.bfloat16, requires_grad=True)
        answers = []
        for call in (layer, compiled, compiled):
            leaves = x.clone().requires_grad_(), weights.clone().requires_grad_()
            back, sums = call(g, leaves[0], ids, leaves[1], scale)
            answers.append([back, sums, *torch.autograd.grad(back.float().sum() + sums.sum(), (*leaves, scale))])
        return all(torch.equal(a, b) for other in answers[1:] for a, b in zip(answers[0], other))

    assert on_threads((1, 2), work) == [True] * 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_handles_cross_the_edge_of_a_graph(backend):
    """Out of one and into another, of either kind; and cached dispatches inside."""
    x, ids, weights = torch_tokens(0, 6)

    def forth(g, x):
        got = tl.dispatch(g, x, ids, weights, rows_max=12)
        return got.x, got.handle

    def back(g, x, handle):
        return tl.combine(g, tl.dispatch(g, x, handle=handle).x * 2, handle)

    forth_in_graph, back_in_graph = (torch.compile(each, fullgraph=True, backend=backend) for each in (forth, back))
    with one_rank() as g:
        expected = back(g, x, forth(g, x)[1])
        assert torch.equal(back_in_graph(g, x, forth(g, x)[1]), expected)
        rows, handle = forth_in_graph(g, x)
        assert isinstance(handle, tl.Handle) and torch.equal(rows, forth(g, x)[0])
        assert torch.equal(back(g, x, handle), expected) and torch.equal(back_in_graph(g, x, handle), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_through_a_handle_from_outside(backend):
    """The backward in a graph is of the handle that was given, not of the one that it was compiled with."""
    def back(g, y, handle):
        return tl.combine(g, y * 2, handle)

    compiled = torch.compile(back, fullgraph=True, backend=backend)
    with one_rank() as g:
        for seed in (1, 2, 3):
            x, ids, weights = torch_tokens(0, 6, seed=seed)
            ids[seed] = -1  # a token without a row: so many rows each time
            ids[:, 0].masked_fill_((torch.arange(6) != seed) & (ids < 0).all(1), 0)
            got = tl.dispatch(g, x, ids, weights)
            assert got.x.shape[0] == 5
            answers = []
            for call in (back, compiled):
                y = got.x.clone().requires_grad_()
                out = call(g, y, got.handle)
                answers.append((out.detach(), *torch.autograd.grad(out, y, x)))
            assert all(torch.equal(a, b) for a, b in zip(*answers))


def test_what_is_made_in_a_graph_comes_out():
    x, ids, weights = torch_tokens(0, 6)
    scales = torch.rand(6, 2)

    def forth(g, x, ids, weights):
        return tl.dispatch(g, x.view(2, 3, 64), ids.view(2, 3, 2), weights.view(2, 3, 2), scales=scales.view(2, 3, 2))

    with one_rank() as g:
        expected = forth(g, x, ids, weights)
        got = torch.compile(forth, fullgraph=True, backend="aot_eager")(g, x, ids, weights)
        for name in ("x", "scales", "topk_idx", "topk_weights", "source", "rows_on_device", "expert_counts_on_device",
                     "rows_of_sources_on_device"):
            assert torch.equal(getattr(got, name), getattr(expected, name)), name
        assert tl.combine(g, got.x, got.handle).shape == (2, 3, 64)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_checkpoint_in_a_graph(backend, monkeypatch):
    """What a policy saves is not made again, though the experts are."""
    saved = {torch.ops.transload.dispatch.default, torch.ops.transload.combine.default}

    def policy(_, op, *__, **___):
        return CheckpointPolicy.MUST_SAVE if op in saved else CheckpointPolicy.PREFER_RECOMPUTE

    selective = functools.partial(create_selective_checkpoint_contexts, policy)
    inputs, up, down = layer_inputs(1, (9,))

    def layer(g, *leaves):
        def inner(x, weights, up, down):
            return moe(g, x, inputs[0][1], weights, up, down, rows_max=64).float().square()

        return checkpoint(inner, *leaves, use_reentrant=False, context_fn=selective)

    with one_rank() as g:
        answers, counted = [], Counted(monkeypatch)
        for call in (layer, torch.compile(layer, fullgraph=True, backend=backend)):
            leaves = [each.clone().requires_grad_() for each in (inputs[0][0], inputs[0][2], up, down)]
            call(g, *leaves).sum().backward()
            assert counted() == {"dispatch": 1, "combine": 2, "cached": 1}
            answers.append([leaf.grad for leaf in leaves])
        for seen, each in zip(*answers):
            assert torch.allclose(seen.float(), each.float(), rtol=0.02, atol=0.02 * each.abs().max().item())


def test_shapes_without_calls():
    """Under fake tensors nothing is sent, and sizes that only a call knows have no number."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    tokens = torch_tokens(0, 6)

    def work(g):
        mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
        with mode:
            x, ids, weights = map(mode.from_tensor, tokens)
            got = tl.dispatch(g, x, ids, weights)
            assert isinstance(got.x.shape[0], torch.SymInt) and got.x.shape[1] == 64
            assert got.topk_idx.dtype == ids.dtype and got.expert_counts_on_device.shape == (4,)
            assert got.rows_of_sources_on_device.shape == (2,) and got.rows_on_device.shape == (1,)
            assert tl.dispatch(g, x, ids, weights, rows_max=9).x.shape == (9, 64)
            assert tl.combine(g, got.x, got.handle).shape == (6, 64)
        return g.report(g.dispatch(*tokens).handle).call

    assert on_threads((2,), work) == [1, 1]


def test_what_has_gradients():
    """Through ops as straight: what depends on what requires grad, and nothing else."""
    x, ids, weights = torch_tokens(0, 6)
    with one_rank() as g:
        for of_x, of_weights in ((True, True), (True, False), (False, True)):
            leaves = x.clone().requires_grad_(of_x), weights.clone().requires_grad_(of_weights)
            rows, scales, _, row_weights, *_, handle = torch.ops.transload.dispatch(
                leaves[0], ids, leaves[1], g.key, torch.rand(6, 2))
            assert (rows.requires_grad, row_weights.requires_grad) == (of_x, of_weights) and not scales.requires_grad
            straight = tl.dispatch(g, leaves[0], ids, leaves[1])
            assert (straight.x.requires_grad, straight.topk_weights.requires_grad) == (of_x, of_weights)
            sums, sums_of_weights = torch.ops.transload.combine(rows, handle, g.key, 6)
            assert sums.requires_grad == of_x and not sums_of_weights.requires_grad
            came, scales = torch.ops.transload.combine_backward(leaves[0], handle, g.key, len(rows), torch.rand(6, 2))
            assert came.requires_grad == of_x and not scales.requires_grad


def test_another_group_is_another_graph():
    """A graph that was made for one group is not run for another."""
    x, ids, weights = torch_tokens(0, 6)
    layer = torch.compile(lambda g: tl.dispatch(g, x, ids, weights, rows_max=12).expert_counts_on_device,
                          fullgraph=True, backend="eager")
    with one_rank() as g, one_rank(experts=16) as other:
        assert layer(g).shape == (8,) and layer(other).shape == (16,) and layer(g).shape == (8,)
        other.close()
        with pytest.raises(transload.InvalidArgument, match="closed"):
            layer(other)


def test_a_group_is_dropped_though_it_was_compiled():
    x, ids, weights = torch_tokens(0, 6)
    g = one_rank()
    torch.compile(lambda g: tl.dispatch(g, x, ids, weights).x, backend="eager")(g)
    key = g.key
    torch._dynamo.reset()
    del g
    with pytest.raises(transload.InvalidArgument, match="must be the key of a group"):
        torch.ops.transload.dispatch(x, ids, weights, key)


def test_handles_by_number():
    """Where torch has no opaque types. The ops are defined once in a process, so these tests run in another one."""
    text = ("import sys, pytest, torch._dynamo, torch._library.opaque_object as opaque\n"
            "names = 'register_custom_class', 'register_opaque_type'\n"
            "there = {name: getattr(opaque, name) for name in names if hasattr(opaque, name)}\n"
            "for name in there:\n"
            "    delattr(opaque, name)\n"
            "import transload.torch.handle as handle\n"
            "for name in there:\n"
            "    setattr(opaque, name, there[name])\n"
            "assert type(handle.routings).__name__ == 'NumberedRoutings'\n"
            "some = '-q', '-p', 'no:cacheprovider', '-k', 'not number and not inductor'\n"
            "status = pytest.main([*some, *sys.argv[1:]])\n"
            "assert not handle.routings._all, 'handles that nobody has are kept'\n"
            "sys.exit(status)\n")
    folder = pathlib.Path(__file__).parent
    command = [sys.executable, "-c", text, folder / "test_torch_ops.py", folder / "test_torch_gradients.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr
