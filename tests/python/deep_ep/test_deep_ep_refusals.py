"""What one rank alone refuses in a dispatch without a handle, all ranks refuse, and the next call is good; and what is
no reason to refuse one, but told.
"""
import re
import warnings

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from buffers import first, layout  # noqa: E402
from deep_ep_ranks import on_ranks, variables  # noqa: E402
from dense import EXPERTS, HIDDEN, TOP_K, everybody, received, same  # noqa: E402

import transload  # noqa: E402
from transload.deep_ep import Buffer, ElasticBuffer, notices  # noqa: E402

MOST = 16  # tokens of a rank, in the calls that name a number
WHEN = pytest.mark.parametrize("when", ["the first call", "a later call"])


def v1(buffer, mine, **change):
    given = {"x": mine.x, "topk_idx": mine.ids, "topk_weights": mine.weights, **layout(buffer, mine), **change}
    return buffer.dispatch(**given)[0]


def by_ranks(buffer, mine, **change):
    return buffer.dispatch(**{"x": mine.x, **layout(buffer, mine), **change})[0]


def low_latency(buffer, mine, **change):
    given = {"x": mine.x, "topk_idx": mine.ids, "num_max_dispatch_tokens_per_rank": MOST, "num_experts": EXPERTS,
             "use_fp8": False, **change}
    return buffer.low_latency_dispatch(**given)[1]


def v2(buffer, mine, **change):
    given = {"x": mine.x, "topk_idx": mine.ids, "topk_weights": mine.weights, "num_experts": EXPERTS,
             "num_max_tokens_per_rank": MOST, **change}
    return buffer.dispatch(**given)[0]


def refused(call, *arguments, **change):
    """(what it says, whether all ranks say it). The error is not kept: it would keep the group, for the collector."""
    try:
        call(*arguments, **change)
    except transload.InvalidArgument as error:
        return str(error), error.alike
    raise AssertionError("not refused")


def v1_buffer(group):
    return Buffer(group, low_latency_mode=True)


LONG = torch.zeros((MOST + 1, HIDDEN), dtype=torch.bfloat16, device="cpu")
IDS = torch.zeros((MOST + 1, TOP_K), dtype=torch.int64, device="cpu")
REFUSED = [
    (v1_buffer, v1, {"config": 20}, "config: a int, must be a Config or None"),
    (v1_buffer, v1, {"x": LONG[0]}, "x: 1 dimensions, must be of 2"),
    (v1_buffer, v1, {"topk_idx": IDS[:3].to(torch.uint16)}, "topk_idx: torch.uint16, must be torch.int64"),
    (v1_buffer, v1, {"topk_weights": None}, "topk_weights: a NoneType, must be a tensor"),
    (v1_buffer, v1, {"num_worst_tokens": -1}, "num_worst_tokens: -1, must be a whole number from 0"),
    (v1_buffer, v1, {"previous_event": 3}, "previous_event: 3, must be an EventOverlap"),
    (v1_buffer, v1, {"num_tokens_per_rank": None}, "num_tokens_per_rank: None, must be what"),
    (v1_buffer, v1, {"num_tokens_per_expert": None}, "num_tokens_per_expert: None, must be what"),
    (v1_buffer, v1, {"num_tokens_per_expert": IDS[:7, 0]}, "num_experts: 7, must be a multiple of the 3 ranks"),
    (v1_buffer, v1, {"topk_weights": IDS[:2].double()}, "topk_weights: float64, must be float32"),
    (v1_buffer, by_ranks, {"is_token_in_rank": IDS.bool()[:, :2]}, r"is_token_in_rank: \[17, 2\], must be \[T, 3\]"),
    (v1_buffer, low_latency, {"x": LONG, "topk_idx": IDS}, "x: 17 tokens, must be at most num_max_dispatch_tokens"),
    (v1_buffer, low_latency, {"async_finish": True, "return_recv_hook": True}, "async_finish: True with return_recv"),
    (ElasticBuffer, v2, {"x": LONG, "topk_idx": IDS, "topk_weights": None}, "x: 17 tokens, must be at most num_max_to"),
    (ElasticBuffer, v2, {"num_experts": None}, "num_experts: None, must be a whole number"),
    (ElasticBuffer, v2, {"expert_alignment": 0}, "expert_alignment: 0, must be a whole number from 1"),
    (ElasticBuffer, v2, {"previous_event_before_epilogue": 3}, "previous_event_before_epilogue: 3, must be"),
]


