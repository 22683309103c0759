"""Who the ranks of a buffer are, and the groups that it makes for them."""
import logging

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from deep_ep_ranks import Comm, on_ranks, run_all, variables  # noqa: E402

import transload  # noqa: E402
from transload.deep_ep import groups, members, notices  # noqa: E402
from transload.deep_ep.members import Members  # noqa: E402


def tokens(rank, count, hidden=32, experts=8, top_k=2, dtype=torch.bfloat16):
    random = torch.Generator(device="cpu").manual_seed(rank)
    x = torch.randint(-8, 9, (count, hidden), generator=random, device="cpu").to(dtype)
    ids = torch.rand(count, experts, generator=random, device="cpu").topk(top_k, dim=1).indices
    return x, ids, torch.rand(count, top_k, generator=random, device="cpu", dtype=torch.float32)


def row_counts(x):
    """What all elements of a row are, row by row."""
    assert torch.equal(x, x[:, :1].expand_as(x))
    return x[:, 0].tolist()


def owners(ids, experts=8, ranks=2):
    return [float(len({expert * ranks // experts for expert in each})) for each in ids.tolist()]


def test_members_of_a_process_group():
    def work(group):
        found = Members(group)
        return (found.rank, found.size, found.nodes, found.node, found.node_rank, found.gather(found.rank * 3),
                [found.node_of(rank) for rank in range(3)])

    everybody = (3, (1, 2), [0, 3, 6], [0, 1, 1])
    places = [(0, 0), (1, 0), (1, 1)]
    assert on_ranks((1, 2), work) == [(rank, everybody[0], everybody[1], *places[rank], *everybody[2:])
                                      for rank in range(3)]


def test_members_of_mpi_and_of_one_host():
    found = run_all([lambda comm=comm: Members(None, comm) for comm in Comm.of(3)])
    assert [(each.rank, each.size, each.nodes) for each in found] == [(rank, 3, (3,)) for rank in range(3)]


def test_hosts_that_are_not_node_by_node(monkeypatch):
    monkeypatch.setattr(members._native, "host_identity", lambda: "some host")
    hosts = iter("aba")
    monkeypatch.setattr(members, "nodes_of", lambda here, gather: (gather(next(hosts)), _refuse())[1])

    def _refuse():
        return transload.bootstrap._nodes_of_hosts(["a", "b", "a"])

    monkeypatch.setattr(transload.bootstrap._native, "one_machine", lambda one, other: one == other)
    with pytest.raises(transload.InvalidArgument, match="rank 2 is on the host of rank 0, but rank 1 is not"):
        run_all([lambda comm=comm: Members(None, comm) for comm in Comm.of(3)])


@pytest.mark.parametrize("text", ["2,2", "3", "a", "0,2", ","])
def test_nodes_that_are_not_these_ranks(text):
    with variables(TRANSLOAD_NODES=text), pytest.raises(transload.InvalidArgument, match="TRANSLOAD_NODES: .*2 ranks"):
        run_all([lambda comm=comm: Members(None, comm) for comm in Comm.of(2)])


def test_what_is_no_group():
    with pytest.raises(ValueError, match="group: None, and comm: None"):
        Members(None)
    for group in ("world", 3, object()):
        with pytest.raises(transload.InvalidArgument, match="must be a process group"):
            Members(group)
    with pytest.raises(transload.InvalidArgument, match="without Get_rank, Get_size, allgather, must be .* mpi4py"):
        Members(None, comm=5)

    class Short(Comm):
        def allgather(self, value):
            return super().allgather(value)[:1]

    with pytest.raises(transload.InvalidArgument, match="gave 1 parts, must be 2"):
        run_all([lambda comm=comm: Members(None, comm) for comm in Short.of(2)])


def test_a_group_is_as_large_as_the_largest_call(caplog):
    caplog.set_level(logging.INFO, "transload.deep_ep")

    def work(group):
        mine = groups.Groups(Members(group), 30)
        room, got = mine.dispatch(8, *tokens(group.rank(), 100 * group.rank()))
        assert room.size == groups.Need(tokens=128, row_bytes=64, top_k=2, scales=0)
        same, _ = mine.dispatch(8, *tokens(group.rank(), 5))
        other, _ = mine.dispatch(4, *tokens(group.rank(), 5, experts=4))
        again, _ = mine.dispatch(8, *tokens(group.rank(), 128))
        assert same is room and again is room and other.group is not room.group and other.size.tokens == 8
        return got.rows

    assert sum(on_ranks((2,), work)) > 100
    assert len(caplog.records) == 4 and "tokens=128" in caplog.text  # each rank made two


GROWS = {
    "tokens": (tokens(0, 9), {}, groups.Need(16, 64, 2, 3)),
    "row bytes": (tokens(0, 2, hidden=40), {}, groups.Need(8, 80, 2, 3)),
    "choices": (tokens(0, 2, top_k=5), {}, groups.Need(8, 64, 5, 3)),
    "scales": (tokens(0, 2), {"scales": torch.zeros(2, 4, dtype=torch.float32)}, groups.Need(8, 64, 2, 4)),
    "a known number": (tokens(0, 9), {"tokens": 30}, groups.Need(32, 64, 2, 3)),
}


@pytest.mark.parametrize("what", GROWS)
def test_a_call_that_does_not_fit_makes_a_larger_group(what, caplog):
    """On one rank alone; what lives of the old group goes on."""
    caplog.set_level(logging.INFO, "transload.deep_ep")
    (x, ids, weights), options, size = GROWS[what]
    scales = torch.ones(8, 3, dtype=torch.float32, device="cpu")

    def work(group):
        mine = groups.Groups(Members(group), 30)
        old, got = mine.dispatch(8, *tokens(group.rank(), 8), scales=scales)
        assert old.size == groups.Need(8, 64, 2, 3)
        few = [each[:2 * group.rank()] for each in (x, ids, weights)] if group.rank() else (x, ids, weights)
        cut = dict(options)
        if "scales" in cut:
            cut["scales"] = cut["scales"][:len(few[0])]
        room, after = mine.dispatch(8, *few, **cut)
        assert room.size == size and room.group is not old.group
        return [row_counts(group.combine(torch.ones_like(each.x), each.handle).x)
                for group, each in ((old.group, got), (room.group, after))]

    # Of each token as many ones as it has owners.
    choices = [tokens(rank, 8)[1] for rank in range(2)], [ids, ids[:2]]
    assert on_ranks((1, 1), work) == [[owners(each[rank]) for each in choices] for rank in range(2)]
    assert caplog.text.count("a larger group of 8 experts") == 2


def test_what_all_refuse_makes_no_group():
    """Bad weights on one rank: everybody hears of it, and the group is good."""
    def work(group):
        mine = groups.Groups(Members(group), 30)
        x, ids, weights = tokens(group.rank(), 4)
        room, _ = mine.dispatch(8, x, ids, weights)
        wrong = weights.double() if group.rank() == 1 else weights
        with pytest.raises(transload.InvalidArgument, match="topk_weights: float64, must be float32") as caught:
            mine.dispatch(8, x, ids, wrong)
        assert caught.value.alike
        again, got = mine.dispatch(8, x, ids, weights)
        return again is room and got.status.ok

    assert on_ranks((2,), work) == [True, True]


def test_what_one_rank_refuses_is_not_gathered():
    """A refusal that the others cannot know of is raised at once."""
    def work(group):
        mine = groups.Groups(Members(group), 30)
        inputs = tokens(0, 4)
        room, _ = mine.dispatch(8, *inputs)
        room.group.close()
        mine._members.gather = None
        with pytest.raises(transload.InvalidArgument, match="the group is closed") as caught:
            mine.dispatch(8, *inputs)
        assert not caught.value.alike
        return True

    assert on_ranks((2,), work) == [True, True]


def test_experts_differ_or_do_not_divide():
    def work(group):
        mine = groups.Groups(Members(group), 30)
        with pytest.raises(transload.InvalidArgument, match="num_experts: 7, must be a multiple of the 2 ranks"):
            mine.dispatch(7, *tokens(0, 4))
        experts = 8 + 2 * group.rank()
        with pytest.raises(transload.InvalidArgument, match=f"num_experts: {experts}, and .*, must be equal on all"):
            mine.dispatch(experts, *tokens(0, 4))
        return True

    assert on_ranks((2,), work) == [True, True]


def test_variables():
    def work(group):
        mine = groups.Groups(Members(group), groups.deadline_s(100))
        return mine.dispatch(8, *tokens(0, 4))[0]

    with variables(TRANSLOAD_TOKENS_MAX=300, TRANSLOAD_DEADLINE_S="2.5"):
        assert groups.deadline_s(100) == 2.5
        assert on_ranks((2,), work)[0].size.tokens == 512
    assert groups.deadline_s(100) == 100
    for text in ("0", "-3", "x", "inf"):
        with variables(TRANSLOAD_DEADLINE_S=text), pytest.raises(
                transload.InvalidArgument, match="TRANSLOAD_DEADLINE_S: .*must be a number above 0"):
            groups.deadline_s(100)


def test_a_rank_that_does_not_come():
    """The deadline of the variable holds, and the fault names the rank."""
    def work(group):
        mine = groups.Groups(Members(group), groups.deadline_s(100))
        mine.dispatch(8, *tokens(0, 4))
        if group.rank() == 0:
            with pytest.raises(transload.Fault) as caught:
                mine.dispatch(8, *tokens(0, 4))
            return caught.value.culprit_rank
        return mine  # lives on, and makes no call

    with variables(TRANSLOAD_DEADLINE_S="2"):
        assert on_ranks((2,), work)[0] == 1


def test_after_close():
    def work(group):
        mine = groups.Groups(Members(group), 30)
        room, got = mine.dispatch(8, *tokens(0, 4))
        mine.close()
        with pytest.raises(transload.InvalidArgument, match="destroyed"):
            mine.dispatch(8, *tokens(0, 4))
        return room.group.combine(got.x, got.handle).x.shape  # a handle's group lives on

    assert on_ranks((2,), work) == [(4, 32)] * 2


def test_notices_come_once(monkeypatch, recwarn):
    monkeypatch.setattr(notices, "_said", set())
    for _ in range(2):
        notices.ignored("Buffer", "num_qps_per_rank", 24, 24, "there are no queue pairs")
        notices.ignored("Buffer", "num_qps_per_rank", 12, 24, "there are no queue pairs")
        notices.ignored("other", "num_qps_per_rank", 12, 24, "there are no queue pairs")
    assert [str(each.message).split(":")[1] for each in recwarn] == [" Buffer", " other"]
    assert "num_qps_per_rank=12 has no effect" in str(recwarn[0].message)
    assert recwarn[0].filename == __file__
