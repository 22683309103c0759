"""ElasticBuffer: DeepEP's V2 over transload.Group. Rows by expert are made by torch operations (expand.py)."""
from functools import partial

import torch

from ..errors import REFUSALS, NotSupported
from .elastic_calls import Choices, Form, cached_dispatch, combine, combine_by_choice, first_dispatch
from .events import EventHandle, Work, handle_of
from .groups import Groups, Need, deadline_s, slab_bytes
from .elastic_handle import EPHandle
from .members import Members
from .notices import ignored
from .tensors import Rows, biases_given, extent, given, refuse

_IDS = (torch.int64, torch.int32)
_TOP_K_UNKNOWN = 32  # where a size is asked for before anybody knows how many experts a token chooses
# With more SMs calls of two GPUs become no faster (docs/numbers.md): on one node, and on several.
_SMS_ONE_NODE, _SMS_NODES = 16, 24
_NO_EXPERTS = "it has nothing to do with experts, and Transload does dispatch and combine only"


class ElasticBuffer:
    """Dispatch and combine of one process group, as DeepEP's V2 names them.

    Making it is collective, freeing it is not. Its transload.Group is made by the first dispatch. Rows always come by
    source rank and token. One thread at a time may call it.

    group: of torch, any backend
    num_bytes: kept as an attribute, without effect
    num_max_tokens_per_rank, hidden, num_topk: the largest of any call, so that its first group is large enough
    allow_multiple_reduction: False: what a combine adds is rounded once, at the token's rank
    num_gpu_timeout_secs: the deadline of every wait in a call, unless TRANSLOAD_DEADLINE_S is set
    explicitly_destroy: destroy() may be called; otherwise a buffer is freed by dropping it

    num_cpu_bytes must be 0. Without effect, and told once: use_fp8_dispatch, allow_hybrid_mode,
    prefer_overlap_with_compute, sl_idx, num_allocated_qps, num_cpu_timeout_secs. deterministic: it always is.
    """

    def __init__(
        self,
        group,
        num_bytes=None,
        num_cpu_bytes=0,
        num_max_tokens_per_rank=0,
        hidden=0,
        num_topk=0,
        use_fp8_dispatch=False,
        deterministic=False,
        allow_hybrid_mode=True,
        allow_multiple_reduction=True,
        prefer_overlap_with_compute=True,
        sl_idx=3,
        num_allocated_qps=0,
        num_cpu_timeout_secs=300,
        num_gpu_timeout_secs=100,
        explicitly_destroy=False,
    ):
        if extent("num_cpu_bytes", num_cpu_bytes, 0):
            raise NotSupported(f"num_cpu_bytes: {num_cpu_bytes}, must be 0: {_NO_EXPERTS}")
        where = "ElasticBuffer"
        ignored(where, "use_fp8_dispatch", use_fp8_dispatch, False, "rows of every type fit")
        ignored(where, "allow_hybrid_mode", allow_hybrid_mode, True, "a token crosses to a node once, always")
        ignored(where, "prefer_overlap_with_compute", prefer_overlap_with_compute, True, "num_sms says how many SMs")
        ignored(where, "sl_idx", sl_idx, 3, "the network's provider chooses it")
        ignored(where, "num_allocated_qps", num_allocated_qps, 0, "the network's provider chooses them")
        ignored(where, "num_cpu_timeout_secs", num_cpu_timeout_secs, 300, "num_gpu_timeout_secs is the deadline")
        self.group = group
        self.num_max_tokens_per_rank = extent("num_max_tokens_per_rank", num_max_tokens_per_rank, 0)
        least = Need(
            tokens=self.num_max_tokens_per_rank,
            row_bytes=2 * extent("hidden", hidden, 0),
            top_k=extent("num_topk", num_topk, 0),
            scales=0,
        )
        self.deterministic, self.explicitly_destroy = deterministic, bool(explicitly_destroy)
        self.allow_hybrid_mode, self.allow_multiple_reduction = allow_hybrid_mode, bool(allow_multiple_reduction)
        self.prefer_overlap_with_compute = prefer_overlap_with_compute
        deadline = deadline_s(extent("num_gpu_timeout_secs", num_gpu_timeout_secs, 1))
        self._members = Members(group)
        self._wire = "bf16" if self.allow_multiple_reduction else "fp32"
        self._groups = Groups(self._members, deadline, least=least, combine_wire=self._wire)
        self._work = Work()
        self.rank_idx, self.num_ranks = self._members.rank, self._members.size
        self.num_scaleout_ranks, self.num_scaleup_ranks = self.get_logical_domain_size()
        self.scaleout_rank_idx, self.scaleup_rank_idx = divmod(self.rank_idx, self.num_scaleup_ranks)
        self.num_rdma_ranks, self.num_nvlink_ranks = self.get_physical_domain_size()
        self.num_allocated_qps = num_allocated_qps or self.get_theoretical_num_qps(0)
        self.num_bytes = num_bytes
        if num_bytes is None:
            self.num_bytes = slab_bytes(least, self.num_ranks)

    def destroy(self):
        """Frees the buffer's group once its last handle is gone. Not collective. Later calls are refused."""
        assert self.explicitly_destroy, "destroy() needs a buffer that was made with explicitly_destroy=True"
        self._groups.close()

    @staticmethod
    def get_buffer_size_hint(
        group,
        num_max_tokens_per_rank,
        hidden,
        num_topk=0,
        use_fp8_dispatch=False,
        allow_hybrid_mode=True,
        allow_multiple_reduction=True,
    ):
        """The bytes that a buffer for such calls takes for what its calls return."""
        where = "get_buffer_size_hint"
        ignored(where, "use_fp8_dispatch", use_fp8_dispatch, False, "a combine of bf16 takes more")
        ignored(where, "allow_hybrid_mode", allow_hybrid_mode, True, "a token crosses to a node once, always")
        ignored(where, "allow_multiple_reduction", allow_multiple_reduction, True, "outputs are as large")
        need = Need(
            tokens=extent("num_max_tokens_per_rank", num_max_tokens_per_rank, 1),
            row_bytes=2 * extent("hidden", hidden, 1),
            top_k=extent("num_topk", num_topk, 0) or _TOP_K_UNKNOWN,
            scales=0,
        )
        return slab_bytes(need, group.size())

    def barrier(self, use_comm_stream=True, with_cpu_sync=False, sequential=True):
        """Returns once every rank has called it: a first dispatch of nothing, which waits for the counts of all ranks.

        Calls of ranks on CPUs are done when they return, so the arguments make no difference.
        """
        _, event = self._work.run(self._groups.meet, (), None, bool(use_comm_stream))
        with event:
            pass

    @staticmethod
    def capture():
        """A mark behind what the current stream was given."""
        return EventHandle()

    def get_comm_stream(self):
        return self._work.stream

    def get_physical_domain_size(self):
        """(nodes, ranks of my node)"""
        return len(self._members.nodes), self._members.nodes[self._members.node]

    def get_logical_domain_size(self):
        """(1, ranks): handles speak of source ranks, not of rails, on several nodes too."""
        return 1, self._members.size

    def get_theoretical_num_sms(
        self,
        num_experts,
        num_topk,
        num_scaleout_topk=0,
        rdma_gbs=0,
        nvlink_gbs=0,
        sm_read_gbs=200,
        sm_write_gbs=50,
    ):
        """SMs with which a call is as fast as with more, as measured: by the number of nodes alone."""
        extent("num_experts", num_experts, 1)
        extent("num_topk", num_topk, 1)
        why = "the answer was measured, not computed"
        given_rates = (num_scaleout_topk, rdma_gbs, nvlink_gbs, sm_read_gbs, sm_write_gbs)
        names = ("num_scaleout_topk", "rdma_gbs", "nvlink_gbs", "sm_read_gbs", "sm_write_gbs")
        for name, value, default in zip(names, given_rates, (0, 0, 0, 200, 50)):
            ignored("get_theoretical_num_sms", name, value, default, why)
        return _SMS_ONE_NODE if len(self._members.nodes) == 1 else _SMS_NODES

    def get_theoretical_num_qps(self, num_sms):
        """1: the network's provider has its own."""
        return 1

    def dispatch(
        self,
        x,
        topk_idx=None,
        topk_weights=None,
        cumulative_local_expert_recv_stats=None,
        num_experts=None,
        num_max_tokens_per_rank=None,
        expert_alignment=None,
        num_sms=0,
        num_qps=0,
        previous_event=None,
        previous_event_before_epilogue=None,
        async_with_compute_stream=False,
        allocate_on_comm_stream=False,
        handle=None,
        do_handle_copy=True,
        do_cpu_sync=None,
        do_expand=False,
        do_zero_padding=False,
        use_tma_aligned_col_major_sf=False,
    ):
        """Tokens to the ranks that own their experts. Collective.

        x: [T, H], any type; or with scales ([T, H], [T, S] of 4-byte elements, any strides)
        topk_idx: [T, K] int64 or int32, global experts, -1 for no choice; an expert may be chosen twice
        topk_weights: [T, K] float32, or None
        cumulative_local_expert_recv_stats: [local experts] int32: choices are added; not with a handle
        num_experts, num_max_tokens_per_rank (else the buffer's), expert_alignment: alike on all ranks
        num_sms: kept in the handle; num_qps: without effect
        previous_event, previous_event_before_epilogue: both waited for before the call begins
        handle: instead of topk_idx: the routing of an earlier dispatch; topk_weights may be given
        do_cpu_sync: False: room for all that can come; rows past the count hold nothing, their ids are -1
        do_expand: a row for each (row, choice), by expert; do_zero_padding: zeros in the gaps between experts
        use_tma_aligned_col_major_sf: each column of the scales in one piece, which begins at 16 bytes
        allocate_on_comm_stream: outputs belong to the stream that writes them, always

        Returns x (with scales), topk_idx [M, K] of local experts (None if expanded), topk_weights ([M, K], expanded
        [N]), the handle, an EventOverlap.
        """
        self._ignore_qps("dispatch", num_qps)
        form = Form(bool(do_expand), bool(do_zero_padding), bool(use_tma_aligned_col_major_sf))
        if handle is None:
            try:
                waited = self._behind(previous_event, previous_event_before_epilogue)
                rows, weights = Rows.given(x).contiguous(), self._weights("topk_weights", topk_weights)
                choices = self._choices(
                    rows,
                    topk_idx,
                    weights,
                    stats=cumulative_local_expert_recv_stats,
                    experts=num_experts,
                    tokens_max=num_max_tokens_per_rank,
                    alignment=expert_alignment,
                    sms=num_sms,
                    copy=bool(do_handle_copy),
                    wait=do_cpu_sync is None or bool(do_cpu_sync),
                )
            except REFUSALS as error:
                self._groups.tell_refusal(num_experts, error)
                raise
            call = partial(first_dispatch, self._groups, self.num_ranks, rows, choices, form)
            reads = (rows.x, rows.scales, choices.topk_idx, weights)
        else:
            waited = self._behind(previous_event, previous_event_before_epilogue)
            self._ignore_stats(cumulative_local_expert_recv_stats)
            told = (topk_idx, do_cpu_sync, num_experts, num_max_tokens_per_rank, expert_alignment)
            call, reads = self._cached(x, topk_weights, handle, form, told)
        gave, event = self._work.run(call, reads, waited, bool(async_with_compute_stream))
        return (*gave[:4], event)

    def combine(
        self,
        x,
        handle,
        topk_weights=None,
        bias=None,
        num_sms=0,
        num_qps=0,
        previous_event=None,
        previous_event_before_epilogue=None,
        async_with_compute_stream=False,
        allocate_on_comm_stream=False,
    ):
        """The experts' rows back to the ranks that their tokens came from, summed. Collective.

        x: [M, H] bf16, in the order of the dispatch; of an expanded handle [N, H]: rows of a token are added on this
            rank first, in the order of its choices, in fp32, and rounded; with allow_multiple_reduction=False they
            return one by one
        topk_weights: [M, K] float32, expanded [N]: brought back to where they came from
        bias: [T, H] bf16, one or a pair, added first
        num_sms, num_qps: on CPUs without effect; events as in dispatch

        Returns x [T, H], topk_weights [T, K] or None, an EventOverlap.
        """
        self._check_handle(handle)
        waited = self._behind(previous_event, previous_event_before_epilogue)
        extent("num_sms", num_sms, 0)
        self._ignore_qps("combine", num_qps)
        x = given("x", x, dimensions=2, dtypes=(torch.bfloat16,)).contiguous()
        count = handle.num_expanded_tokens if handle.do_expand else handle.num_recv_tokens
        if len(x) != count:
            refuse("x", f"{len(x)} rows", f"{count}, as its dispatch brought")
        weights = self._weights("topk_weights", topk_weights)
        self._check_shape("topk_weights", weights, (count,) if handle.do_expand else handle.routing.topk_idx.shape)
        biases = [each.contiguous() for each in biases_given(bias)]
        for each in biases:
            self._check_shape("bias", each, (len(handle.topk_idx), x.shape[1]))
        one_by_one = handle.do_expand and not self.allow_multiple_reduction

        def call():
            if one_by_one:
                return combine_by_choice(x, handle, weights, biases)
            return combine(x, handle, weights, biases, self._wire)

        reads = (x, weights, biases, handle.tensors())
        gave, event = self._work.run(call, reads, waited, bool(async_with_compute_stream))
        return (*gave, event)

    def _cached(self, x, topk_weights, handle, form, told):
        """The call of a dispatch with a handle, and what it reads."""
        rows, weights = Rows.given(x).contiguous(), self._weights("topk_weights", topk_weights)
        self._check_handle(handle)
        self._check_cached(handle, form, *told)
        self._check_shape("topk_weights", weights, handle.topk_idx.shape)
        call = partial(cached_dispatch, rows, weights, handle, form)
        return call, (rows.x, rows.scales, weights, handle.tensors())

    @staticmethod
    def _behind(previous_event, before_epilogue):
        return handle_of(previous_event), handle_of(before_epilogue, "previous_event_before_epilogue")

    def _ignore_qps(self, where, num_qps):
        default = 0 if num_qps != self.get_theoretical_num_qps(0) else num_qps
        ignored(where, "num_qps", num_qps, default, "the network's provider has its own")

    @staticmethod
    def _ignore_stats(stats):
        name, why = "cumulative_local_expert_recv_stats", "its first dispatch has added the choices"
        ignored("dispatch with a handle", name, None if stats is None else "a tensor", None, why)

    @staticmethod
    def _weights(name, weights):
        return None if weights is None else given(name, weights, dtypes=(torch.float32,)).contiguous()

    @staticmethod
    def _check_shape(name, tensor, shape):
        if tensor is not None and tensor.shape != torch.Size(shape):
            refuse(name, str(list(tensor.shape)), str(list(shape)))

    def _check_handle(self, handle):
        if not isinstance(handle, EPHandle):
            refuse("handle", f"a {type(handle).__name__}", "the EPHandle of a dispatch")
        if handle.routing is None or handle.routing.groups is not self._groups:
            refuse("handle", repr(handle), "of a dispatch of this buffer")
        self._groups.check(handle.num_experts)

    @staticmethod
    def _check_cached(handle, form, topk_idx, do_cpu_sync, *told):
        if topk_idx is not None:
            refuse("topk_idx", "given", "None with a handle, which has it")
        if do_cpu_sync:
            refuse("do_cpu_sync", repr(do_cpu_sync), "false with a handle, which knows the counts")
        names = ("num_experts", "num_max_tokens_per_rank", "expert_alignment")
        for name, value in zip(names, told):
            if value is not None and value != getattr(handle, name):
                refuse(name, repr(value), f"None or {getattr(handle, name)}, as the handle has")
        if form.expand and not handle.do_expand:
            refuse("do_expand", "True", "False with a handle of a dispatch without it")

    def _choices(self, rows, topk_idx, weights, *, stats, experts, tokens_max, alignment, sms, copy, wait):
        if topk_idx is None:
            refuse("topk_idx", "None", "given, unless a handle is")
        topk_idx = given("topk_idx", topk_idx, 2, _IDS).contiguous()
        tokens, top_k = topk_idx.shape
        if tokens != len(rows.x):
            refuse("topk_idx", f"{tokens} rows", f"{len(rows.x)}, as x has")
        self._check_shape("topk_weights", weights, topk_idx.shape)
        experts = extent("num_experts", experts, 1)
        self._groups.check(experts)
        most = self.num_max_tokens_per_rank if tokens_max is None else tokens_max
        most = extent("num_max_tokens_per_rank", most, 1)
        if tokens > most:
            refuse("x", f"{tokens} tokens", f"at most num_max_tokens_per_rank, {most}")
        if stats is not None:
            stats = given("cumulative_local_expert_recv_stats", stats, 1, (torch.int32,))
            self._check_shape("cumulative_local_expert_recv_stats", stats, (experts // self.num_ranks,))
        return Choices(
            topk_idx=topk_idx,
            topk_weights=weights,
            stats=stats,
            experts=experts,
            alignment=extent("expert_alignment", 1 if alignment is None else alignment, 1),
            tokens_max=most,
            sms=extent("num_sms", sms, 0) or self.get_theoretical_num_sms(experts, top_k),
            copy=copy,
            wait=wait,
        )


def _refused(name):
    def refused(*_, **__):
        raise NotSupported(f"ElasticBuffer.{name}: {_NO_EXPERTS}")

    refused.__name__ = name
    refused.__doc__ = f"Raises NotSupported: {_NO_EXPERTS}."
    return staticmethod(refused)


for _name in (
    "engram_write",
    "engram_fetch",
    "get_engram_storage_size_hint",
    "pp_set_config",
    "pp_send",
    "pp_recv",
    "get_pp_buffer_size_hint",
    "create_agrs_session",
    "destroy_agrs_session",
    "agrs_new_session",
    "agrs_set_config",
    "agrs_get_inplace_tensor",
    "all_gather",
    "get_agrs_num_max_session_bytes",
    "get_agrs_buffer_size_hint",
):
    setattr(ElasticBuffer, _name, _refused(_name))
