"""Dispatch and combine through Python, against NumPy: topologies, types, dimensions, options, libraries."""
import array

import ml_dtypes
import numpy as np
import pytest
from ranks import BF16, check_dispatch, combined, numpy_type, on_threads, rows_of, same, tokens_of

import transload

NODES = [(1,), (3,), (2, 2), (1, 3)]
TYPES = ["bfloat16", "float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
         "uint64", "bool", "complex64", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2",
         "float8_e5m2fnuz", "float8_e8m0fnu", "float8_e3m4", "float8_e4m3"]


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("ids", [np.int32, np.int64])
def test_trip(nodes, ids):
    inputs = [tokens_of(rank, 5 + 3 * rank if rank != 1 else 0, ids=ids) for rank in range(sum(nodes))]
    backs = [None] * len(inputs)

    def work(g):
        got = g.dispatch(*inputs[g.rank])
        check_dispatch(g.rank, got, inputs)
        assert got.status.ok and got.landing == "direct" and got.scales is None
        y = g.empty(got.x.shape)
        y[:] = (got.x.astype(np.float32) * (g.rank + 1.5)).astype(BF16)
        backs[g.rank] = y.copy()
        back = g.combine(y, got.handle)
        assert back.source == "pull" and back.topk_weights is None
        return back.x

    answers = on_threads(nodes, work)
    for rank, seen in enumerate(answers):
        same(seen, combined(rank, nodes, [each[1] for each in inputs], backs).astype(BF16))


@pytest.mark.parametrize("name", TYPES)
def test_types(name):
    """Whatever a row holds, its bytes come; a cached dispatch may bring another type."""
    inputs = [tokens_of(rank, 9, dtype=numpy_type(name)) for rank in range(2)]
    other = [each[0].view(np.uint8).copy() for each in inputs]

    def work(g):
        got = g.dispatch(*inputs[g.rank])
        check_dispatch(g.rank, got, inputs)
        again = g.dispatch(other[g.rank], handle=got.handle)
        same(again.x, got.x.view(np.uint8))
        assert again.topk_idx is None and again.topk_weights is None and again.source is None
        assert again.expert_counts == [] and again.expert_counts_on_device is None
        assert again.source_rows == got.source_rows
        same(again.rows_of_sources_on_device, got.rows_of_sources_on_device)

    on_threads((2,), work, dtype="fp32" if inputs[0][0].itemsize <= 4 else "fp64")


def test_dimensions_are_kept():
    flat = [tokens_of(rank, 12) for rank in range(2)]
    inputs = [(x.reshape(2, 3, 2, -1), ids.reshape(2, 3, 2, -1), weights.reshape(2, 3, 2, -1))
              for x, ids, weights in flat]

    def work(g):
        x, ids, weights = inputs[g.rank]
        got = g.dispatch(x, ids, weights)
        check_dispatch(g.rank, got, inputs)
        back = g.combine(got.x, got.handle, topk_weights=got.topk_weights, bias=x)
        assert back.x.shape == x.shape and back.topk_weights.shape == weights.shape
        same(back.topk_weights, np.where(ids < 0, np.float32(0), weights))
        one = g.dispatch(x[0, 0, 0], ids[0, 0, 0], weights[0, 0, 0])  # [H]: one token
        assert g.combine(one.x, one.handle).x.shape == (64,)

    on_threads((2,), work)


@pytest.mark.parametrize("count", [1, 2])
def test_biases(count):
    nodes = (1, 2)
    inputs = [tokens_of(rank, 7) for rank in range(3)]
    biases = [[tokens_of(rank, 7, seed=20 + i)[0] for i in range(count)] for rank in range(3)]
    backs = [None] * 3

    def work(g):
        got = g.dispatch(*inputs[g.rank])
        backs[g.rank] = got.x.copy()
        bias = biases[g.rank][0] if count == 1 else tuple(biases[g.rank])
        return g.combine(got.x, got.handle, bias=bias).x

    for rank, seen in enumerate(on_threads(nodes, work)):
        same(seen, combined(rank, nodes, [each[1] for each in inputs], backs, biases[rank]).astype(BF16))


def test_wire_of_fp32():
    """A sum that bf16 between the nodes would round away."""
    x = np.zeros((1, 64), BF16)
    ids, weights = np.array([[0, 4, 6]]), np.ones((1, 3), np.float32)
    values = [-256.0, 256.0, 1.0]

    def work(g, wire):
        got = g.dispatch(x, ids, weights) if g.rank == 0 else g.dispatch(x[:0], ids[:0], weights[:0])
        back = g.combine(np.full(got.x.shape, values[g.rank], BF16), got.handle, wire=wire)
        return [float(value) for value in back.x[:, 0]]

    options = {"experts": 8, "expert_owner": [0] * 4 + [1] * 2 + [2] * 2, "combine_wire": "fp32", "top_k_max": 3}
    assert on_threads((1, 2), lambda g: work(g, "fp32"), **options)[0] == [1.0]
    assert on_threads((1, 2), lambda g: work(g, "bf16"), **options)[0] == [0.0]


