"""JAX's arrays, on the CPU: in, and out as JAX's."""
import gc

import numpy as np
import pytest
from ranks import BF16, check_dispatch, combined, on_threads, same, tokens_of

import transload

jax = pytest.importorskip("jax", reason="jax is not installed")


def to_jax(array):
    """A copy in JAX's own memory, contiguous."""
    return jax.numpy.array(array)


class AsNumpy:
    """What came, as `check_dispatch` looks at it; all of it must be JAX's."""

    def __init__(self, got):
        self._got = got

    def __getattr__(self, name):
        value = getattr(self._got, name)
        if isinstance(value, (int, list)):
            return value
        assert isinstance(value, jax.Array), (name, type(value))
        return np.asarray(value)


@pytest.mark.parametrize("nodes", [(1,), (1, 2)])
@pytest.mark.parametrize("dtype", [BF16, np.dtype(np.float32), np.dtype(np.int8)], ids=str)
def test_trip(nodes, dtype):
    inputs = [tokens_of(rank, 8, dtype=dtype, ids=np.int32) for rank in range(sum(nodes))]
    ids = [each[1] for each in inputs]

    def work(g):
        got = g.dispatch(*map(to_jax, inputs[g.rank]))
        with jax.enable_x64(True):  # counts are int64
            check_dispatch(g.rank, AsNumpy(got), inputs)
        if dtype != BF16:
            return None
        bias = tokens_of(10 + g.rank, 8)[0]
        back = g.combine(to_jax(got.x), got.handle, bias=to_jax(bias), topk_weights=got.topk_weights)
        assert isinstance(back.x, jax.Array) and back.topk_weights.shape == (8, 2)
        return np.asarray(back.x), np.asarray(got.x), bias

    seen = on_threads(nodes, work, dtype=str(dtype))
    if dtype == BF16:
        rows = [each[1] for each in seen]
        for rank, (sums, _, bias) in enumerate(seen):
            same(sums, combined(rank, nodes, ids, rows, (bias,)).astype(BF16))


def test_rows_outlive_the_group():
    x, ids, weights = tokens_of(0, 8, experts=4)
    with transload.Group(0, 1, experts=4, hidden=64, slab_bytes=4 << 20) as g:
        got = g.dispatch(to_jax(x), to_jax(ids.astype(np.int32)), to_jax(weights))
        rows, source = got.x, np.asarray(got.source).copy()
    del got, g
    gc.collect()
    same(np.asarray(rows), x[source[:, 1]])


def test_an_array_of_jax_cannot_be_written():
    x, ids, weights = tokens_of(0, 8, experts=4)
    with transload.Group(0, 1, experts=4, hidden=64, slab_bytes=4 << 20) as g:
        with pytest.raises(transload.InvalidArgument, match="out: read-only, must be memory that may be written"):
            g.dispatch(x, ids, weights, out=to_jax(x))
        assert g.dispatch(x, ids, weights).rows > 0
