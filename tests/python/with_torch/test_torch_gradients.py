"""Gradients of dispatch and combine: against a dense layer, to the bit where numbers are small, and who takes part."""
import contextlib
import functools

import pytest
import torch
from ranks import on_threads, small
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from torch_ranks import Counted, Dense, experts, torch_tokens

import transload
import transload.torch as tl

HIDDEN, INNER, EXPERTS = 64, 32, 8


def layer_inputs(ranks, tokens):
    """[(x, topk_idx, topk_weights)] whose values are as in training, and the weights of all experts."""
    random = torch.Generator().manual_seed(7)
    inputs = []
    for rank in range(ranks):
        _, ids, weights = torch_tokens(rank, tokens[rank], top_k=3)
        inputs.append((torch.randn(tokens[rank], HIDDEN, generator=random).bfloat16(), ids, weights))
    up, down = (torch.randn(EXPERTS, *shape, generator=random) * 0.2 for shape in ((INNER, HIDDEN), (HIDDEN, INNER)))
    return inputs, up, down


def moe(g, x, ids, weights, up, down, **options):
    """The layer of the example, over the experts of this rank."""
    got = tl.dispatch(g, x, ids, weights, **options)
    y = torch.zeros(got.x.shape, dtype=torch.float32)
    for e in range(len(up)):
        row, k = (got.topk_idx == e).nonzero(as_tuple=True)
        y = y.index_add(0, row, experts(got.x[row], up[e], down[e]) * got.topk_weights[row, k, None])
    return tl.combine(g, y.to(x.dtype), got.handle)


def close(seen, expected):
    """Within what bf16 on the way leaves: 1 % of the largest."""
    assert seen.shape == expected.shape
    scale = expected.abs().max().item() if expected.numel() else 1.0
    assert (seen.float() - expected.float()).abs().max().item() <= 0.01 * scale if expected.numel() else True


def train(g, inputs, up, down, **options):
    """This rank's part of a step; the gradients of (x, weights, up, down)."""
    x, ids, weights = inputs[g.rank]
    mine = g.local_experts()
    leaves = [each.clone().requires_grad_() for each in (x, weights, up[mine], down[mine])]
    out = moe(g, leaves[0], ids, *leaves[1:], **options)
    out.float().square().sum().backward()
    return out.detach(), [leaf.grad for leaf in leaves], mine


@pytest.mark.parametrize("nodes,tokens", [((1,), (9,)), ((2,), (9, 0)), ((1, 2), (5, 16, 1)), ((2, 2), (8, 8, 0, 3))])
@pytest.mark.parametrize("options", [{}, {"rows_max": 64}])
def test_layer_against_a_dense_one(nodes, tokens, options):
    inputs, up, down = layer_inputs(sum(nodes), tokens)
    dense = Dense(inputs, up, down)
    outs = [dense.forward(rank) for rank in range(len(inputs))]
    sum(out.square().sum() for out in outs).backward()
    seen = on_threads(nodes, lambda g: train(g, inputs, up, down, **options))
    for rank, (out, (of_x, of_weights, of_up, of_down), mine) in enumerate(seen):
        x, _, weights = dense.inputs[rank]
        close(out, outs[rank])
        close(of_x, x.grad)
        close(of_weights, weights.grad)
        close(of_up, dense.up.grad[mine])
        close(of_down, dense.down.grad[mine])


def whole(*shape, seed):
    """Small whole numbers, whose sums are exact in bf16."""
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).float()


def test_each_is_the_other_transposed():
    """<v, A u> = <A' v, u>, exactly, of dispatch and of combine, rows and weights and biases."""
    nodes, tokens = (1, 2), (5, 0, 7)

    def work(g):
        x, ids, weights = torch_tokens(g.rank, tokens[g.rank], top_k=3)
        weights = whole(*weights.shape, seed=g.rank)
        x.requires_grad_(), weights.requires_grad_()
        got = tl.dispatch(g, x, ids, weights)
        v, v_weights = whole(*got.x.shape, seed=10 + g.rank).bfloat16(), whole(*got.topk_weights.shape, seed=g.rank)
        ours = torch.autograd.grad((got.x, got.topk_weights), (x, weights), (v, v_weights))
        there = (got.x.float() * v.float()).sum() + (got.topk_weights * v_weights).sum()
        here = (ours[0].float() * x.float()).sum() + (ours[1] * weights).sum()

        y, bias = whole(*got.x.shape, seed=g.rank).bfloat16(), whole(*x.shape, seed=30).bfloat16()
        y_weights = whole(*got.topk_weights.shape, seed=40 + g.rank)
        for each in (y, y_weights, bias):
            each.requires_grad_()
        back, sums = tl.combine(g, y, got.handle, topk_weights=y_weights, bias=(bias, bias))
        u, u_weights = whole(*back.shape, seed=50 + g.rank).bfloat16(), whole(*sums.shape, seed=60 + g.rank)
        of_y, of_weights, of_bias = torch.autograd.grad((back, sums), (y, y_weights, bias), (u, u_weights))
        assert torch.equal(of_bias, u + u)
        there2 = ((back.float() - 2 * bias.float()) * u.float()).sum() + (sums * u_weights).sum()
        here2 = (of_y.float() * y.float()).sum() + (of_weights * y_weights).sum()
        return [each.item() for each in (there, here, there2, here2)]

    there, here, there2, here2 = map(sum, zip(*on_threads(nodes, work)))
    assert there == here != 0 and there2 == here2 != 0


