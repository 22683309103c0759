"""Who the ranks of a buffer are: those of a process group of torch, or of a communicator of mpi4py."""
import os

import torch.distributed

from .. import _native
from ..bootstrap import nodes_of
from ..errors import InvalidArgument

_NODES = "TRANSLOAD_NODES"


class Members:
    """The ranks of a buffer and their nodes.

    Making it is collective, because ranks tell each other which host they are on. Processes of one host are a node,
    unless TRANSLOAD_NODES says how many ranks each node has, such as "4,4".

    rank, size: the number of this rank, and how many ranks there are
    nodes: how many ranks each node has
    node, node_rank: the index of this rank's node, and of this rank in it
    """

    def __init__(self, group, comm=None):
        if group is not None:
            self._gather = _of_process_group(group)
            self.rank, self.size = group.rank(), group.size()
        elif comm is not None:
            self._gather = _of_mpi(comm)
            self.rank, self.size = comm.Get_rank(), comm.Get_size()
        else:
            raise ValueError("group: None, and comm: None; one of them must be given")
        if self.size > _native.limits().ranks_max:
            raise InvalidArgument(f"group: {self.size} ranks, must be at most {_native.limits().ranks_max}")
        self.nodes = self._nodes()
        begin = 0
        for self.node, size in enumerate(self.nodes):
            if self.rank < begin + size:
                break
            begin += size
        self.node_rank = self.rank - begin

    def gather(self, value):
        """Returns the values of all ranks as a list, by rank. Collective, over the caller's own process group."""
        return self._gather(value) if self.size > 1 else [value]

    def node_of(self, rank):
        for node, size in enumerate(self.nodes):
            rank -= size
            if rank < 0:
                return node
        raise IndexError(rank)

    def _nodes(self):
        here = _native.Bootstrap()
        here.rank, here.ranks = self.rank, self.size
        given, found = os.environ.get(_NODES), tuple(nodes_of(here, self.gather))
        if not given:
            return found
        try:
            sizes = tuple(int(size) for size in given.split(","))
        except ValueError:
            sizes = ()
        if min(sizes, default=0) < 1 or sum(sizes) != self.size:
            raise InvalidArgument(f"{_NODES}: {given!r}, must be sizes of 1 or more that are {self.size} ranks in all")
        return sizes


def _of_process_group(group):
    if not (callable(getattr(group, "rank", None)) and callable(getattr(group, "size", None))):
        raise InvalidArgument(f"group: {group!r}, must be a process group of torch that this rank is a member of")
    size = group.size()

    def gather(value):
        parts = [None] * size
        torch.distributed.all_gather_object(parts, value, group=group)
        return parts

    return gather


def _of_mpi(comm):
    missing = [name for name in ("Get_rank", "Get_size", "allgather") if not callable(getattr(comm, name, None))]
    if missing:
        raise InvalidArgument(f"comm: {comm!r} without {', '.join(missing)}, must be a communicator of mpi4py")
    return lambda value: _as_many(comm.allgather(value), comm.Get_size())


def _as_many(parts, size):
    if len(parts) != size:
        raise InvalidArgument(f"comm: its allgather gave {len(parts)} parts, must be {size}, one for each rank")
    return parts
