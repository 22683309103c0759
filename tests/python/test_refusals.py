"""What is refused: argument, value, bound; nothing has moved, and the group is good."""
import re
import threading

import ml_dtypes
import numpy as np
import pytest
from ranks import BF16, check_dispatch, on_threads, run_all, same, small, tokens_of

import transload

X, IDS, WEIGHTS = tokens_of(0, 6)
READ_ONLY = np.zeros((6, 64), BF16)
READ_ONLY.flags.writeable = False


@pytest.fixture(name="g", scope="module")
def one_rank():
    with transload.Group(0, 1, **small({"scales_max": 2})) as group:
        yield group


@pytest.fixture(name="other", scope="module")
def another_group():
    with transload.Group(0, 1, **small({})) as group:
        yield group


class OnCuda:
    """A tensor of a GPU, as far as DLPack shows it."""

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **_):
        import ctypes

        new, pointer = ctypes.pythonapi.PyCapsule_New, ctypes.c_void_p
        new.restype, new.argtypes = ctypes.py_object, [pointer, ctypes.c_char_p, pointer]
        shape = (ctypes.c_int64 * 2)(6, 64)
        # data, device, dimensions, type (bfloat 16 x 1), shape, strides, byte_offset: DLTensor
        words = [1 << 20, 2 | 0 << 32, 2 | (4 | 16 << 8 | 1 << 16) << 32, ctypes.addressof(shape), 0, 0, 0, 0]
        self.held = shape, (ctypes.c_uint64 * 8)(*words)
        return new(ctypes.addressof(self.held[1]), b"dltensor", None)


class Breaks:
    def __dlpack__(self, **_):
        raise BufferError("this tensor requires grad")


class Unsliced:
    """An array of 40 x 32 that can be written, and no more."""

    def __init__(self):
        self.array = np.zeros((40, 32), np.float32)

    def __dlpack__(self, **how):
        return self.array.__dlpack__(**how)


class Lies:
    def __dlpack__(self, **_):
        return 7


