"""The handles that dispatches of V1 return, for combines and for cached dispatches."""
import torch

from ..errors import InvalidArgument
from .tensors import refuse


class Handle(tuple):
    """The routing of one dispatch, as a tuple. Only the elements that scripts of DeepEP read are not None.

    On one node it has 6 elements: [0] is [R, R] int32, where row r of this rank's column is how many rows came from
    ranks 0 to r; [3] is [M] int32, the source token of each row. On several nodes it has 10: [6] is that column, [R]
    int32.
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
        """Makes a cached dispatch. Returns (x, scales or None). Collective."""
        dispatch, parts = self.room.group.dispatch, []
        for begin, part in _parts(rows, self.room.size.row_bytes // rows.element_size()):
            parts.append(dispatch(part, handle=self.routing, scales=None if begin else scales))
        return _joined(parts), parts[0].scales

    def combine(self, rows, weights=None, biases=()):
        """Makes a combine. Returns (x, topk_weights or None). Collective."""
        combine, parts = self.room.group.combine, []
        for begin, part in _parts(rows, self.room.size.row_bytes // rows.element_size()):
            bias = [each[:, begin : begin + part.shape[1]].contiguous() for each in biases]
            bias = bias if len(bias) == 2 else bias[0] if bias else None
            parts.append(combine(part, self.routing, topk_weights=None if begin else weights, bias=bias))
        return _joined(parts), parts[0].topk_weights


class LowLatencyHandle(Handle):
    """The routing of one low-latency dispatch, as a tuple; E are the local experts here.

    [0] is [E, R * most] int32, the source token of each row; [1] is [E, R] int64, begin << 32 | count of the rows of
    each source rank; [2] is most, the most tokens of a rank; [3] the elements of a row; [4] the experts of all ranks.
    """


def of_mode(handle, kind, buffer):
    """Returns the handle if it is of this kind and of this buffer; else raises InvalidArgument."""
    if type(handle) is not kind:
        refuse("handle", f"a {type(handle).__name__}", f"the {kind.__name__} of a dispatch in the same mode")
    if handle.buffer() is not buffer:
        raise InvalidArgument("handle: of another buffer, must be that of a dispatch of this one")
    return handle


def _parts(rows, columns):
    """Yields (first column, these columns of the rows): a row that is too long for the group travels in parts."""
    if rows.shape[1] <= columns:
        yield 0, rows
        return
    for begin in range(0, rows.shape[1], columns):
        yield begin, rows[:, begin : begin + columns].contiguous()


def _joined(parts):
    return parts[0].x if len(parts) == 1 else torch.cat([part.x for part in parts], dim=1)
