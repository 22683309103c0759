from collections.abc import Sequence
from typing import Any


class Server:
    """Where ranks meet: see transload.Rendezvous."""

    def __init__(self, address: str, port: int, secret: str) -> None: ...

    @property
    def port(self) -> int: ...

class Bootstrap:
    """One rank's place in a group, and how it reaches the others."""

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
    """Bounds of this build."""

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
    """The bounds of this build."""

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
    """Whether a call that completed did all that was asked of it."""

    @property
    def ok(self) -> bool: ...

    @property
    def code(self) -> str:
        """'ok', 'bad_expert_id' or 'too_many_rows'."""

    @property
    def message(self) -> str: ...

    def __repr__(self) -> str: ...

class DispatchReport:
    """What the dispatch that made a handle found out."""

    @property
    def call(self) -> int: ...

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
    """Bytes of this rank."""

    @property
    def ring_bytes(self) -> int: ...

    @property
    def counter_bytes(self) -> int: ...

    @property
    def slab_bytes(self) -> int: ...

    @property
    def leased_bytes(self) -> int: ...

    @property
    def private_bytes(self) -> int: ...

    @property
    def host_bytes(self) -> int: ...

    @property
    def ring_formula(self) -> str: ...

class Decision:
    """A choice that the group made, with its reason."""

    @property
    def what(self) -> str: ...

    @property
    def choice(self) -> str: ...

    @property
    def why(self) -> str: ...

    def __repr__(self) -> str: ...

class Handle:
    """
    The routing of one dispatch: for combine and for cached dispatches of its group.
    """

    def __repr__(self) -> str: ...

class Dispatched:
    """
    What a dispatch brought: M rows, by source rank and source token. Arrays are of x's library.
    """

    @property
    def x(self) -> Any:
        """[M, H], of the type of what was given"""

    @property
    def scales(self) -> Any:
        """[M, S], or None"""

    @property
    def topk_idx(self) -> Any:
        """
        [M, K] of the type of the ids given: local expert, -1 where the choice is another rank's. None with a handle
        """

    @property
    def topk_weights(self) -> Any:
        """[M, K] float32: 0 where topk_idx is -1. None with a handle"""

    @property
    def source(self) -> Any:
        """[M, 2] int32: source rank, source token. None with a handle"""

    @property
    def rows_on_device(self) -> Any:
        """[1] int64: rows_needed"""

    @property
    def expert_counts_on_device(self) -> Any:
        """[local experts] int64. None with a handle"""

    @property
    def rows_of_sources_on_device(self) -> Any:
        """[ranks] int64: source_rows"""

    @property
    def rows(self) -> int:
        """rows that x holds"""

    @property
    def rows_needed(self) -> int:
        """rows that came, dropped ones included"""

    @property
    def scale_out_rows(self) -> int:
        """copies of my tokens that crossed to other nodes"""

    @property
    def expert_counts(self) -> list[int]:
        """choices of each local expert; empty with a handle"""

    @property
    def source_rows(self) -> list[int]:
        """rows of x that ranks 0 to r sent, at place r; of dropped rows none"""

    @property
    def handle(self) -> Handle: ...

    @property
    def landing(self) -> str: ...

    @property
    def status(self) -> Status: ...

class Combined:
    """What a combine brought back. Arrays are of x's library."""

    @property
    def x(self) -> Any:
        """[.., H] bf16, in the dimensions of what was dispatched"""

    @property
    def topk_weights(self) -> Any:
        """[.., K] float32, or None"""

    @property
    def source(self) -> str: ...

    @property
    def scale_out_rows(self) -> int:
        """partial sums received from other nodes"""

class Counted:
    """
    How many of this rank's tokens a dispatch would send where. Arrays are of topk_idx's library.
    """

    @property
    def rank_counts(self) -> Any:
        """[ranks] int32: tokens that chose an expert of the rank, each once"""

    @property
    def node_counts(self) -> Any:
        """[nodes] int32, likewise"""

    @property
    def expert_counts(self) -> Any:
        """
        [experts] int32: choices, so a token that chose one expert twice counts twice
        """

    @property
    def token_in_rank(self) -> Any:
        """[.., ranks] bool, in the dimensions of topk_idx"""

    @property
    def status(self) -> Status:
        """whether an id was out of range, which counts as -1"""