DISPATCH = [
    (dict(x=None), r"x: not given, must be a matrix"),
    (dict(x="text"), r"x: a str, must be an array: of NumPy, torch, CuPy or JAX, or anything with __dlpack__"),
    (dict(x=[[1.0]]), r"x: a list, must be an array"),
    (dict(x=Breaks()), r"x: .*this tensor requires grad.*, must be an array that DLPack can show"),
    (dict(x=Lies()), r"x: a __dlpack__ that gives 7, must be"),
    (dict(x=OnCuda()), r"x: on cuda 0, must be on the CPU"),
    (dict(x=np.float32(3)), r"x: a float32, must be an array|x: 0 dimensions, must be of 1 to 8"),
    (dict(x=np.zeros((1,) * 9, BF16)), r"x: 9 dimensions, must be of 1 to 8"),
    (dict(x=X.astype(np.float32).astype(">f4")), r"x: dtype dtype\('>f4'\), must be of a type that DLPack has"),
    (dict(x=np.zeros((6, 64), "V2")), r"x: dtype dtype\('V2'\), must be of a type that DLPack has"),
    (dict(x=np.zeros((6, 64), "U1")), r"x: dtype dtype\('<U1'\), must be of a type"),
    (dict(x=np.zeros((6, 64), ml_dtypes.float4_e2m1fn)), r"x: dtype dtype\(float4_e2m1fn\), must be of a type"),
    (dict(x=np.zeros((6, 64), ml_dtypes.int4)), r"x: dtype dtype\(int4\), must be of a type"),
    (dict(x=np.zeros((6, 64), object)), r"x: dtype dtype\('O'\), must be of a type"),
    (dict(x=np.zeros((6, 64), "M8[s]")), r"x: dtype dtype\('<M8\[s\]'\), must be of a type"),
    (dict(x=memoryview(X.astype(">i4"))), r"x: format '>i', must be of numbers in this machine's byte order"),
    (dict(x=X[:, ::2]), r"x: strides \[64, 2\], must be contiguous"),
    (dict(x=np.asfortranarray(X)), r"x: strides \[1, 6\], must be contiguous"),
    (dict(x=np.zeros((4, 3, 64), BF16)[:, :2]), r"x: dimension 0 of stride 192, must be an array whose dimensions"),
    (dict(x=np.zeros((6, 4), BF16)), r"x: 8 bytes a row, must be a positive multiple of 16"),
    (dict(x=np.zeros((6, 128), BF16)), r"row bytes of x: 256, must be 16 to 128"),
    (dict(x=np.zeros((65, 64), BF16)), r"rows of x: 65, must be 0 to 64"),
    (dict(topk_idx=None), r"topk_idx: not given, must be given unless a handle is"),
    (dict(topk_weights=None), r"topk_weights: not given, must be given unless a handle is"),
    (dict(topk_idx=IDS.astype(np.float32)), r"topk_idx: float32, must be int32 or int64"),
    (dict(topk_idx=IDS.astype(np.int16)), r"topk_idx: int16, must be int32 or int64"),
    (dict(topk_idx=IDS[:5]), r"topk_idx: \[5, 2\], must be \[6"),
    (dict(topk_idx=np.zeros((6, 5), np.int64)), r"columns of topk_idx: 5, must be 1 to 4"),
    (dict(topk_weights=WEIGHTS.astype(np.float64)), r"topk_weights: float64, must be float32"),
    (dict(topk_weights=WEIGHTS[:, :1]), r"topk_weights: strides|topk_weights: \[6, 1\], must be \[6, 2\]"),
    (dict(scales=np.zeros((6, 2), np.int16)), r"scales: int16, must be of 4-byte scalars"),
    (dict(scales=np.zeros((5, 2), np.int32)), r"scales: \[5, 2\], must be of as many rows as x, 6"),
    (dict(scales=np.zeros((6, 3), np.int32)), r"columns of scales: 3, must be 1 to 2"),
    (dict(handle="text"), r"handle: 'text', must be that of a dispatch"),
    (dict(expert_alignment=0), r"expert_alignment: 0, must be"),
    (dict(expert_alignment=-1), r"expert_alignment: -1, must be a whole number from 0 to 4294967295"),
    (dict(expert_alignment=True), r"expert_alignment: True, must be a whole number"),
    (dict(rows_max=-1), r"rows_max: -1, must be 0 to"),
    (dict(rows_max=1 << 70), r"rows_max: \d+, must be a whole number from"),
    (dict(rows_max=1.5), r"rows_max: 1.5, must be a whole number"),
    (dict(overflow="ignore"), r"overflow: 'ignore', must be fail or drop"),
    (dict(overflow=1), r"overflow: 1, must be text"),
    (dict(landing="there"), r"landing: 'there', must be auto, direct or ring"),
    (dict(channels=99), r"channels: 99, must be"),
    (dict(deadline_s=0.001), r"deadline_s: 0.001, must be seconds, from 0.05 to 86400"),
    (dict(deadline_s="soon"), r"deadline_s: 'soon', must be seconds"),
    (dict(deadline_s=float("nan")), r"deadline_s: nan, must be seconds"),
    (dict(out=READ_ONLY), r"out: read-only, must be memory that may be written"),
    (dict(out=memoryview(bytes(64)).cast("B", (2, 32))), r"out: read-only, must be memory that may be written"),
    (dict(out=np.zeros((2, 64), BF16)), r"out: 2 rows, must be at least"),
    (dict(out=np.zeros((40, 64), np.float32)), r"out: float32, must be bfloat16, as x"),
    (dict(out=np.zeros((40, 64), np.uint16)), r"out: uint16, must be bfloat16, as x"),
    (dict(out=np.zeros((40, 32), BF16)), r"out: 64 bytes a row, must be 128, as x"),
    (dict(out=np.zeros((2, 20, 64), BF16)), r"out: 3 dimensions, must be of 2"),
    (dict(out=np.zeros((40, 128), BF16)[:, ::2]), r"out: strides \[128, 2\], must be contiguous"),
    (dict(out=Unsliced(), x=X.astype(np.float32)[:, :32].copy()),
     r"out: a Unsliced, must be an array that can be sliced, such as a memoryview"),
    (dict(out=OnCuda()), r"out: on cuda 0, must be on the CPU"),
    (dict(out="text"), r"out: a str, must be an array"),
    (dict(out=np.zeros((40, 64), BF16), landing="direct"), r"landing: direct, must be auto or ring"),
    (dict(out=X), r"out: over memory of x, must be apart from all inputs"),
]


@pytest.mark.parametrize("change,words", DISPATCH, ids=[" ".join(c) + f" {i}" for i, (c, _) in enumerate(DISPATCH)])
def test_dispatch(g, change, words):
    given = {"x": X, "topk_idx": IDS, "topk_weights": WEIGHTS, **change}
    with pytest.raises(ValueError) as caught:
        g.dispatch(given.pop("x"), given.pop("topk_idx"), given.pop("topk_weights"), **given)
    assert isinstance(caught.value, transload.InvalidArgument) and caught.value.code == "invalid_argument"
    assert re.match(words, str(caught.value)), str(caught.value)
    check_dispatch(0, g.dispatch(X, IDS, WEIGHTS), [(X, IDS, WEIGHTS)])


