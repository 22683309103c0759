"""Calls of torch's tensors that go straight to the group, with gradients where they are asked for.

`how` is a dictionary of the other arguments of a call that differ from their defaults, as transload.Group names them.
"""
import torch

from ..errors import InvalidArgument
from . import gradients

_NO_BIAS = (None, None)


def without_tail(got, rows):
    """Returns x of a dispatch, [rows, H]. Rows that nothing came for, and their scales, are set to 0."""
    if got.rows < rows:
        got.x[got.rows:].view(torch.uint8).zero_()
        if got.scales is not None:
            got.scales[got.rows:].zero_()
    return got.x


def _not_differentiable(x):
    """Returns an error if x requires grad but is not bf16, since only bf16 gradients can be combined; else None."""
    if x.requires_grad and x.dtype != torch.bfloat16:
        return InvalidArgument(f"x: of {x.dtype} and requires grad, must be of torch.bfloat16, or detached")
    return None


def want_differentiable(x):
    error = _not_differentiable(x)
    if error is not None:
        raise error


def anchor_of(rows, weights):
    """Returns the output of a dispatch that requires grad, the smaller if both do; None if none does.

    A combine takes it as an input that it does not read. So torch calls the combine's backward on a rank without rows
    too, where what is combined depends on no output of the dispatch.
    """
    return weights if weights.requires_grad else rows if rows.requires_grad else None


def backward_of(how):
    """Returns those options of a call that its backward uses too."""
    return {name: how[name] for name in ("channels", "deadline_s") if name in how}


def _requires_grad(array):
    return getattr(array, "requires_grad", False)


class _Dispatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, topk_weights, group, topk_idx, how):
        got = group.dispatch(x, topk_idx, topk_weights, **how, refused=_not_differentiable(x))
        rows, weights = without_tail(got, how.get("rows_max", 0)), got.topk_weights
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(got.topk_idx)
        ctx.call = group, got.handle, (x.shape, topk_weights.shape), how
        if not x.requires_grad:
            ctx.mark_non_differentiable(rows)
        elif not topk_weights.requires_grad:
            ctx.mark_non_differentiable(weights)
        return rows, weights, got

    @staticmethod
    def backward(ctx, grad_rows, grad_weights, _got):
        (topk_idx,) = ctx.saved_tensors
        group, handle, shapes, how = ctx.call

        def sums(rows, weights):
            return combine(group, gradients.fit(rows), weights, _NO_BIAS, None, handle, backward_of(how))

        needs = ctx.needs_input_grad[:2]
        grads = gradients.of_dispatch(sums, needs, topk_idx, shapes[0][-1], grad_rows, grad_weights)
        return *gradients.shaped(grads, shapes), None, None, None


def dispatch(group, x, topk_idx, topk_weights, how):
    """Makes a dispatch. Returns (rows [M, H], their weights [M, K], the transload.Dispatched)."""
    if (_requires_grad(x) or _requires_grad(topk_weights)) and torch.is_grad_enabled():
        return _Dispatch.apply(x, topk_weights, group, topk_idx, how)
    got = group.dispatch(x, topk_idx, topk_weights, **how)
    return without_tail(got, how.get("rows_max", 0)), got.topk_weights, got


class _Redispatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group, handle, rows, how):
        want_differentiable(x)
        ctx.call = group, handle, x.shape, how
        return _run_again(group, x, handle, rows, how)

    @staticmethod
    def backward(ctx, grad, _got):
        group, handle, shape, how = ctx.call
        sums, _ = combine(group, gradients.fit(grad), None, _NO_BIAS, None, handle, backward_of(how))
        return sums.reshape(shape), None, None, None, None


def _run_again(group, x, handle, rows, how):
    got = group.dispatch(x, handle=handle, **how)
    return without_tail(got, rows), got


def redispatch(group, x, handle, rows, how):
    """Makes a cached dispatch, which brings `rows` rows. Returns (rows [M, H], the transload.Dispatched)."""
    if _requires_grad(x) and torch.is_grad_enabled():
        return _Redispatch.apply(x, group, handle, rows, how)
    return _run_again(group, x, handle, rows, how)


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, topk_weights, bias0, bias1, anchor, group, handle, how):
        sums, weights = _run_combine(group, x, topk_weights, (bias0, bias1), handle, how)
        ctx.set_materialize_grads(False)
        ctx.call = group, handle, x.numel() // x.shape[-1], how
        ctx.like = sums.shape, None if weights is None else weights.shape, x.device
        ctx.shapes = [None if each is None else each.shape for each in (x, topk_weights, bias0, bias1)]
        return sums, weights

    @staticmethod
    def backward(ctx, grad, grad_weights):
        group, handle, held, how = ctx.call

        def rows(each):
            return redispatch(group, gradients.fit(each), handle, held, backward_of(how))[0]

        needs = ctx.needs_input_grad[:5]
        grads = gradients.of_combine(rows, needs, ctx.like, grad, grad_weights)
        return *gradients.shaped(grads, ctx.shapes), *[None] * 4


def _run_combine(group, x, topk_weights, biases, handle, how):
    if topk_weights is not None:
        how = {**how, "topk_weights": topk_weights}
    if biases[0] is not None or biases[1] is not None:
        how = {**how, "bias": biases[0] if biases[1] is None else biases}
    got = group.combine(x, handle, **how)
    return got.x, got.topk_weights


def combine(group, x, topk_weights, biases, anchor, handle, how):
    """Makes a combine. Returns (sums [.., H], sums of topk_weights [.., K] or None)."""
    differentiable = (anchor is not None or _requires_grad(x) or _requires_grad(topk_weights)
                      or _requires_grad(biases[0]) or _requires_grad(biases[1]))
    if differentiable and torch.is_grad_enabled():
        return _Combine.apply(x, topk_weights, *biases, anchor, group, handle, how)
    return _run_combine(group, x, topk_weights, biases, handle, how)
