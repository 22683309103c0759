"""EPHandle: the routing of a dispatch of ElasticBuffer, for combines and for cached dispatches."""
import dataclasses

import torch


@dataclasses.dataclass
class Routing:
    """The part of a handle that only this library reads."""

    groups: object  #: the Groups of the buffer whose dispatch made the handle
    group: object  #: the transload.Group that made that dispatch
    row_bytes: int  #: bytes of the longest row of that group
    handle: object  #: the transload.Handle of that dispatch
    topk_idx: torch.Tensor  #: [M, K]: the local experts that each row chose; -1 if another rank owns the expert
    by_choice: object = None  #: (group, handle) of a dispatch by choices, once combine_by_choice() has made it


class EPHandle:
    """The routing of one dispatch. It keeps no rows, and it may be used any number of times.

    T are the tokens of this rank, M the rows that came, N the rows laid out by expert, K the choices of a token. The
    attributes have V2's types; tensors are on the device of the call:
        do_expand: whether rows were laid out by expert
        num_experts, expert_alignment, num_max_tokens_per_rank, num_sms: as the call was given them
        topk_idx: [T, K]: the caller's ids; a copy unless do_handle_copy was false
        num_recv_tokens: M; without do_cpu_sync the most that can come
        num_expanded_tokens: N, with the gaps of expert_alignment; without do_cpu_sync the most that can come
        num_recv_tokens_per_expert_list: how often each local expert was chosen, rounded up to expert_alignment; empty
            without do_cpu_sync
        psum_num_recv_tokens_per_scaleup_rank: [ranks] int32: element r is how many rows came from ranks 0 to r
        psum_num_recv_tokens_per_expert: [local experts] int32: inclusive sums of the rounded counts; with do_expand
            where each expert's own rows end, before its gap
        num_unaligned_recv_tokens_per_expert: [local experts] int32: how often each was chosen, not rounded
        recv_src_metadata: [M, 2 + K] int32. Column 0 is num_max_tokens_per_rank x source rank + source token. Column 1
            is K x source rank + the first choice that this rank owns. Then comes the expanded row of each choice, -1
            for none. Cached dispatches and combines read the last K columns when they are called, so a program that
            moves expanded rows writes their new places there
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
        """Returns all tensors of the handle."""
        return [value for value in vars(self).values() if isinstance(value, torch.Tensor)]

    def __repr__(self):
        rows = f"{self.num_expanded_tokens} by expert" if self.do_expand else f"{self.num_recv_tokens}"
        return f"EPHandle({rows} of {self.num_experts} experts, {self.topk_idx.shape[0]} tokens of mine)"
