"""ElasticBuffer of DeepEP's V2, over transload.Group. Torch operations lay rows out by expert (expand.py)."""
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

    Making it is collective, freeing it is not. Its transload.Group is made by the first dispatch. Rows always come
    ordered by source rank and token. One thread at a time may call it. Shapes use these letters: T tokens of this rank,
    M rows that it receives, N rows laid out by expert, K choices of a token, H elements of a row, S scales of a row.

    group: a process group of torch, of any backend
    num_bytes: kept as an attribute, without effect
    num_max_tokens_per_rank, hidden, num_topk: the largest of any call; with them the first group is large enough
    allow_multiple_reduction: if it is False, what a combine adds is rounded once, at the token's rank
    num_gpu_timeout_secs: how many seconds each wait in a call may take, unless TRANSLOAD_DEADLINE_S is set
    explicitly_destroy: whether destroy() may be called; otherwise a buffer is freed by dropping it

    num_cpu_bytes must be 0. Results are always deterministic. These have no effect, which a warning says once:
    use_fp8_dispatch, allow_hybrid_mode, prefer_overlap_with_compute, sl_idx, num_allocated_qps, num_cpu_timeout_secs.
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
        """Closes the buffer; later calls are refused. Its group is freed with its last handle. It is not collective."""
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
        """Returns how many bytes a buffer for such calls takes for what they return."""
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
        """Returns once every rank has called it. Collective.

        Calls of ranks on CPUs are done when they return, so the arguments make no difference.
        """
        _, event = self._work.run(self._groups.meet, (), None, bool(use_comm_stream))
        with event:
            pass

    @staticmethod
    def capture():
        """Returns an EventHandle that marks the current stream as it is now."""
        return EventHandle()

    def get_comm_stream(self):
        """Returns the stream that asynchronous calls run on."""
        return self._work.stream

    def get_physical_domain_size(self):
        """Returns (number of nodes, number of ranks of this rank's node)."""
        return len(self._members.nodes), self._members.nodes[self._members.node]

    def get_logical_domain_size(self):
        """Returns (1, number of ranks), on several nodes too, because handles name source ranks and never rails."""
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
        """Returns how many SMs suffice, as measured: with more no call was faster. Only the number of nodes counts."""
        extent("num_experts", num_experts, 1)
        extent("num_topk", num_topk, 1)
        why = "the answer was measured, not computed"
        given_rates = (num_scaleout_topk, rdma_gbs, nvlink_gbs, sm_read_gbs, sm_write_gbs)
        names = ("num_scaleout_topk", "rdma_gbs", "nvlink_gbs", "sm_read_gbs", "sm_write_gbs")
        for name, value, default in zip(names, given_rates, (0, 0, 0, 200, 50)):
            ignored("get_theoretical_num_sms", name, value, default, why)
        return _SMS_ONE_NODE if len(self._members.nodes) == 1 else _SMS_NODES

    def get_theoretical_num_qps(self, num_sms):
        """Returns 1, because the network's provider chooses its own queue pairs."""
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
        """Sends tokens to the ranks that own their experts. Collective.

        x: [T, H] of any dtype, or a pair (x, scales [T, S] of a 4-byte dtype, any strides)
        topk_idx: [T, K] int64 or int32: global ids of the experts that each token chose, also twice; -1 is no choice
        topk_weights: [T, K] float32, or None
        cumulative_local_expert_recv_stats: [local experts] int32, to which choices are added; not with a handle
        num_experts, num_max_tokens_per_rank (None: the buffer's), expert_alignment: must be equal on all ranks
        num_sms: kept in the handle; num_qps, allocate_on_comm_stream: without effect
        previous_event, previous_event_before_epilogue: the call waits for both before it begins
        handle: the handle of an earlier dispatch, whose routing is used again; without topk_idx
        do_cpu_sync: if it is False, outputs have room for all rows that can come; ids are -1 in rows that hold nothing
        do_expand: whether rows are laid out by expert, with one row for each choice of a local expert
        do_zero_padding: whether the gaps between experts are filled with zeros
        use_tma_aligned_col_major_sf: whether scales are laid out by column, each beginning at a multiple of 16 bytes

        Returns x, or the pair; topk_idx [M, K], local ids, or None with do_expand; topk_weights [M, K], or [N] with
        do_expand; the handle; and an EventOverlap.
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
        """Brings the experts' rows back to the ranks of their tokens and sums them. Collective.

        x: [M, H] bf16: one row for each row of the dispatch, in the same order; [N, H] if its rows were laid out by
            expert: then this rank first adds the rows of a token in fp32, in the order of its choices, and rounds the
            sum; with allow_multiple_reduction=False each row travels by itself
        topk_weights: [M, K] float32, or [N]: they are brought back to the choices that they came from
        bias: [T, H] bf16, or a pair of such: the sum of a token begins with them
        num_sms, num_qps: without effect on CPUs
        previous_event, previous_event_before_epilogue: the call waits for both before it begins

        Returns x [T, H], topk_weights [T, K] or None, and an EventOverlap.
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
        """Returns a function that makes a dispatch with a handle, and the tensors that it reads."""
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
