"""Transload for torch: dispatch and combine with gradients, ops for compiled graphs, groups from process groups.

    import torch, transload.torch as tl
    group = tl.group(torch.distributed.group.WORLD, experts=64, hidden=1024)
    got = tl.dispatch(group, x, topk_idx, topk_weights)   # rows that chose an expert of mine
    x = tl.combine(group, experts(got), got.handle)       # summed, at the ranks where the tokens are

The backward of each is the other, so it is collective as well: every rank runs it, in the same order.
"""
from .functions import Dispatched, combine, dispatch
from .handle import Handle
from .pool import graph_pool, pool
from .process_group import group

__all__ = ["Dispatched", "Handle", "combine", "dispatch", "graph_pool", "group", "pool"]
