"""ElasticBuffer, every argument: what is supported has an effect, what is ignored is told once, the rest is refused."""
import inspect
import logging
import threading
import warnings

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import dense_v2 as dense  # noqa: E402
from dense_v2 import HIDDEN, TOKENS_MAX, TOP_K  # noqa: E402
from deep_ep_ranks import PATIENCE_S, Recorder, on_ranks, variables  # noqa: E402

import transload  # noqa: E402
from transload import InvalidArgument, NotSupported, deep_ep  # noqa: E402
from transload.deep_ep import ElasticBuffer, EventHandle, EventOverlap, events, notices  # noqa: E402

EXPERTS = 4


def on_buffers(work, nodes=(1,), **options):
    """work(buffer, its tokens) of each rank."""
    sizes = {"num_max_tokens_per_rank": TOKENS_MAX, "hidden": HIDDEN, "num_topk": TOP_K}

    def rank(group):
        return work(ElasticBuffer(group, **{**sizes, **options}), dense.tokens(group.rank(), 5, EXPERTS))

    return on_ranks(nodes, rank)


def on_buffer(work, **options):
    return on_buffers(work, **options)[0]


def dispatched(buffer, mine, **options):
    return buffer.dispatch(mine.x, mine.ids, mine.weights, num_experts=EXPERTS, **options)


def test_names_and_order_are_those_of_v2():
    """Programs look at them, and give them by position."""
    order = {
        "__init__": "group num_bytes num_cpu_bytes num_max_tokens_per_rank hidden num_topk use_fp8_dispatch "
                    "deterministic allow_hybrid_mode allow_multiple_reduction prefer_overlap_with_compute sl_idx "
                    "num_allocated_qps num_cpu_timeout_secs num_gpu_timeout_secs explicitly_destroy",
        "dispatch": "x topk_idx topk_weights cumulative_local_expert_recv_stats num_experts num_max_tokens_per_rank "
                    "expert_alignment num_sms num_qps previous_event previous_event_before_epilogue "
                    "async_with_compute_stream allocate_on_comm_stream handle do_handle_copy do_cpu_sync do_expand "
                    "do_zero_padding use_tma_aligned_col_major_sf",
        "combine": "x handle topk_weights bias num_sms num_qps previous_event previous_event_before_epilogue "
                   "async_with_compute_stream allocate_on_comm_stream",
        "barrier": "use_comm_stream with_cpu_sync sequential",
        "get_theoretical_num_sms": "num_experts num_topk num_scaleout_topk rdma_gbs nvlink_gbs sm_read_gbs "
                                   "sm_write_gbs",
    }
    for name, names in order.items():
        assert list(inspect.signature(getattr(ElasticBuffer, name)).parameters)[1:] == names.split()
    hint = inspect.signature(ElasticBuffer.get_buffer_size_hint).parameters
    assert list(hint) == ("group num_max_tokens_per_rank hidden num_topk use_fp8_dispatch allow_hybrid_mode "
                          "allow_multiple_reduction").split()


# --- the buffer ---


@pytest.mark.parametrize("nodes,places", [((3,), [(1, 3)] * 3), ((1, 2), [(2, 1), (2, 2), (2, 2)])])
def test_attributes(nodes, places):
    def work(buffer, _):
        rank, ranks = buffer.rank_idx, sum(nodes)
        assert buffer.group.rank() == rank and buffer.num_ranks == buffer.group.size() == ranks
        assert buffer.num_max_tokens_per_rank == TOKENS_MAX and buffer.num_bytes > 0
        assert buffer.num_allocated_qps == buffer.get_theoretical_num_qps(16) == 1
        assert (buffer.num_scaleout_ranks, buffer.num_scaleup_ranks) == buffer.get_logical_domain_size() == (1, ranks)
        assert (buffer.scaleout_rank_idx, buffer.scaleup_rank_idx) == (0, rank)
        assert (buffer.num_rdma_ranks, buffer.num_nvlink_ranks) == buffer.get_physical_domain_size() == places[rank]

    on_buffers(work, nodes)


def test_sizes_that_are_given_make_one_group_do(caplog):
    """Without them the second call would make a larger group."""
    caplog.set_level(logging.INFO, "transload.deep_ep")
    small = dense.tokens(0, 1, EXPERTS, top_k=1, hidden=8)

    def work(buffer, mine):
        small_call = {"num_experts": EXPERTS, "num_max_tokens_per_rank": 1}
        buffer.dispatch(small.x, small.ids, **small_call)
        dispatched(buffer, mine, num_max_tokens_per_rank=TOKENS_MAX)
        return len(caplog.records)

    assert on_buffer(work) == 1
    for missing, groups in (("num_max_tokens_per_rank", 2), ("hidden", 2), ("num_topk", 2)):
        caplog.clear()
        assert on_buffer(work, **{missing: 0}) == groups


