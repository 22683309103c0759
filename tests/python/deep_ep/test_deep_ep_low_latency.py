"""The low-latency mode of V1: places, casts and sums to the bit, every argument."""
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from deep_ep_ranks import Comm, Recorder, on_ranks  # noqa: E402
from dense import EXPERTS, FACTORS, HIDDEN, TOP_K, Tokens, everybody, same  # noqa: E402

import transload  # noqa: E402
from transload.deep_ep import Buffer, EventHandle, events, notices  # noqa: E402

MOST = 40


@pytest.fixture(autouse=True)
def _said_before(monkeypatch):
    monkeypatch.setattr(notices, "_said", {"low latency"})


def alone():
    return Buffer(None, low_latency_mode=True, comm=Comm.of(1)[0])


def refuses(match, kind=transload.InvalidArgument):
    return pytest.raises(kind, match=match)


def rows_of_expert(expert, tokens):
    """[(source, token)] that chose it, in order; a token that chose it twice counts once."""
    return [(source, token) for source, each in enumerate(tokens)
            for token, ids in enumerate(each.ids.tolist()) if expert in ids]


@pytest.mark.parametrize("nodes", [(1,), (2,), (1, 2), (4, 4)])
def test_places(nodes):
    """Rows by expert, in the order of source rank and token; what the handle says of them; statistics add up."""
    size, tokens = sum(nodes), everybody(sum(nodes))
    for each in tokens:
        each.ids[::2, 2] = each.ids[::2, 0]  # chosen twice

    def work(group):
        buffer, rank, local = Buffer(group, low_latency_mode=True), group.rank(), EXPERTS // size
        stats = torch.full((local,), 5, dtype=torch.int32)
        x, counts, handle, event, hook = buffer.low_latency_dispatch(
            tokens[rank].x, tokens[rank].ids, MOST, EXPERTS, cumulative_local_expert_recv_stats=stats, use_fp8=False)
        assert hook is None and event.event is None
        assert x.shape == (local, size * MOST, HIDDEN) and counts.shape == (local,)
        assert len(handle) == 5 and handle[2:] == (MOST, HIDDEN, EXPERTS)
        assert handle.room.size.tokens == 128  # from the first call on: three choices of 40 tokens
        assert handle[0].shape == (local, size * MOST) and handle[0].dtype == torch.int32
        assert handle[1].shape == (local, size) and handle[1].dtype == torch.int64
        for expert in range(local):
            rows = rows_of_expert(rank * local + expert, tokens)
            assert counts[expert] == len(rows) and stats[expert] == 5 + len(rows)
            assert handle[0][expert, :len(rows)].tolist() == [token for _, token in rows]
            for place, (source, token) in enumerate(rows):
                same(x[expert, place], tokens[source].x[token])
            spans = [(int(each) >> 32, int(each) & 0xFFFFFFFF) for each in handle[1][expert]]
            assert [rows[begin][0] for begin, count in spans for _ in range(count)] == [source for source, _ in rows]
            assert [rows[begin + count - 1][0] for begin, count in spans if count] == [
                source for source, (_, count) in enumerate(spans) if count]
        y = (x.float() * FACTORS[rank * local:(rank + 1) * local, None, None]).to(torch.bfloat16)
        same(buffer.low_latency_combine(y, tokens[rank].ids, tokens[rank].weights, handle)[0], tokens[rank].layer())

    on_ranks(nodes, work)


def cast_by_hand(row, pow2):
    """(bytes of e4m3, scale) of 128 values, by the rounding of Python's floats and of torch's one type."""
    import struct

    def f32(value):
        return struct.unpack("f", struct.pack("f", value))[0]

    most = max([f32(1e-4)] + [abs(value) for value in row if value == value])
    scale, factor = f32(most * f32(1 / 448)), f32(448 / most)
    if pow2 and most == float("inf"):
        scale, factor = most, 2.0**-128
    elif pow2:
        exponent = 0
        while 2.0**exponent < scale:
            exponent += 1
        while 2.0 ** (exponent - 1) >= scale:
            exponent -= 1
        scale, factor = 2.0**exponent, 2.0**-exponent
    values = [f32(value * factor) for value in row]
    values = [min(max(value, -448.0), 448.0) if value == value else value for value in values]
    return torch.tensor(values, dtype=torch.float32).to(torch.float8_e4m3fn).view(torch.uint8), scale


def hard_rows():
    """Rows with what casts stumble over: zeros, the smallest and the largest, powers of two, infinity, NaN."""
    random = torch.Generator().manual_seed(3)
    rows = torch.randn(12, 512, generator=random) * 10.0 ** torch.arange(-8, 4)[:, None]
    rows[0] = 0
    rows[1, :128] = 448 * 2.0**-9
    rows[2, 7], rows[2, 200] = torch.nan, 3e38
    rows[3, 300] = -torch.inf
    rows[4, ::2] = 1e-30
    return rows.to(torch.bfloat16)


