"""V1: Buffer, for training, prefill and decode."""
import weakref
from functools import partial

import torch

from ..errors import REFUSALS, InvalidArgument, NotSupported
from . import config as configs
from .events import EventHandle, EventOverlap, Work, handle_of
from .groups import Groups, deadline_s
from .handles import Handle, LowLatencyHandle, of_mode
from .low_latency import LowLatency
from .members import Members
from .notices import ignored, log_once
from .tensors import Rows, biases_given, extent, given, refuse, tell_bad_ids

_CHOICES_MAX = 32
_DEADLINE_S = 100
_NO_MASKS = "masks of ranks that are left out, which there are not yet"


class Runtime:
    """What programs ask a buffer's `runtime`."""

    def __init__(self, members):
        self._members = members

    def is_available(self):
        return True

    def get_num_rdma_ranks(self):
        """Nodes."""
        return len(self._members.nodes)

    def get_rdma_rank(self):
        """The index of this rank's node."""
        return self._members.node

    def get_local_device_id(self):
        """The place of this rank in its node."""
        return self._members.node_rank


class Buffer:
    """The ranks of a process group, as DeepEP's V1 sees them. docs/deepep.md has every argument.

    Making it is collective: ranks tell each other their hosts. Its memory is made by the first call, and larger by a
    call that does not fit; freeing it is not collective. Tensors are CPU tensors. Letters: T tokens of this rank,
    M rows that it receives, K choices, H hidden, S scales, R ranks, E experts of all ranks.

    What is refused raises a transload.Error before anything moves, but for three that are DeepEP's: ValueError without
    group and comm, AssertionError in destroy without explicitly_destroy, and in dispatch with handle and topk_idx.
    """

    num_sms = 20

    def __init__(
        self,
        group,
        num_nvl_bytes=0,
        num_rdma_bytes=0,
        low_latency_mode=False,
        num_qps_per_rank=24,
        allow_nvlink_for_low_latency_mode=True,
        allow_mnnvl=False,
        use_fabric=False,
        explicitly_destroy=False,
        enable_shrink=False,
        comm=None,
    ):
        if enable_shrink:
            raise NotSupported(f"enable_shrink: {enable_shrink!r}, must be False: it needs {_NO_MASKS}")
        network = "the group chooses its network, and any will do"
        ignored("Buffer", "num_qps_per_rank", num_qps_per_rank, 24, "queue pairs are made as they are needed")
        ignored("Buffer", "allow_nvlink_for_low_latency_mode", allow_nvlink_for_low_latency_mode, True, network)
        ignored("Buffer", "allow_mnnvl", allow_mnnvl, False, network)
        ignored("Buffer", "use_fabric", use_fabric, False, network)
        self._members = Members(group, comm)
        self.group = comm if group is None else group
        self.rank, self.group_size = self._members.rank, self._members.size
        self.num_nvl_bytes, self.num_rdma_bytes = num_nvl_bytes, num_rdma_bytes
        self.low_latency_mode, self.explicitly_destroy = low_latency_mode, explicitly_destroy
        self.runtime = Runtime(self._members)
        self._work = Work()
        self._groups = Groups(self._members, deadline_s(_DEADLINE_S))
        self._low_latency = LowLatency(weakref.ref(self), self._members, self._groups, self._work)

    def destroy(self):
        """Not collective. What calls returned is good; later calls are refused."""
        assert self.explicitly_destroy, "destroy: the buffer was made without explicitly_destroy=True"
        self._groups.close()
        self.runtime = None

    @staticmethod
    def is_sm90_compiled():
        """True: rows of fp8 travel in every build."""
        return True

    @staticmethod
    def set_num_sms(new_num_sms):
        """Sets the num_sms of configs that are made from now on. It must be even."""
        if extent("new_num_sms", new_num_sms, 2) % 2:
            refuse("new_num_sms", new_num_sms, "even")
        Buffer.num_sms = new_num_sms

    @staticmethod
    def capture():
        """An EventOverlap of the current stream as it is now."""
        return EventOverlap(EventHandle())

    @staticmethod
    def get_low_latency_rdma_size_hint(num_max_dispatch_tokens_per_rank, hidden, num_ranks, num_experts):
        """Bytes, for num_rdma_bytes."""
        return configs.low_latency_size_hint(num_max_dispatch_tokens_per_rank, hidden, num_ranks, num_experts)

    @staticmethod
    def get_dispatch_config(num_ranks):
        """The Config of a dispatch, for any number of ranks."""
        configs.ranks("num_ranks", num_ranks)
        return configs.Config(Buffer.num_sms)

    @staticmethod
    def get_combine_config(num_ranks):
        """The Config of a combine, for any number of ranks."""
        return Buffer.get_dispatch_config(num_ranks)

    def get_comm_stream(self):
        """The stream of asynchronous calls."""
        return self._work.stream

    def get_local_buffer_tensor(self, dtype, size=None, offset=0, use_rdma_buffer=False):
        """Refused: a group's rings are its own."""
        raise NotSupported("get_local_buffer_tensor: a buffer has no memory that callers may look at")

    def get_dispatch_layout(
        self, topk_idx, num_experts, previous_event=None, async_finish=False, allocate_on_comm_stream=False
    ):
        """What topk_idx [T, K] asks for, without a call to other ranks.

        Returns tokens for each rank [R] int32, for each node int32 (None on one node), choices of each expert [E]
        int32, whether a token goes to a rank [T, R] bool, and the event. Ids outside of 0 to E - 1 are no choice.
        """
        self._groups.check(num_experts)
        ids = given("topk_idx", topk_idx, 2, (torch.int64, torch.int32))
        if not ids.is_contiguous():
            refuse("topk_idx", f"of strides {list(ids.stride())}", "contiguous")
        gave, event = self._work.run(
            partial(self._layout, ids, num_experts), (topk_idx,), previous_event, async_finish
        )
        return *gave, event

    def dispatch(
        self,
        x,
        handle=None,
        num_tokens_per_rank=None,
        num_tokens_per_rdma_rank=None,
        is_token_in_rank=None,
        num_tokens_per_expert=None,
        topk_idx=None,
        topk_weights=None,
        expert_alignment=1,
        num_worst_tokens=0,
        config=None,
        previous_event=None,
        async_finish=False,
        allocate_on_comm_stream=False,
    ):
        """Tokens to the ranks that own their experts. Collective.

        x: [T, H] of any type, or (x, scales [T, S] of 4 bytes each). With topk_idx [T, K] int64 or int32 and
        topk_weights [T, K] float32, or by is_token_in_rank alone; or with the handle of an earlier dispatch.
        num_worst_tokens: room for so many rows, whatever comes; TooManyRows where more do.

        Returns x [M, H] (or the pair), topk_idx [M, K] (local ids, -1 for another rank's), topk_weights [M, K], a list
        of the choices of each local expert, rounded up to expert_alignment (empty with num_worst_tokens), the handle,
        and the event. With a handle: x, four times None, and the event.
        """
        if handle is not None:
            assert topk_idx is None and topk_weights is None, "dispatch: a handle and topk_idx, must be one of them"
            ignored("dispatch with a handle", "expert_alignment", expert_alignment, 1, "no counts are returned")
            ignored("dispatch with a handle", "num_worst_tokens", num_worst_tokens, 0, "the handle knows how many come")
            _check_call(config, previous_event)
            call = partial(self._cached, self._usable(handle), Rows.given(x))
        else:
            try:
                _check_call(config, previous_event)
                rows = Rows.given(x)
                self._check_layout(
                    num_tokens_per_rank, num_tokens_per_rdma_rank, is_token_in_rank, num_tokens_per_expert
                )
                unit = extent("expert_alignment", expert_alignment, 1)
                most = extent("num_worst_tokens", num_worst_tokens, 0)
                if topk_idx is None:
                    for name, value in (("topk_weights", topk_weights), ("num_worst_tokens", num_worst_tokens or None)):
                        if value is not None:
                            raise InvalidArgument(f"{name}: given without topk_idx, must be given with it")
                    call = partial(self._by_ranks, rows, is_token_in_rank, num_tokens_per_expert, unit)
                else:
                    ids = given("topk_idx", topk_idx, 2, (torch.int64, torch.int32))
                    weights = given("topk_weights", topk_weights)
                    call = partial(self._first, rows, ids, weights, num_tokens_per_expert.numel(), unit, most)
            except REFUSALS as error:
                self._groups.tell_refusal(_experts_of(num_tokens_per_expert), error)
                raise
        reads = (x, is_token_in_rank, num_tokens_per_expert, topk_idx, topk_weights)
        gave, event = self._work.run(call, reads, previous_event, async_finish)
        return *gave, event

    def combine(
        self,
        x,
        handle,
        topk_weights=None,
        bias=None,
        config=None,
        previous_event=None,
        async_finish=False,
        allocate_on_comm_stream=False,
    ):
        """The rows of a dispatch back to the ranks of their tokens, summed, not weighted. Collective.

        x: [M, H] bfloat16 in the order of the dispatch; topk_weights: [M, K] float32, summed too;
        bias: [T, H] bfloat16, one or a pair, added first.
        Returns x [T, H], topk_weights [T, K] or None, and the event.
        """
        _check_call(config, previous_event)
        handle = self._usable(handle)
        rows = given("x", x, 2, (torch.bfloat16,))
        weights = None if topk_weights is None else given("topk_weights", topk_weights, 2, (torch.float32,))
        biases = biases_given(bias)
        for each in biases:
            if each.shape[1] != rows.shape[1]:
                refuse("bias", list(each.shape), f"[T, {rows.shape[1]}], as long as x")
        gave, event = self._work.run(
            partial(handle.combine, rows, weights, biases), (x, topk_weights, bias), previous_event, async_finish
        )
        return *gave, event

    def clean_low_latency_buffer(self, num_max_dispatch_tokens_per_rank, hidden, num_experts):
        """Does nothing: both modes may be called in any order."""

    def low_latency_dispatch(
        self,
        x,
        topk_idx,
        num_max_dispatch_tokens_per_rank,
        num_experts,
        cumulative_local_expert_recv_stats=None,
        dispatch_wait_recv_cost_stats=None,
        use_fp8=True,
        round_scale=False,
        use_ue8m0=False,
        async_finish=False,
        return_recv_hook=False,
    ):
        """A row for each (token, distinct expert), by expert. Collective.

        x: [T, H] bfloat16; topk_idx: [T, K]. Returns x [local experts, R * most, H], the rows of an expert from its
        first on, by (source rank, source token); with use_fp8 a pair with scales [.., H / 128] float32, or with
        use_ue8m0 [.., H / 512] int32, column by column; the rows of each expert int32; the handle; the event; and the
        hook, which the caller calls before it reads, if return_recv_hook. Past the counts rows hold nothing.
        """
        self._check_low_latency()
        if dispatch_wait_recv_cost_stats is not None:
            ignored("low_latency_dispatch", "dispatch_wait_recv_cost_stats", "a tensor", None, "waits are not measured")
        return self._low_latency.dispatch(
            x,
            topk_idx,
            most=num_max_dispatch_tokens_per_rank,
            experts=num_experts,
            stats=cumulative_local_expert_recv_stats,
            cast=(use_fp8, round_scale, use_ue8m0),
            asynchronous=async_finish,
            hooked=return_recv_hook,
        )

    def low_latency_combine(
        self,
        x,
        topk_idx,
        topk_weights,
        handle,
        use_logfmt=False,
        zero_copy=False,
        async_finish=False,
        return_recv_hook=False,
        out=None,
        combine_wait_recv_cost_stats=None,
    ):
        """The rows of a low-latency dispatch back, weighted by topk_weights [T, K] float32 and summed. Collective.

        x: [local experts, R * most, H] bfloat16; with zero_copy it is not read, but what
        get_next_low_latency_combine_buffer gave. Returns x [T, H] (`out` if given), the event, and the hook.
        """
        self._check_low_latency()
        ignored("low_latency_combine", "use_logfmt", bool(use_logfmt), False, "rows travel as they are")
        if combine_wait_recv_cost_stats is not None:
            ignored("low_latency_combine", "combine_wait_recv_cost_stats", "a tensor", None, "waits are not measured")
        return self._low_latency.combine(
            x,
            topk_idx,
            topk_weights,
            of_mode(handle, LowLatencyHandle, self),
            zero_copy=zero_copy,
            out=out,
            asynchronous=async_finish,
            hooked=return_recv_hook,
        )

    def get_next_low_latency_combine_buffer(self, handle):
        """[local experts, R * most, H] bfloat16, for the rows that a combine with zero_copy sends."""
        self._check_low_latency()
        return self._low_latency.next_buffer(of_mode(handle, LowLatencyHandle, self))

    def low_latency_update_mask_buffer(self, rank_to_mask, mask=False):
        """Refused."""
        raise NotSupported(f"low_latency_update_mask_buffer: it needs {_NO_MASKS}")

    def low_latency_query_mask_buffer(self, mask_status):
        """Fills mask_status with zeros: no rank is left out."""
        given("mask_status", mask_status).zero_()

    def low_latency_clean_mask_buffer(self):
        """Refused."""
        raise NotSupported(f"low_latency_clean_mask_buffer: it needs {_NO_MASKS}")

    def _check_low_latency(self):
        if not self.low_latency_mode:
            raise InvalidArgument("low_latency_mode: False, must be True for low-latency calls of this buffer")
        self._groups.check_open()

    def _usable(self, handle):
        self._groups.check_open()
        return of_mode(handle, Handle, self)

    def _check_layout(self, per_rank, per_node, in_rank, per_expert):
        """Refuses a layout in which something is missing, as DeepEP does, though most of it is not read."""
        named = {"num_tokens_per_rank": per_rank, "is_token_in_rank": in_rank, "num_tokens_per_expert": per_expert}
        if len(self._members.nodes) > 1:
            named["num_tokens_per_rdma_rank"] = per_node
        for name, tensor in named.items():
            if tensor is None:
                refuse(name, None, "what get_dispatch_layout gave, where no handle is given")
        given("num_tokens_per_expert", per_expert, 1)

    def _layout(self, ids, experts):
        counted = self._groups.count(experts, ids)
        if counted is not None:
            per_node = counted.node_counts if len(self._members.nodes) > 1 else None
            return counted.rank_counts, per_node, counted.expert_counts, counted.token_in_rank
        size = self.group_size
        chosen = (ids >= 0) & (ids < experts)
        owners = torch.where(chosen, torch.div(ids, experts // size, rounding_mode="floor"), size).long()
        in_rank = torch.zeros((len(ids), size + 1), dtype=torch.bool, device=ids.device)
        in_rank = in_rank.scatter_(1, owners, True)[:, :size].contiguous()
        per_node = None
        if len(self._members.nodes) > 1:
            parts = [part.any(dim=1).sum(dtype=torch.int32) for part in in_rank.split(list(self._members.nodes), dim=1)]
            per_node = torch.stack(parts)
        per_expert = torch.bincount(ids[chosen], minlength=experts).to(torch.int32)
        return in_rank.sum(dim=0, dtype=torch.int32), per_node, per_expert, in_rank

    @staticmethod
    def _cached(handle, rows):
        return rows.becoming(*handle.dispatch(rows.x, rows.scales)).returned(), None, None, None, None

    def _first(self, rows, ids, weights, experts, unit, most):
        room, got = self._groups.dispatch(
            experts, rows.x, ids, weights, scales=rows.scales, expert_alignment=unit, rows_max=most
        )
        tell_bad_ids(got.status, ids, experts)
        counts = [] if most else got.expert_counts
        out = rows.becoming(got.x, got.scales).returned()
        return out, got.topk_idx, got.topk_weights, counts, self._handle(room, got)

    def _by_ranks(self, rows, is_token_in_rank, per_expert, unit):
        """Without ids: a token chooses the first expert of each of its ranks; ranks tell each other their counts."""
        experts, local = per_expert.numel(), per_expert.numel() // self.group_size
        try:
            ids = self._first_experts(is_token_in_rank, experts)
        except REFUSALS as error:
            self._groups.tell_refusal(experts, error)
            raise
        weights = torch.zeros(ids.shape, dtype=torch.float32, device=ids.device)
        room, got = self._groups.dispatch(experts, rows.x, ids, weights, scales=rows.scales)
        log_once("by ranks", "a dispatch without topk_idx gathers counts of experts over the process group, each time")
        mine = slice(self.rank * local, (self.rank + 1) * local)
        counts = [sum(each) for each in zip(*(part[mine] for part in self._members.gather(per_expert.tolist())))]
        counts = [-(-count // unit) * unit for count in counts]
        return rows.becoming(got.x, got.scales).returned(), None, None, counts, self._handle(room, got)

    def _first_experts(self, is_token_in_rank, experts):
        """[T, K] int64: of each rank that a token goes to the first expert."""
        size = self.group_size
        self._groups.check(experts)
        in_rank = given("is_token_in_rank", is_token_in_rank, 2, (torch.bool,))
        if in_rank.shape[1] != size:
            refuse("is_token_in_rank", list(in_rank.shape), f"[T, {size}]")
        firsts = torch.arange(size, dtype=torch.int64, device=in_rank.device) * (experts // size)
        ids = torch.where(in_rank, firsts, -1)
        if size > _CHOICES_MAX:
            ids = ids.sort(dim=1, descending=True).values
            if (ids[:, _CHOICES_MAX:] >= 0).any():
                most = int(in_rank.sum(dim=1).max())
                refuse("is_token_in_rank", f"a token for {most} ranks", f"{_CHOICES_MAX} ranks a token at most")
            ids = ids[:, :_CHOICES_MAX].contiguous()
        return ids

    def _handle(self, room, got):
        size = self.group_size
        rows = got.rows_of_sources_on_device
        if len(self._members.nodes) > 1:
            elements = [None] * 10
            elements[6] = rows.to(torch.int32)
        else:
            elements = [None] * 6
            elements[0] = torch.zeros((size, size), dtype=torch.int32, device=rows.device)
            elements[0].select(1, self.rank).copy_(rows)
            elements[3] = got.source.select(1, 1).clone()  # a view would keep the rows
        return Handle(elements, room=room, routing=got.handle, buffer=weakref.ref(self))


def _check_call(config, previous_event):
    if config is not None and not isinstance(config, configs.Config):
        refuse("config", f"a {type(config).__name__}", "a Config or None")
    handle_of(previous_event)


def _experts_of(per_expert):
    """How many experts there are; None if the caller gave no tensor."""
    return per_expert.numel() if isinstance(per_expert, torch.Tensor) else None
