"""Rows laid out by expert, as DeepEP's V2 does: one row for each choice of a local expert by a row that came.

All functions use torch operations whose shapes follow from their arguments' shapes alone. M are the rows that came, K
the choices of a token, N the expanded rows. A slot is the place of an expanded row; -1 stands for a choice of another
rank's expert.
"""
import dataclasses

import torch

SCALES_ALIGNED = 4  #: a column of column-major scales begins at a multiple of so many of its 4-byte elements


def aligned(count, alignment):
    """Returns `count`, an int or a tensor of integers, rounded up to a multiple of `alignment`."""
    return (count + alignment - 1) // alignment * alignment


def rows_at_most(rows_max, top_k, local_experts, alignment):
    """Returns the most expanded rows that `rows_max` rows can become, even if rows choose one expert several times."""
    choices = rows_max * top_k
    return aligned(choices + (alignment - 1) * min(local_experts, choices), alignment)


@dataclasses.dataclass
class Layout:
    slots: torch.Tensor  #: [M, K] int32: the slot of each choice, -1 for none
    counts: torch.Tensor  #: [local experts] int32: how often each expert was chosen
    ends: torch.Tensor  #: [local experts] int32: where the rows of each expert end; the gap up to its alignment follows


def lay_out(topk_idx, local_experts, alignment):
    """Returns the Layout of topk_idx ([M, K] local ids), by expert, row and choice; each expert begins aligned."""
    ids = topk_idx.reshape(-1).to(torch.int64)
    keys = torch.where(ids < 0, local_experts, ids)
    counts = torch.zeros(local_experts + 1, dtype=torch.int64, device=ids.device)
    counts.scatter_add_(0, keys, torch.ones_like(keys))
    rooms = aligned(counts, alignment)
    begins, firsts = rooms.cumsum(0) - rooms, counts.cumsum(0) - counts
    order = torch.argsort(keys, stable=True)
    sorted_keys = keys[order]
    places = begins[sorted_keys] + torch.arange(len(ids), device=ids.device) - firsts[sorted_keys]
    slots = torch.empty_like(ids).scatter_(0, order, places).masked_fill_(ids < 0, -1)
    return Layout(
        slots=slots.reshape(topk_idx.shape).to(torch.int32),
        counts=counts[:-1].to(torch.int32),
        ends=(begins + counts)[:-1].to(torch.int32),
    )


def rows_of_slots(slots, rows):
    """Returns [rows] int64: which of the rows that came lies in each slot, -1 in a gap."""
    came, top_k = slots.shape
    flat = slots.reshape(-1).to(torch.int64)
    out = torch.full((rows + 1,), -1, dtype=torch.int64, device=slots.device)
    each = torch.arange(came, device=slots.device).repeat_interleave(top_k)
    return out.scatter_(0, torch.where(flat < 0, rows, flat), each)[:rows]


def spread(values, rows_of, *, zero_padding=False):
    """Returns [N, ..] of values [M, ..]: a copy of the row of each slot; gaps hold zeros if asked, else anything."""
    if not len(values):
        return values.new_zeros((len(rows_of), *values.shape[1:]))
    out = values.index_select(0, rows_of.clamp(min=0))
    if zero_padding:
        # As bytes, because fp8 cannot be filled.
        out.view(torch.uint8).masked_fill_((rows_of < 0)[:, None], 0)
    return out


def spread_weights(weights, slots, rows):
    """Returns [N] of weights [M, K]: the weight of the choice of each slot, 0 in gaps."""
    flat = slots.reshape(-1).to(torch.int64)
    out = weights.new_zeros(rows + 1)
    return out.scatter_(0, torch.where(flat < 0, rows, flat), weights.reshape(-1))[:rows]


def fold_weights(weights, slots):
    """Undoes spread_weights: returns [M, K] of weights [N]; 0 for choices of other ranks' experts."""
    if not len(weights):
        return weights.new_zeros(slots.shape)
    flat = slots.to(torch.int64)
    return weights[flat.clamp(min=0)].masked_fill_(flat < 0, 0)


def column_major(scales):
    """Returns the scales [N, S] laid out by column, each beginning aligned, as grouped GEMMs load them."""
    rows, columns = scales.shape
    stride = aligned(rows, SCALES_ALIGNED)
    out = torch.empty_strided((rows, columns), (1, stride), dtype=scales.dtype, device=scales.device)
    return out.copy_(scales)


def reduce(x, slots):
    """Returns [M, H] of x [N, H]: the rows of each token, added in fp32 in the order of its choices, rounded once."""
    total = torch.zeros((len(slots), x.shape[1]), dtype=torch.float32, device=x.device)
    for choice in range(slots.shape[1] if len(x) else 0):
        places = slots[:, choice].to(torch.int64)
        rows = x.index_select(0, places.clamp(min=0)).to(torch.float32)
        total += rows.masked_fill_((places < 0)[:, None], 0)
    return total.to(x.dtype)


def sum_choices(x, bias=()):
    """Returns [T, H] of x [T, K, H]: biases first, then choices in order, added in fp32, rounded once."""
    total = torch.zeros((x.shape[0], x.shape[2]), dtype=torch.float32, device=x.device)
    for each in bias:
        total += each.to(torch.float32)
    for choice in range(x.shape[1]):
        total += x[:, choice].to(torch.float32)
    return total.to(x.dtype)


def source_metadata(source, topk_idx, slots, tokens_max):
    """Returns the recv_src_metadata of an EPHandle, [M, 2 + K] int32. It is -1 past the rows that came."""
    rank, token, mine = source[:, 0], source[:, 1], topk_idx >= 0
    first = mine.to(torch.int32).argmax(1)
    whose = torch.stack([rank * tokens_max + token, rank * topk_idx.shape[1] + first], 1).to(torch.int32)
    whose.masked_fill_(~mine.any(1, keepdim=True), -1)
    return torch.cat([whose, slots], 1).contiguous()
