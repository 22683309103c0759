from collections.abc import Sequence
from typing import Any


class Server:
    """The native part of transload.Rendezvous, which documents it."""

    def __init__(self, address: str, port: int, secret: str) -> None: ...

    @property
    def port(self) -> int:
        """The TCP port on which it listens."""

class Bootstrap:
    """The number of one rank in a group, and where it meets the other ranks."""

    def __init__(self) -> None: ...

    @property
    def rank(self) -> int: ...

    @rank.setter
    def rank(self, arg: int, /) -> None: ...

    @property
    def ranks(self) -> int: ...

    @ranks.setter
    def ranks(self, arg: int, /) -> None: ...

    @property
    def host(self) -> str: ...

    @host.setter
    def host(self, arg: str, /) -> None: ...

    @property
    def port(self) -> int: ...

    @port.setter
    def port(self, arg: int, /) -> None: ...

    @property
    def serve(self) -> bool: ...

    @serve.setter
    def serve(self, arg: bool, /) -> None: ...

    @property
    def name(self) -> str: ...

    @name.setter
    def name(self, arg: str, /) -> None: ...

    @property
    def job(self) -> str: ...

    @job.setter
    def job(self, arg: str, /) -> None: ...

    @property
    def secret(self) -> str: ...

    @secret.setter
    def secret(self, arg: str, /) -> None: ...

    @property
    def local_rank(self) -> int: ...

    @local_rank.setter
    def local_rank(self, arg: int, /) -> None: ...

    @property
    def local_ranks(self) -> int: ...

    @local_ranks.setter
    def local_ranks(self, arg: int, /) -> None: ...

    @property
    def origin(self) -> str: ...

    @staticmethod
    def from_environment(launcher: str = '') -> Bootstrap: ...

    @staticmethod
    def has_environment(launcher: str = '') -> bool: ...

class Limits:
    """The bounds of this build. What exceeds one raises InvalidArgument."""

    @property
    def ranks_max(self) -> int: ...

    @property
    def node_size_max(self) -> int: ...

    @property
    def nodes_max(self) -> int: ...

    @property
    def streams_max(self) -> int: ...

    @property
    def top_k_max(self) -> int: ...

    @property
    def channels_max(self) -> int: ...

    @property
    def slots_max(self) -> int: ...

    @property
    def token_bytes_max(self) -> int: ...

    @property
    def token_bytes_unit(self) -> int: ...

    @property
    def tokens_max(self) -> int: ...

def limits() -> Limits:
    """Returns the bounds of this build."""

class Array:
    """
    Memory of a group: what DLPack (`__dlpack__`) and the buffer protocol show of it.
    """

    def __buffer__(self, flags, /):
        """
        Return a buffer object that exposes the underlying memory of the object.
        """

    def __release_buffer__(self, buffer, /):
        """
        Release the buffer object that exposes the underlying memory of the object.
        """

    @property
    def dtype(self) -> str:
        """The name of an element's type, such as 'bfloat16'."""

    @property
    def shape(self) -> tuple: ...

    @property
    def nbytes(self) -> int: ...

    def __dlpack__(self, *, stream: object | None = None, max_version: object | None = None, dl_device: object | None = None, copy: object | None = None) -> object: ...

    def __dlpack_device__(self) -> tuple: ...

    def __repr__(self) -> str: ...

class Status:
    """
    Says whether a call that completed did everything that was asked of it.
    """

    @property
    def ok(self) -> bool:
        """Whether it did; `code` is then 'ok'."""

    @property
    def code(self) -> str:
        """'ok', 'bad_expert_id' or 'too_many_rows'."""

    @property
    def message(self) -> str:
        """A sentence that names what was wrong; empty if `ok`."""

    def __repr__(self) -> str: ...

class DispatchReport:
    """
    What a dispatch found out. All fields but `call` mean what they mean in its Dispatched.
    """

    @property
    def call(self) -> int:
        """The number of that dispatch among the calls of the group, from 1."""

    @property
    def rows(self) -> int: ...

    @property
    def rows_needed(self) -> int: ...

    @property
    def expert_counts(self) -> list[int]: ...

    @property
    def source_rows(self) -> list[int]: ...

    @property
    def scale_out_rows(self) -> int: ...

    @property
    def status(self) -> Status: ...

