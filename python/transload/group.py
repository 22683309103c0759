"""Group: ranks that exchange tokens. All ranks make it together, and each frees it alone."""
import atexit
import itertools
import weakref

from . import _native
from .bootstrap import index, meeting, nodes_of, text
from .errors import InvalidArgument, NotSupported

open_groups = weakref.WeakValueDictionary()  #: the groups of this process that are not freed, by Group.key
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

    One thread at a time may call a group, in the process that made it. An argument that is None is left to the library,
    and `decisions()` tells what it chose. Making a group raises InvalidArgument, NotSupported, OutOfMemory, or Fault if
    a rank does not come.

    rank: the number of this rank, from 0
    ranks: how many ranks the group has
    nodes: how many ranks each node has, such as (4, 4); None: the ranks of a host are a node
    experts: how many experts all ranks together have
    expert_owner: the rank of each expert; None: ranks own contiguous blocks of experts
    hidden: how many elements the longest row of a dispatch has
    dtype: the type of these elements: "bf16", "fp8", or a dtype of NumPy or torch
    tokens_max: the most tokens that any rank has in any call
    top_k_max: the most experts that a token chooses
    scales_max: the most 4-byte scales that a row has
    channels: the most channels that a call uses
    slots: how many tokens each ring holds
    peer_slots: how many tokens each ring between ranks of a node holds
    slab_bytes: bytes of this rank's memory for what calls return and for arrays of `empty`
    deadline_s: how many seconds each wait in a call, and in freeing the group, may take
    create_deadline_s: how many seconds each wait may take while the group is made; None: deadline_s
    combine_wire: the widest type of partial sums between nodes that a combine may ask for: "bf16" or "fp32"
    scale_out: the network between nodes: "auto", "libfabric", "loopback" or "nvshmem"
    provider: libfabric's provider, such as "tcp"
    nic: the network card of this rank, as RDMA names it, such as "mlx5_0"
    network_memory: where ranks on GPUs keep the network's rings: "auto", "gpu" or "pinned"
    linger_us: how many microseconds a rank polls for what it waits for before it sleeps
    device: "cpu", because this version has no GPU ranks in Python
    sms: for GPUs; None or 0 on the CPU
    bootstrap: how ranks meet: a Rendezvous; the "host:port" of one; or an all-gather, which is a function that takes
        the bytes of this rank and returns a list of the bytes of all ranks
    name: ranks that give the same name meet; groups that live at the same time in one rendezvous need different names
    secret: the secret of the rendezvous, without which a rank gets no seat; "": whoever reaches the rendezvous gets one
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
        """Makes a group whose ranks were started by torchrun, mpirun or srun, or have TRANSLOAD_RANK set.

        launcher: whose variables are read: "env" (TRANSLOAD_RANK), "torchrun", "mpi", "pmi" or "slurm"; "": the first
            of them that has set a rank
        name, options: as of Group
        """
        here = _native.Bootstrap.from_environment(launcher)
        here.name = text("name", name)
        return cls(here.rank, here.ranks, bootstrap=here, **options)

    @classmethod
    def from_all_gather(cls, all_gather, rank, ranks, **options):
        """Makes a group whose ranks meet by all_gather, a function that every rank calls.

        It takes the bytes of this rank and returns a list of the bytes of all ranks, by rank.
        """
        return cls(rank, ranks, bootstrap=all_gather, **options)

    @classmethod
    def from_mpi(cls, comm, **options):
        """Makes a group of the ranks of `comm`, a communicator of mpi4py."""
        return cls(comm.Get_rank(), comm.Get_size(), bootstrap=comm.allgather, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"transload.Group(rank {self.rank} of {self.ranks}{', closed' if self.closed else ''})"


_OPTIONS = frozenset(Group.__init__.__kwdefaults__) | {"experts"}
_OPTIONS -= {"nodes", "device", "bootstrap", "name", "secret"}