@pytest.mark.parametrize("ids", [np.int32, np.int64])
def test_scales_of_any_strides(ids):
    inputs = [tokens_of(rank, 8, dtype=ml_dtypes.float8_e4m3fn, ids=ids) for rank in range(2)]
    scales = [np.asfortranarray(np.random.default_rng(rank).random((8, 3), np.float32)) for rank in range(2)]

    def work(g):
        got = g.dispatch(*inputs[g.rank], scales=scales[g.rank])
        check_dispatch(g.rank, got, inputs)
        same(got.scales, np.array([scales[s][t] for s, t in got.source], np.float32))
        again = g.dispatch(inputs[g.rank][0], handle=got.handle, scales=scales[g.rank].view(np.int32))
        same(again.scales, got.scales.view(np.int32))

    on_threads((2,), work, dtype="fp8", scales_max=3)


@pytest.mark.parametrize("landing", ["direct", "ring"])
def test_landing_and_out(landing):
    inputs = [tokens_of(rank, 8) for rank in range(2)]

    def work(g):
        got = g.dispatch(*inputs[g.rank], landing=landing)
        check_dispatch(g.rank, got, inputs)
        assert got.landing == landing
        room = np.zeros((40, 64), BF16) if landing == "ring" else g.empty((40, 64))
        mine = g.dispatch(*inputs[g.rank], out=room)
        check_dispatch(g.rank, mine, inputs)
        assert mine.landing == landing and np.shares_memory(mine.x, room)
        result = np.zeros((8, 64), BF16)
        back = g.combine(mine.x, mine.handle, out=result)
        assert back.x is result and back.source == ("push" if landing == "ring" else "pull")
        same(result, g.combine(mine.x, mine.handle, source="push").x)

    on_threads((2,), work)


def test_out_for_weights():
    """Memory for both of what a combine brings, for one, or for none; in any dimensions."""
    inputs = [tokens_of(rank, 8) for rank in range(2)]

    def work(g):
        got = g.dispatch(*inputs[g.rank])
        expected = g.combine(got.x, got.handle, topk_weights=got.topk_weights)
        rows, weights = np.ones((2, 4, 64), BF16), np.ones((8, 2), np.float32)
        for out in ((rows, weights), [rows, None], (None, weights), (None, None)):
            rows.fill(1), weights.fill(1)
            back = g.combine(got.x, got.handle, topk_weights=got.topk_weights, out=out)
            assert out[0] is None or back.x is rows
            assert out[1] is None or back.topk_weights is weights
            same(back.x.reshape(8, 64), expected.x)
            same(back.topk_weights, expected.topk_weights)

    on_threads((2,), work)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_of_a_call(channels):
    inputs = [tokens_of(rank, 30) for rank in range(3)]

    def work(g):
        got = g.dispatch(*inputs[g.rank], channels=channels)
        check_dispatch(g.rank, got, inputs)
        return g.combine(got.x, got.handle, channels=channels).x.tobytes() == g.combine(got.x, got.handle).x.tobytes()

    assert on_threads((1, 2), work, channels=3) == [True] * 3


def test_rows_max():
    inputs = [tokens_of(rank, 20) for rank in range(2)]
    needed = [len(rows_of(rank, [each[1] for each in inputs])) for rank in range(2)]

    def work(g):
        roomy = g.dispatch(*inputs[g.rank], rows_max=40)
        assert roomy.rows == needed[g.rank] and roomy.x.shape == (40, 64) and roomy.status.ok
        tight = g.dispatch(*inputs[g.rank], rows_max=7, overflow="drop")
        assert (tight.rows, tight.rows_needed, tight.status.code) == (7, needed[g.rank], "too_many_rows")
        same(tight.x, roomy.x[:7])
        assert tight.source_rows == [min(7, rows) for rows in roomy.source_rows]
        same(tight.rows_of_sources_on_device, np.array(tight.source_rows))
        report = g.report(tight.handle)
        assert (report.rows, report.rows_needed, report.status.code) == (7, needed[g.rank], "too_many_rows")
        assert report.call == 2 and len(report.expert_counts) == 4 and report.source_rows == tight.source_rows
        with pytest.raises(transload.TooManyRows) as caught:
            g.dispatch(*inputs[g.rank], rows_max=7)
        assert caught.value.code == "too_many_rows" and str(needed[g.rank]) in str(caught.value)
        check = g.dispatch(*inputs[g.rank], expert_alignment=16)
        assert all(count % 16 == 0 for count in check.expert_counts) and sum(check.expert_counts) > 0

    on_threads((2,), work)


def test_bad_expert_id():
    """The call completes, and says where."""
    def work(g):
        x, ids, weights = tokens_of(g.rank, 4)
        ids[2, 1] = 8
        got = g.dispatch(x, ids, weights)
        assert not got.status.ok and got.status.code == "bad_expert_id" and "token 2, slot 1" in got.status.message

    on_threads((2,), work)


