"""Dispatch and combine of V1's Buffer, argument by argument."""
import copy
import logging
import pickle
import weakref

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from buffers import NAMES, first, layout, of, refuses  # noqa: E402
from deep_ep_ranks import Comm, Recorder, on_ranks  # noqa: E402
from dense import EXPERTS, HIDDEN, Tokens, everybody, experts_of, received, rows_of, same  # noqa: E402

import transload  # noqa: E402
from transload.deep_ep import Buffer, Config, EventHandle, EventOverlap, events, notices  # noqa: E402


@pytest.fixture(autouse=True)
def _fresh_notices(monkeypatch):
    monkeypatch.setattr(notices, "_said", set())


def rows_as(tokens, name):
    """x of a type, and what its rows are as bytes."""
    if name == "float32":
        return tokens.x.float()
    if name in ("uint8", "int8"):
        return tokens.x.to(getattr(torch, name))
    return tokens.x.float().to(getattr(torch, name))


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32", "uint8", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("nodes", [(2,), (1, 2)])
def test_rows_of_any_type(name, nodes):
    tokens = everybody(sum(nodes))

    def work(group):
        buffer, rank = Buffer(group), group.rank()
        got = first(buffer, tokens[rank], rows_as(tokens[rank], name))
        expected = [rows_as(tokens[source], name)[token] for source, token in rows_of(rank, tokens)]
        seen = got[0].view(torch.uint8)
        same(seen, torch.stack(expected).view(torch.uint8) if expected else seen[:0])
        assert got[0].dtype == getattr(torch, name)
        assert got[4].room.size.row_bytes == HIDDEN * max(got[0].element_size(), 2)  # of bf16 on their way back
        same(buffer.dispatch(rows_as(tokens[rank], name), handle=got[4])[0].view(torch.uint8), seen)
        for seen, wanted in zip(got[1:4], received(rank, tokens)[1:]):
            same(seen, wanted) if isinstance(seen, torch.Tensor) else None
        assert got[3] == received(rank, tokens)[3]

    on_ranks(nodes, work)


SCALES = {
    "rows": lambda s: s,
    "columns": lambda s: s.t().contiguous().t(),
    "every other": lambda s: s.repeat_interleave(2, dim=1)[:, ::2],
    "int32": lambda s: s.view(torch.int32),
    "one": lambda s: s[:, :1].contiguous(),
    "one, without a dimension": lambda s: s[:, 0].contiguous(),
}


@pytest.mark.parametrize("form", SCALES)
def test_scales_of_any_strides(form):
    tokens = everybody(2)
    scales = [SCALES[form](torch.arange(each.count * 3, dtype=torch.float32).reshape(-1, 3) + 1000 * rank)
              for rank, each in enumerate(tokens)]

    def work(group):
        buffer, rank = Buffer(group), group.rank()
        x = (rows_as(tokens[rank], "float8_e4m3fn"), scales[rank])
        got = first(buffer, tokens[rank], x)
        wanted = [scales[source][token] for source, token in rows_of(rank, tokens)]
        same(got[0][1].contiguous(), torch.stack(wanted) if wanted else scales[0][:0])
        again = buffer.dispatch(x, handle=got[4])[0]
        same(again[0].view(torch.uint8), got[0][0].view(torch.uint8))
        same(again[1], got[0][1])

    on_ranks((2,), work)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_ids_come_as_they_went(dtype):
    @of(2)
    def work(buffer, rank, tokens):
        tokens[rank].ids = tokens[rank].ids.to(dtype)
        assert first(buffer, tokens[rank])[1].dtype == dtype

    work()