COMBINE = [
    (dict(x=None), r"x: not given, must be a matrix"),
    (dict(x=lambda y: y[:-1]), r"x: \[\d, 64\], must be"),
    (dict(x=lambda y: y.astype(np.float32)), r"x: float32, must be bfloat16"),
    (dict(x=lambda y: y.view(np.uint16)), r"x: uint16, must be bfloat16"),
    (dict(handle=None), r"handle: None, must be that of a dispatch"),
    (dict(handle=3), r"handle: 3, must be that of a dispatch"),
    (dict(topk_weights=np.zeros((1, 2), np.float32)), r"topk_weights: \[1, 2\], must be"),
    (dict(bias=np.zeros((5, 64), BF16)), r"bias\[0\]: \[5, 64\], must be \[6, 64\]"),
    (dict(bias=(X, X, X)), r"bias: 3 of them, must be one or a pair"),
    (dict(bias=(None, X)), r"bias\[1\]: given alone"),
    (dict(bias=(X, X[:3])), r"bias\[1\]: \[3, 64\], must be"),
    (dict(source="pull"), r"source: pull, must be push: x \(and topk_weights\) must lie in a lease"),
    (dict(source="shove"), r"source: 'shove', must be auto, pull or push"),
    (dict(wire="fp32"), r"wire: fp32, must be at most combine_wire"),
    (dict(wire="fp64"), r"wire: 'fp64', must be bf16 or fp32"),
    (dict(out=READ_ONLY), r"out: read-only, must be"),
    (dict(out=np.zeros((6, 32), BF16)), r"out: \[6, 32\], must be"),
    (dict(out=np.zeros((6, 64), np.uint16)), r"out: uint16, must be bfloat16"),
    (dict(out=lambda y: y.base[:6]), r"out: over memory of x, must be apart"),
    (dict(out=(None, None, None)), r"out: 3 of them, must be one or a pair"),
    (dict(out=(None, np.zeros((6, 2), np.float32))), r"out\[1\]: given, must be absent: no topk_weights are given"),
    (dict(channels=99), r"channels: 99, must be"),
    (dict(deadline_s=0.001), r"deadline_s: 0.001, must be seconds, from 0.05 to 86400"),
]


@pytest.mark.parametrize("change,words", COMBINE, ids=[" ".join(c) + f" {i}" for i, (c, _) in enumerate(COMBINE)])
def test_combine(g, change, words):
    got = g.dispatch(X, IDS, WEIGHTS)
    y = np.zeros((8, 64), BF16)[:got.rows]
    y[:] = got.x
    change = {key: value(y) if callable(value) else value for key, value in change.items()}
    given = {"x": y, "handle": got.handle, **change}
    with pytest.raises(transload.InvalidArgument) as caught:
        g.combine(given.pop("x"), given.pop("handle"), **given)
    assert re.match(words, str(caught.value)), str(caught.value)
    assert g.combine(y, got.handle).x.shape == X.shape


def test_handles_of_others(g, other):
    theirs = other.dispatch(X, IDS, WEIGHTS)
    mine = g.dispatch(X, IDS, WEIGHTS)
    words = "handle: of another group, must be of a dispatch of this group"
    with pytest.raises(transload.InvalidArgument, match=words):
        g.combine(mine.x, theirs.handle)
    with pytest.raises(transload.InvalidArgument, match=words):
        g.dispatch(X, handle=theirs.handle)
    with pytest.raises(transload.InvalidArgument, match=r"topk_idx: given with a handle"):
        g.dispatch(X, IDS, WEIGHTS, handle=mine.handle)
    with pytest.raises(transload.InvalidArgument, match=r"x: \[5, 64\], must be of as many rows as the handle, 6"):
        g.dispatch(X[:5], handle=mine.handle)
    with pytest.raises(transload.InvalidArgument, match="handle: 1, must be that of a dispatch"):
        g.report(1)
    with pytest.raises(TypeError):
        type(mine.handle)()


