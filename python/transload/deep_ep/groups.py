"""The transload.Group behind a buffer. A buffer does not know shapes, so its group is made by the first call, as large
as this call is on the rank where it is largest, and made anew, larger, by a call that does not fit.
"""
import math
import os
from typing import NamedTuple

import torch

from .. import _native
from ..errors import Error, InvalidArgument, NotSupported
from ..group import Group
from .notices import log
from .tensors import extent, refuse

_TOKENS_MAX, _DEADLINE_S = "TRANSLOAD_TOKENS_MAX", "TRANSLOAD_DEADLINE_S"
_ROW_UNIT = _native.limits().token_bytes_unit
_SLAB_LEAST, _SLAB_MOST = 64 << 20, 1 << 30


class Need(NamedTuple):
    """What a call needs of its group: each number is the largest of any rank."""

    tokens: int
    row_bytes: int  #: bytes of a dispatched row and of the combined one, whichever is longer
    top_k: int
    scales: int  #: 4-byte scales of a row

    def with_all(self, others):
        return Need(*map(max, self, *others))

    def fits(self, room):
        return all(mine <= theirs for mine, theirs in zip(self, room))


class _Refusal(NamedTuple):
    """In place of a need: this rank refuses the call."""

    not_supported: bool
    text: str

    def error_of(self, rank):
        """Returns the error that the other ranks raise if `rank` refuses."""
        error = (NotSupported if self.not_supported else InvalidArgument)(f"{self.text} (rank {rank})")
        error.alike = True
        return error


class Room(NamedTuple):
    """A group, and the largest calls that it can make."""

    group: Group
    size: Need


def deadline_s(default):
    """Returns how many seconds each wait of a group may take: TRANSLOAD_DEADLINE_S if it is set, else the default."""
    return _number(_DEADLINE_S, float, default)