def test_tokens_max_of_the_first_call_makes_one_group_do(caplog):
    caplog.set_level(logging.INFO, "transload.deep_ep")

    def work(buffer, mine):
        first = dense.tokens(0, 1, EXPERTS)
        dispatched(buffer, first, num_max_tokens_per_rank=TOKENS_MAX)
        dispatched(buffer, mine, num_max_tokens_per_rank=TOKENS_MAX)
        return len(caplog.records)

    assert on_buffer(work, num_max_tokens_per_rank=0) == 1


def test_the_gpu_timeout_is_the_deadline(monkeypatch):
    made = []
    real = deep_ep.groups.Group
    monkeypatch.setattr(deep_ep.groups, "Group", lambda *a, **o: made.append(o["deadline_s"]) or real(*a, **o))
    with variables(TRANSLOAD_DEADLINE_S=""):
        on_buffer(dispatched)
        on_buffer(dispatched, num_gpu_timeout_secs=7)
    with variables(TRANSLOAD_DEADLINE_S=9):
        on_buffer(dispatched, num_gpu_timeout_secs=7)
    assert made == [100, 7, 9]


def test_destroy():
    def work(buffer, mine):
        x, _, _, handle, _ = dispatched(buffer, mine)
        buffer.destroy()
        buffer.destroy()
        calls = (lambda: dispatched(buffer, mine), lambda: buffer.dispatch(mine.x, handle=handle),
                 lambda: buffer.combine(x, handle), buffer.barrier)
        for call in calls:
            with pytest.raises(InvalidArgument, match="is destroyed"):
                call()

    on_buffers(work, (2,), explicitly_destroy=True)
    with pytest.raises(AssertionError, match="explicitly_destroy"):
        on_buffer(lambda buffer, _: buffer.destroy())


IGNORED = {
    "use_fp8_dispatch": True, "allow_hybrid_mode": False, "prefer_overlap_with_compute": False, "sl_idx": 0,
    "num_allocated_qps": 5, "num_cpu_timeout_secs": 5,
}
HINT_IGNORED = {"use_fp8_dispatch": True, "allow_hybrid_mode": False, "allow_multiple_reduction": False}
SMS_IGNORED = {"num_scaleout_topk": 2, "rdma_gbs": 50, "nvlink_gbs": 400, "sm_read_gbs": 100, "sm_write_gbs": 20}


def said(monkeypatch, call):
    """The warnings of call(), called twice, in a process that has said nothing yet."""
    monkeypatch.setattr(notices, "_said", set())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call()
        call()
    return [str(each.message) for each in seen]


@pytest.mark.parametrize("name", IGNORED)
def test_ignored_of_the_buffer(name, monkeypatch):
    def make(**options):
        return said(monkeypatch, lambda: on_buffer(lambda buffer, _: seen.append(buffer), **options))

    seen = []
    assert not make()
    (text,) = make(**{name: IGNORED[name]})
    assert f"ElasticBuffer: {name}={IGNORED[name]!r} has no effect" in text
    if hasattr(seen[-1], name):  # programs read some of them
        assert getattr(seen[-1], name) == IGNORED[name]


def test_deterministic_is_no_news(monkeypatch):
    assert not said(monkeypatch, lambda: on_buffer(lambda buffer, _: None, deterministic=True))


def test_num_bytes_is_kept_and_nothing_else():
    def work(buffer, mine):
        dispatched(buffer, mine)
        return buffer.num_bytes

    assert on_buffer(work, num_bytes=1) == 1
    assert on_buffer(work) == on_buffer(lambda buffer, _: ElasticBuffer.get_buffer_size_hint(
        buffer.group, TOKENS_MAX, HIDDEN, TOP_K))


@pytest.mark.parametrize("name", HINT_IGNORED)
def test_ignored_of_the_size_hint(name, monkeypatch):
    def work(buffer, _):
        hint = ElasticBuffer.get_buffer_size_hint
        assert not said(monkeypatch, lambda: hint(buffer.group, 64, 7168))
        return said(monkeypatch, lambda: hint(buffer.group, 64, 7168, **{name: HINT_IGNORED[name]}))

    (text,) = on_buffer(work)
    assert f"get_buffer_size_hint: {name}=" in text


