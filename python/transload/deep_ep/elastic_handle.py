"""EPHandle: what a dispatch of ElasticBuffer learned, for combine and for cached dispatches."""
import dataclasses

import torch


@dataclasses.dataclass
class Routing:
    """The part of a handle that only this library reads."""

    groups: object  #: of the buffer whose dispatch made it
    group: object  #: the transload.Group among them
    row_bytes: int  #: the longest row of that group
    handle: object  #: transload.Handle of that dispatch
    topk_idx: torch.Tensor  #: [M, K]: local experts of each row, -1 for those of other ranks
    by_choice: object = None  #: (group, handle) of choices that travel by themselves, once a combine needed them


class EPHandle:
    """The routing of one dispatch. It keeps no rows, and it may be used as often as one likes.

    Attributes, in V2's types; tensors are on the device of the call:
        do_expand: whether rows came by expert
        num_experts, expert_alignment, num_max_tokens_per_rank, num_sms: of the call
        topk_idx: [T, K], a copy unless do_handle_copy was false
        num_recv_tokens: M, or without do_cpu_sync the most that can come
        num_expanded_tokens: N, likewise; rounded up to expert_alignment for each expert
        num_recv_tokens_per_expert_list: choices of each local expert, rounded up; empty without do_cpu_sync
        psum_num_recv_tokens_per_scaleup_rank: [ranks] int32, rows of each source rank and those before it
        psum_num_recv_tokens_per_expert: [local experts] int32: inclusive sums of rounded counts; of expanded rows
            where each expert's own rows end, before its gap
        num_unaligned_recv_tokens_per_expert: [local experts] int32: choices
        recv_src_metadata: [M, 2 + K] int32: num_max_tokens_per_rank x source rank + source token; K x source rank +
            first choice of mine; the expanded row of each choice, -1 for none. Cached dispatches and combines read
            the last K columns when they are called, so who moves expanded rows writes there where they lie
        dst_buffer_slot_idx: [T, K] int32, of no meaning here
        token_metadata_at_forward, channel_linked_list: None
    """

    def __init__(
        self,
        do_expand,
        num_experts,
        expert_alignment,
        num_max_tokens_per_rank,
        num_sms,
        topk_idx,
        num_recv_tokens,
        num_expanded_tokens,
        num_recv_tokens_per_expert_list,
        psum_num_recv_tokens_per_scaleup_rank,
        psum_num_recv_tokens_per_expert,
        num_unaligned_recv_tokens_per_expert,
        recv_src_metadata,
        dst_buffer_slot_idx=None,
        token_metadata_at_forward=None,
        channel_linked_list=None,
    ):
        vars(self).update({name: value for name, value in locals().items() if name != "self"})
        self.routing = None

    def tensors(self):
        """All tensors of the handle, which are on the device of the call."""
        return [value for value in vars(self).values() if isinstance(value, torch.Tensor)]

    def __repr__(self):
        rows = f"{self.num_expanded_tokens} by expert" if self.do_expand else f"{self.num_recv_tokens}"
        return f"EPHandle({rows} of {self.num_experts} experts, {self.topk_idx.shape[0]} tokens of mine)"