class MemoryReport:
    """How many bytes of memory a rank of a group takes."""

    @property
    def ring_bytes(self) -> int:
        """Rings, to peers and to other nodes."""

    @property
    def counter_bytes(self) -> int:
        """Counters and small tables that ranks share."""

    @property
    def slab_bytes(self) -> int:
        """Room for what calls return and for arrays of Group.empty."""

    @property
    def leased_bytes(self) -> int:
        """The part of slab_bytes that is in use."""

    @property
    def private_bytes(self) -> int:
        """Memory that no other rank reaches."""

    @property
    def host_bytes(self) -> int:
        """Pinned memory of the host, for GPUs; 0 on the CPU."""

    @property
    def ring_formula(self) -> str:
        """How ring_bytes follows from the options of the group, in words."""

class Decision:
    """A choice that the group made, with its reason."""

    @property
    def what(self) -> str:
        """What was to be chosen, such as 'channels' or 'scale-out'."""

    @property
    def choice(self) -> str:
        """What was chosen."""

    @property
    def why(self) -> str:
        """The reason."""

    def __repr__(self) -> str: ...

class Handle:
    """
    The routing of one dispatch, which combines and cached dispatches of the same group take. It never changes, and it may be used any number of times.
    """

    def __repr__(self) -> str: ...

class Dispatched:
    """
    What a dispatch brought: M rows of H elements, ordered by source rank, then by source token, each with S scales
    and K choices. Its arrays are of x's library, in memory of the group, which is given back once this object and
    all arrays are dropped. With rows_max, M is rows_max; rows past `rows` then hold nothing, with topk_idx -1.
    """

    @property
    def x(self) -> Any:
        """[M, H] of the dtype that was sent: the rows."""

    @property
    def scales(self) -> Any:
        """
        [M, S] of the dtype that was sent, contiguous: the scales of each row. None if none were sent.
        """

    @property
    def topk_idx(self) -> Any:
        """
        [M, K] of the dtype that was sent: the local id of each chosen expert, -1 if another rank owns it.
        None if the call was given a handle.
        """

    @property
    def topk_weights(self) -> Any:
        """
        [M, K] float32: the weight of each choice, 0 where topk_idx is -1. None if the call was given a handle.
        """

    @property
    def source(self) -> Any:
        """
        [M, 2] int32: the source rank of each row, and the index of its token there. None if the call was
        given a handle.
        """

    @property
    def rows_on_device(self) -> Any:
        """[1] int64: rows_needed, as an array."""

    @property
    def expert_counts_on_device(self) -> Any:
        """
        [local experts] int64: expert_counts, as an array. None if the call was given a handle.
        """

    @property
    def rows_of_sources_on_device(self) -> Any:
        """[ranks] int64: source_rows, as an array."""

    @property
    def rows(self) -> int:
        """How many rows of x hold something."""

    @property
    def rows_needed(self) -> int:
        """How many rows came, including those that were dropped."""

    @property
    def scale_out_rows(self) -> int:
        """How many copies of this rank's tokens crossed to other nodes."""

    @property
    def expert_counts(self) -> list[int]:
        """
        How often the rows of x chose each local expert, rounded up to expert_alignment. Empty if the call was
        given a handle.
        """

    @property
    def source_rows(self) -> list[int]:
        """
        Element r is how many rows of x came from ranks 0 to r; dropped rows do not count.
        """

    @property
    def handle(self) -> Handle:
        """The Handle for combines and for cached dispatches."""

    @property
    def landing(self) -> str:
        """How rows were stored: 'direct' or 'ring'."""

    @property
    def status(self) -> Status:
        """Names an id that was out of range, or says that rows were dropped."""

