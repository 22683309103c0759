"""Handles, and how they travel through graphs: as an opaque object where torch has such, else by a number."""
import ctypes
import itertools
import typing
import weakref

import torch

from ..errors import InvalidArgument


class Handle(typing.NamedTuple):
    """The routing of one dispatch, which combines and cached dispatches of the same group take.

    It never changes, and it may be used any number of times.
    """

    routing: typing.Any  #: the routing in the form that the ops take and return
    shape: tuple  #: the shape of the x that was dispatched
    rows: int  #: how many rows came
    anchor: typing.Optional[torch.Tensor]  #: what anchor_of in eager.py returned

    def __repr__(self):
        return f"transload.torch.Handle({self.rows} rows)"


class NumberedRoutings:
    """Routings as CPU tensors [1] int64, for a torch without opaque types. A routing lives as long as its tensor."""

    SCHEMA = "Tensor"

    def __init__(self):
        self._numbers = itertools.count(1)
        self._all = {}

    class _Number(ctypes.c_int64):
        """The memory of such a tensor; torch keeps it as long as any tensor uses it."""

    def wrap(self, native):
        number = self._Number(next(self._numbers))
        self._all[number.value] = native
        weakref.finalize(number, self._all.pop, number.value).atexit = False
        return torch.frombuffer(number, dtype=torch.int64)

    def unwrap(self, routing):
        native = self._all.get(routing.item()) if isinstance(routing, torch.Tensor) else None
        if native is None:
            raise InvalidArgument(f"handle: {routing!r}, must be that of a dispatch")
        return native

    @staticmethod
    def fake():
        return torch.empty(1, dtype=torch.int64, device="cpu")


try:
    from torch._library import opaque_object as _opaque
except ImportError:
    _opaque = None
# torch 2.15 has new names for these two.
_register = getattr(_opaque, "register_custom_class", None) or getattr(_opaque, "register_opaque_type", None)
_Meta = getattr(_opaque, "CustomClassBaseMeta", None) or getattr(_opaque, "OpaqueBaseMeta", type)


@torch.jit.unused  # else torch takes it for a class to compile, where it checks that an op aliases nothing
class Routing(metaclass=_Meta):
    """The transload.Handle of a dispatch, as an opaque object of torch."""

    def __init__(self, native):
        self.native = native

    def __deepcopy__(self, _):
        return self  # it never changes

    def __repr__(self):
        return "transload.torch.Routing()"


class OpaqueRoutings:
    """Routings as objects of the class Routing, which is registered with torch."""

    def __init__(self):
        _register(Routing, typ="symbolic" if _register.__name__ == "register_custom_class" else "reference")
        self.SCHEMA = _opaque.get_opaque_type_name(Routing)

    @staticmethod
    def wrap(native):
        return Routing(native)

    @staticmethod
    def unwrap(routing):
        if not isinstance(routing, Routing):
            raise InvalidArgument(f"handle: {routing!r}, must be that of a dispatch")
        return routing.native

    @staticmethod
    def fake():
        return Routing(None)


routings = NumberedRoutings() if _register is None else OpaqueRoutings()
