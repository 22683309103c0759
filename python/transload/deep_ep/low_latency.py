"""The low-latency mode of V1, made of ordinary calls: each (token, expert) travels as a token of its own."""
from functools import partial

import torch

from ..errors import REFUSALS, InvalidArgument
from .handles import LowLatencyHandle
from .notices import say_once
from .tensors import extent, given, refuse, tell_bad_ids

_BLOCK = 128  # elements that have one scale
_E4M3_MOST = 448.0
_AMAX_LEAST = 1e-4


class LowLatency:
    """The low-latency calls of one buffer."""

    def __init__(self, buffer, members, groups, work):
        self._buffer, self._members, self._groups, self._work = buffer, members, groups, work
        nodes = [members.node_of(rank) for rank in range(members.size)]
        self._node_of = torch.tensor(nodes, dtype=torch.int64, device="cpu")

    def dispatch(self, x, topk_idx, *, most, experts, stats, cast, asynchronous, hooked):
        try:
            _one_of(asynchronous, hooked)
            rows, ids, stats = self._given(x, topk_idx, most, experts, stats, cast)
        except REFUSALS as error:
            self._groups.tell_refusal(experts, error)
            raise
        say_once("low latency", "low-latency calls are composed of ordinary ones, which is the slow way")
        return self._halves(
            partial(self._issue, rows, ids, most, experts, stats, cast), (x, topk_idx), asynchronous, hooked
        )

    def _given(self, x, topk_idx, most, experts, stats, cast):
        """Checks the arguments of a dispatch. Returns x, topk_idx and stats."""
        self._groups.check(experts)
        rows = given("x", x, 2, (torch.bfloat16,))
        ids = given("topk_idx", topk_idx, 2, (torch.int64, torch.int32))
        if len(ids) != len(rows):
            refuse("topk_idx", f"{len(ids)} rows", f"as many as x has: {len(rows)}")
        if len(rows) > extent("num_max_dispatch_tokens_per_rank", most, 1):
            refuse("x", f"{len(rows)} tokens", f"at most num_max_dispatch_tokens_per_rank: {most}")
        _check_cast(rows, cast)
        if stats is not None:
            stats = given("cumulative_local_expert_recv_stats", stats, 1, (torch.int32,))
            if len(stats) != experts // self._members.size:
                refuse("cumulative_local_expert_recv_stats", f"[{len(stats)}]", f"[{experts // self._members.size}]")
        return rows, ids, stats

    def combine(self, x, topk_idx, topk_weights, handle, *, zero_copy, out, asynchronous, hooked):
        _one_of(asynchronous, hooked)
        rows = handle.state.get("buffer") if zero_copy else given("x", x, 3, (torch.bfloat16,))
        if rows is None:
            raise InvalidArgument("zero_copy: True, must be after get_next_low_latency_combine_buffer")
        hidden = rows.shape[2]  # of what goes back: it may be longer than the rows that came
        if rows.shape[:2] != handle[0].shape:
            refuse("x", list(rows.shape), f"{[*handle[0].shape, hidden]}")
        ids, weights = given("topk_idx", topk_idx, 2), given("topk_weights", topk_weights, 2, (torch.float32,))
        for name, tensor in (("topk_idx", ids), ("topk_weights", weights)):
            if tensor.shape != handle.first.shape:
                refuse(name, list(tensor.shape), f"{list(handle.first.shape)}, as in the dispatch")
        if out is None:
            out = torch.empty((len(ids), hidden), dtype=torch.bfloat16, device=rows.device)
        elif given("out", out, 2, (torch.bfloat16,)).shape != (len(ids), hidden):
            refuse("out", list(out.shape), [len(ids), hidden])
        return self._halves(
            partial(self._send_back, rows, ids, weights, handle, out), (x, topk_idx, topk_weights), asynchronous, hooked
        )

    def next_buffer(self, handle):
        handle.state["buffer"] = handle.room.group.empty((*handle[0].shape, handle[3]), torch.bfloat16)
        return handle.state["buffer"]

    def _halves(self, issue, reads, asynchronous, hooked):
        """Runs issue(), which returns the call's results and a function that fills them. That is called here, or is
        returned as the hook."""

        def call():
            gave, complete = issue()
            if not hooked:
                complete()
            return gave, complete

        (gave, complete), event = self._work.run(call, reads, None, asynchronous)
        return *gave, event, complete if hooked else None

    def _issue(self, rows, ids, most, experts, stats, cast):
        """Sends rows to their ranks. Returns the call's results, and a function that fills them."""
        device, size, choices = rows.device, self._members.size, ids.shape[1]
        first, own = _first_choices(ids)
        body, scales = _cast(rows, *cast)
        room, got = self._groups.dispatch(
            experts,
            body.repeat_interleave(choices, dim=0),
            own.reshape(-1, 1),
            torch.zeros((own.numel(), 1), dtype=torch.float32, device=device),
            scales=None if scales is None else scales.repeat_interleave(choices, dim=0),
            tokens=most * choices,
        )
        tell_bad_ids(got.status, ids, experts)
        local, places = experts // size, size * most
        x = torch.empty((local, places, rows.shape[1]), dtype=body.dtype, device=device)
        columns = None
        if scales is not None:
            columns = torch.empty((local, scales.shape[1], places), dtype=scales.dtype, device=device).transpose(1, 2)
        counts = torch.empty(local, dtype=torch.int32, device=device)
        tokens = torch.zeros((local, places), dtype=torch.int32, device=device)
        ranges = torch.empty((local, size), dtype=torch.int64, device=device)
        expert, place, of_source = _places(got, local, size)

        def complete():
            _bytes(x)[expert, place] = _bytes(got.x)
            if columns is not None:
                columns[expert, place] = got.scales
            tokens[expert, place] = got.source[:, 1] // choices
            counts.copy_(of_source.sum(dim=1))
            ranges.copy_((of_source.cumsum(dim=1) - of_source) << 32 | of_source)
            if stats is not None:
                stats.add_(counts)

        handle = LowLatencyHandle(
            (tokens, ranges, most, rows.shape[1], experts),
            room=room,
            routing=got.handle,
            buffer=self._buffer,
            first=first,
            rows=(expert, place),
            state={},
        )
        return (x if columns is None else (x, columns), counts, handle), complete

    def _send_back(self, rows, ids, weights, handle, out):
        back, _ = handle.combine(rows[handle.rows])

        def complete():
            out.copy_(self._sum(back.unflatten(0, ids.shape), ids, weights, handle))

        return (out,), complete

    def _sum(self, back, ids, weights, handle):
        """Returns each token's rows, weighted and added in float32: node by node, and within a node by choice. The sum
        of another node is rounded to bf16. No product is fused."""
        owner = torch.div(ids, handle[4] // self._members.size, rounding_mode="floor").long()
        chosen = (ids >= 0) & (ids < handle[4])
        nodes = torch.where(chosen, self._node_of[owner.clamp(0, self._members.size - 1)], -1)
        total = torch.zeros((len(ids), back.shape[2]), dtype=torch.float32, device=back.device)
        for node in range(len(self._members.nodes)):
            part = torch.zeros_like(total)
            for k in range(ids.shape[1]):
                row = back.gather(1, handle.first[:, k, None, None].expand(-1, 1, back.shape[2]))[:, 0].float()
                part += torch.where(nodes[:, k, None] == node, weights[:, k, None] * row, 0.0)
            total += part if node == self._members.node else part.bfloat16().float()
        return total


def _one_of(asynchronous, hooked):
    if asynchronous and hooked:
        raise InvalidArgument("async_finish: True with return_recv_hook=True, must be one of them")


def _bytes(tensor):
    """Returns the tensor as bytes, because torch cannot index by tensors in every dtype."""
    return tensor.view(torch.uint8)


def _first_choices(ids):
    """Returns two of [T, K]: which choice of the token was the first of the same expert; ids, -1 if not the first."""
    alike = ids[:, :, None] == ids[:, None, :]
    first = alike.int().argmax(dim=2)
    mine = torch.arange(ids.shape[1], device=ids.device)
    return first, torch.where(first == mine, ids, -1)


def _places(got, local, size):
    """Returns the expert of each row, its place among the rows of that expert, and the rows of each expert and source
    rank, [E, R]."""
    expert, source = got.topk_idx[:, 0].long(), got.source[:, 0].long()
    counts = torch.bincount(expert, minlength=local)
    order = expert.argsort(stable=True)
    begins = (counts.cumsum(0) - counts)[expert[order]]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device) - begins
    return expert, place, torch.bincount(expert * size + source, minlength=local * size).reshape(local, size)