def test_size_hint_grows_with_its_arguments():
    class Ranks:
        def __init__(self, count):
            self.size = lambda: count

    hint = ElasticBuffer.get_buffer_size_hint
    least = hint(Ranks(8), 8192, 1024, 2)
    assert least < hint(Ranks(8), 16384, 1024, 2) and least < hint(Ranks(8), 8192, 2048, 2)
    assert least < hint(Ranks(8), 8192, 1024, 4) < hint(Ranks(8), 8192, 1024)
    assert hint(group=Ranks(1), num_max_tokens_per_rank=8192, hidden=1024, num_topk=2) < least
    for bad in ((0, 1024), (64, 0), (64, 1024, -1)):
        with pytest.raises(InvalidArgument):
            hint(Ranks(8), *bad)


@pytest.mark.parametrize("name", SMS_IGNORED)
def test_ignored_of_the_sms(name, monkeypatch):
    def work(buffer, _):
        assert not said(monkeypatch, lambda: buffer.get_theoretical_num_sms(256, 8))
        return said(monkeypatch, lambda: buffer.get_theoretical_num_sms(256, 8, **{name: SMS_IGNORED[name]}))

    (text,) = on_buffer(work)
    assert f"get_theoretical_num_sms: {name}=" in text


def test_sms_of_every_size():
    def work(buffer, _):
        seen = {buffer.get_theoretical_num_sms(experts, top_k) for experts in (1, 3, 256) for top_k in (1, 8, 32)}
        for name, bad in (("num_experts", (0, 1)), ("num_topk", (8, 0)), ("num_experts", ("8", 1))):
            with pytest.raises(InvalidArgument, match=f"{name}: "):
                buffer.get_theoretical_num_sms(*bad)
        assert buffer.get_theoretical_num_qps(num_sms=20) == buffer.num_allocated_qps == 1
        return seen

    assert on_buffer(work) == {16}
    assert on_buffers(work, (1, 1)) == [{24}] * 2


REFUSED_BUFFERS = {
    "num_cpu_bytes": (NotSupported, {"num_cpu_bytes": 4096}, "num_cpu_bytes: 4096, must be 0.*experts"),
    "max tokens": (InvalidArgument, {"num_max_tokens_per_rank": -1}, "num_max_tokens_per_rank: -1"),
    "hidden": (InvalidArgument, {"hidden": 1.5}, "hidden: 1.5"),
    "num_topk": (InvalidArgument, {"num_topk": -1}, "num_topk: -1"),
    "deadline": (InvalidArgument, {"num_gpu_timeout_secs": 0}, "num_gpu_timeout_secs: 0"),
}


@pytest.mark.parametrize("what", REFUSED_BUFFERS)
def test_refused_buffers(what):
    error, options, text = REFUSED_BUFFERS[what]
    with pytest.raises(error, match=text):
        on_buffer(lambda buffer, _: None, **options)


def test_no_group():
    with pytest.raises(ValueError):
        ElasticBuffer(None)


NO_EXPERTS = ("engram_write", "engram_fetch", "get_engram_storage_size_hint", "pp_set_config", "pp_send", "pp_recv",
              "get_pp_buffer_size_hint", "create_agrs_session", "destroy_agrs_session", "agrs_new_session",
              "agrs_set_config", "agrs_get_inplace_tensor", "all_gather", "get_agrs_num_max_session_bytes",
              "get_agrs_buffer_size_hint")


@pytest.mark.parametrize("name", NO_EXPERTS)
def test_what_has_nothing_to_do_with_experts(name):
    with pytest.raises(NotSupported, match=f"ElasticBuffer.{name}: it has nothing to do with experts"):
        getattr(ElasticBuffer, name)(1, key=2)


def test_hybrid_ep_is_not_there():
    with pytest.raises(ImportError):
        from transload.deep_ep import HybridEPBuffer  # noqa: F401  # pylint: disable=unused-import


def test_barrier():
    """Nobody leaves before the last one came; before there is a group, and after."""

    def work(buffer, mine):
        for late in (0, 1, 2):
            for options in ({}, {"use_comm_stream": False, "with_cpu_sync": True, "sequential": False}):
                count = len(arrived)
                if buffer.rank_idx == late:
                    for _ in range(2):  # the others have counted
                        assert counted.acquire(timeout=PATIENCE_S)
                    gate.wait(0.02)
                    arrived.append(late)
                else:
                    counted.release()
                buffer.barrier(**options)
                assert len(arrived) > count
                buffer.barrier()  # so that `arrived` is not ahead for the next one
            dispatched(buffer, mine)

    gate, counted, arrived = threading.Event(), threading.Semaphore(0), []
    global EXPERTS
    before, EXPERTS = EXPERTS, 6
    try:
        on_buffers(work, (1, 2))
    finally:
        EXPERTS = before