class Combined:
    """
    What a combine brought back. Its arrays are of x's library, in memory of the group.
    """

    @property
    def x(self) -> Any:
        """
        [.., H] bf16, in the dimensions of what was dispatched: the sum of each token.
        """

    @property
    def topk_weights(self) -> Any:
        """[.., K] float32: the sums of topk_weights. None if none were given."""

    @property
    def source(self) -> str:
        """How rows reached the ranks that summed them: 'pull' or 'push'."""

    @property
    def scale_out_rows(self) -> int:
        """How many partial sums came from other nodes."""

class Counted:
    """
    How many tokens of this rank a dispatch would send where. Its arrays are of topk_idx's library, in memory of the group.
    """

    @property
    def rank_counts(self) -> Any:
        """
        [ranks] int32: how many tokens chose an expert of each rank; each token counts once.
        """

    @property
    def node_counts(self) -> Any:
        """
        [nodes] int32: how many tokens chose an expert of each node; each token counts once.
        """

    @property
    def expert_counts(self) -> Any:
        """
        [experts] int32: how often each expert was chosen; a token may choose one twice.
        """

    @property
    def token_in_rank(self) -> Any:
        """
        [.., ranks] bool, in the dimensions of topk_idx: whether the token chose an expert of the rank.
        """

    @property
    def status(self) -> Status:
        """Names an id that is out of range, which counted as -1; else it is ok."""