@pytest.mark.parametrize("ids", [np.int32, np.int64])
def test_count(ids):
    """A token counts once for a rank and a node, an expert once for each choice."""
    choices = np.array([[[0, 1, 0], [7, 3, -1]], [[-1, -1, -1], [4, 6, 8]]], ids)  # of ranks 0: 0 to 2, 1: 3 to 5, 2
    def work(g):
        counts = g.count(choices)
        same(counts.rank_counts, np.array([1, 2, 2], np.int32))
        same(counts.node_counts, np.array([1, 2], np.int32))
        same(counts.expert_counts, np.array([2, 1, 0, 1, 1, 0, 1, 1], np.int32))
        same(counts.token_in_rank, np.array([[[1, 0, 0], [0, 1, 1]], [[0, 0, 0], [0, 1, 1]]], bool))
        assert counts.status.code == "bad_expert_id" and "8 at token 3, slot 2" in counts.status.message
        assert g.count(choices[:1]).status.ok and g.count(choices[0, 0]).token_in_rank.tolist() == [True, False, False]
        assert type(g.count(memoryview(choices)).token_in_rank) is transload.Array
        return counts

    for counts in on_threads((1, 2), work):  # which outlive the group
        same(counts.node_counts, np.array([1, 2], np.int32))


class OnlyDlpack:
    """An array that shows nothing but __dlpack__; `old` knows no versions."""

    def __init__(self, array, old=False):
        self.array, self.old = array, old

    def __dlpack__(self, **how):
        if self.old and how:
            raise TypeError("no arguments")
        return self.array.__dlpack__(**how)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("show", [OnlyDlpack, lambda x: OnlyDlpack(x, old=True), memoryview,
                                  lambda x: memoryview(x.tobytes()).cast("B").cast(x.dtype.char, x.shape)],
                         ids=["dlpack", "old dlpack", "numpy's buffer", "buffer"])
def test_other_arrays(show):
    """Anything with DLPack or the buffer protocol; outputs are arrays of ours then, which every library reads."""
    inputs = [tokens_of(rank, 8, dtype=np.float32) for rank in range(2)]

    def work(g):
        got = g.dispatch(*(show(each) for each in inputs[g.rank]))
        assert type(got.x) is transload.Array and got.x.dtype == "float32" and got.x.shape == (got.rows, 64)
        assert got.x.nbytes == got.rows * 256 and got.x is got.x
        same(np.asarray(got.x), np.from_dlpack(got.x))
        same(np.from_dlpack(got.topk_idx), np.asarray(memoryview(got.topk_idx)))
        class Numpy:
            rows, rows_needed = got.rows, got.rows_needed
            expert_counts, source_rows = got.expert_counts, got.source_rows
        for name in ("x", "topk_idx", "topk_weights", "source", "rows_on_device", "expert_counts_on_device",
                     "rows_of_sources_on_device"):
            setattr(Numpy, name, np.asarray(getattr(got, name)))
        check_dispatch(g.rank, Numpy, inputs)

    on_threads((2,), work, dtype="fp32")


def test_array_of_the_standard_library():
    with transload.Group(0, 1, experts=2, hidden=64, dtype="fp32") as g:
        got = g.dispatch(memoryview(array.array("f", range(128))).cast("B").cast("f", (2, 64)),
                         memoryview(array.array("q", [0, 1, 1, -1])).cast("B").cast("q", (2, 2)),
                         memoryview(array.array("f", [1, 2, 3, 4])).cast("B").cast("f", (2, 2)))
        assert memoryview(got.x).tolist() == [[float(i) for i in range(64)], [float(i) for i in range(64, 128)]]
        assert memoryview(got.topk_idx).tolist() == [[0, 1], [1, -1]]


def test_numbers_of_numpy():
    with transload.Group(np.int64(0), np.int32(1), nodes=np.array([1]), experts=np.uint8(4), hidden=np.int64(64),
                         expert_owner=np.zeros(4, np.uint32)) as g:
        x, ids, weights = tokens_of(0, 4, experts=4)
        assert g.dispatch(x, ids, weights, rows_max=np.int64(4), channels=np.uint8(1)).x.shape == (4, 64)


def test_properties():
    def work(g):
        assert (g.ranks, g.nodes, g.experts, g.device) == (3, (1, 2), 8, "cpu")
        assert g.local_experts() == [[0, 1, 2], [3, 4, 5], [6, 7]][g.rank]
        assert g.gather(f"rank {g.rank}") == ["rank 0", "rank 1", "rank 2"]
        before = g.memory()
        kept = g.empty((1000, 4), np.float32)
        assert kept.shape == (1000, 4) and kept.dtype == np.float32
        assert g.memory().leased_bytes >= before.leased_bytes + kept.nbytes
        assert before.host_bytes == 0 and before.private_bytes > 0  # pinned is memory for GPUs alone
        assert before.slab_bytes == 4 << 20 and before.ring_bytes > 0 and "slots" in before.ring_formula
        assert {"channels", "scale-out"} <= {each.what for each in g.decisions()}
        g.wait()
        g.check()
        return g.rank

    assert on_threads((1, 2), work) == [0, 1, 2]