@pytest.mark.parametrize("form", ["float32", "powers of two", "ue8m0"])
def test_casts_to_the_bit(form):
    rows = hard_rows()
    ids = torch.zeros(len(rows), 1, dtype=torch.int64)
    (x, scales), counts, _, _, _ = alone().low_latency_dispatch(
        rows, ids, 16, 2, use_fp8=True, round_scale=form != "float32", use_ue8m0=form == "ue8m0")
    assert x.dtype == torch.float8_e4m3fn and x.shape == (2, 16, 512) and counts.tolist() == [12, 0]
    assert scales.stride(1) == 1  # column by column
    if form == "ue8m0":
        assert scales.shape == (2, 16, 1) and scales.dtype == torch.int32
        words = scales[0, :12, 0].tolist()
        exponents = [[(word >> (8 * part) & 255) - 127 for part in range(4)] for word in words]
        scales = torch.tensor([[2.0**each if each < 128 else torch.inf for each in row] for row in exponents])
    else:
        assert scales.shape == (2, 16, 4) and scales.dtype == torch.float32
        scales = scales[0, :12]
    for row in range(12):
        for part in range(4):
            values, scale = cast_by_hand(rows[row, 128 * part:128 * part + 128].float().tolist(), form != "float32")
            assert scales[row, part].item() == scale, (row, part)
            same(x[0, row, 128 * part:128 * part + 128].view(torch.uint8), values)


def test_a_cast_is_of_whole_blocks():
    buffer, tokens = alone(), Tokens(0, 3)
    for width, how, bound in ((192, {}, 128), (256, {"round_scale": True, "use_ue8m0": True}, 512)):
        with refuses(f"x: {width} elements a row, must be a multiple of {bound}"):
            buffer.low_latency_dispatch(tokens.x[:, :width].contiguous(), tokens.ids, 8, EXPERTS, **how)
    for how in ({"use_ue8m0": True}, {"use_ue8m0": True, "round_scale": True, "use_fp8": False}):
        with refuses("use_ue8m0: True, must be with use_fp8 and round_scale"):
            buffer.low_latency_dispatch(tokens.x, tokens.ids, 8, EXPERTS, **how)
    narrow = buffer.low_latency_dispatch(tokens.x[:, :192].contiguous(), tokens.ids, 8, EXPERTS, use_fp8=False)
    assert narrow[0].shape == (EXPERTS, 8, 192)


