"""torch.ops.transload: the calls as ops, for what torch traces. Tensors are matrices here; a group is named by its key.

dispatch_backward sums rows and weights as a combine does, and combine_backward is a cached dispatch. They are ops of
their own, so that a policy of checkpointing can tell them from forward calls.
"""
import math
import typing

import torch

from ..errors import InvalidArgument
from ..group import open_groups
from . import gradients
from .eager import want_differentiable, without_tail
from .handle import routings

_OPS = torch.library.Library("transload", "DEF")
_SCHEMAS = f"""
dispatch(Tensor x, Tensor topk_idx, Tensor topk_weights, str group, Tensor? scales=None, int expert_alignment=1,
  SymInt rows_max=0, str overflow="fail", str landing="auto", int channels=0, float? deadline_s=None)
  -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, {routings.SCHEMA})
combine(Tensor x, {routings.SCHEMA} handle, str group, SymInt tokens, Tensor? topk_weights=None, Tensor? bias0=None,
  Tensor? bias1=None, Tensor? anchor=None, str source="auto", str wire="bf16", int channels=0, float? deadline_s=None)
  -> (Tensor, Tensor)
dispatch_backward(Tensor x, {routings.SCHEMA} handle, str group, SymInt tokens, Tensor? topk_weights=None,
  int channels=0, float? deadline_s=None) -> (Tensor, Tensor)
combine_backward(Tensor x, {routings.SCHEMA} handle, str group, SymInt rows, Tensor? scales=None, str landing="auto",
  int channels=0, float? deadline_s=None) -> (Tensor, Tensor)
"""


class Outputs(typing.NamedTuple):
    """What the op dispatch returns, by the names of `transload.Dispatched`."""

    x: torch.Tensor
    scales: torch.Tensor  #: with no columns if none were sent
    topk_idx: torch.Tensor
    topk_weights: torch.Tensor
    source: torch.Tensor
    rows_on_device: torch.Tensor
    expert_counts_on_device: torch.Tensor
    rows_of_sources_on_device: torch.Tensor
    handle: typing.Any

    status = None  # an op returns only tensors and a handle


def _group(key):
    group = open_groups.get(key)
    if group is None:
        raise InvalidArgument(f"group: {key!r}, must be the key of a group that is not closed")
    return group


# The ops themselves. Fakes and formulas take their arguments in the order of the schema, without names.


def _dispatch(x, topk_idx, topk_weights, group, scales=None, expert_alignment=1, rows_max=0, overflow="fail",
              landing="auto", channels=0, deadline_s=None):
    got = _group(group).dispatch(x, topk_idx, topk_weights, scales=scales, expert_alignment=expert_alignment,
                                 rows_max=rows_max, overflow=overflow, landing=landing, channels=channels,
                                 deadline_s=deadline_s)
    rows = without_tail(got, rows_max)
    return (rows, _scales(got, rows), got.topk_idx, got.topk_weights, got.source, got.rows_on_device,
            got.expert_counts_on_device, got.rows_of_sources_on_device, routings.wrap(got.handle))


def _scales(got, rows):
    return rows.new_empty((rows.shape[0], 0), dtype=torch.float32) if got.scales is None else got.scales


def _combine(x, handle, group, tokens, topk_weights=None, bias0=None, bias1=None, anchor=None, source="auto",
             wire="bf16", channels=0, deadline_s=None):
    bias = bias0 if bias1 is None else (bias0, bias1)
    got = _group(group).combine(x, routings.unwrap(handle), topk_weights=topk_weights, bias=bias, source=source,
                                wire=wire, channels=channels, deadline_s=deadline_s)
    sums = got.x.reshape(tokens, x.shape[1])
    if topk_weights is None:
        return sums, x.new_empty((tokens, 0), dtype=torch.float32)
    return sums, got.topk_weights.reshape(tokens, topk_weights.shape[1])


def _dispatch_backward(x, handle, group, tokens, topk_weights=None, channels=0, deadline_s=None):
    return _combine(gradients.fit(x), handle, group, tokens, topk_weights, channels=channels, deadline_s=deadline_s)


def _combine_backward(x, handle, group, rows, scales=None, landing="auto", channels=0, deadline_s=None):
    got = _group(group).dispatch(gradients.fit(x), handle=routings.unwrap(handle), scales=scales, landing=landing,
                                 channels=channels, deadline_s=deadline_s)
    came = without_tail(got, rows)
    return came, _scales(got, came)


def _fake_dispatch(x, topk_idx, topk_weights, group, scales=None, expert_alignment=1, rows_max=0, *_):
    rows = rows_max if rows_max != 0 else torch.library.get_ctx().new_dynamic_size()
    choices = topk_idx.shape[1]

    def counts(count):
        return x.new_empty(count, dtype=torch.int64)

    return (x.new_empty((rows, x.shape[1])), _fake_scales(x, rows, scales), topk_idx.new_empty((rows, choices)),
            topk_weights.new_empty((rows, choices)), x.new_empty((rows, 2), dtype=torch.int32), counts(1),
            counts(len(_group(group).local_experts())), counts(_group(group).ranks),
            routings.fake())


def _fake_scales(x, rows, scales):
    if scales is None:
        return x.new_empty((rows, 0), dtype=torch.float32)
    return scales.new_empty((rows, scales.shape[1]))


def _fake_combine(x, handle, group, tokens, topk_weights=None, *_):
    columns = 0 if topk_weights is None else topk_weights.shape[1]
    return x.new_empty((tokens, x.shape[1])), x.new_empty((tokens, columns), dtype=torch.float32)


def _fake_redispatch(x, handle, group, rows, scales=None, *_):
    return x.new_empty((rows, x.shape[1])), _fake_scales(x, rows, scales)


