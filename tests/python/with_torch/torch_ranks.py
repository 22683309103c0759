"""Shared by the tests with torch: made-up tokens as tensors, a dense layer, and what was called."""
import collections
import contextlib

import numpy as np
import torch
from ranks import tokens_of

import transload


def to_torch(array):
    """A tensor of a copy; types that NumPy itself has not go by their bits."""
    bits = array.copy()
    if array.dtype.isbuiltin != 1:
        bits = bits.view({1: np.uint8, 2: np.int16}[array.dtype.itemsize])
    return torch.from_numpy(bits).view(getattr(torch, array.dtype.name))


def to_numpy(tensor, dtype):
    """The same bytes, as an array of that type."""
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return flat.view(dtype).reshape(tensor.shape)


def torch_tokens(rank, count, **how):
    """(x, topk_idx, topk_weights) of a rank."""
    return tuple(map(to_torch, tokens_of(rank, count, **how)))


class Counted:
    """A group's calls, counted by name; and whether each was of a handle."""

    def __init__(self, monkeypatch):
        self.calls = collections.Counter()
        dispatch, combine = transload.Group.dispatch, transload.Group.combine

        def counted_dispatch(group, *arguments, **how):
            self.calls["cached" if how.get("handle") is not None else "dispatch"] += 1
            return dispatch(group, *arguments, **how)

        def counted_combine(group, *arguments, **how):
            self.calls["combine"] += 1
            return combine(group, *arguments, **how)

        monkeypatch.setattr(transload.Group, "dispatch", counted_dispatch)
        monkeypatch.setattr(transload.Group, "combine", counted_combine)

    def __call__(self):
        """How many of each since the last time."""
        seen = dict(self.calls)
        self.calls.clear()
        return seen


class Dense:
    """The same layer on all tokens of all ranks at once, in fp32: what gradients must be."""

    def __init__(self, inputs, up, down):
        self.inputs = [(x.float().detach().requires_grad_(), ids, w.detach().requires_grad_()) for x, ids, w in inputs]
        self.up, self.down = up.detach().requires_grad_(), down.detach().requires_grad_()

    def forward(self, rank):
        x, ids, weights = self.inputs[rank]
        out = torch.zeros_like(x)
        for expert in range(len(self.up)):
            token, k = (ids == expert).nonzero(as_tuple=True)
            rows = experts(x[token], self.up[expert], self.down[expert])
            out = out.index_add(0, token, rows * weights[token, k, None])
        return out


def experts(x, up, down):
    return torch.relu(x.float() @ up.T) @ down.T


@contextlib.contextmanager
def defaults(dtype, device):
    """torch's defaults, as programs set them."""
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