@pytest.mark.parametrize("nodes", [(1,), (3,), (1, 2), (2, 2)])
def test_sums_to_the_bit(nodes):
    """Choices ascending, products rounded, nothing fused; another node's part is rounded to bf16."""
    size = sum(nodes)
    random = torch.Generator().manual_seed(9)
    tokens = everybody(size)
    for each in tokens:
        each.x = torch.randn(each.x.shape, generator=random).to(torch.bfloat16)
        each.weights = torch.rand(each.weights.shape, generator=random)
        each.ids[1:3, 2] = each.ids[1:3, 0]
        each.weights[each.ids < 0] = torch.nan  # of no choice, so of no effect
    node_of_rank = [node for node, count in enumerate(nodes) for _ in range(count)]

    def expected(rank):
        each, local = tokens[rank], EXPERTS // size
        total = torch.zeros(each.x.shape, dtype=torch.float32)
        for node in range(len(nodes)):
            part = torch.zeros_like(total)
            for token, ids in enumerate(each.ids.tolist()):
                for k, expert in enumerate(ids):
                    if expert >= 0 and node_of_rank[expert // local] == node:
                        y = (each.x[token].float() * FACTORS[expert]).to(torch.bfloat16).float()
                        part[token] += each.weights[token, k] * y
            total += part if node == node_of_rank[rank] else part.bfloat16().float()
        return total.bfloat16()

    def work(group):
        buffer, rank, local = Buffer(group, low_latency_mode=True), group.rank(), EXPERTS // size
        each = tokens[rank]
        x, _, handle, _, _ = buffer.low_latency_dispatch(each.x, each.ids, MOST, EXPERTS, use_fp8=False)
        y = (x.float() * FACTORS[rank * local:(rank + 1) * local, None, None]).to(torch.bfloat16)
        out = torch.full_like(each.x, torch.nan)
        gave, event, hook = buffer.low_latency_combine(y, each.ids.int(), each.weights, handle, out=out)
        assert gave is out and event.event is None and hook is None
        same(out, expected(rank))

    on_ranks(nodes, work)


def test_zero_copy_takes_what_lies_in_the_buffer():
    @on_both
    def work(buffer, tokens):
        x, _, handle, _, _ = buffer.low_latency_dispatch(tokens.x, tokens.ids, MOST, EXPERTS, use_fp8=False)
        with refuses("zero_copy: True, must be after get_next_low_latency_combine_buffer"):
            buffer.low_latency_combine(x, tokens.ids, tokens.weights, handle, zero_copy=True)
        room = buffer.get_next_low_latency_combine_buffer(handle)
        assert room.shape == x.shape and room.dtype == torch.bfloat16
        first = buffer.rank * (EXPERTS // buffer.group_size)
        room[:] = x * FACTORS[first:first + len(x), None, None].to(torch.bfloat16)
        other = torch.full_like(x, torch.nan)
        same(buffer.low_latency_combine(other, tokens.ids, tokens.weights, handle, zero_copy=True)[0], tokens.layer())
        same(buffer.low_latency_combine(room, tokens.ids, tokens.weights, handle)[0], tokens.layer())

    work()


def on_both(work):
    """On two ranks, with a buffer and the tokens of each."""
    tokens = everybody(2)

    def run():
        on_ranks((2,), lambda group: work(Buffer(group, low_latency_mode=True), tokens[group.rank()]))
    return run


def test_hooks_run_the_second_half():
    tokens = Tokens(0, 6)
    buffer, stats = alone(), torch.zeros(EXPERTS, dtype=torch.int32)
    got, counts, handle, event, hook = buffer.low_latency_dispatch(
        tokens.x, tokens.ids, MOST, EXPERTS, stats, use_fp8=False, return_recv_hook=True)
    assert event.event is None and not stats.any()
    got.fill_(torch.nan)
    counts.fill_(-1)
    hook()
    assert torch.equal(counts, stats) and counts.sum() == (tokens.ids >= 0).sum()
    y = (got.float() * FACTORS[:, None, None]).to(torch.bfloat16)
    out = torch.full_like(tokens.x, torch.nan)
    _, event, hook = buffer.low_latency_combine(y, tokens.ids, tokens.weights, handle, return_recv_hook=True, out=out)
    assert out.isnan().all() and event.event is None
    hook()
    same(out, tokens.layer())


def test_order_of_calls(monkeypatch):
    """With async_finish both halves are on the buffer's own stream, and the event is behind them."""
    recorder = Recorder()
    monkeypatch.setattr(events, "_streams", recorder)
    buffer, tokens = alone(), Tokens(0, 6)
    for halves, on in (({"async_finish": True}, "own0"), ({}, "compute"), ({"return_recv_hook": True}, "compute")):
        seen = []
        monkeypatch.setattr(buffer._low_latency, "_issue", halved(buffer._low_latency._issue, recorder, seen))
        recorder.said.clear()
        with recorder.on("compute"):
            *_, event, hook = buffer.low_latency_dispatch(tokens.x, tokens.ids, MOST, EXPERTS, **halves)
            if hook:
                assert seen == [("issue", "compute")]
                hook()
        assert seen == [("issue", on), ("complete", on)]
        marks = [each for each in recorder.said if each[0] == "record"]
        if on == "own0":
            assert [each[1] for each in marks] == ["compute", "own0"] and isinstance(event.event, EventHandle)
            assert ("wait", "own0", marks[0][2]) in recorder.said
        else:
            assert not marks and event.event is None
        monkeypatch.undo()
        monkeypatch.setattr(notices, "_said", {"low latency"})
        monkeypatch.setattr(events, "_streams", recorder)


def halved(real, recorder, seen):
    """_issue that says on which streams its halves run."""
    def issue(*arguments):
        seen.append(("issue", recorder.current()))
        gave, complete = real(*arguments)
        return gave, lambda: (seen.append(("complete", recorder.current())), complete())
    return issue


def test_ignored_arguments_say_so_once(monkeypatch, recwarn):
    monkeypatch.setattr(notices, "_said", set())
    buffer, tokens = alone(), Tokens(0, 6)
    waits = torch.full((1,), 3, dtype=torch.int64)
    for _ in range(2):
        x, _, handle, _, _ = buffer.low_latency_dispatch(
            tokens.x, tokens.ids, MOST, EXPERTS, use_fp8=False, dispatch_wait_recv_cost_stats=waits)
        buffer.low_latency_combine(x, tokens.ids, tokens.weights, handle)
        buffer.low_latency_combine(x, tokens.ids, tokens.weights, handle, use_logfmt=True,
                                   combine_wait_recv_cost_stats=waits)
    assert waits.item() == 3
    said = [str(each.message) for each in recwarn]
    assert len(said) == 4 and "composed of ordinary ones, which is the slow way" in said[1]
    for name, text in zip(("dispatch_wait_recv_cost_stats", "use_logfmt", "combine_wait_recv_cost_stats"),
                          (said[0], *said[2:])):
        assert f": {name}=" in text and "has no effect" in text


def test_what_is_refused():
    buffer, tokens = alone(), Tokens(0, 6)
    stats = "cumulative_local_expert_recv_stats"
    good = {"x": tokens.x, "topk_idx": tokens.ids, "num_max_dispatch_tokens_per_rank": MOST, "num_experts": EXPERTS}
    for change, match in (
        ({"x": tokens.x.float()}, "x: torch.float32, must be torch.bfloat16"),
        ({"x": tokens.x[0]}, "x: 1 dimensions"),
        ({"topk_idx": tokens.ids.float()}, "topk_idx: torch.float32"),
        ({"topk_idx": tokens.ids[1:]}, "topk_idx: 5 rows, must be as many as x has: 6"),
        ({"num_max_dispatch_tokens_per_rank": 5}, "x: 6 tokens, must be at most num_max_dispatch_tokens_per_rank: 5"),
        ({"num_max_dispatch_tokens_per_rank": 0}, "num_max_dispatch_tokens_per_rank: 0"),
        ({"num_experts": 0}, "num_experts: 0"),
        ({"async_finish": True, "return_recv_hook": True}, "async_finish: True with return_recv_hook=True"),
        ({stats: torch.zeros(3, dtype=torch.int32)}, r"recv_stats: \[3\], must be \[24\]"),
        ({stats: torch.zeros(EXPERTS)}, "recv_stats: torch.float32, must be torch.int32"),
    ):
        with refuses(match):
            buffer.low_latency_dispatch(**{**good, **change})
    x, _, handle, _, _ = buffer.low_latency_dispatch(**good, use_fp8=False)
    back = {"x": x, "topk_idx": tokens.ids, "topk_weights": tokens.weights, "handle": handle}
    for change, match in (
        ({"x": x[0]}, "x: 2 dimensions, must be of 3"),
        ({"x": x[1:]}, r"x: \[23, 40, 256\], must be \[24, 40, 256\]"),
        ({"x": x.float()}, "x: torch.float32"),
        ({"topk_idx": tokens.ids[1:]}, r"topk_idx: \[5, 3\], must be \[6, 3\]"),
        ({"topk_weights": tokens.weights[:, 1:]}, r"topk_weights: \[6, 2\], must be \[6, 3\]"),
        ({"topk_weights": tokens.weights.double()}, "topk_weights: torch.float64"),
        ({"out": tokens.x[1:]}, r"out: \[5, 256\], must be \[6, 256\]"),
        ({"out": tokens.x.float()}, "out: torch.float32"),
        ({"async_finish": True, "return_recv_hook": True}, "async_finish: True with return_recv_hook=True"),
        ({"handle": tuple(handle)}, "handle: a tuple, must be the LowLatencyHandle"),
    ):
        with refuses(match):
            buffer.low_latency_combine(**{**back, **change})
    with refuses("handle: of another buffer"):
        alone().low_latency_combine(**back)
    with refuses("handle: a LowLatencyHandle, must be the Handle of a dispatch in the same mode"):
        buffer.combine(x[0], handle)


def test_a_buffer_of_the_other_mode():
    buffer, tokens = Buffer(None, comm=Comm.of(1)[0]), Tokens(0, 6)
    for call in (lambda: buffer.low_latency_dispatch(tokens.x, tokens.ids, MOST, EXPERTS),
                 lambda: buffer.low_latency_combine(tokens.x, tokens.ids, tokens.weights, None),
                 lambda: buffer.get_next_low_latency_combine_buffer(None)):
        with refuses("low_latency_mode: False, must be True"):
            call()


def test_calls_after_destroy():
    buffer, tokens = Buffer(None, low_latency_mode=True, explicitly_destroy=True, comm=Comm.of(1)[0]), Tokens(0, 6)
    x, _, handle, _, _ = buffer.low_latency_dispatch(tokens.x, tokens.ids, MOST, EXPERTS, use_fp8=False)
    buffer.destroy()
    for call in (lambda: buffer.low_latency_dispatch(tokens.x, tokens.ids, MOST, EXPERTS),
                 lambda: buffer.low_latency_combine(x, tokens.ids, tokens.weights, handle),
                 lambda: buffer.get_next_low_latency_combine_buffer(handle)):
        with refuses("destroyed"):
            call()


def test_no_tokens_at_all():
    @on_both
    def work(buffer, tokens):
        none = Tokens(0, 0)
        (x, scales), counts, handle, _, _ = buffer.low_latency_dispatch(none.x, none.ids, MOST, EXPERTS)
        assert not counts.any() and x.shape[2] == HIDDEN and scales.shape[2] == HIDDEN // 128
        out = buffer.low_latency_combine(x.to(torch.bfloat16), none.ids, none.weights, handle)[0]
        assert out.shape == (0, HIDDEN) and none.weights.shape == (0, TOP_K)

    work()
