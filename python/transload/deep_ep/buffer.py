"""Buffer of DeepEP's V1, for training, prefill and decode."""
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
_NO_MASKS = "masks of ranks that are left out, which this version does not have"


class Runtime:
    """The attribute `runtime` of a buffer, which programs ask about nodes and ranks."""

    def __init__(self, members):
        self._members = members

    def is_available(self):
        """Returns True."""
        return True

    def get_num_rdma_ranks(self):
        """Returns how many nodes there are."""
        return len(self._members.nodes)

    def get_rdma_rank(self):
        """Returns the index of this rank's node."""
        return self._members.node

    def get_local_device_id(self):
        """Returns the index of this rank in its node."""
        return self._members.node_rank


class Buffer:
    """The ranks of a process group, as DeepEP's V1 sees them. docs/deepep.md has every argument.

    Making it is collective: ranks tell each other their hosts. Its memory is made by the first call, and made larger by
    a call that does not fit. Freeing it is not collective. Tensors are CPU tensors. Shapes use these letters: T tokens
    of this rank, M rows that it receives, K choices of a token, H elements of a row, S scales of a row, R ranks, E
    experts of all ranks.

    A refused call raises a transload.Error before anything moves. Three errors are DeepEP's own: ValueError without
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
        """Closes the buffer; later calls are refused. What calls returned stays valid. It is not collective."""
        assert self.explicitly_destroy, "destroy: the buffer was made without explicitly_destroy=True"
        self._groups.close()
        self.runtime = None

    @staticmethod
    def is_sm90_compiled():
        """Returns True: every build moves rows of fp8."""
        return True

    @staticmethod
    def set_num_sms(new_num_sms):
        """Sets the num_sms, an even number, of the configs that get_dispatch_config and get_combine_config return."""
        if extent("new_num_sms", new_num_sms, 2) % 2:
            refuse("new_num_sms", new_num_sms, "even")
        Buffer.num_sms = new_num_sms

    @staticmethod
    def capture():
        """Returns an EventOverlap that marks the current stream as it is now."""
        return EventOverlap(EventHandle())

    @staticmethod
    def get_low_latency_rdma_size_hint(num_max_dispatch_tokens_per_rank, hidden, num_ranks, num_experts):
        """Returns how many bytes low-latency calls of this size take, as num_rdma_bytes."""
        return configs.low_latency_size_hint(num_max_dispatch_tokens_per_rank, hidden, num_ranks, num_experts)

    @staticmethod
    def get_dispatch_config(num_ranks):
        """Returns the Config of a dispatch, which is the same for any number of ranks."""
        configs.ranks("num_ranks", num_ranks)
        return configs.Config(Buffer.num_sms)

    @staticmethod
    def get_combine_config(num_ranks):
        """Returns the Config of a combine, which is the same for any number of ranks."""
        return Buffer.get_dispatch_config(num_ranks)

    def get_comm_stream(self):
        """Returns the stream that asynchronous calls run on."""
        return self._work.stream

    def get_local_buffer_tensor(self, dtype, size=None, offset=0, use_rdma_buffer=False):
        """Raises NotSupported: callers cannot look at a group's rings."""
        raise NotSupported("get_local_buffer_tensor: a buffer has no memory that callers may look at")

    def get_dispatch_layout(
        self, topk_idx, num_experts, previous_event=None, async_finish=False, allocate_on_comm_stream=False
    ):
        """Counts what topk_idx ([T, K] int64 or int32, contiguous) asks for, without a call to other ranks.

        Returns five values: how many tokens go to each rank, [R] int32; how many go to each node, [nodes] int32, or
        None on one node; how often each expert was chosen, [E] int32; whether a token goes to a rank, [T, R] bool; and
        the event. Ids outside of 0 to E - 1 are no choice.
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
        """Sends tokens to the ranks that own their experts. Collective.

        x: [T, H] of any dtype, or a pair (x, scales [T, S] of a 4-byte dtype)
        topk_idx: [T, K] int64 or int32: the experts that each token chose, by global id; -1 is no choice
        topk_weights: [T, K] float32; with topk_idx alone
        is_token_in_rank: [T, R] bool: where tokens go if topk_idx is not given
        handle: the handle of an earlier dispatch, whose routing is used again, instead of all these but x
        num_worst_tokens: how many rows the outputs have room for; TooManyRows if more come; 0: as many as come

        Returns six values: x [M, H], or the pair; topk_idx [M, K], local ids, -1 if another rank owns the expert;
        topk_weights [M, K]; a list of how often each local expert was chosen, rounded up to expert_alignment, empty
        with num_worst_tokens; the handle; and the event. With a handle: x, four times None, and the event.
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
        """Brings the rows of a dispatch back to the ranks of their tokens and sums them, without weights. Collective.

        x: [M, H] bfloat16: one row for each row of the dispatch, in the same order
        topk_weights: [M, K] float32: they are summed for each token as well
        bias: [T, H] bfloat16, or a pair of such: the sum of a token begins with them

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
        """Sends a row for each pair of a token and an expert that it chose; rows come by expert. Collective.

        x: [T, H] bfloat16; topk_idx: [T, K] int64 or int32

        Returns five values. x is [local experts, R * num_max_dispatch_tokens_per_rank, H]: the rows of each expert,
        ordered by source rank and source token, and behind them rows that hold nothing; with use_fp8 it is a pair with
        scales [.., H / 128] float32, or [.., H / 512] int32 with use_ue8m0, column by column. Then come the number of
        rows of each expert, [local experts] int32; the handle; the event; and, with return_recv_hook, the hook, which
        the caller must call before it reads x, else None.
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
        """Brings the rows of a low-latency dispatch back, and sums them with weights. Collective.

        x: [local experts, R * num_max_dispatch_tokens_per_rank, H] bfloat16, its rows placed as the dispatch's; with
            zero_copy the tensor of get_next_low_latency_combine_buffer is read instead
        topk_idx: [T, K], as in the dispatch; topk_weights: [T, K] float32
        out: [T, H] bfloat16: memory of the caller for the sums

        Returns x [T, H], which is `out` if given; the event; and the hook or None, as the dispatch does.
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
        """Returns a bfloat16 tensor in the shape of the dispatch's x, whose rows a combine with zero_copy sends."""
        self._check_low_latency()
        return self._low_latency.next_buffer(of_mode(handle, LowLatencyHandle, self))

    def low_latency_update_mask_buffer(self, rank_to_mask, mask=False):
        """Raises NotSupported: no rank can be left out."""
        raise NotSupported(f"low_latency_update_mask_buffer: it needs {_NO_MASKS}")

    def low_latency_query_mask_buffer(self, mask_status):
        """Fills the tensor mask_status with zeros: no rank is left out."""
        given("mask_status", mask_status).zero_()

    def low_latency_clean_mask_buffer(self):
        """Raises NotSupported: no rank can be left out."""
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
                refuse(name, None, "what get_dispatch_layout returned, unless a handle is given")
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
        """Makes a dispatch without ids: a token chooses the first expert of each of its ranks."""
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
        """Returns [T, K] int64: for each token the first expert of each rank that it goes to."""
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
    """Returns how many experts there are; None if the caller gave no tensor."""
    return per_expert.numel() if isinstance(per_expert, torch.Tensor) else None
