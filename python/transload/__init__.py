"""Transload: sends the tokens of a Mixture-of-Experts layer to the ranks that own their experts, and back.

    import transload
    with transload.Group(rank, ranks, experts=8, hidden=64, bootstrap=rendezvous) as g:
        got = g.dispatch(x, topk_idx, topk_weights)   # rows that chose an expert of mine
        y = g.combine(experts(got), got.handle).x     # summed, at the ranks where the tokens are

Neither NumPy nor torch is imported before an array of theirs is used.
"""
from ._native import Array, Combined, Dispatched, Handle, build_info, has_exchange_table, limits, version
from .bootstrap import Rendezvous
from .errors import DeviceError, Error, Fault, InvalidArgument, NotSupported, OutOfMemory, TooManyRows
from .group import Group

__version__ = version()
__all__ = [
    "Array",
    "Combined",
    "DeviceError",
    "Dispatched",
    "Error",
    "Fault",
    "Group",
    "Handle",
    "InvalidArgument",
    "NotSupported",
    "OutOfMemory",
    "Rendezvous",
    "TooManyRows",
    "build_info",
    "has_exchange_table",
    "limits",
    "__version__",
]