def test_weights_of_other_ranks_have_no_gradient():
    """What came as 0 because the choice is another rank's does not depend on the weight."""
    inputs = [torch_tokens(rank, 6, top_k=3) for rank in range(2)]

    def work(g):
        x, ids, weights = inputs[g.rank]
        weights.requires_grad_()
        got = tl.dispatch(g, x, ids, weights)
        assert not got.x.requires_grad
        got.topk_weights.sum().backward()
        return torch.equal(weights.grad, (ids >= 0).float())

    assert on_threads((2,), work) == [True, True]


@pytest.mark.parametrize("used", ["x", "weights", "sums", "rows"])
def test_gradients_that_do_not_come_are_zero(used):
    """One rank looks at one output alone; the others at both. Nobody hangs, and what is not looked at counts 0."""
    inputs = [torch_tokens(rank, 6, top_k=3) for rank in range(2)]

    def work(g):
        x, ids, weights = inputs[g.rank]
        x, weights = x.clone().requires_grad_(), weights.clone().requires_grad_()
        got = tl.dispatch(g, x, ids, weights)
        if g.rank == 1 and used in ("x", "weights"):
            loss = got.x.float().sum() if used == "x" else got.topk_weights.sum()
        elif used in ("x", "weights"):
            loss = got.x.float().sum() + got.topk_weights.sum()
        else:
            back, sums = tl.combine(g, got.x, got.handle, topk_weights=got.topk_weights)
            part = sums.sum() if used == "sums" else back.float().sum()
            loss = part if g.rank == 1 else back.float().sum() + sums.sum()
        loss.backward()
        return got.source, got.topk_idx, x.grad, weights.grad

    answers = on_threads((2,), work)
    for rank, (_, _, of_x, of_weights) in enumerate(answers):
        ids = inputs[rank][1]
        owner = ids.div(EXPERTS // 2, rounding_mode="floor")
        chosen = [((owner == each) & (ids >= 0)) for each in range(2)]
        looks = {"x": [(1, 1), (1, 0)], "weights": [(1, 1), (0, 1)]}.get(used)
        if looks is None:  # at the token's rank
            alone = used if rank == 1 else ""
            looks = [(alone != "sums", alone != "rows")] * 2
        rows = sum(looks[each][0] * chosen[each].any(1) for each in range(2))
        assert torch.equal(of_x.float(), rows.float()[:, None].expand(-1, 64))
        assert torch.equal(of_weights, sum(looks[each][1] * chosen[each] for each in range(2)).float())


def test_rank_without_rows_takes_part():
    """It makes y of nothing that requires grad, as programs do. Its part of both backwards is made all the same."""
    def work(g):
        x, _, weights = torch_tokens(g.rank, 4, top_k=1)
        x, weights = x.requires_grad_(), weights.requires_grad_()
        got = tl.dispatch(g, x, torch.zeros(4, 1, dtype=torch.int64), weights)  # all to rank 0
        y = got.x * 3 if g.rank == 0 else torch.zeros(got.x.shape, dtype=torch.bfloat16)
        assert got.x.shape[0] == (0 if g.rank else 8)
        back = tl.combine(g, y, got.handle)
        assert back.requires_grad
        back.sum().backward(retain_graph=True)
        of_x = x.grad.clone()
        _, sums = tl.combine(g, y, got.handle, topk_weights=got.topk_weights * 5 if g.rank == 0 else torch.zeros(0, 1))
        sums.sum().backward()
        return of_x, weights.grad

    for of_x, of_weights in on_threads((2,), work):
        assert torch.equal(of_x, torch.full((4, 64), 3.0, dtype=torch.bfloat16))
        assert torch.equal(of_weights, torch.full((4, 1), 5.0))


def test_only_the_experts_train():
    """Neither x nor the weights require grad: a combine's backward alone, and no gradient for the dispatch."""
    inputs, up, down = layer_inputs(2, (6, 6))

    def work(g):
        x, ids, weights = inputs[g.rank]
        leaf = up[g.local_experts()].clone().requires_grad_()
        moe(g, x, ids, weights, leaf, down[g.local_experts()]).float().sum().backward()
        return leaf.grad.abs().sum().item()

    assert all(each > 0 for each in on_threads((2,), work))


def test_gradients_of_any_strides():
    """Expanded, transposed, and not at a multiple of 16 bytes."""
    inputs = [torch_tokens(rank, 6, top_k=3) for rank in range(2)]

    def work(g):
        x, ids, weights = inputs[g.rank]
        x, weights = x.clone().requires_grad_(), weights.clone().requires_grad_()
        got = tl.dispatch(g, x, ids, weights)
        rows, answers = got.x.shape[0], []
        odd = torch.ones(rows * 64 + 1, dtype=torch.bfloat16)[1:].view(rows, 64)
        assert odd.data_ptr() % 16
        for grad in (torch.ones((), dtype=torch.bfloat16).expand(rows, 64), odd,
                     torch.ones(64, rows, dtype=torch.bfloat16).t()):
            answers += torch.autograd.grad(got.x, x, grad, retain_graph=True)
        for grad in (torch.ones(3, rows).t(), torch.ones(()).expand(rows, 3), torch.ones(rows, 6)[:, ::2]):
            (of_weights,) = torch.autograd.grad(got.topk_weights, weights, grad, retain_graph=True)
            assert torch.equal(of_weights, (ids >= 0).float())
        back = tl.combine(g, got.x, got.handle)
        answers += torch.autograd.grad(back.sum(), got.x, retain_graph=True)
        assert torch.equal(answers.pop(), torch.ones_like(got.x))
        return all(torch.equal(each, answers[0]) for each in answers)

    assert on_threads((2,), work) == [True, True]


class Watching(TorchDispatchMode):
    """Sees every op, and so sends calls by the ops of transload."""

    def __torch_dispatch__(self, op, types, arguments=(), how=None):
        return op(*arguments, **(how or {}))


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("shapes", [((2, 3), (2, 3), (2, 3)), ((6,), (3, 2), (2, 3)), ((2, 3), (6,), (6,))])
def test_dimensions_of_gradients(watched, shapes):
    """Each has those of what it is the gradient of, though x, weights, biases and rows have others than one another."""
    inputs = [torch_tokens(rank, 6, top_k=3) for rank in range(2)]

    def work(g):
        x, ids, weights = inputs[g.rank]
        x, weights, bias = x.view(*shapes[0], 64), weights.view(*shapes[1], 3), torch.ones(*shapes[2], 64).bfloat16()
        leaves = [each.clone().requires_grad_() for each in (x, weights, bias)]
        with Watching() if watched else contextlib.nullcontext():
            got = tl.dispatch(g, leaves[0], ids.view(*shapes[1], 3), leaves[1])
            rows, row_weights = (each.reshape(1, *each.shape) for each in (got.x, got.topk_weights))
            back, sums = tl.combine(g, rows, got.handle, topk_weights=row_weights, bias=leaves[2])
            again = tl.dispatch(g, leaves[0].reshape(3, 2, 64), handle=got.handle)
            of_again = torch.autograd.grad(again.x.sum(), leaves[0])[0]
        assert back.shape == x.shape and sums.shape == (*shapes[0], 3)
        (back.float().sum() + sums.sum()).backward()
        owners = sum(((ids >= 0) & (ids // 4 == each)).any(-1) for each in range(2)).view(shapes[0])
        assert torch.equal(leaves[1].grad, (ids >= 0).float().view(*shapes[1], 3))
        assert torch.equal(leaves[2].grad, torch.ones_like(bias))
        for grad in (leaves[0].grad, of_again):
            assert torch.equal(grad, owners.bfloat16()[..., None].expand_as(x))

    on_threads((2,), work)


def test_cached_dispatch_has_gradients():
    inputs = [torch_tokens(rank, 6, top_k=3) for rank in range(2)]

    def work(g):
        x, ids, weights = inputs[g.rank]
        x = x.requires_grad_()
        got = tl.dispatch(g, x, ids, weights)
        (one,) = torch.autograd.grad(got.x.sum(), x)
        (again,) = torch.autograd.grad(tl.dispatch(g, x, handle=got.handle).x.sum(), x)
        return torch.equal(one, again) and bool(one.any())

    assert on_threads((2,), work) == [True, True]


def test_gradients_of_gradients():
    """Both calls are linear, so a second derivative is that of what lies between them."""
    inputs = [torch_tokens(rank, 5, top_k=2) for rank in range(2)]

    def work(g):
        x, ids, weights = inputs[g.rank]
        x, weights = x.requires_grad_(), weights.requires_grad_()
        got = tl.dispatch(g, x, ids, weights)
        back = tl.combine(g, got.x * got.x, got.handle)
        (once,) = torch.autograd.grad(back.float().sum(), x, create_graph=True)
        owners = sum(((ids >= 0) & (ids // 4 == each)).any(-1) for each in range(2))[:, None]
        assert torch.equal(once, (2 * x * owners).detach())
        (twice,) = torch.autograd.grad(once.float().sum(), x)
        return torch.equal(twice, (2 * owners).expand_as(x).bfloat16())

    assert on_threads((2,), work) == [True, True]


def one_rank(**options):
    return transload.Group(0, 1, **small(options))


def test_nothing_is_called_that_nobody_asked_for(monkeypatch):
    counted = Counted(monkeypatch)
    x, ids, weights = torch_tokens(0, 6)
    with one_rank() as g:
        for of_x, of_weights, backward in ((1, 0, {"combine": 1}), (0, 1, {"combine": 1}), (1, 1, {"combine": 1})):
            leaves = x.clone().requires_grad_(bool(of_x)), weights.clone().requires_grad_(bool(of_weights))
            got = tl.dispatch(g, leaves[0], ids, leaves[1])
            assert counted() == {"dispatch": 1}
            (got.x.float().sum() + got.topk_weights.sum()).backward()
            assert counted() == backward
        y = x.new_ones(got.x.shape).requires_grad_()
        tl.combine(g, y, tl.dispatch(g, x, ids, weights).handle).sum().backward()
        assert counted() == {"dispatch": 1, "combine": 1, "cached": 1}
        with torch.no_grad():
            tl.combine(g, y, tl.dispatch(g, x.requires_grad_(), ids, weights).handle)
        assert counted() == {"dispatch": 1, "combine": 1}


def test_checkpoint(monkeypatch):
    """A plain one makes the forward calls again; a selective one that saves them does not."""
    counted = Counted(monkeypatch)
    saved = {torch.ops.transload.dispatch.default, torch.ops.transload.combine.default}
    seen = []

    def policy(_, op, *__, **___):
        seen.append(op)
        return CheckpointPolicy.MUST_SAVE if op in saved else CheckpointPolicy.PREFER_RECOMPUTE

    inputs, up, down = layer_inputs(1, (9,))
    with one_rank() as g:
        _, expected, _ = train(g, inputs, up, down)
        assert counted() == {"dispatch": 1, "combine": 2, "cached": 1}
        selective = functools.partial(create_selective_checkpoint_contexts, policy)
        for how, calls in (({}, {"dispatch": 2, "combine": 3, "cached": 1}),
                           ({"context_fn": selective}, {"dispatch": 1, "combine": 2, "cached": 1})):
            x, ids, weights = inputs[0]
            leaves = [each.clone().requires_grad_() for each in (x, weights, up, down)]
            # What follows saves its input, so that the combine is a part of what is made again.
            out = checkpoint(lambda x, w, up, down: moe(g, x, ids, w, up, down).float().square(), *leaves,
                             use_reentrant=False, **how)
            out.sum().backward()
            assert counted() == calls
            assert all(torch.equal(leaf.grad, each) for leaf, each in zip(leaves, expected))
        assert saved < set(seen)


def test_a_fault_in_a_backward_is_a_fault():
    """One rank leaves before the backward; the other hears of it, and by whom."""
    x, ids, weights = torch_tokens(0, 4)
    ids = torch.tensor([[0, 4]] * 4)

    def work(g):
        leaf = x.clone().requires_grad_()
        got = tl.dispatch(g, leaf, ids, weights)
        if g.rank == 1:
            return None
        with pytest.raises(transload.Fault) as fault:
            got.x.sum().backward()
        return fault.value.culprit_rank

    assert on_threads((2,), work, deadline_s=60)[0] == 1
