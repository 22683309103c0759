"""Torch's allocations in memory of a group: refused until there are GPU ranks, whose calls read it in place."""
from ..errors import NotSupported

_WHY = "on CPU ranks torch allocates as ever; memory that peers read in place is Group.empty"


def pool(group):
    """What torch allocates in its block would lie in memory of the group."""
    raise NotSupported(f"transload.torch.pool: for GPU ranks, which this version has not in Python; {_WHY}")


def graph_pool(group):
    """What a captured graph allocates would lie in memory of the group."""
    raise NotSupported(f"transload.torch.graph_pool: for GPU ranks, which this version has not in Python; {_WHY}")