class Group:
    def __init__(self, bootstrap: Bootstrap, nodes: Sequence[int], options: dict, all_gather: object | None) -> None: ...

    def wait(self, stream: object | None = None) -> None:
        """
        Raises what went wrong in calls on a stream, once they are done. On the CPU calls are done when they return.
        """

    def check(self) -> None:
        """Raises what is known, and waits for nothing."""

    def report(self, handle: object | None) -> DispatchReport:
        """What the dispatch that made a handle found out."""

    def gather(self, text: object | None) -> list[str]:
        """The text of every rank, by rank. Collective."""

    def empty(self, shape: object | None, dtype: object | None = 'bf16') -> Any:
        """
        An array in memory that peers read in place, so that a combine of it pulls.
        """

    def count(self, topk_idx: object | None) -> Counted:
        """
        How many tokens a dispatch of these ids ([.., K] int32 or int64, -1 for no choice) would send where. No call: any thread may ask, at any time.
        """

    def memory(self) -> MemoryReport:
        """Bytes of this rank."""

    def decisions(self) -> list[Decision]:
        """Choices that the group made, with their reasons."""

    def local_experts(self) -> list[int]:
        """Global ids of this rank's experts, ascending."""

    def close(self) -> None:
        """
        Frees the group: waits, at most the deadline, until peers have what was sent to them, and leaves. Not collective: one thread may free ranks of its process one after the other.
        """

    @property
    def closed(self) -> bool: ...

    @property
    def rank(self) -> int: ...

    @property
    def ranks(self) -> int: ...

    @property
    def experts(self) -> int:
        """How many experts there are, of all ranks."""

    @property
    def nodes(self) -> tuple:
        """How many ranks each node has."""

    @property
    def device(self) -> str: ...

    def dispatch(self, x: object | None, topk_idx: object | None = None, topk_weights: object | None = None, *, scales: object | None = None, handle: object | None = None, expert_alignment: object | None = 1, rows_max: object | None = 0, overflow: object | None = 'fail', landing: object | None = 'auto', out: object | None = None, channels: object | None = 0, sms: object | None = 0, stream: object | None = None, deadline_s: object | None = None, refused: object | None = None) -> Dispatched:
        """
        Tokens to the ranks that own their experts. Collective.

        x: [.., H], any type, contiguous, H times its bytes a multiple of 16
        topk_idx: [.., K] int32 or int64: global experts, -1 for no choice; topk_weights: [.., K] float32
        scales: [.., S] of 4-byte scalars
        handle: instead of topk_idx and topk_weights: the routing of an earlier dispatch
        expert_alignment: expert_counts are rounded up to a multiple of it
        rows_max: room for so many rows, whatever comes; overflow: 'fail' or 'drop' where more do
        landing: 'auto', 'direct' or 'ring'
        out: [>= M, H] of x's type, contiguous: memory for x, of which got.x is then the first M rows
        channels, deadline_s: of this call
        refused: an InvalidArgument or a NotSupported, of what the caller finds wrong: the call raises it on all ranks
        """

    def combine(self, x: object | None, handle: object | None, *, topk_weights: object | None = None, bias: object | None = None, source: object | None = 'auto', wire: object | None = 'bf16', out: object | None = None, channels: object | None = 0, sms: object | None = 0, stream: object | None = None, deadline_s: object | None = None) -> Combined:
        """
        The experts' rows back to the ranks that their tokens came from, summed. Collective.

        x: [M, H] bf16, as many rows as the dispatch brought, in its order
        topk_weights: [M, K] float32, summed too; bias: [.., H] bf16, one or a pair, added first
        source: 'auto', 'pull' (x lies in memory of g.empty) or 'push'
        wire: 'bf16' or 'fp32', the type of partial sums between nodes
        out: [.., H] bf16, contiguous, memory for x; or a pair with [.., K] float32 for topk_weights
        """

def version() -> str:
    """The version of the library."""

def has_exchange_table(type: object) -> bool:
    """Whether arrays of a type cross by DLPack's C exchange table."""

def build_info() -> dict:
    """What is in this build."""

def host_identity() -> str:
    """Alike on ranks of one host."""

def one_machine(arg0: str, arg1: str, /) -> bool:
    """Whether two identities are of one machine."""
