"""Options of a group: what each changes, as the group itself tells it; and the deadline that a call has of its own."""
import threading

import pytest
from ranks import PATIENCE_S, check_dispatch, on_threads, tokens_of

import transload

ONE_NODE, TWO_NODES = (2,), (1, 1)
TOLD = [  # (nodes, options, what the group decides, and the word for it)
    (TWO_NODES, {"channels": 2}, "channels", "2"),
    (TWO_NODES, {"slots": 4}, "slots", "4"),
    (ONE_NODE, {"peer_slots": 2}, "slots between peers", "2"),
    (TWO_NODES, {"scale_out": "loopback"}, "scale-out", "loopback"),
]


def seen_by(nodes, **options):
    """(decisions {what: (choice, why)}, bytes of rings) of rank 0, whose group has made a right dispatch."""
    inputs = [tokens_of(rank, 6) for rank in range(sum(nodes))]

    def work(g):
        check_dispatch(g.rank, g.dispatch(*inputs[g.rank]), inputs)
        return {each.what: (each.choice, each.why) for each in g.decisions()}, g.memory().ring_bytes

    return on_threads(nodes, work, **options)[0]


@pytest.mark.parametrize("nodes,options,what,choice", TOLD, ids=[next(iter(each[1])) for each in TOLD])
def test_what_is_asked_for_is_had(nodes, options, what, choice):
    usual, usual_bytes = seen_by(nodes)
    asked, ring_bytes = seen_by(nodes, **options)
    assert asked[what] == (choice, "asked for") and usual[what] != asked[what]
    if "scale_out" not in options:
        assert ring_bytes < usual_bytes  # fewer of what rings are made of


def test_a_provider():
    if transload.build_info()["networks"]["libfabric"] != "yes":
        pytest.skip("libfabric is not here")
    words = r'provider = "nothing": must be one that can carry a group here: .* \(rank 0\)$'
    with pytest.raises(transload.InvalidArgument, match=words) as caught:
        seen_by(TWO_NODES, scale_out="libfabric", provider="nothing")
    first = str(caught.value).split(" here: ")[1].split('"')[1]
    assert seen_by(TWO_NODES, scale_out="libfabric", provider=first)[0]["scale-out"] == ("libfabric", "asked for")


def test_a_nic():
    """Providers of TCP call an interface so."""
    if transload.build_info()["networks"]["libfabric"] != "yes":
        pytest.skip("libfabric is not here")
    assert seen_by(TWO_NODES, scale_out="libfabric", nic="lo")[0]["nic"] == ("lo", "asked for")
    with pytest.raises(transload.InvalidArgument, match=r'nic = "mlx5_77"'):
        seen_by(TWO_NODES, scale_out="libfabric", nic="mlx5_77")


@pytest.mark.parametrize("given", [0, 7, 1000000])
def test_how_long_a_rank_looks_before_it_sleeps(given):
    """No result depends on it; what is too much is refused, as it reaches the library."""
    assert "scale-out" in seen_by(TWO_NODES, linger_us=given)[0]
    with pytest.raises(transload.InvalidArgument, match=r"linger_us: \d+, must be"):
        transload.Group(0, 1, experts=1, linger_us=1 << 31)


CALLS = {
    "dispatch": lambda g, mine, _, **own: g.dispatch(*mine, **own),
    "cached dispatch": lambda g, mine, got, **own: g.dispatch(mine[0], handle=got.handle, **own),
    "combine": lambda g, _, got, **own: g.combine(got.x, got.handle, **own),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_deadline_of_a_call(call):
    """Rank 1 does not come. By the group's own deadline the call would wait longer than this test does."""
    inputs, ended = [tokens_of(rank, 6) for rank in range(2)], threading.Event()

    def work(g):
        got = g.dispatch(*inputs[g.rank])
        if g.rank == 1:
            assert ended.wait(PATIENCE_S)
            return None
        try:
            with pytest.raises(transload.Fault) as caught:
                CALLS[call](g, inputs[0], got, deadline_s=0.2)
        finally:
            ended.set()
        return caught.value.kind, caught.value.culprit_rank

    assert on_threads(ONE_NODE, work, deadline_s=4 * PATIENCE_S)[0] == ("absent", 1)
