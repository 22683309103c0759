"""dispatch and combine of torch's tensors, with gradients.

Eager calls go straight to the group. Where torch traces or watches what is called (a graph that is compiled, a dispatch
mode such as that of selective checkpointing, a tensor that is no plain one), they go by the ops of ops.py.
"""
import torch

from ..errors import InvalidArgument
from ..group import Group
from . import eager, ops
from .handle import Handle, routings

_PLAIN = (torch.Tensor, torch.nn.Parameter)


class Dispatched:
    """What a dispatch brought: M rows of H elements, ordered by source rank, then by source token.

    Everything but the handle and the status is a tensor. S is the scales of a row, K the choices of a token.
    """

    __slots__ = ("x", "topk_weights", "handle", "_others")

    def __init__(self, x, topk_weights, handle, others):
        self.x = x  #: [M, H] of the dtype that was sent; 0 in rows that nothing came for
        self.topk_weights = topk_weights  #: [M, K] float32: 0 where topk_idx is -1. None if the call was given a handle
        self.handle = handle  #: for combine and for cached dispatches
        self._others = others

    @property
    def topk_idx(self):
        """[M, K] of the dtype that was sent: the local id of each chosen expert, -1 if another rank owns it.

        None if the call was given a handle.
        """
        return self._others.topk_idx

    @property
    def scales(self):
        """[M, S] of the dtype that was sent: the scales of each row. None if none were sent."""
        return self._others.scales

    @property
    def source(self):
        """[M, 2] int32: the source rank of each row, and the index of its token there.

        None if the call was given a handle.
        """
        return self._others.source

    @property
    def rows_on_device(self):
        """[1] int64: how many rows came, including those that were dropped."""
        return self._others.rows_on_device

    @property
    def expert_counts_on_device(self):
        """[local experts] int64: how often the rows chose each local expert, rounded up to expert_alignment.

        None if the call was given a handle.
        """
        return self._others.expert_counts_on_device

    @property
    def rows_of_sources_on_device(self):
        """[ranks] int64: element r is how many rows of x came from ranks 0 to r."""
        return self._others.rows_of_sources_on_device

    @property
    def status(self):
        """The status of `transload.Dispatched`: whether an expert id was out of range, and where; it counted as -1.

        None where the call was an op, in a compiled graph or under a dispatch mode.
        """
        return self._others.status

    def __repr__(self):
        return f"transload.torch.Dispatched({list(self.x.shape)}, {self.x.dtype})"


def dispatch(
    group,
    x,
    topk_idx=None,
    topk_weights=None,
    *,
    scales=None,
    handle=None,
    expert_alignment=1,
    rows_max=0,
    overflow="fail",
    landing="auto",
    channels=0,
    deadline_s=None,
):
    """Sends tokens to the ranks that own their experts. Its backward is a combine, also of the weights' gradients.

    x: [.., H], contiguous: any dtype, but bf16 if it requires grad
    topk_idx: [.., K] int64 or int32: the experts that each token chose, by global id; -1 is no choice
    topk_weights: [.., K] float32: the weight of each choice
    handle: the handle of an earlier dispatch, whose routing is used again; without topk_idx and topk_weights
    scales, expert_alignment, rows_max, overflow, landing, channels, deadline_s: as in `transload.Group.dispatch`

    Returns a `Dispatched`. Its x is 0 in the rows that nothing came for (rows_max), so that no product of them is NaN.
    The call and its backward are collective; channels and deadline_s count for both. Raises what Group.dispatch does.
    """
    _want_group(group)
    how = {}
    if scales is not None:
        how["scales"] = scales
    if landing != "auto":
        how["landing"] = landing
    if channels != 0:
        how["channels"] = channels
    if deadline_s is not None:
        how["deadline_s"] = deadline_s
    by_op = torch.compiler.is_dynamo_compiling() or _watched(x)
    if handle is not None:
        _want_handle(handle)
        if topk_idx is not None or topk_weights is not None:
            raise InvalidArgument("topk_idx, topk_weights: given with a handle, must be None: it has the routing")
        call, routing = (ops, handle.routing) if by_op else (eager, routings.unwrap(handle.routing))
        rows, got = call.redispatch(group, x, routing, handle.rows, how)
        return Dispatched(rows, None, handle, got)
    if expert_alignment != 1:
        how["expert_alignment"] = expert_alignment
    if rows_max != 0:
        how["rows_max"] = rows_max
    if overflow != "fail":
        how["overflow"] = overflow
    rows, weights, got = (ops if by_op else eager).dispatch(group, x, topk_idx, topk_weights, how)
    routing = got.handle if by_op else routings.wrap(got.handle)
    return Dispatched(rows, weights, Handle(routing, x.shape, rows.shape[0], eager.anchor_of(rows, weights)), got)


def combine(
    group,
    x,
    handle,
    *,
    topk_weights=None,
    bias=None,
    source="auto",
    wire="bf16",
    channels=0,
    deadline_s=None,
):
    """Brings the experts' rows back to the ranks of their tokens and sums them. Its backward is a cached dispatch.

    x: [M, H] bf16, contiguous: one row for each row of the dispatch, in the same order
    handle: the handle of that dispatch
    topk_weights: [M, K] float32: they are summed for each token as well; they do not scale x
    bias: [.., H] bf16, or a pair of such: the sum of a token begins with them
    source, wire, channels, deadline_s: as in `transload.Group.combine`

    Returns [.., H] bf16, in the dimensions of what was dispatched; with topk_weights a pair: that, and [.., K] float32.
    The call and its backward are collective; channels and deadline_s count for both. Raises what Group.combine does.
    """
    _want_group(group)
    _want_handle(handle)
    biases = _biases(bias)
    how = {}
    if source != "auto":
        how["source"] = source
    if wire != "bf16":
        how["wire"] = wire
    if channels != 0:
        how["channels"] = channels
    if deadline_s is not None:
        how["deadline_s"] = deadline_s
    by_op = torch.compiler.is_dynamo_compiling() or _watched(x)
    if by_op:
        sums, weights = ops.combine(group, x, topk_weights, biases, handle, how)
    else:
        native = routings.unwrap(handle.routing)
        sums, weights = eager.combine(group, x, topk_weights, biases, handle.anchor, native, how)
    if by_op or sums.dim() != len(handle.shape):
        sums = sums.reshape(*handle.shape[:-1], sums.shape[-1])
        weights = None if topk_weights is None else weights.reshape(*handle.shape[:-1], weights.shape[-1])
    return sums if topk_weights is None else (sums, weights)


def _want_group(group):
    if not isinstance(group, Group):
        raise InvalidArgument(f"group: {group!r}, must be a transload.Group")


def _want_handle(handle):
    if not isinstance(handle, Handle):
        raise InvalidArgument(f"handle: {handle!r}, must be that of transload.torch.dispatch")


def _watched(x):
    return torch._C._len_torch_dispatch_stack() > 0 or (isinstance(x, torch.Tensor) and type(x) not in _PLAIN)


def _biases(bias):
    if not isinstance(bias, (tuple, list)):
        return bias, None
    if len(bias) != 2:
        raise InvalidArgument(f"bias: {len(bias)} of them, must be one or a pair")
    return tuple(bias)
