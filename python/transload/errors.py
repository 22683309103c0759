"""The exceptions of calls. The message of a refusal names the argument, its value and its bound."""


class Error(RuntimeError):
    """The base of all exceptions of this package. `code` is a word for the kind of error."""

    code = "error"
    alike = False  #: whether every rank of the call raised it, so that no rank waits for another


class InvalidArgument(Error, ValueError):
    """An argument is wrong. The call was refused before anything moved, and the group is as it was."""

    code = "invalid_argument"


class NotSupported(Error, NotImplementedError):
    """This build cannot do it. The call was refused before anything moved, and the group is as it was."""

    code = "not_supported"


REFUSALS = (InvalidArgument, NotSupported)  #: if a rank refuses a dispatch without a handle, all raise it


class OutOfMemory(Error, MemoryError):
    """This machine lacks memory for a call or for a group. A group whose call raises it is still usable."""

    code = "out_of_memory"


class TooManyRows(Error):
    """The call completed on all ranks, but more rows came than rows_max; the group is still usable."""

    code = "too_many_rows"


class DeviceError(Error):
    """A call to the GPU's driver failed."""

    code = "device"


class Fault(Error):
    """The group is lost: every later call raises the same Fault at once. All ranks' faults name the same culprit."""

    code = "fault"

    kind: str  #: what the culprit did: lost, silent, absent, unreachable, mismatch, failed, rendezvous
    rank: int  #: the rank that raised this Fault; "it" below
    culprit_rank: "int | None"  #: the rank that caused the fault; None: the rendezvous did
    operation: str  #: what it was doing: create, dispatch, combine, idle
    role: str  #: which part of its call waited: opener, sender, forwarder, receiver, closer; "" outside a call
    channel: "int | None"  #: the channel of that role; None: it has none
    waiting_for: str  #: what it waited for, such as "tokens of rank 5"; "" if it waited for nobody
    seen: int  #: the last value of the counter that it waited on
    expected: int  #: the value that this counter had to reach
    after_ms: float  #: milliseconds from its entry into the call to the end of its wait
    detail: str  #: one sentence for people
    own_view: bool  #: whether no arbiter judged: then other ranks may name another culprit


_BY_CODE = {each.code: each for each in (InvalidArgument, NotSupported, OutOfMemory, TooManyRows, DeviceError, Fault)}


def make(code, message, fields):
    """Returns the exception for an error of the library; `fields` become its attributes."""
    error = _BY_CODE.get(code, Error)(message)
    error.code = code
    vars(error).update(fields)
    return error