class Groups:
    """The groups of one buffer, one for each number of experts. A group that is replaced lives on in its handles.

    least: what each has room for from the beginning
    options: more arguments of transload.Group
    """

    def __init__(self, members, deadline, least=Need(0, 0, 0, 0), **options):
        self._members, self._deadline, self._least, self._options = members, deadline, least, options
        self._tokens_least = _number(_TOKENS_MAX, int, 1)
        self._rooms = {}

    def close(self):
        """Refuses all later calls. A group is freed with its last handle. It is not collective."""
        self._rooms = None

    def dispatch(self, experts, x, topk_idx, topk_weights, *, scales=None, tokens=0, rows_max=0, **options):
        """Makes a dispatch without a handle. Returns (Room, transload.Dispatched). Collective.

        If no group is large enough, the ranks make one first.

        tokens: the most tokens that any rank may have, if the caller knows it
        options: more arguments of transload.Group.dispatch
        """
        try:
            self.check(experts)
        except InvalidArgument as error:
            self.tell_refusal(experts, error)
            raise
        wide = x.shape[1] * max(x.element_size(), 2)  # of bf16, as a combine brings a row of smaller elements
        tokens = max(tokens, len(x), -(-rows_max // self._members.size))  # room for more than can come is made, too
        need = Need(tokens, wide, topk_idx.shape[1], scales.shape[1] if scales is not None else 0)
        need = need.with_all([self._least])
        room = self._rooms.get(experts) or self._make(experts, self._gathered(experts, need))
        while True:
            try:
                got = room.group.dispatch(x, topk_idx, topk_weights, scales=scales, rows_max=rows_max, **options)
                return room, got
            except Error as error:
                if not error.alike:
                    raise
                all_need = self._gathered(experts, need)
                if all_need.fits(room.size):
                    raise
                room = self._make(experts, all_need, room.size)

    def tell_refusal(self, experts, error):
        """Makes all ranks refuse a first dispatch that this rank refuses. The caller then raises the error.

        This rank makes the calls that the others make in that dispatch, so that they hear of the error; so it is
        collective. If the buffer has several groups and `experts` names none of them, this rank refuses alone.

        experts: the number of experts, or whatever the caller gave for it
        """
        if error.alike:
            return
        self.check_open()
        possible = isinstance(experts, int) and experts > 0 and experts % self._members.size == 0
        rooms = [self._rooms.get(experts)] if possible else list(self._rooms.values()) or [None]
        if len(rooms) > 1:
            return
        if rooms[0] is not None:
            try:
                rooms[0].group.dispatch(None, refused=error)
            except Error as told:
                if not told.alike:
                    raise
        error.alike = True
        self._members.gather(_Refusal(isinstance(error, NotSupported), str(error)))  # the others gather in _gathered

    def meet(self):
        """Returns once every rank has called it: a first dispatch of no tokens waits for the counts of all ranks."""
        self.check_open()
        for experts in self._rooms:
            nothing = torch.empty((0, _ROW_UNIT // 2), dtype=torch.bfloat16, device="cpu")
            ids = torch.empty((0, 1), dtype=torch.int64, device="cpu")
            self.dispatch(experts, nothing, ids, torch.empty((0, 1), dtype=torch.float32, device="cpu"))
            return
        self._members.gather(None)

    def count(self, experts, topk_idx):
        """Returns where a dispatch of these ids would send tokens; None if there is no group yet that can say it."""
        room = self._rooms.get(experts)
        if room is None or not Need(len(topk_idx), 0, topk_idx.shape[1], 0).fits(room.size):
            return None
        return room.group.count(topk_idx)

    def check_open(self):
        if self._rooms is None:
            raise InvalidArgument("the buffer is destroyed, must be called before it is")

    def check(self, experts):
        self.check_open()
        if extent("num_experts", experts, 1) % self._members.size:
            refuse("num_experts", experts, f"a multiple of the {self._members.size} ranks")

    def _gathered(self, experts, need):
        parts = self._members.gather((experts, *need))
        for rank, part in enumerate(parts):
            if isinstance(part, _Refusal):
                raise part.error_of(rank)
        for rank, (other, *_) in enumerate(parts):
            if other != experts:
                refuse("num_experts", f"{experts}, and {other} on rank {rank}", "equal on all ranks")
        return need.with_all([Need(*sizes) for _, *sizes in parts])

    def _make(self, experts, need, old=Need(0, 0, 0, 0)):
        """Makes a group with room for `need` and `old`. Collective. Tokens are a power of 2, so growing ends soon."""
        tokens = 1 << (max(need.tokens, self._tokens_least, 1) - 1).bit_length()
        size = need._replace(tokens=tokens, row_bytes=-(-need.row_bytes // _ROW_UNIT) * _ROW_UNIT).with_all([old])
        group = Group(
            self._members.rank,
            self._members.size,
            nodes=self._members.nodes,
            experts=experts,
            hidden=size.row_bytes // 2,
            dtype="bf16",
            tokens_max=size.tokens,
            top_k_max=size.top_k,
            scales_max=size.scales,
            slab_bytes=slab_bytes(size, self._members.size),
            deadline_s=self._deadline,
            **self._options,
            bootstrap=self._members.gather if self._members.size > 1 else None,
        )
        self._rooms[experts] = Room(group, size)
        log.info("%s group of %d experts: %s", "a larger" if any(old) else "a", experts, size)
        return self._rooms[experts]


def slab_bytes(size, ranks):
    """Returns the slab_bytes for the outputs of two dispatches and two combines with even routing; outputs without room
    take a slower way."""
    token = size.row_bytes + 4 * size.scales + 16 * size.top_k + 64
    rows = size.tokens * min(size.top_k, ranks)
    return min(max(2 * (rows + size.tokens) * token, _SLAB_LEAST), _SLAB_MOST)


def _number(variable, kind, default):
    text = os.environ.get(variable)
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        refuse(variable, repr(text), "a number above 0")
    return value