# Gradients.


class _Backward:
    """The calls of a backward, with the group and handle of its forward call."""

    def __init__(self, handle, group, options):
        self._handle, self._group, self._options = handle, group, options  # channels and deadline_s

    def combine(self, tokens):
        def call(x, weights):
            sums = torch.ops.transload.dispatch_backward(x, self._handle, self._group, tokens, weights, *self._options)
            return sums if weights is not None else (sums[0], None)

        return call

    def redispatch(self, rows):
        def call(x):
            return torch.ops.transload.combine_backward(x, self._handle, self._group, rows, None, "auto",
                                                        *self._options)[0]

        return call


def _keep_dispatch(ctx, inputs, output):
    x, _, _, group, *_, channels, deadline_s = inputs
    rows, scales, topk_idx, weights, *_, handle = output
    want_differentiable(x)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(topk_idx)
    ctx.backward = _Backward(handle, group, (channels, deadline_s))
    ctx.shape = x.shape
    of_x, of_weights = _needs(ctx, 0, 2)
    ctx.mark_non_differentiable(scales, *([] if of_x else [rows]), *([] if of_weights else [weights]))


def _backward_of_dispatch(ctx, grad_rows, _scales, _idx, grad_weights, *_):
    (topk_idx,) = ctx.saved_tensors
    needs = _needs(ctx, 0, 2)
    tokens, columns = ctx.shape
    of_x, of_weights = gradients.of_dispatch(ctx.backward.combine(tokens), needs, topk_idx, columns, grad_rows,
                                             grad_weights)
    return of_x, None, of_weights, *[None] * 8


def _keep_combine(ctx, inputs, output):
    x, handle, group, _, topk_weights, *_, channels, deadline_s = inputs
    sums, weights = output
    ctx.set_materialize_grads(False)
    ctx.backward = _Backward(handle, group, (channels, deadline_s))
    ctx.rows = x.shape[0]
    ctx.like = sums.shape, None if topk_weights is None else weights.shape, x.device
    if topk_weights is None:
        ctx.mark_non_differentiable(weights)


def _needs(ctx, *places):
    """Returns whether the arguments at these places need a gradient. A call may leave out the last arguments."""
    return [place < len(ctx.needs_input_grad) and ctx.needs_input_grad[place] for place in places]


def _backward_of_combine(ctx, grad, grad_weights):
    needs = _needs(ctx, 0, 4, 5, 6, 7)
    of_x, *of_others = gradients.of_combine(ctx.backward.redispatch(ctx.rows), needs, ctx.like, grad, grad_weights)
    return of_x, None, None, None, *of_others, *[None] * 5


def _backward_of_sums(ctx, grad, grad_weights):
    needs = *_needs(ctx, 0, 4), False, False, False
    of_x, of_weights, *_ = gradients.of_combine(ctx.backward.redispatch(ctx.rows), needs, ctx.like, grad, grad_weights)
    return of_x, None, None, None, of_weights, None, None


def _keep_redispatch(ctx, inputs, output):
    x, handle, group, *_, channels, deadline_s = inputs
    want_differentiable(x)
    ctx.backward = _Backward(handle, group, (channels, deadline_s))
    ctx.tokens = x.shape[0]
    ctx.mark_non_differentiable(output[1])


def _backward_of_redispatch(ctx, grad, _scales):
    return ctx.backward.combine(ctx.tokens)(grad, None)[0], *[None] * 7


def _register():
    """Registers every op with its kernel, its fake and its gradient, and a tag by which inputs keep their strides."""
    of = {
        "dispatch": (_dispatch, _fake_dispatch, _keep_dispatch, _backward_of_dispatch),
        "combine": (_combine, _fake_combine, _keep_combine, _backward_of_combine),
        "dispatch_backward": (_dispatch_backward, _fake_combine, _keep_combine, _backward_of_sums),
        "combine_backward": (_combine_backward, _fake_redispatch, _keep_redispatch, _backward_of_redispatch),
    }
    strides = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)
    for schema in _SCHEMAS.replace("\n  ", " ").strip().splitlines():
        _OPS.define(schema, tags=(torch.Tag.pt2_compliant_tag, strides))
    for name, (kernel, fake, keep, backward) in of.items():
        _OPS.impl(name, kernel, "CompositeExplicitAutograd")
        torch.library.register_fake(f"transload::{name}", fake, lib=_OPS)
        torch.library.register_autograd(f"transload::{name}", backward, setup_context=keep, lib=_OPS)


_register()


# What eager.py has too, here by ops: functions.py calls one or the other.


def dispatch(group, x, topk_idx, topk_weights, how):
    flat = map(_matrix, (x, topk_idx, topk_weights))
    got = Outputs(*torch.ops.transload.dispatch(*flat, group.key, **_with_matrix(how)))
    if "scales" not in how:
        got = got._replace(scales=None)
    return got.x, got.topk_weights, got


def redispatch(group, x, routing, rows, how):
    came, scales = torch.ops.transload.combine_backward(_matrix(x), routing, group.key, rows, **_with_matrix(how))
    return came, Outputs(came, scales if "scales" in how else None, *[None] * 7)


def combine(group, x, topk_weights, biases, handle, how):
    *dimensions, _ = handle.shape
    return torch.ops.transload.combine(_matrix(x), handle.routing, group.key, math.prod(dimensions),
                                       *map(_matrix, (topk_weights, *biases)), handle.anchor, **how)


def _matrix(array):
    return array if array is None else array.reshape(-1, array.shape[-1])


def _with_matrix(how):
    return {**how, "scales": _matrix(how["scales"])} if "scales" in how else how