@WHEN
@pytest.mark.parametrize("made,call,change,words", REFUSED, ids=[f"{c.__name__} {w[:24]}" for _, c, _, w in REFUSED])
def test_one_rank_refuses(made, call, change, words, when):
    tokens = everybody(3)

    def work(group):
        buffer, rank = made(group), group.rank()
        good = call(buffer, tokens[rank]) if when == "a later call" else None
        for refuser in (1, 2):
            said, alike = refused(call, buffer, tokens[rank], **(change if rank == refuser else {}))
            by = "" if rank == refuser else rf".* \(rank {refuser}\)$"
            assert re.match(words + by, said) and alike, said
        after = call(buffer, tokens[rank])
        if good is not None:
            same(after, good)
        return True

    with variables(TRANSLOAD_DEADLINE_S=20):  # of who would wait for the refuser
        assert on_ranks((1, 2), work) == [True] * 3


@pytest.mark.parametrize("made,call", [(v1_buffer, v1), (v1_buffer, low_latency), (ElasticBuffer, v2)])
def test_tensors_on_a_gpu_are_not_there_yet(made, call):
    """All ranks say so, as of what is refused otherwise."""
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        x = torch.empty((3, HIDDEN), dtype=torch.bfloat16, device="cuda")

    def work(group):
        buffer, rank = made(group), group.rank()
        mine = everybody(2)[rank]
        with pytest.raises(transload.NotSupported, match="^x: on cuda.*, must be on the CPU") as caught:
            call(buffer, mine, **({"x": x} if rank == 1 else {}))
        assert caught.value.alike
        del caught
        call(buffer, mine)
        return True

    with variables(TRANSLOAD_DEADLINE_S=20):
        assert on_ranks((2,), work) == [True] * 2


@pytest.mark.parametrize("wrong", [EXPERTS, -2])
@pytest.mark.parametrize("made,call", [(v1_buffer, v1), (v1_buffer, low_latency), (ElasticBuffer, v2)])
def test_an_id_of_no_expert_is_no_choice_and_told_once(made, call, wrong, monkeypatch):
    def work(group):
        buffer = made(group)
        mine = everybody(1)[0]
        mine.ids[2] = torch.tensor([0, -1, 1])
        expected = call(buffer, mine)
        mine.ids[2, 1] = wrong
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            monkeypatch.setattr(notices, "_said", {"low latency"})
            for _ in range(2):
                same(call(buffer, mine), expected)
        (told,) = [str(each.message) for each in caught]
        assert told == (f"deep_ep: topk_idx: {wrong} at token 2, choice 1, must be from -1 to {EXPERTS - 1}: "
                        "it counts as no choice")
        return True

    assert on_ranks((1,), work) == [True]


def test_all_ranks_refuse_each_its_own():
    def work(group):
        buffer, rank = Buffer(group), group.rank()
        mine = everybody(3)[rank]
        for _ in range(2):
            said, alike = refused(v1, buffer, mine, num_worst_tokens=-1 - rank)
            assert said.startswith(f"num_worst_tokens: {-1 - rank}, must be") and alike, said
            same(v1(buffer, mine), received(rank, everybody(3))[0])
        return True

    assert on_ranks((3,), work) == [True] * 3


def test_who_needs_more_room_hears_of_it_too():
    """One rank refuses a call for which another one has more tokens than the group has room for."""
    def work(group):
        buffer, rank = Buffer(group), group.rank()
        v1(buffer, everybody(2)[rank])
        many = everybody(2)[0]
        many.x, many.ids, many.weights = (each.repeat(50, 1) for each in (many.x, many.ids, many.weights))
        said, alike = refused(v1, buffer, many, num_worst_tokens=-1 if rank == 0 else 0)
        assert said.startswith("num_worst_tokens: -1, must be") and alike, said
        return len(v1(buffer, many))

    assert sum(on_ranks((2,), work)) > 150


def test_a_refusal_of_no_known_group():
    """Of two groups the other ranks may be in either, so they are not told; the refuser does not wait."""
    def work(group):
        buffer, rank = ElasticBuffer(group), group.rank()
        mine = everybody(2)[rank]
        v2(buffer, mine)
        v2(buffer, mine, num_experts=2 * EXPERTS)
        if rank == 0:
            said, alike = refused(v2, buffer, mine, num_experts=None)
            assert said.startswith("num_experts: None, must be") and not alike, said
        return v2(buffer, mine).shape[1]

    assert on_ranks((2,), work) == [HIDDEN] * 2


def test_a_buffer_that_is_destroyed_refuses_alone():
    def work(group):
        buffer, rank = Buffer(group, explicitly_destroy=True), group.rank()
        first(buffer, everybody(2)[rank])
        buffer.destroy()
        if rank == 0:
            said, alike = refused(buffer.dispatch, everybody(2)[rank].x)
            assert "the buffer is destroyed" in said and not alike, said
        return True

    assert on_ranks((2,), work) == [True, True]