def _check_cast(rows, cast):
    use_fp8, round_scale, use_ue8m0 = cast
    if use_ue8m0 and not (use_fp8 and round_scale):
        raise InvalidArgument("use_ue8m0: True, must be with use_fp8 and round_scale")
    unit = _BLOCK * 4 if use_ue8m0 else _BLOCK
    if use_fp8 and rows.shape[1] % unit:
        refuse("x", f"{rows.shape[1]} elements a row", f"a multiple of {unit}, to be cast to fp8")


def _cast(rows, use_fp8, round_scale, use_ue8m0):
    """Returns rows as they travel, and their scales: one for 128 elements, in float32, nothing fused."""
    if not use_fp8:
        return rows, None
    blocks = rows.float().unflatten(1, (-1, _BLOCK))
    most = torch.where(blocks.isnan(), 0.0, blocks.abs()).amax(dim=2).clamp_min(_AMAX_LEAST)
    scale = most * torch.tensor(1 / _E4M3_MOST, dtype=torch.float32, device=rows.device)
    factor = torch.full_like(most, _E4M3_MOST) / most  # a number over a tensor would round twice
    if round_scale:
        bits = scale.view(torch.int32)
        exponent = (bits >> 23) - 127 + ((bits & 0x7FFFFF) != 0)
        # Elements with an infinity among them have an infinite scale; the power that undoes it is not normal.
        factor = torch.where(scale.isinf(), 2.0**-128, _power_of_2(-exponent))
        scale = _power_of_2(exponent)
    # Clamped, because not every version of torch saturates.
    body = (blocks * factor[:, :, None]).clamp(-_E4M3_MOST, _E4M3_MOST).to(torch.float8_e4m3fn)
    if use_ue8m0:
        scale = (exponent + 127).to(torch.uint8).view(torch.int32)
    return body.reshape(rows.shape), scale


def _power_of_2(exponent):
    """Returns 2 ** exponent, made from its bits, because computed powers are not exact on every machine."""
    return ((exponent + 127).to(torch.int32) << 23).view(torch.float32)