# --- dispatch and combine ---


def test_stats_are_added_up(monkeypatch):
    def work(buffer, mine):
        stats = torch.tensor([100, 0, 0, 0], dtype=torch.int32, device="cpu")
        counts = dispatched(buffer, mine)[3].num_unaligned_recv_tokens_per_expert
        for do_expand in (False, True):
            handle = dispatched(buffer, mine, cumulative_local_expert_recv_stats=stats, do_expand=do_expand,
                                expert_alignment=4)[3]
        assert torch.equal(stats, 2 * counts + torch.tensor([100, 0, 0, 0], dtype=torch.int32, device="cpu"))
        (text,) = said(
            monkeypatch, lambda: buffer.dispatch(mine.x, handle=handle, cumulative_local_expert_recv_stats=stats))
        assert "dispatch with a handle: cumulative_local_expert_recv_stats='a tensor' has no effect: " in text
        assert stats.sum() == 100 + 2 * counts.sum()

    on_buffer(work)


def test_tokens_max_of_the_call_comes_before_the_buffers():
    def work(buffer, mine):
        assert dispatched(buffer, mine)[3].num_max_tokens_per_rank == TOKENS_MAX
        handle = dispatched(buffer, mine, num_max_tokens_per_rank=6, do_cpu_sync=False)[3]
        assert handle.num_max_tokens_per_rank == handle.num_recv_tokens == 6

    on_buffer(work)


def test_sms_are_kept_in_the_handle():
    def work(buffer, mine):
        assert dispatched(buffer, mine)[3].num_sms == 16
        handle = dispatched(buffer, mine, num_sms=6)[3]
        assert handle.num_sms == 6
        x = buffer.dispatch(mine.x, handle=handle, num_sms=handle.num_sms)[0]
        buffer.combine(x, handle, num_sms=4)

    on_buffer(work)


def test_ids_are_copied_unless_told_not_to():
    def work(buffer, mine):
        for copy in (True, False, 1, 0):
            handle = dispatched(buffer, mine, do_handle_copy=copy)[3]
            assert (handle.topk_idx.data_ptr() != mine.ids.data_ptr()) == bool(copy)

    on_buffer(work)


def test_num_qps_is_ignored(monkeypatch):
    def work(buffer, mine):
        x, _, _, handle, _ = dispatched(buffer, mine)
        (text,) = said(monkeypatch, lambda: dispatched(buffer, mine, num_qps=3))
        assert "dispatch: num_qps=3 has no effect" in text
        (text,) = said(monkeypatch, lambda: buffer.combine(x, handle, num_qps=3))
        assert "combine: num_qps=3 has no effect" in text
        own = buffer.get_theoretical_num_qps(16)
        assert not said(monkeypatch, lambda: dispatched(buffer, mine, num_qps=own, allocate_on_comm_stream=True))

    on_buffer(work)


def test_events_of_calls(monkeypatch):
    """Behind both events, on the current stream; asynchronous: on the buffer's own, and inputs are kept."""
    recorder = Recorder()
    monkeypatch.setattr(events, "_streams", recorder)

    def work(buffer, mine):
        x, _, _, handle, _ = dispatched(buffer, mine)
        calls = {"dispatch": lambda **told: dispatched(buffer, mine, **told),
                 "cached": lambda **told: buffer.dispatch(mine.x, handle=handle, **told),
                 "combine": lambda **told: buffer.combine(x, handle, **told)}
        for name, call in calls.items():
            one, other = buffer.capture(), ElasticBuffer.capture()
            assert isinstance(one, EventHandle)
            told = {"previous_event": one, "previous_event_before_epilogue": EventOverlap(other)}
            own = buffer.get_comm_stream()
            for asynchronous, stream in ((False, "main"), (True, own)):
                recorder.said.clear()
                *gave, event = call(**told, async_with_compute_stream=asynchronous)
                assert recorder.said[:2] == [("wait", stream, one._mark), ("wait", stream, other._mark)], name
                assert (event.event is not None) == asynchronous
            recorder.said.clear()
            event.current_stream_wait()
            assert recorder.said[0] == ("wait", "main", event.event._mark)
            outputs = {each.data_ptr() for each in gave if isinstance(each, torch.Tensor)}
            if name == "dispatch":
                outputs.add(gave[-1].recv_src_metadata.data_ptr())
            assert outputs <= {said[1] for said in recorder.said if said[0] == "belongs" and said[2] == "main"}
            recorder.said.clear()
            call(async_with_compute_stream=True, allocate_on_comm_stream=True)
            assert [each[0] for each in recorder.said[:2]] == ["record", "wait"] and recorder.said[1][1] == own
            held = {each.data_ptr() for made in buffer._work._under_way for each in made._reads}
            assert (x if name == "combine" else mine.x).data_ptr() in held
            assert name == "dispatch" or handle.recv_src_metadata.data_ptr() in held

    on_buffer(work)