def test_alignment():
    @of(2)
    def work(buffer, rank, tokens):
        counts = received(rank, tokens)[3]
        assert first(buffer, tokens[rank], expert_alignment=4)[3] == [-(-count // 4) * 4 for count in counts]
        bare = buffer.dispatch(tokens[rank].x, expert_alignment=4, **layout(buffer, tokens[rank]))
        assert bare[3] == [-(-count // 4) * 4 for count in counts]
        for wrong in (0, -1, "4"):
            with refuses("expert_alignment: .*must be a whole number from 1"):
                first(buffer, tokens[rank], expert_alignment=wrong)

    work()


@pytest.mark.parametrize("nodes", [(2,), (1, 2)])
def test_worst_tokens(nodes):
    """Room for so many rows: ids past the rows are -1, weights 0; a combine takes as many rows."""
    tokens = everybody(sum(nodes))

    def work(group):
        buffer, rank = Buffer(group), group.rank()
        x, ids, weights, _ = received(rank, tokens)
        got = first(buffer, tokens[rank], num_worst_tokens=60)
        assert [len(each) for each in got[:3]] == [60] * 3 and got[3] == []
        same(got[0][:len(x)], x)
        same(got[1], torch.cat([ids, torch.full((60 - len(x), 3), -1)]))
        same(got[2], torch.cat([weights, torch.zeros(60 - len(x), 3)]))
        usual = first(buffer, tokens[rank])[4]
        if len(nodes) == 1:
            same(got[4][0], usual[0])
            assert got[4][3].size(0) == 60
        else:
            same(got[4][-4], usual[-4])
        y = experts_of(rank, sum(nodes), *got[:3])
        same(buffer.combine(y, got[4])[0], tokens[rank].layer())
        with refuses(f"rank {rank}|rows", transload.TooManyRows):
            first(buffer, tokens[rank], num_worst_tokens=1)
        same(buffer.combine(experts_of(rank, sum(nodes), x, ids, weights), usual)[0], tokens[rank].layer())
        with refuses("num_worst_tokens: given without topk_idx"):
            buffer.dispatch(tokens[rank].x, num_worst_tokens=60, **layout(buffer, tokens[rank]))
        with refuses("num_worst_tokens: -1, must be"):
            first(buffer, tokens[rank], num_worst_tokens=-1)

    on_ranks(nodes, work)


@pytest.mark.parametrize("nodes", [(1,), (2,), (1, 2)])
def test_by_ranks_alone(nodes, caplog):
    """Without ids: the same rows, and counts of experts that the layout had; said once in the log."""
    caplog.set_level(logging.INFO, "transload.deep_ep")
    tokens = everybody(sum(nodes))

    def work(group):
        buffer, rank = Buffer(group), group.rank()
        x, _, _, counts = received(rank, tokens)
        got = buffer.dispatch(tokens[rank].x, **layout(buffer, tokens[rank]))
        same(got[0], x)
        assert got[1] is None and got[2] is None and got[3] == counts
        same(buffer.dispatch(tokens[rank].x, handle=got[4])[0], x)
        owners = layout(buffer, tokens[rank])["is_token_in_rank"].sum(dim=1, keepdim=True)
        same(buffer.combine(x, got[4])[0], (tokens[rank].x.float() * owners).bfloat16())
        with_ids = first(buffer, tokens[rank])
        same(with_ids[4][0 if len(nodes) == 1 else -4], got[4][0 if len(nodes) == 1 else -4])
        with refuses("topk_weights: given without topk_idx"):
            buffer.dispatch(tokens[rank].x, topk_weights=tokens[rank].weights, **layout(buffer, tokens[rank]))

    on_ranks(nodes, work)
    assert caplog.text.count("dispatch without topk_idx") == 1


def test_ranks_that_are_read():
    """It is is_token_in_rank that says where rows go, and num_tokens_per_expert that says the counts."""
    @of(2)
    def work(buffer, rank, tokens):
        all_of_it = {**layout(buffer, tokens[rank]), "is_token_in_rank": torch.ones(tokens[rank].count, 2).bool(),
                     "num_tokens_per_expert": torch.arange(EXPERTS, dtype=torch.int32)}
        got = buffer.dispatch(tokens[rank].x, **all_of_it)
        same(got[0], torch.cat([each.x for each in tokens]))
        local = EXPERTS // 2
        assert got[3] == [2 * expert for expert in range(rank * local, rank * local + local)]
        with refuses("is_token_in_rank: .*must be .T, 2."):
            all_of_it["is_token_in_rank"] = torch.ones(tokens[rank].count, 3).bool()
            buffer.dispatch(tokens[rank].x, **all_of_it)
        with refuses("is_token_in_rank: torch.float32, must be torch.bool"):
            all_of_it["is_token_in_rank"] = torch.ones(tokens[rank].count, 2)
            buffer.dispatch(tokens[rank].x, **all_of_it)

    work()


def test_more_ranks_than_choices(monkeypatch):
    """A token goes to so many ranks at most."""
    monkeypatch.setattr("transload.deep_ep.buffer._CHOICES_MAX", 2)
    tokens = everybody(3, holes=False)

    def work(group):
        buffer, rank = Buffer(group), group.rank()
        told = layout(buffer, tokens[rank])
        told["is_token_in_rank"][:, 0] = False
        got = buffer.dispatch(tokens[rank].x, **told)
        wanted = [tokens[source].x[token] for source, token in rows_of(rank, tokens)]
        same(got[0], torch.stack(wanted) if rank else tokens[0].x[:0])
        told["is_token_in_rank"] = torch.ones(tokens[0].count, 3).bool()
        with refuses("is_token_in_rank: a token for 3 ranks, must be 2 ranks a token at most"):
            buffer.dispatch(tokens[0].x, **told)

    on_ranks((3,), work)


def test_layout_tensors_are_asked_for():
    @of(1, 1)
    def work(buffer, rank, tokens):
        told = layout(buffer, tokens[rank])
        for name in NAMES:
            with refuses(f"{name}: None, must be what get_dispatch_layout returned"):
                first(buffer, tokens[rank], **{**told, name: None})
        # On one node there is no count of nodes. What they hold is not read, but for experts' number.
        with refuses("num_tokens_per_expert: 2 dimensions"):
            first(buffer, tokens[rank], num_tokens_per_expert=told["num_tokens_per_expert"][None])
        wrong = {name: torch.full_like(tensor, 77) for name, tensor in told.items() if name != "is_token_in_rank"}
        same(first(buffer, tokens[rank], **wrong)[0], received(rank, tokens)[0])
        with refuses("num_experts: 23, must be a multiple of the 2 ranks"):
            first(buffer, tokens[rank], num_tokens_per_expert=told["num_tokens_per_expert"][1:])

    work()


def test_what_x_and_choices_must_be():
    @of(2)
    def work(buffer, rank, tokens):
        mine = Tokens(rank, 5)
        told = layout(buffer, mine)
        for change, match in (
            ({"x": mine.x[0]}, "x: 1 dimensions, must be of 2"),
            ({"x": [1]}, "x: 1 tensors, must be a tensor, or a tensor and its scales"),
            ({"x": None}, "x: a NoneType, must be a tensor"),
            ({"x": mine.x.to("meta")}, "x: on meta, must be on the CPU"),
            ({"x": (mine.x, None)}, r"x\[1\]: a NoneType"),
            ({"x": mine.x.to_sparse()}, "x: a Tensor, torch.sparse_coo, without memory"),
            ({"topk_idx": mine.ids.float()}, "topk_idx: torch.float32"),
            ({"topk_weights": None}, "topk_weights: a NoneType"),
            ({"config": 20}, "config: a int, must be a Config"),
            # What the library refuses, it refuses on all ranks.
            ({"x": mine.x.t()}, "x: .*contiguous"),
            ({"x": mine.x[:, :13].contiguous()}, "x: .*16"),
            ({"topk_weights": mine.weights.double()}, "topk_weights: float64, must be float32"),
            ({"topk_weights": mine.weights[:, :2].contiguous()}, "topk_weights"),
            ({"topk_idx": mine.ids[:3].contiguous()}, "topk_idx|topk_weights"),
            ({"x": (mine.x, torch.zeros(5, 2, dtype=torch.float16))}, "scales"),
            ({"x": (mine.x, torch.zeros(4, 2))}, "scales"),
        ):
            with refuses(match):
                buffer.dispatch(**{"x": mine.x, "topk_idx": mine.ids, "topk_weights": mine.weights, **told, **change})
        same(first(buffer, tokens[rank])[0], received(rank, tokens)[0])

    work()


@pytest.mark.parametrize("nodes", [(1,), (1, 2)])
def test_no_tokens_at_all(nodes):
    """The first call of a group, too."""
    none = Tokens(0, 0)

    def work(group):
        buffer = Buffer(group)
        got = first(buffer, none)
        assert got[0].shape == (0, HIDDEN) and got[3] == [0] * (EXPERTS // sum(nodes)) and got[1].shape == (0, 3)
        out, weights, _ = buffer.combine(got[0], got[4], topk_weights=got[2], bias=(none.x, none.x))
        assert out.shape == (0, HIDDEN) and weights.shape == (0, 3)
        assert buffer.dispatch(none.x, handle=got[4])[0].shape == (0, HIDDEN)
        assert buffer.dispatch(none.x, **layout(buffer, none))[0].shape == (0, HIDDEN)

    on_ranks(nodes, work)


def test_a_fake_tensor_is_refused():
    from torch._subclasses.fake_tensor import FakeTensorMode

    buffer, tokens = Buffer(None, comm=Comm.of(1)[0]), Tokens(0, 4)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(tokens.x)
    told = layout(buffer, tokens)
    with refuses("x: a FakeTensor.*without memory, must be a tensor that has memory"):
        buffer.dispatch(fake, topk_idx=tokens.ids, topk_weights=tokens.weights, **told)


def test_gradients_are_the_callers():
    """A tensor that needs a gradient may come; what goes out has none."""
    @of(2)
    def work(buffer, rank, tokens):
        mine = tokens[rank]
        got = buffer.dispatch(mine.x.clone().requires_grad_(), topk_idx=mine.ids,
                              topk_weights=mine.weights.clone().requires_grad_(), **layout(buffer, mine))
        same(got[0], received(rank, tokens)[0])
        back = buffer.combine(got[0].clone().requires_grad_(), got[4], topk_weights=got[2].clone().requires_grad_())
        assert not any(each.requires_grad for each in (got[0], got[2], back[0], back[1]))

    work()


def test_a_handle_and_choices_are_not_both():
    @of(2)
    def work(buffer, rank, tokens):
        got = first(buffer, tokens[rank])
        for name in ("topk_idx", "topk_weights"):
            with pytest.raises(AssertionError, match="a handle and topk_idx"):
                buffer.dispatch(tokens[rank].x, handle=got[4], **{name: getattr(tokens[rank], name[5:] + "s", 0)})
        again = buffer.dispatch(tokens[rank].x, handle=got[4])
        same(again[0], got[0])
        assert again[1:5] == (None,) * 4 and again[5].event is None and len(again) == 6

    work()


@pytest.mark.parametrize("nodes", [(3,), (1, 2)])
def test_the_handle(nodes):
    tokens = everybody(sum(nodes))

    def work(group):
        buffer, rank, size = Buffer(group), group.rank(), sum(nodes)
        got = first(buffer, tokens[rank])
        rows = rows_of(rank, tokens)
        before = torch.tensor([sum(source <= each for source, _ in rows) for each in range(size)], dtype=torch.int32)
        handle = got[4]
        if len(nodes) == 1:
            assert isinstance(handle, tuple) and len(handle) == 6 and [handle[i] for i in (1, 2, 4, 5)] == [None] * 4
            same(handle[0][:, rank], before)
            assert handle[0].shape == (size, size) and not handle[0][:, [r for r in range(size) if r != rank]].any()
            same(handle[3], torch.tensor([token for _, token in rows], dtype=torch.int32))
        else:
            assert len(handle) == 10 and all(handle[i] is None for i in range(10) if i != 6)
            same(handle[-4], before)
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(handle)
        with pytest.raises(TypeError, match="cannot be pickled"):
            copy.deepcopy(handle)
        with pytest.raises(AttributeError, match="immutable"):
            handle.room = None
        assert "tensor" not in repr(handle)
        # Reusable, after others were made; and not by other buffers, or in the other mode.
        other = first(buffer, Tokens(rank, 9, seed=5))
        for _ in range(2):
            same(buffer.combine(experts_of(rank, size, *got[:3]), handle)[0], tokens[rank].layer())
        assert other[4] is not handle
        another = Buffer(group)
        with refuses("handle: of another buffer"):
            another.combine(got[0], handle)
        for wrong in (None, 3, (1, 2), got):
            with refuses("handle: a .*must be the Handle of a dispatch"):
                buffer.combine(got[0], wrong)

    on_ranks(nodes, work)


def test_what_a_handle_makes_needless_is_told_once(recwarn):
    @of(1)
    def work(buffer, rank, tokens):
        got = first(buffer, tokens[rank], expert_alignment=4)
        for _ in range(2):
            again = buffer.dispatch(tokens[rank].x, handle=got[4], expert_alignment=4, num_worst_tokens=60)
            same(again[0], got[0])
        buffer.dispatch(tokens[rank].x, handle=got[4], expert_alignment=1, num_worst_tokens=0)

    work()
    told = [str(each.message).partition(": ")[2] for each in recwarn]
    assert [each.partition(" has no effect: ")[0] for each in told] == [
        "dispatch with a handle: expert_alignment=4", "dispatch with a handle: num_worst_tokens=60"]


def test_handles_of_an_older_group_go_on():
    """A call that does not fit makes a larger group; a handle keeps its own."""
    @of(1, 1)
    def work(buffer, rank, tokens):
        got = first(buffer, tokens[rank])
        more = Tokens(rank, 400)
        later = first(buffer, more)
        assert later[4].room.group is not got[4].room.group
        same(buffer.combine(experts_of(rank, 2, *got[:3]), got[4])[0], tokens[rank].layer())
        same(buffer.combine(experts_of(rank, 2, *later[:3]), later[4])[0], more.layer())
        same(buffer.dispatch(tokens[rank].x, handle=got[4])[0], got[0])

    work()


@pytest.mark.parametrize("count", [1, 2])
def test_bias(count):
    @of(1, 2)
    def work(buffer, rank, tokens):
        got, mine = first(buffer, tokens[rank]), tokens[rank]
        biases = tuple(Tokens(rank, mine.count, seed=7 + index).x for index in range(count))
        out = buffer.combine(experts_of(rank, 3, *got[:3]), got[4], bias=biases[0] if count == 1 else biases)[0]
        same(out, (mine.layer().float() + sum(each.float() for each in biases)).bfloat16())
        for wrong, match in (((biases[0],) * 3, "bias: 3 of them, must be one or a pair"), (3, "bias: 3, must be"),
                             ((biases[0], None), "bias: a NoneType"), (biases[0].float(), "bias: torch.float32"),
                             (torch.cat([biases[0]] * 2, dim=1), r"bias: \[\d+, 512\], must be \[T, 256\]")):
            with refuses(match):
                buffer.combine(got[0], got[4], bias=wrong)

    work()


def test_weights_come_back():
    @of(1, 2)
    def work(buffer, rank, tokens):
        got = first(buffer, tokens[rank])
        assert buffer.combine(got[0], got[4])[1] is None
        same(buffer.combine(got[0], got[4], topk_weights=got[2])[1],
             torch.where(tokens[rank].ids >= 0, tokens[rank].weights, 0.0))
        with refuses("topk_weights: torch.float64"):
            buffer.combine(got[0], got[4], topk_weights=got[2].double())

    work()


def test_combine_refuses_other_rows():
    @of(1)
    def work(buffer, rank, tokens):
        got = first(buffer, tokens[rank])
        for wrong, match in ((got[0].float(), "x: torch.float32, must be torch.bfloat16"),
                             (got[0][1:], r"x: \[2, 256\], must be \[3, 256\]"), (got[0][0], "x: 1 dimensions")):
            with refuses(match):
                buffer.combine(wrong, got[4])
        with refuses("config: a tuple"):
            buffer.combine(got[0], got[4], config=(20, 6))

    work()


def test_rows_longer_than_were_dispatched():
    """They go back in parts; biases and weights with them."""
    @of(1, 1)
    def work(buffer, rank, tokens):
        mine = tokens[rank]
        got = first(buffer, mine, mine.x[:, :64].contiguous())
        assert got[4].room.size.row_bytes == 128
        x, ids, weights, _ = received(rank, tokens)
        y = experts_of(rank, 2, x, ids, weights)
        out, back, _ = buffer.combine(y, got[4], topk_weights=weights, bias=mine.x)
        same(out, (mine.layer().float() + mine.x.float()).bfloat16())
        same(back, torch.where(mine.ids >= 0, mine.weights, 0.0))
        same(buffer.dispatch(mine.x, handle=got[4])[0], x)

    work()


def test_config_is_taken():
    @of(2)
    def work(buffer, rank, tokens):
        config = Buffer.get_dispatch_config(2)
        got = first(buffer, tokens[rank], config=config)
        same(buffer.combine(experts_of(rank, 2, *got[:3]), got[4], config=Config(num_sms=8))[0], tokens[rank].layer())

    work()


@pytest.mark.parametrize("given", [None, "handle", "overlap", "none"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_order_of_calls(given, asynchronous, monkeypatch):
    """Every call, by a recorder: on which stream, behind what, and what it returns."""
    recorder = Recorder()
    monkeypatch.setattr(events, "_streams", recorder)
    buffer, tokens = Buffer(None, comm=Comm.of(1)[0]), Tokens(0, 6)
    real = buffer._groups.dispatch
    monkeypatch.setattr(buffer._groups, "dispatch", lambda *a, **k: recorder.did("dispatch") or real(*a, **k))

    def check(call, work=None):
        before = EventHandle() if given in ("handle", "overlap") else None
        mark = recorder.said[-1][2] if before else None
        previous = {"overlap": EventOverlap(before), "none": EventOverlap(None)}.get(given, before)
        begin = len(recorder.said)
        with recorder.on("compute"):
            *gave, event = call(previous_event=previous, async_finish=asynchronous,
                                allocate_on_comm_stream=asynchronous and previous is not None)
        said = [each for each in recorder.said[begin:] if each[0] != "belongs"]
        stream, expected = "own0" if asynchronous else "compute", []
        if mark is not None:
            expected.append(("wait", stream, mark))
        elif asynchronous:
            expected += [("record", "compute", said[0][2]), ("wait", "own0", said[0][2])]
        expected += [("call", stream, work)] if work else []
        expected += [("record", "own0", said[-1][2])] if asynchronous else []
        assert said == expected
        assert (event.event is None) == (not asynchronous)
        if asynchronous:
            begin = len(recorder.said)
            with recorder.on("later"):
                event.current_stream_wait()
            assert recorder.said[begin] == ("wait", "later", said[-1][2])
            outputs = {tensor.data_ptr() for tensor in events._tensors(gave) if tensor.numel()}
            assert outputs <= {each[1] for each in recorder.said[begin + 1:]}
            assert all(each[0] == "belongs" and each[2] == "later" for each in recorder.said[begin + 1:])
        return gave

    told = dict(zip(NAMES, check(lambda **how: buffer.get_dispatch_layout(tokens.ids, EXPERTS, **how))))
    got = check(lambda **how: buffer.dispatch(
        tokens.x, topk_idx=tokens.ids, topk_weights=tokens.weights, **told, **how), "dispatch")
    check(lambda **how: buffer.dispatch(tokens.x, handle=got[4], **how))
    check(lambda **how: buffer.combine(got[0], got[4], topk_weights=got[2], **how))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_inputs_live_until_the_event_is_waited_for(asynchronous, monkeypatch):
    monkeypatch.setattr(events, "_streams", Recorder())
    buffer, tokens = Buffer(None, comm=Comm.of(1)[0]), Tokens(0, 6)
    told = layout(buffer, tokens)
    inputs = [tokens.x.clone(), tokens.ids.clone(), tokens.weights.clone()]
    kept = [weakref.ref(each) for each in inputs]
    *got, event = buffer.dispatch(
        inputs[0], topk_idx=inputs[1], topk_weights=inputs[2], async_finish=asynchronous, **told)
    del inputs
    assert [each() is not None for each in kept] == [asynchronous] * 3
    if asynchronous:
        event.current_stream_wait()
        assert not any(each() is not None for each in kept)
    y, bias = got[0].clone(), tokens.x.clone()
    kept = [weakref.ref(each) for each in (y, bias)]
    *_, event = buffer.combine(y, got[4], bias=(bias, bias), async_finish=asynchronous)
    del y, bias
    assert [each() is not None for each in kept] == [asynchronous] * 2


def test_500_handles():
    """A handle keeps its routing, and none of the rows."""
    buffer, tokens = Buffer(None, comm=Comm.of(1)[0]), Tokens(0, 64)
    handles = [first(buffer, tokens)[4] for _ in range(500)]
    memory = handles[0].room.group.memory()
    assert memory.leased_bytes < 50 * tokens.x.nbytes and memory.private_bytes < 50 * tokens.x.nbytes
    y = tokens.x.clone()
    assert torch.equal(buffer.combine(y, handles[0])[0], buffer.combine(y, handles[-1])[0])