@pytest.mark.parametrize("call,words", [
    (lambda g: g.dispatch(X, IDS, WEIGHTS, sms=4), "sms: 4, must be 0 on the CPU"),
    (lambda g: g.combine(X, g.dispatch(X, IDS, WEIGHTS).handle, sms=4), "sms: 4, must be 0 on the CPU"),
    (lambda g: g.dispatch(X, IDS, WEIGHTS, stream=7), "stream: 7, must be None"),
    (lambda g: g.combine(X, g.dispatch(X, IDS, WEIGHTS).handle, stream=object()), "stream: <object .*, must be None"),
    (lambda g: g.wait(stream=7), "stream: 7, must be None"),
    (lambda g: transload.Group(0, 1, experts=1, sms=4), "sms: 4, must be 0 on the CPU"),
    (lambda g: transload.Group(0, 1, experts=1, device="cuda:9"), "device: 'cuda:9', must be 'cpu'"),
    (lambda g: transload.Group(0, 1, experts=1, device="cuda"), "device: 'cuda', must be 'cpu'"),
])
def test_not_there_yet(g, call, words):
    with pytest.raises(NotImplementedError, match=words) as caught:
        call(g)
    assert isinstance(caught.value, transload.NotSupported) and caught.value.code == "not_supported"


COUNT = [
    (None, r"topk_idx: not given, must be a matrix"),
    ("ids", r"topk_idx: a str, must be an array"),
    (IDS.astype(np.float32), r"topk_idx: float32, must be int32 or int64"),
    (IDS.T, r"topk_idx: strides \[1, 2\], must be contiguous"),
    (np.zeros((6, 5), np.int64), r"columns of topk_idx: 5, must be 1 to 4"),
    (np.zeros((65, 2), np.int64), r"rows of topk_idx: 65, must be 0 to 64"),
]


@pytest.mark.parametrize("ids,words", COUNT)
def test_count(g, ids, words):
    with pytest.raises(transload.InvalidArgument) as caught:
        g.count(ids)
    assert re.match(words, str(caught.value)), str(caught.value)


EMPTY = [
    (("4", "bf16"), r"shape: '4', must be a whole number"),
    ((-1, "bf16"), r"shape: -1, must be a whole number from 0"),
    (((), "bf16"), r"shape: \(\), must be of 1 to 8 dimensions"),
    (((1 << 45, 1 << 45), "bf16"), r"shape: .* must be of at most"),
    ((4, "bf17"), r"dtype: 'bf17', must be a type of whole bytes"),
    ((4, object()), r"dtype: <object"),
    ((4, ">f4"), r"dtype: '>f4', must be"),
]


@pytest.mark.parametrize("given,words", EMPTY)
def test_empty(g, given, words):
    with pytest.raises(transload.InvalidArgument) as caught:
        g.empty(*given)
    assert re.match(words, str(caught.value)), str(caught.value)


GROUPS = [
    (dict(ranks=0), r"ranks: 0, must be a whole number from 1 to"),
    (dict(rank=1), r"rank: 1, must be a whole number from 0 to 0"),
    (dict(rank="0"), r"rank: '0', must be a whole number"),
    (dict(nodes=(2,)), r"nodes: \(2,\), must be sizes of 1 or more that are 1 ranks in all"),
    (dict(nodes=3), r"nodes: 3, must be how many ranks each node has"),
    (dict(nodes=(1, 0)), r"nodes: \(1, 0\), must be sizes of 1 or more"),
    (dict(experts=0), r"experts: 0, must be 1 to"),
    (dict(experts=-2), r"experts: -2, must be a whole number from 0"),
    (dict(expert_owner=[0, 0]), r"expert_owner: 2 entries, must be 8, one for each expert"),
    (dict(expert_owner=[1] * 8), r"expert_owner: 1, must be a rank below 1"),
    (dict(hidden=7), r"hidden: 7, must be a multiple of 8"),
    (dict(hidden=8, dtype="fp8"), r"hidden: 8, must be a multiple of 16"),
    (dict(hidden=0), r"hidden: 0, must be a multiple of 8"),
    (dict(hidden=1 << 40), r"hidden: \d+, must be a multiple of 8, at most \d+"),
    (dict(dtype="bf17"), r"dtype: 'bf17', must be a type of whole bytes"),
    (dict(tokens_max=0), r"tokens_max: 0, must be 1 to"),
    (dict(top_k_max=33), r"top_k_max: 33, must be 1 to 32"),
    (dict(slab_bytes=1 << 60), r"slab_bytes: \d+, must be 0 to"),
    (dict(channels=1025), r"channels: 1025, must be"),
    (dict(deadline_s=0), r"deadline_s: 0, must be seconds"),
    (dict(create_deadline_s=1e9), r"create_deadline_s: 1000000000.0, must be seconds"),
    (dict(combine_wire="fp16"), r"combine_wire: 'fp16', must be bf16 or fp32"),
    (dict(scale_out="pigeon"), r"scale_out: 'pigeon', must be auto, libfabric, loopback or nvshmem"),
    (dict(provider=5), r"provider: 5, must be text"),
    (dict(nic=5), r"nic: 5, must be text"),
    (dict(nic="mlx5_0,mlx5_1"), r'nic: "mlx5_0,mlx5_1", must be the name of one NIC'),
    (dict(network_memory="ram"), r"network_memory: 'ram', must be auto, gpu or pinned"),
    (dict(network_memory="gpu"), r"network_memory: gpu, must be auto or pinned where ranks are on the CPU"),
    (dict(linger_us=1 << 40), r"linger_us: \d+, must be"),
    (dict(device="tpu"), r"device: 'tpu', must be 'cpu'"),
    (dict(ranks=2), r"bootstrap: None, must be a Rendezvous, 'host:port' or an all-gather for 2 ranks"),
    (dict(bootstrap="nowhere"), r"bootstrap: 'nowhere', must be a Rendezvous, 'host:port'"),
    (dict(bootstrap="host:99999"), r"bootstrap: 'host:99999', must be"),
    (dict(bootstrap=5), r"bootstrap: 5, must be"),
    (dict(name=5), r"name: 5, must be text"),
    (dict(secret=b"x"), r"secret: b'x', must be text"),
    (dict(ranks=2, bootstrap="203.0.113.1:5"), r"nodes: None, must be how many ranks each node has"),
]


