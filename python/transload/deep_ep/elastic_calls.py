"""The calls of ElasticBuffer, after their arguments are checked: each calls transload.Group and lays out what comes.

Shapes use these letters: T tokens of this rank, M rows that came, K choices of a token, N rows laid out by expert, H
elements of a row.
"""
import dataclasses

import torch

from . import expand
from .elastic_handle import EPHandle, Routing
from .tensors import given, refuse, tell_bad_ids

_ROUTING_COLUMNS = 8  # of bf16, the shortest row, for a dispatch of which only the routing counts
_WEIGHT_UNIT = 4  # a row is a multiple of so many fp32


@dataclasses.dataclass(frozen=True)
class Form:
    """How the rows that come are laid out."""

    expand: bool
    zero_padding: bool
    column_major: bool

    def of(self, rows, slots, count):
        """Returns the rows in this form. slots: [M, K] int32, the expanded row of each choice; count: N."""
        x, scales = rows.x, rows.scales
        if self.expand:
            rows_of = expand.rows_of_slots(slots, count)
            x = expand.spread(x, rows_of, zero_padding=self.zero_padding)
            scales = None if scales is None else expand.spread(scales, rows_of, zero_padding=self.zero_padding)
        if scales is not None and self.column_major:
            scales = expand.column_major(scales)
        return rows.becoming(x, scales)


@dataclasses.dataclass(frozen=True)
class Choices:
    """The arguments of a first dispatch that say where tokens go."""

    topk_idx: torch.Tensor
    topk_weights: "torch.Tensor | None"
    stats: "torch.Tensor | None"
    experts: int
    alignment: int
    tokens_max: int
    sms: int
    copy: bool
    wait: bool


def first_dispatch(groups, ranks, rows, choices, form):
    """Makes a dispatch without a handle. Returns (x, topk_idx, topk_weights, EPHandle, tensors of the handle)."""
    top_k, local_experts = choices.topk_idx.shape[1], choices.experts // ranks
    weights = choices.topk_weights
    if weights is None:
        weights = torch.zeros(choices.topk_idx.shape, dtype=torch.float32, device=rows.x.device)
    rows_max = 0 if choices.wait else ranks * choices.tokens_max
    room, got = groups.dispatch(
        choices.experts,
        rows.x,
        choices.topk_idx,
        weights,
        scales=rows.scales,
        tokens=choices.tokens_max,
        expert_alignment=choices.alignment,
        rows_max=rows_max,
    )
    tell_bad_ids(got.status, choices.topk_idx, choices.experts)
    layout = expand.lay_out(got.topk_idx, local_experts, choices.alignment)
    counts = list(got.expert_counts) if choices.wait else []
    if choices.wait:
        expanded = sum(counts)
    else:
        expanded = expand.rows_at_most(rows_max, top_k, local_experts, choices.alignment)
    slots = layout.slots if form.expand else torch.full_like(layout.slots, -1)
    if choices.stats is not None:
        choices.stats.add_(layout.counts)
    handle = EPHandle(
        do_expand=form.expand,
        num_experts=choices.experts,
        expert_alignment=choices.alignment,
        num_max_tokens_per_rank=choices.tokens_max,
        num_sms=choices.sms,
        topk_idx=choices.topk_idx.clone() if choices.copy else choices.topk_idx,
        num_recv_tokens=len(got.x),
        num_expanded_tokens=expanded,
        num_recv_tokens_per_expert_list=counts,
        psum_num_recv_tokens_per_scaleup_rank=got.rows_of_sources_on_device.to(torch.int32),
        psum_num_recv_tokens_per_expert=layout.ends if form.expand else _ends(layout.counts, choices.alignment),
        num_unaligned_recv_tokens_per_expert=layout.counts,
        recv_src_metadata=expand.source_metadata(got.source, got.topk_idx, slots, choices.tokens_max),
        dst_buffer_slot_idx=torch.zeros((1, 1), dtype=torch.int32, device=slots.device).expand(choices.topk_idx.shape),
    )
    handle.routing = Routing(groups, room.group, room.size.row_bytes, got.handle, got.topk_idx)
    came = form.of(rows.becoming(got.x, got.scales), slots, expanded).returned()
    back = None if choices.topk_weights is None else got.topk_weights
    if not form.expand:
        return came, got.topk_idx, back, handle, handle.tensors()
    back = None if back is None else expand.spread_weights(back, slots, expanded)
    return came, None, back, handle, handle.tensors()


def _ends(counts, alignment):
    return expand.aligned(counts, alignment).cumsum(0).to(torch.int32)


