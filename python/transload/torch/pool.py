"""Pools that let torch allocate in memory of a group. Both are refused until Python has GPU ranks."""
from ..errors import NotSupported

_WHY = "on the CPU, Group.empty makes tensors in memory that peers read in place"


def pool(group):
    """Will let torch allocate in memory of the group within a `with` block. Raises NotSupported in this version."""
    raise NotSupported(f"transload.torch.pool: for GPU ranks, which this version does not have in Python; {_WHY}")


def graph_pool(group):
    """Will let a captured graph allocate in memory of the group. Raises NotSupported in this version."""
    raise NotSupported(f"transload.torch.graph_pool: for GPU ranks, which this version does not have in Python; {_WHY}")