@pytest.mark.parametrize("change,words", GROUPS, ids=[" ".join(c) + f" {i}" for i, (c, _) in enumerate(GROUPS)])
def test_groups(change, words):
    with pytest.raises(transload.InvalidArgument) as caught:
        transload.Group(**{"rank": 0, "ranks": 1, **small({}), **change})
    assert re.match(words, str(caught.value)), str(caught.value)


def test_ports():
    used = transload.Rendezvous()
    with pytest.raises(transload.InvalidArgument, match=str(used.port)):
        transload.Rendezvous(port=used.port)
    for given, words in (({"port": 70000}, "port: 70000, must be a whole number from 0 to 65535"),
                         ({"address": 5}, "address: 5, must be text"), ({"secret": None}, "secret: None, must be text"),
                         ({"address": "no.such.host.invalid"}, "no.such.host.invalid")):
        with pytest.raises(transload.InvalidArgument, match=words):
            transload.Rendezvous(**given)


@pytest.mark.parametrize("gather,words", [
    (lambda mine: [mine], r"all_gather: it gave 1 parts, must be a function that gives 2"),
    (lambda mine: [mine, mine + b"x"],
     r"all_gather: of rank 1 it gave b['\"].*, must be a function that gives the \d+ by"),
    (lambda mine: [mine, "text"], r"all_gather: of rank 1 it gave 'text', must be"),
    (lambda mine: 3, r".*int.*"),
])
def test_all_gathers_that_lie(gather, words):
    with pytest.raises((transload.InvalidArgument, TypeError), match=words):
        transload.Group.from_all_gather(gather, 0, 2, nodes=(2,), **small({}))


def test_an_all_gather_that_raises():
    def gather(_):
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        transload.Group.from_all_gather(gather, 0, 2, nodes=(2,), **small({}))


def test_closed():
    g = transload.Group(0, 1, **small({}))
    got = g.dispatch(X, IDS, WEIGHTS)
    assert not g.closed
    g.close()
    g.close()
    assert g.closed and "closed" in repr(g)
    with transload.Group(0, 1, **small({})) as other:
        assert not other.closed
    assert other.closed
    for call in (lambda: g.dispatch(X, IDS, WEIGHTS), lambda: g.combine(got.x, got.handle), g.wait, g.check,
                 g.memory, g.decisions, g.local_experts, lambda: g.empty(3), lambda: g.gather(""),
                 lambda: g.report(got.handle), lambda: g.count(IDS)):
        with pytest.raises(transload.InvalidArgument, match="the group is closed, must be called before it is"):
            call()


class Raises:
    def __repr__(self):
        raise KeyError("lost")