def cached_dispatch(rows, weights, handle, form):
    """Makes a dispatch with a handle. Returns (x, topk_idx, topk_weights, EPHandle)."""
    routing = handle.routing
    got = routing.group.dispatch(rows.x, handle=routing.handle, scales=rows.scales)
    slots = slots_of(handle) if form.expand else None
    came = form.of(rows.becoming(got.x, got.scales), slots, handle.num_expanded_tokens).returned()
    if weights is not None:
        weights = _weights_along(routing, weights)
        if form.expand:
            weights = expand.spread_weights(weights, slots, handle.num_expanded_tokens)
    return came, None if form.expand else routing.topk_idx, weights, handle


def _weights_along(routing, weights):
    """Returns [M, K] of weights [T, K], which travel as rows, as many at a time as a row of the group can hold."""
    top_k, group, parts = weights.shape[1], routing.group, []
    widest = max(routing.row_bytes // 4 // _WEIGHT_UNIT, 1) * _WEIGHT_UNIT
    for begin in range(0, top_k, widest):
        part = weights[:, begin:begin + widest]
        padded = torch.nn.functional.pad(part, (0, -part.shape[1] % _WEIGHT_UNIT)).contiguous()
        parts.append(group.dispatch(padded, handle=routing.handle).x[:, :part.shape[1]])
    return torch.cat(parts, 1).masked_fill_(routing.topk_idx < 0, 0)


def slots_of(handle):
    """Returns [M, K] int32: where the caller's handle says that the expanded row of each choice lies now."""
    told, routing = handle.recv_src_metadata, handle.routing
    rows, top_k = routing.topk_idx.shape
    given("handle.recv_src_metadata", told, dimensions=2, dtypes=(torch.int32,))
    if told.shape[1] != 2 + top_k or len(told) > rows:
        refuse("handle.recv_src_metadata", f"{list(told.shape)}", f"[at most {rows}, {2 + top_k}]")
    slots = torch.nn.functional.pad(told[:, 2:], (0, 0, 0, rows - len(told)), value=-1)
    if slots.numel() and not -1 <= slots.min() <= slots.max() < handle.num_expanded_tokens:
        refuse(
            "handle.recv_src_metadata[:, 2:]",
            f"from {slots.min()} to {slots.max()}",
            f"from -1 to {handle.num_expanded_tokens - 1}",
        )
    return slots


def combine(x, handle, weights, bias, wire):
    """Makes a combine. Returns (x [T, H], topk_weights [T, K] or None): each token's rows are summed at its rank."""
    routing = handle.routing
    if handle.do_expand:
        slots = slots_of(handle)
        x = expand.reduce(x, slots)
        weights = None if weights is None else expand.fold_weights(weights, slots)
    if weights is not None:
        weights = weights.masked_fill(routing.topk_idx < 0, 0)
    bias = bias if len(bias) == 2 else bias[0] if bias else None
    back = routing.group.combine(x, routing.handle, topk_weights=weights, bias=bias, wire=wire)
    return back.x, back.topk_weights


def combine_by_choice(x, handle, weights, bias):
    """Combines expanded rows: each (token, choice) travels by itself, and is added at its token's rank."""
    routing = handle.routing
    if routing.by_choice is None:
        routing.by_choice = _route_choices(handle)
    group, by_choice = routing.by_choice
    slots = slots_of(handle)[routing.topk_idx >= 0].to(torch.int64)  # by row and choice, as choices came
    rows = x.new_zeros((len(slots), x.shape[1]))
    if len(x):
        rows = x.index_select(0, slots.clamp(min=0)).masked_fill_((slots < 0)[:, None], 0)
    if weights is not None:
        weights = weights[slots.clamp(min=0)].masked_fill_(slots < 0, 0)[:, None]
    back = group.combine(rows, by_choice, topk_weights=weights)
    tokens, top_k = handle.topk_idx.shape
    total = expand.sum_choices(back.x.reshape(tokens, top_k, x.shape[1]), bias)
    return total, None if weights is None else back.topk_weights.reshape(tokens, top_k)


def _route_choices(handle):
    """Makes a dispatch in which each (token, choice) is a token with one choice. Returns (group, transload.Handle)."""
    ids = handle.topk_idx.reshape(-1, 1).contiguous()
    rows = torch.zeros((len(ids), _ROUTING_COLUMNS), dtype=torch.bfloat16, device=ids.device)
    room, got = handle.routing.groups.dispatch(
        handle.num_experts,
        rows,
        ids,
        torch.zeros(ids.shape, dtype=torch.float32, device=ids.device),
        tokens=handle.num_max_tokens_per_rank * handle.topk_idx.shape[1],
    )
    return room.group, got.handle
