"""The exceptions of calls. The message of a refusal says argument, value and bound, and nothing has moved by then."""


class Error(RuntimeError):
    """What every call raises that does not complete; `code` is a word for the kind of error."""

    code = "error"
    alike = False  #: whether every rank of the call raised it, so that nobody waits for this one


class InvalidArgument(Error, ValueError):
    """Refused before anything moved; the group is as it was."""

    code = "invalid_argument"


class NotSupported(Error, NotImplementedError):
    """Refused before anything moved, because this build cannot do it yet."""

    code = "not_supported"


REFUSALS = (InvalidArgument, NotSupported)  #: errors that a rank finds before a call, and that all ranks raise then


class OutOfMemory(Error, MemoryError):
    """Refused before anything moved, for want of room on this machine."""

    code = "out_of_memory"


class TooManyRows(Error):
    """The call completed on all ranks, but more rows came than rows_max; the group is still usable."""

    code = "too_many_rows"


class DeviceError(Error):
    """A call to the GPU's driver failed."""

    code = "device"


class Fault(Error):
    """The group is lost. Every rank's fault names the same culprit; later calls raise it at once."""

    code = "fault"

    kind: str  #: what the culprit did: lost, silent, absent, unreachable, mismatch, failed, rendezvous
    rank: int  #: the rank that reports
    culprit_rank: "int | None"  #: who caused it; None: the rendezvous
    operation: str  #: what the reporter was doing: create, dispatch, combine, idle
    role: str  #: notify, sender, forwarder, receiver, closer; "" outside a call
    channel: "int | None"  #: of that role
    waiting_for: str  #: "tokens of rank 5", ...; "" if it waited for nobody
    seen: int  #: the value of the counter that it waited on
    expected: int  #: the value which that counter had to reach
    after_ms: float  #: from the reporter's entry into the call to the end of its wait
    detail: str  #: one sentence for people
    own_view: bool  #: the arbiter did not judge, so other ranks may name another culprit


_BY_CODE = {each.code: each for each in (InvalidArgument, NotSupported, OutOfMemory, TooManyRows, DeviceError, Fault)}


def make(code, message, fields):
    """The exception for an error of the library."""
    error = _BY_CODE.get(code, Error)(message)
    error.code = code
    vars(error).update(fields)
    return error
