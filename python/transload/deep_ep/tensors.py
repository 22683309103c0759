"""Checks of what callers give: each returns tensors as transload takes them, or refuses them."""
import dataclasses

import torch

from ..errors import InvalidArgument, NotSupported
from .notices import say_once


def refuse(name, value, bound):
    """Raises InvalidArgument in the words that all refusals have."""
    raise InvalidArgument(f"{name}: {value}, must be {bound}")


def given(name, tensor, dimensions=None, dtypes=None):
    """Returns the tensor without its gradient. Refuses all but CPU tensors of these dimensions and dtypes."""
    if not isinstance(tensor, torch.Tensor):
        refuse(name, f"a {type(tensor).__name__}", "a tensor")
    if tensor.device.type == "cuda":
        bound = "on the CPU: this version has no GPU ranks in Python yet"
        raise NotSupported(f"{name}: on {tensor.device}, must be {bound}")
    if tensor.device.type != "cpu":
        refuse(name, f"on {tensor.device}", "on the CPU, as the ranks of this version are")
    plain = type(tensor) is torch.Tensor or tensor.untyped_storage().device.type == "cpu"
    if tensor.layout != torch.strided or not plain:
        refuse(name, f"a {type(tensor).__name__}, {tensor.layout}, without memory", "a tensor that has memory")
    if dimensions is not None and tensor.dim() != dimensions:
        refuse(name, f"{tensor.dim()} dimensions", f"of {dimensions}")
    if dtypes is not None and tensor.dtype not in dtypes:
        refuse(name, str(tensor.dtype), " or ".join(map(str, dtypes)))
    return tensor.detach() if tensor.requires_grad else tensor


def tell_bad_ids(status, topk_idx, experts):
    """Warns once that an id in topk_idx [T, K] names no expert, if the status of the call says so."""
    if status.code == "bad_expert_id":
        token, choice = ((topk_idx < -1) | (topk_idx >= experts)).nonzero()[0].tolist()
        found = f"{topk_idx[token, choice]} at token {token}, choice {choice}"
        say_once("expert ids", f"topk_idx: {found}, must be from -1 to {experts - 1}: it counts as no choice")


def extent(name, value, least, most=1 << 40):
    """Returns the value as an int. Refuses all but whole numbers from least to most."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or not least <= value.__index__() <= most:
        refuse(name, repr(value), f"a whole number from {least} to {most}")
    return value.__index__()


@dataclasses.dataclass(frozen=True)
class Rows:
    """x and scales, of a call or of its result."""

    x: torch.Tensor
    scales: "torch.Tensor | None" = None  #: [T, S]
    flat: bool = False  #: whether scales were given as [T], one for each row; they are returned so, too

    @classmethod
    def given(cls, x):
        """Makes Rows of an argument x: a tensor [T, H], or a pair of it and its scales.

        The library checks types and lengths, because it can refuse a first dispatch on all ranks.
        """
        if not isinstance(x, (tuple, list)):
            return cls(given("x", x, 2))
        if len(x) != 2:
            refuse("x", f"{len(x)} tensors", "a tensor, or a tensor and its scales")
        rows, scales = given("x[0]", x[0], 2), given("x[1]", x[1])
        flat = scales.dim() == 1
        return cls(rows, scales[:, None] if flat else given("x[1]", scales, 2), flat)

    def contiguous(self):
        """Returns these rows and scales, copied if they are not contiguous."""
        return Rows(self.x.contiguous(), None if self.scales is None else self.scales.contiguous(), self.flat)

    def becoming(self, x, scales):
        """Returns Rows of another x and scales, which returned() gives in the form in which these were given."""
        return Rows(x, scales, self.flat)

    def returned(self):
        """Returns x, or a pair of x and its scales, as the caller gave it."""
        if self.scales is None:
            return self.x
        return self.x, self.scales[:, 0] if self.flat else self.scales


def biases_given(bias):
    """Returns a list of the bf16 tensors of an argument `bias`, which is None, a tensor or a pair."""
    if bias is None:
        return []
    if isinstance(bias, torch.Tensor):
        bias = (bias,)
    elif not isinstance(bias, (tuple, list)) or len(bias) != 2:
        refuse("bias", repr(bias) if not isinstance(bias, (tuple, list)) else f"{len(bias)} of them", "one or a pair")
    return [given("bias", each, 2, (torch.bfloat16,)) for each in bias]