REFUSED_ALIKE = [
    (dict(x="text"), transload.InvalidArgument, r"x: a str, must be an array"),
    (dict(topk_idx=IDS[:5]), transload.InvalidArgument, r"topk_idx: \[5, 2\], must be \[6"),
    (dict(rows_max=1.5), transload.InvalidArgument, r"rows_max: 1.5, must be a whole number"),
    (dict(out=np.zeros((9, 64), np.uint16)), transload.InvalidArgument, r"out: uint16, must be bfloat16, as x"),
    (dict(sms=4), transload.NotSupported, r"sms: 4, must be 0 on the CPU"),
    (dict(refused=transload.InvalidArgument("mine: 3, must be 4")), transload.InvalidArgument, r"mine: 3, must be 4"),
    (dict(refused=transload.NotSupported("mine: 5")), transload.NotSupported, r"mine: 5"),
    (dict(refused=ValueError("x")), transload.InvalidArgument,
     r"refused: ValueError\('x'\), must be an InvalidArgument or a NotSupported"),
    (dict(overflow=Raises()), transload.InvalidArgument,
     r"dispatch: an argument that raises KeyError: 'lost', must be one that does"),
]


@pytest.mark.parametrize("change,kind,words", REFUSED_ALIKE, ids=["".join(c) for c, _, _ in REFUSED_ALIKE])
def test_what_one_rank_refuses_all_do(change, kind, words):
    """Of a dispatch without a handle, whether Python or the library finds it. The next call is good."""
    inputs = [tokens_of(rank, 6) for rank in range(3)]

    def work(g):
        for _ in range(3):
            given = {**dict(zip(("x", "topk_idx", "topk_weights"), inputs[g.rank])), **(change if g.rank == 1 else {})}
            with pytest.raises(Exception) as caught:
                g.dispatch(**given)
            assert type(caught.value) is kind and caught.value.alike, caught.value
            by = "" if g.rank == 1 else r" \(rank 1\)"
            assert re.match(f"{words}.*{by}$", str(caught.value)), str(caught.value)
        check_dispatch(g.rank, g.dispatch(*inputs[g.rank]), inputs)

    on_threads((2, 1), work, deadline_s=60)


def test_what_a_call_with_a_handle_refuses_is_no_call():
    """The rank that refuses it may make it again, properly."""
    inputs = [tokens_of(rank, 6) for rank in range(2)]

    def work(g):
        got = g.dispatch(*inputs[g.rank])
        if g.rank == 1:
            for refused in (lambda: g.dispatch("text", handle=got.handle), lambda: g.combine("text", got.handle),
                            lambda: g.dispatch(inputs[1][0], handle=got.handle, sms=4),
                            lambda: g.dispatch(inputs[1][0], handle=got.handle, refused=transload.NotSupported("5"))):
                with pytest.raises(transload.Error):
                    refused()
        same(g.dispatch(inputs[g.rank][0], handle=got.handle).x, got.x)
        return g.combine(got.x, got.handle).x.shape

    assert on_threads((2,), work, deadline_s=60) == [(6, 64)] * 2


def test_two_threads_at_once():
    """The second one is told so, whatever it wants, and the first one's call goes on."""
    inputs = [tokens_of(rank, 6) for rank in range(2)]
    refused, tell = [], threading.Event()

    def second(g):
        for call in (lambda: g.dispatch(*inputs[0]), g.memory, g.close, g.check):
            with pytest.raises(transload.InvalidArgument, match="in dispatch of another thread, must be called by one"):
                call()
            refused.append(call)

    def rank(g):
        if g.rank == 1:
            assert tell.wait(300)
            return g.dispatch(*inputs[1]).rows
        thread = threading.Thread(target=watch, args=(g,))
        thread.start()
        while True:
            try:
                rows = g.dispatch(*inputs[0]).rows
                break
            except transload.InvalidArgument:  # the other thread was first
                pass
        thread.join()
        return rows

    def watch(g):
        busy = threading.Event()
        while True:  # until the first thread is in its call
            try:
                g.check()
            except transload.InvalidArgument:
                break
            busy.wait(0.01)
        try:
            second(g)
        finally:
            tell.set()

    rows = on_threads((2,), rank, deadline_s=60)
    assert len(refused) == 4 and all(count > 0 for count in rows)


def test_options_that_differ():
    """All ranks are told, alike."""
    rendezvous = transload.Rendezvous()

    def rank(index):
        with pytest.raises(transload.InvalidArgument, match=r"options: rank 0 has experts 8, but rank 1 has experts 9"):
            transload.Group(index, 2, bootstrap=rendezvous, **small({"experts": 8 + index}))

    run_all([lambda index=index: rank(index) for index in range(2)])