class Group:
    """The native part of transload.Group, which documents it."""

    def __init__(self, bootstrap: Bootstrap, nodes: Sequence[int], options: dict, all_gather: object | None) -> None: ...

    def wait(self, stream: object | None = None) -> None:
        """
        Waits for the calls that were put on `stream`, and raises the Fault that ended one of them. On the CPU
        calls are done when they return, so it waits for nothing, and `stream` must be None.
        """

    def check(self) -> None:
        """
        Raises the Fault that ended the group, if one is known. It waits for nothing.
        """

    def report(self, handle: object | None) -> DispatchReport:
        """Returns the DispatchReport of the dispatch that made `handle`."""

    def gather(self, text: object | None) -> list[str]:
        """
        Returns the `text` (a str) of every rank as a list, by rank. Collective: every rank makes this call.
        """

    def empty(self, shape: object | None, dtype: object | None = 'bf16') -> Any:
        """
        Returns an array in memory that peers read in place, so that a combine of it can pull. It is not initialised.

        shape: a whole number or a tuple of them; dtype: a name such as 'bf16' or 'fp8', or a dtype of NumPy or torch

        The array is torch's for a dtype of torch; else it is NumPy's, or a transload.Array if NumPy is not installed.
        Its memory is the group's, and is given back once the array is dropped. If `slab_bytes` has no room for it, it
        lies in private memory, which a combine pushes. Raises OutOfMemory if there is no private memory either.
        """

    def count(self, topk_idx: object | None) -> Counted:
        """
        Counts how many tokens a dispatch of topk_idx would send where, without sending any. Returns a Counted.

        topk_idx: [.., K] int32 or int64, contiguous: the experts that each token chose, by global id; -1 is no choice

        It is not collective and waits for nobody. Any thread may use it, even while another is in a call of the group.
        """

    def memory(self) -> MemoryReport:
        """Returns a MemoryReport: how many bytes of memory this rank takes."""

    def decisions(self) -> list[Decision]:
        """
        Returns a list of Decision: what the group chose where it was free to, and why.
        """

    def local_experts(self) -> list[int]:
        """Returns the global ids of the experts that this rank owns, ascending."""

    def close(self) -> None:
        """
        Frees the group. It waits, at most the deadline, until peers have taken what this rank sent them. It is not
        collective: one thread may close several ranks of its process, one after the other.
        """

    @property
    def closed(self) -> bool:
        """Whether the group has been closed."""

    @property
    def rank(self) -> int:
        """The number of this rank, from 0."""

    @property
    def ranks(self) -> int:
        """How many ranks the group has."""

    @property
    def experts(self) -> int:
        """How many experts all ranks together have."""

    @property
    def nodes(self) -> tuple:
        """How many ranks each node has."""

    @property
    def device(self) -> str:
        """Where the arrays of calls are: always 'cpu'."""

    def dispatch(self, x: object | None, topk_idx: object | None = None, topk_weights: object | None = None, *, scales: object | None = None, handle: object | None = None, expert_alignment: object | None = 1, rows_max: object | None = 0, overflow: object | None = 'fail', landing: object | None = 'auto', out: object | None = None, channels: object | None = 0, sms: object | None = 0, stream: object | None = None, deadline_s: object | None = None, refused: object | None = None) -> Dispatched:
        """
        Sends tokens to the ranks that own their experts. Collective: every rank makes this call.

        x: [.., H], any dtype, contiguous: rows, each a multiple of 16 bytes; all dimensions but the last count as tokens
        topk_idx: [.., K] int32 or int64: the experts that each token chose, by global id; -1 is no choice
        topk_weights: [.., K] float32: the weight of each choice
        scales: [.., S] of a 4-byte dtype, any strides: they travel with the rows
        handle: the handle of an earlier dispatch, whose routing is used again; without topk_idx and topk_weights
        expert_alignment: expert_counts are rounded up to a multiple of this
        rows_max: how many rows the outputs have room for, however many come; 0: as many as come
        overflow: what happens if more than rows_max rows come: 'fail' raises TooManyRows, 'drop' leaves out the last
        landing: 'direct': peers store rows into the output; 'ring': rows pass a ring first; 'auto': direct if possible
        out: [>= M, H] of x's dtype, contiguous: memory of the caller for the rows; the result's x is its first M rows
        channels: how many channels the call uses; 0: as many as the group has
        sms, stream: for GPUs; on the CPU they must be 0 and None
        deadline_s: how many seconds each wait of the call may take; None: as many as the group's
        refused: an InvalidArgument or NotSupported that the caller found itself: every rank raises it, and none sends

        Returns a Dispatched. Its arrays are in memory of the group, except x if `out` is given. Raises InvalidArgument,
        NotSupported, OutOfMemory or TooManyRows, after which the group is usable, or Fault, after which it is lost.
        """

    def combine(self, x: object | None, handle: object | None, *, topk_weights: object | None = None, bias: object | None = None, source: object | None = 'auto', wire: object | None = 'bf16', out: object | None = None, channels: object | None = 0, sms: object | None = 0, stream: object | None = None, deadline_s: object | None = None) -> Combined:
        """
        Brings the experts' rows back to the ranks of their tokens and sums them. Collective: every rank makes this
        call.

        x: [M, H] bf16, contiguous: one row for each row of the dispatch, in the same order
        handle: the handle of that dispatch
        topk_weights: [M, K] float32, contiguous: they are summed for each token as well; they do not scale x
        bias: [.., H] bf16, contiguous, or a pair of such: the sum of a token begins with them
        source: 'pull': peers read x in place, which must be memory of Group.empty; 'push': rows pass rings;
            'auto': pull if possible
        wire: the dtype of partial sums between nodes: 'bf16', or 'fp32' in a group whose combine_wire is 'fp32'
        out: [.., H] bf16, contiguous: memory of the caller for the sums; or a pair: that, and [.., K] float32 for the
            sums of topk_weights
        channels, sms, stream, deadline_s: as in dispatch

        Returns a Combined. Its arrays are in memory of the group, except those in `out`. Raises InvalidArgument,
        NotSupported or OutOfMemory, after which the group is usable, or Fault, after which it is lost.
        """

def version() -> str:
    """Returns the version of the library, such as '1.2.3'."""

def has_exchange_table(type: object) -> bool:
    """
    Whether arrays of this type are read and made by DLPack's C exchange table, which is the faster way.
    """

def build_info() -> dict:
    """
    Returns what this build has: 'version', 'compiler', 'cuda' (bool), 'stable_abi' (bool), and 'networks', a
    dict from each network's name to 'yes', or to 'no: ' and the reason.
    """

def host_identity() -> str:
    """
    Returns a text that stands for this host and its network namespace: it is equal on all ranks there.
    """

def one_machine(arg0: str, arg1: str, /) -> bool:
    """Whether two texts of host_identity() are from one machine."""
