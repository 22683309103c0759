"""What a dispatch of V1 leaves for combine and for cached dispatches."""
import torch

from ..errors import InvalidArgument
from .tensors import refuse


class Handle(tuple):
    """Opaque. Its elements are what scripts of DeepEP look at; the rest is None.

    One node, 6 elements: [0] is [R, R] int32, whose column of this rank says how many rows came from ranks 0 to r;
    [3] is [M] int32: the source token of each row. Several nodes, 10 elements: [6] is [R] int32, that column alone.
    """

    def __new__(cls, elements, **own):
        self = super().__new__(cls, elements)
        vars(self).update(own)
        return self

    def __setattr__(self, name, value):
        raise AttributeError(f"a handle is immutable: {name} cannot be set")

    def __reduce__(self):
        raise TypeError("a handle belongs to its group in this process and cannot be pickled")

    def __repr__(self):
        return f"transload.deep_ep.{type(self).__name__}()"

    def dispatch(self, rows, scales):
        """(x, scales or None) of the same routing. Collective."""
        dispatch, parts = self.room.group.dispatch, []
        for begin, part in _parts(rows, self.room.size.row_bytes // rows.element_size()):
            parts.append(dispatch(part, handle=self.routing, scales=None if begin else scales))
        return _joined(parts), parts[0].scales

    def combine(self, rows, weights=None, biases=()):
        """(x, topk_weights or None). Collective."""
        combine, parts = self.room.group.combine, []
        for begin, part in _parts(rows, self.room.size.row_bytes // rows.element_size()):
            bias = [each[:, begin : begin + part.shape[1]].contiguous() for each in biases]
            bias = bias if len(bias) == 2 else bias[0] if bias else None
            parts.append(combine(part, self.routing, topk_weights=None if begin else weights, bias=bias))
        return _joined(parts), parts[0].topk_weights


class LowLatencyHandle(Handle):
    """[0] source token of each row [E, R * most] int32, [1] begin << 32 | count of each source's rows [E, R] int64,
    [2] most tokens of a rank, [3] hidden, [4] experts.
    """


def of_mode(handle, kind, buffer):
    """The handle, if it is of this kind and of this buffer."""
    if type(handle) is not kind:
        refuse("handle", f"a {type(handle).__name__}", f"the {kind.__name__} of a dispatch in the same mode")
    if handle.buffer() is not buffer:
        raise InvalidArgument("handle: of another buffer, must be that of a dispatch of this one")
    return handle


def _parts(rows, columns):
    """(first column, columns of it). A row that is too long for the group goes in parts, which changes no sum."""
    if rows.shape[1] <= columns:
        yield 0, rows
        return
    for begin in range(0, rows.shape[1], columns):
        yield begin, rows[:, begin : begin + columns].contiguous()


def _joined(parts):
    return parts[0].x if len(parts) == 1 else torch.cat([part.x for part in parts], dim=1)