def changed(**options):
    """Arguments of a first dispatch, some of them other ones."""
    mine = dense.tokens(0, 5, EXPERTS)
    return {"x": mine.x, "topk_idx": mine.ids, "topk_weights": mine.weights, "num_experts": EXPERTS, **options}


MINE = dense.tokens(0, 5, EXPERTS)
LONG = dense.tokens(0, TOKENS_MAX + 1, EXPERTS)
REFUSED_DISPATCHES = {
    "x": (changed(x=5), "x: a int, must be a tensor"),
    "x of one dimension": (changed(x=MINE.x[0]), "x: 1 dimensions"),
    "three of x": (changed(x=(MINE.x,) * 3), "x: 3 tensors"),
    "few scales": (changed(x=(MINE.x, MINE.scales[1:])), r"scales: \[4, 2\], must be of as many rows as x, 5"),
    "short scales": (changed(x=(MINE.x, MINE.scales.bfloat16())), "scales: bfloat16, must be of 4-byte scalars"),
    "no ids": (changed(topk_idx=None), "topk_idx: None"),
    "ids": (changed(topk_idx=MINE.ids.short()), "topk_idx: torch.int16, must be torch.int64 or torch.int32"),
    "few ids": (changed(topk_idx=MINE.ids[1:]), "topk_idx: 4 rows, must be 5"),
    "weights": (changed(topk_weights=MINE.weights.double()), "topk_weights: torch.float64"),
    "other weights": (changed(topk_weights=MINE.weights[:, 1:]), r"topk_weights: \[5, 2\], must be \[5, 3\]"),
    "stats": (changed(cumulative_local_expert_recv_stats=MINE.ids[0]), "recv_stats: torch.int64"),
    "few stats": (changed(cumulative_local_expert_recv_stats=MINE.ids[0].int()), r"recv_stats: \[3\], must be \[4\]"),
    "no experts": (changed(num_experts=None), "num_experts: None"),
    "tokens": (changed(x=LONG.x, topk_idx=LONG.ids, topk_weights=None), "x: 10 tokens, must be at most .*, 9"),
    "no tokens_max": (changed(num_max_tokens_per_rank=0), "num_max_tokens_per_rank: 0"),
    "alignment": (changed(expert_alignment=0), "expert_alignment: 0"),
    "sms": (changed(num_sms=-2), "num_sms: -2"),
    "event": (changed(previous_event=5), "previous_event: 5"),
    "other event": (changed(previous_event_before_epilogue="x"), "previous_event_before_epilogue: 'x'"),
    "meta": (changed(x=MINE.x.to("meta")), "x: on meta"),
}


def test_refused_dispatches():
    """Each, and then the buffer is as good as before."""

    def work(buffer, mine):
        for what, (told, text) in REFUSED_DISPATCHES.items():
            print(what)
            with pytest.raises(InvalidArgument, match=text):
                buffer.dispatch(**told)
        with pytest.raises(TypeError):
            buffer.dispatch(mine.x, nothing=1)
        x, _, _, handle, _ = dispatched(buffer, mine)
        assert torch.equal(buffer.combine(x, handle)[0], mine.x * (mine.ids >= 0).any(1)[:, None])

    on_buffer(work)


def test_experts_must_be_shared_out_evenly():
    def work(buffer, mine):
        with pytest.raises(InvalidArgument, match="num_experts: 4, must be a multiple of the 3 ranks"):
            dispatched(buffer, mine)

    on_buffers(work, (3,))


