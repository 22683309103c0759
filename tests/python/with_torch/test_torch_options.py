"""The options of transload.torch's calls: each has its effect, straight and through ops."""
import contextlib
import threading

import pytest
import torch
from ranks import PATIENCE_S, on_threads
from torch.utils._python_dispatch import TorchDispatchMode
from torch_ranks import torch_tokens

import transload
import transload.torch as tl


class Watches(TorchDispatchMode):
    """While it is active calls go by ops."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


WAYS = pytest.mark.parametrize("way", [contextlib.nullcontext, Watches], ids=["straight", "by ops"])


def on_ranks(work, nodes=(2,), **options):
    """work(group, its tokens) of each rank."""
    inputs = [torch_tokens(rank, 8) for rank in range(sum(nodes))]
    return on_threads(nodes, lambda g: work(g, inputs[g.rank]), **options)


@WAYS
def test_expert_alignment(way):
    def work(g, mine):
        with way():
            exact = tl.dispatch(g, *mine).expert_counts_on_device
            rounded = tl.dispatch(g, *mine, expert_alignment=4).expert_counts_on_device
        assert (exact % 4).any() and rounded.tolist() == [-(-count // 4) * 4 for count in exact.tolist()]

    on_ranks(work)


@WAYS
def test_overflow(way):
    def work(g, mine):
        with way():
            with pytest.raises(transload.TooManyRows):
                tl.dispatch(g, *mine, rows_max=2)
            all_of_it = tl.dispatch(g, *mine)
            some = tl.dispatch(g, *mine, rows_max=2, overflow="drop")
        assert len(all_of_it.x) > 2 and torch.equal(some.x, all_of_it.x[:2])

    on_ranks(work)


def refuses(words):
    return pytest.raises(transload.InvalidArgument, match=words)


@WAYS
def test_what_reaches_the_library(way):
    """It is refused there, and what it takes changes no result."""
    def work(g, mine):
        x, ids, weights = mine
        with way():
            got = tl.dispatch(g, x, ids, weights)
            for landing in ("direct", "ring"):
                assert torch.equal(tl.dispatch(g, x, ids, weights, landing=landing, channels=1).x, got.x)
                assert torch.equal(tl.dispatch(g, x, handle=got.handle, landing=landing, channels=1).x, got.x)
            with refuses("landing: 'there', must be auto, direct or ring"):
                tl.dispatch(g, x, ids, weights, landing="there")
            for more in ({"handle": got.handle}, {"topk_idx": ids, "topk_weights": weights}):
                with refuses("channels: 99, must be"):
                    tl.dispatch(g, x, **more, channels=99)
                with refuses("deadline_s: 0.001, must be seconds"):
                    tl.dispatch(g, x, **more, deadline_s=0.001)
            for change, words in (({"channels": 99}, "channels: 99, must be"),
                                  ({"deadline_s": 0.001}, "deadline_s: 0.001, must be seconds"),
                                  ({"source": "shove"}, "source: 'shove', must be auto, pull or push"),
                                  ({"source": "pull"}, "source: pull, must be push"),
                                  ({"wire": "fp32"}, "wire: fp32, must be at most combine_wire")):
                with refuses(words):
                    tl.combine(g, got.x.clone(), got.handle, **change)

    on_ranks(work)


@WAYS
def test_wire(way):
    """256 and 1 of two ranks of another node, 1 of a third: in bf16 the first two are 256."""
    def work(g, _):
        x = torch.ones((1, 64), dtype=torch.bfloat16)
        with way():
            got = tl.dispatch(g, x, torch.tensor([[0, 1, 2]]), torch.ones(1, 3))
            rows = torch.full(got.x.shape, {0: 1.0, 1: 256.0, 2: 1.0}[g.rank], dtype=torch.bfloat16)
            sums = [tl.combine(g, rows, got.handle, wire=wire)[0, 0].item() for wire in ("bf16", "fp32")]
        if g.rank == 0:
            assert sums == [256.0, 258.0]

    on_ranks(work, nodes=(1, 2), experts=3, combine_wire="fp32")


@WAYS
def test_the_deadline_of_a_call(way):
    """Rank 1 does not come. By the group's own deadline the call would wait longer than this test does."""
    ended = threading.Event()

    def work(g, mine):
        got = tl.dispatch(g, *mine)
        if g.rank == 1:
            assert ended.wait(PATIENCE_S)
            return None
        try:
            with way(), pytest.raises(transload.Fault) as caught:
                tl.combine(g, got.x.clone(), got.handle, deadline_s=0.2)
        finally:
            ended.set()
        return caught.value.kind, caught.value.culprit_rank

    assert on_ranks(work, deadline_s=4 * PATIENCE_S)[0] == ("absent", 1)


@WAYS
def test_backwards_have_the_deadline_of_their_call(way, monkeypatch):
    given = []
    for name in ("dispatch", "combine"):
        def told(group, *arguments, name=name, call=getattr(transload.Group, name), **how):
            given.append((name, how.get("deadline_s")))
            return call(group, *arguments, **how)

        monkeypatch.setattr(transload.Group, name, told)

    def work(g, mine):
        x, ids, weights = mine
        with way():
            got = tl.dispatch(g, x.requires_grad_(), ids, weights, deadline_s=77)
            tl.combine(g, got.x * 2, got.handle, deadline_s=88).float().sum().backward()

    on_ranks(work, nodes=(1,))
    assert given == [("dispatch", 77), ("combine", 88), ("dispatch", 88), ("combine", 77)]


def test_status():
    """An id of no expert is no choice: who has it is told, of which token. An op has nothing to tell it with."""
    def work(g, mine):
        x, ids, weights = mine
        assert tl.dispatch(g, x, ids, weights).status.ok
        if g.rank == 1:
            ids[3, 1] = 99
        got = tl.dispatch(g, x, ids, weights)
        with Watches():
            assert tl.dispatch(g, x, ids, weights).status is None
        return got.status.code, got.status.message

    fine, wrong = on_ranks(work)
    assert fine == ("ok", "") and wrong[0] == "bad_expert_id"
    assert wrong[1].startswith("topk_idx: 99 at token 3, slot 1"), wrong


@pytest.mark.parametrize("name", ["pool", "graph_pool"])
def test_pools_are_not_there_yet(name):
    with pytest.raises(transload.NotSupported, match=f"transload.torch.{name}: for GPU ranks"):
        on_ranks(lambda g, _: getattr(tl, name)(g), nodes=(1,))
