"""Group: ranks that exchange tokens. They make it together, and each frees it alone."""
import atexit
import itertools
import weakref

from . import _native
from .bootstrap import index, meeting, nodes_of, text
from .errors import InvalidArgument, NotSupported

open_groups = weakref.WeakValueDictionary()  #: of this process, by their keys
_numbers = itertools.count(1)


@atexit.register
def _close_all():
    for group in list(open_groups.values()):
        try:
            group.close()
        except InvalidArgument:
            pass  # a thread that does not end is in a call


def _check_device(device, sms):
    if device == "cpu":
        if sms not in (None, 0):
            raise NotSupported(f"sms: {sms!r}, must be 0 on the CPU")
        return
    if isinstance(device, str) and device.partition(":")[0] == "cuda":
        raise NotSupported(f"device: {device!r}, must be 'cpu': this version has no GPU ranks in Python yet")
    raise InvalidArgument(f"device: {device!r}, must be 'cpu'")


def _sizes(nodes, ranks):
    try:
        sizes = [int(size) for size in nodes]
    except (TypeError, ValueError):
        raise InvalidArgument(f"nodes: {nodes!r}, must be how many ranks each node has, such as (4, 4)") from None
    if min(sizes, default=0) < 1 or sum(sizes) != ranks:
        raise InvalidArgument(f"nodes: {nodes!r}, must be sizes of 1 or more that are {ranks} ranks in all")
    return sizes


class Group(_native.Group):
    """One rank of a group. Making it is collective; freeing it (`close`, the end of `with`, dropping it) is not.

    A group may be called by one thread at a time, and by the process that made it. Freeing it waits, at most
    `deadline_s`, for ranks that are still to take what this one sent. What is None is left to the library;
    `decisions()` tells what it chose.

    rank, ranks: which of how many
    nodes: how many ranks each node has, such as (4, 4); None: by host
    experts: of all ranks; expert_owner: the rank of each, None: contiguous blocks
    hidden, dtype: the longest row of a dispatch: elements, and the type of an element ("bf16", "fp8", a NumPy type)
    tokens_max: of any rank in any call; top_k_max: choices of a token; scales_max: 4-byte scales of a row
    channels, slots, peer_slots: rings; slab_bytes: room for what calls return and for `empty`
    deadline_s: of every wait in a call; create_deadline_s: while the group is made
    combine_wire: the wider type of partial sums that any combine asks for, "bf16" or "fp32"
    scale_out, provider, nic: the network between nodes; network_memory: where ranks on GPUs keep its rings
    linger_us: how long a rank looks before it sleeps
    bootstrap: a Rendezvous, "host:port" of one, or an all-gather: a function of bytes that returns all ranks' bytes
    name: groups that live at one time in one rendezvous need different ones; secret: of the job
    """

    def __init__(
        self,
        rank,
        ranks,
        *,
        nodes=None,
        experts,
        expert_owner=None,
        hidden=7168,
        dtype="bf16",
        tokens_max=None,
        top_k_max=None,
        scales_max=None,
        channels=None,
        slots=None,
        peer_slots=None,
        slab_bytes=None,
        deadline_s=None,
        create_deadline_s=None,
        combine_wire=None,
        scale_out=None,
        provider=None,
        nic=None,
        network_memory=None,
        linger_us=None,
        device="cpu",
        sms=None,
        bootstrap=None,
        name="default",
        secret="",
    ):
        options = {key: value for key, value in locals().items() if key in _OPTIONS and value is not None}
        _check_device(device, sms)
        ranks = index("ranks", ranks, 1, _native.limits().ranks_max)
        rank = index("rank", rank, 0, ranks - 1)
        if isinstance(bootstrap, _native.Bootstrap):
            here, all_gather = bootstrap, None
        else:
            here, all_gather = meeting(rank, ranks, bootstrap, secret, name)
        sizes = nodes_of(here, all_gather) if nodes is None else _sizes(nodes, ranks)
        super().__init__(here, sizes, options, all_gather)
        self.key = f"{here.name}#{next(_numbers)}"  #: unique in this process; torch's ops name a group by it
        open_groups[self.key] = self

    @classmethod
    def from_environment(cls, launcher="", *, name="default", **options):
        """A group of ranks whose numbers are in the variables of torchrun, mpirun or srun, or in TRANSLOAD_RANK."""
        here = _native.Bootstrap.from_environment(launcher)
        here.name = text("name", name)
        return cls(here.rank, here.ranks, bootstrap=here, **options)

    @classmethod
    def from_all_gather(cls, all_gather, rank, ranks, **options):
        """A group that meets by a function, which every rank calls: it takes bytes, and returns all ranks', by rank."""
        return cls(rank, ranks, bootstrap=all_gather, **options)

    @classmethod
    def from_mpi(cls, comm, **options):
        """A group of the ranks of a communicator of mpi4py."""
        return cls(comm.Get_rank(), comm.Get_size(), bootstrap=comm.allgather, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"transload.Group(rank {self.rank} of {self.ranks}{', closed' if self.closed else ''})"


_OPTIONS = frozenset(Group.__init__.__kwdefaults__) | {"experts"}
_OPTIONS -= {"nodes", "device", "bootstrap", "name", "secret"}