def test_refused_with_a_handle():
    def work(buffer, mine):
        x, _, weights, handle, _ = dispatched(buffer, mine)
        by_expert = dispatched(buffer, mine, do_expand=True)[3]
        cached = {
            "topk_idx: given, must be None": {"topk_idx": mine.ids},
            "do_cpu_sync: True, must be false": {"do_cpu_sync": True},
            "num_experts: 8, must be None or 4": {"num_experts": 8},
            "num_max_tokens_per_rank: 3, must be None or 9": {"num_max_tokens_per_rank": 3},
            "expert_alignment: 2, must be None or 1": {"expert_alignment": 2},
            "do_expand: True, must be False": {"do_expand": True},
            r"topk_weights: \[5, 2\], must be \[5, 3\]": {"topk_weights": mine.weights[:, 1:]},
            "x: \\[4, 32\\], must be of as many rows": {"x": mine.x[1:]},
            "handle: a int": {"handle": 5},
        }
        for text, told in cached.items():
            print(text)
            with pytest.raises(InvalidArgument, match=text):
                buffer.dispatch(**{"x": mine.x, "handle": handle, **told})
        combines = {
            "handle: a NoneType": {"handle": None},
            "x: torch.float32, must be torch.bfloat16": {"x": x.float()},
            # Of V2 no row goes in parts: it is as long as the buffer's hidden at most.
            "row bytes of x: 128, must be 16 to 64": {"x": torch.cat([x, x], 1)},
            "x: 4 rows, must be 5": {"x": x[:4]} if len(x) == 5 else {"x": x[1:]},
            "topk_weights: .*, must be": {"topk_weights": weights[1:]},
            "bias: 3 of them": {"bias": (x,) * 3},
            r"bias: \[1, 32\], must be \[5, 32\]": {"bias": mine.x[:1]},
            "bias: torch.float32": {"bias": mine.x.float()},
            "num_sms: -1": {"num_sms": -1},
            "previous_event: 3": {"previous_event": 3},
        }
        combines[f"x: {len(x) - 1} rows, must be {len(x)}"] = {"x": x[1:]}
        del combines["x: 4 rows, must be 5"]
        for text, told in combines.items():
            print(text)
            with pytest.raises(InvalidArgument, match=text):
                buffer.combine(**{"x": x, "handle": handle, **told})
        buffer.dispatch(mine.x, handle=handle, do_cpu_sync=False, num_experts=4, num_max_tokens_per_rank=9,
                        expert_alignment=1)
        rows = torch.zeros((by_expert.num_expanded_tokens, HIDDEN), dtype=torch.bfloat16, device="cpu")
        for value in (by_expert.num_expanded_tokens, -2):
            by_expert.recv_src_metadata[0, 2] = value
            with pytest.raises(InvalidArgument, match=r"handle.recv_src_metadata\[:, 2:\]: from .* to .*, must be"):
                buffer.combine(rows, by_expert)
        by_expert.recv_src_metadata = by_expert.recv_src_metadata[:, :4]
        with pytest.raises(InvalidArgument, match="handle.recv_src_metadata: "):
            buffer.combine(rows, by_expert)

    on_buffer(work)


def test_handles_belong_to_their_buffer():
    def work(group):
        mine = dense.tokens(0, 5, EXPERTS)
        one, other = (ElasticBuffer(group, num_max_tokens_per_rank=TOKENS_MAX) for _ in range(2))
        x, _, _, handle, _ = dispatched(one, mine)
        for call in (lambda: other.combine(x, handle), lambda: other.dispatch(mine.x, handle=handle)):
            with pytest.raises(InvalidArgument, match="handle: EPHandle.*, must be of a dispatch of this buffer"):
                call()

    on_ranks((1,), work)


def test_handles_outlive_a_larger_group():
    """A call that does not fit makes a new group; handles of the old one go on."""

    def work(group):
        buffer, mine = ElasticBuffer(group, num_max_tokens_per_rank=1), dense.tokens(group.rank(), 1, EXPERTS)
        x, _, _, handle, _ = dispatched(buffer, mine)
        big = dense.tokens(group.rank(), 50, EXPERTS, hidden=64)
        buffer.dispatch(big.x, big.ids, num_experts=EXPERTS, num_max_tokens_per_rank=50)
        owners = [len({int(each) // 2 for each in ids if each >= 0}) for ids in mine.ids]
        assert torch.equal(buffer.combine(x, handle)[0], mine.x * owners[0])

    on_ranks((2,), work)


def test_errors_are_transloads():
    assert issubclass(InvalidArgument, transload.Error) and issubclass(NotSupported, NotImplementedError)
