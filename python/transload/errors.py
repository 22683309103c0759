"""What a call raises. The messages of refusals say argument, value and bound; nothing has moved then."""


class Error(RuntimeError):
    """Every call that does not complete raises one; `code` is a word for which."""

    code = "error"
    alike = False  #: whether every rank of the call raised it, so that nobody waits for this one


class InvalidArgument(Error, ValueError):
    """Refused before anything moved; the group is as it was."""

    code = "invalid_argument"


class NotSupported(Error, NotImplementedError):
    """Refused likewise, because this build cannot do it yet."""

    code = "not_supported"


REFUSALS = (InvalidArgument, NotSupported)  #: what a call can be refused with on all ranks, by whoever finds it


class OutOfMemory(Error, MemoryError):
    """Refused likewise, for want of room on this machine."""

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
    rank: int  #: who reports
    culprit_rank: "int | None"  #: who caused it; None: the rendezvous
    operation: str  #: what the reporter was doing: create, dispatch, combine, idle
    role: str  #: notify, sender, forwarder, receiver, closer; "" outside a call
    channel: "int | None"  #: of that role
    waiting_for: str  #: "tokens of rank 5", ...; "" if it waited for nobody
    seen: int  #: the counter that it waited on,
    expected: int  #: and what it had to reach
    after_ms: float  #: from the reporter's entry into the call to the end of its wait
    detail: str  #: one sentence for people
    own_view: bool  #: nobody judged: others may have another opinion


_BY_CODE = {each.code: each for each in (InvalidArgument, NotSupported, OutOfMemory, TooManyRows, DeviceError, Fault)}


def make(code, message, fields):
    """The exception for an error of the library."""
    error = _BY_CODE.get(code, Error)(message)
    error.code = code
    vars(error).update(fields)
    return error
