"""V1's Buffer but for its calls, argument by argument: what is supported has an effect that is seen, what is ignored
says so once, what is refused raises what docs/deepep.md says.
"""
import inspect
import re

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from buffers import first, of, refuses  # noqa: E402
from deep_ep_ranks import Comm, on_ranks, run_all  # noqa: E402
from dense import EXPERTS, Tokens, same  # noqa: E402

import transload  # noqa: E402
from transload.deep_ep import Buffer, Config, EventHandle, EventOverlap, notices  # noqa: E402


@pytest.fixture(autouse=True)
def _fresh_notices(monkeypatch):
    monkeypatch.setattr(notices, "_said", set())


SIGNATURES = {
    "__init__": "group num_nvl_bytes=0 num_rdma_bytes=0 low_latency_mode=False num_qps_per_rank=24 "
                "allow_nvlink_for_low_latency_mode=True allow_mnnvl=False use_fabric=False explicitly_destroy=False "
                "enable_shrink=False comm=None",
    "get_dispatch_layout": "topk_idx num_experts previous_event=None async_finish=False allocate_on_comm_stream=False",
    "dispatch": "x handle=None num_tokens_per_rank=None num_tokens_per_rdma_rank=None is_token_in_rank=None "
                "num_tokens_per_expert=None topk_idx=None topk_weights=None expert_alignment=1 num_worst_tokens=0 "
                "config=None previous_event=None async_finish=False allocate_on_comm_stream=False",
    "combine": "x handle topk_weights=None bias=None config=None previous_event=None async_finish=False "
               "allocate_on_comm_stream=False",
    "low_latency_dispatch": "x topk_idx num_max_dispatch_tokens_per_rank num_experts "
                            "cumulative_local_expert_recv_stats=None dispatch_wait_recv_cost_stats=None use_fp8=True "
                            "round_scale=False use_ue8m0=False async_finish=False return_recv_hook=False",
    "low_latency_combine": "x topk_idx topk_weights handle use_logfmt=False zero_copy=False async_finish=False "
                           "return_recv_hook=False out=None combine_wait_recv_cost_stats=None",
    "clean_low_latency_buffer": "num_max_dispatch_tokens_per_rank hidden num_experts",
    "low_latency_update_mask_buffer": "rank_to_mask mask=False",
    "low_latency_query_mask_buffer": "mask_status",
    "low_latency_clean_mask_buffer": "",
    "get_next_low_latency_combine_buffer": "handle",
    "get_local_buffer_tensor": "dtype size=None offset=0 use_rdma_buffer=False",
    "destroy": "",
    "get_comm_stream": "",
    "set_num_sms": "new_num_sms",
    "capture": "",
    "is_sm90_compiled": "",
    "get_dispatch_config": "num_ranks",
    "get_combine_config": "num_ranks",
    "get_low_latency_rdma_size_hint": "num_max_dispatch_tokens_per_rank hidden num_ranks num_experts",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_parameters_have_names_and_order(name):
    """Programs look at them."""
    found = [str(each) for each in inspect.signature(getattr(Buffer, name)).parameters.values() if each.name != "self"]
    assert found == SIGNATURES[name].split()


def test_init_may_be_patched(monkeypatch):
    seen, real = [], Buffer.__init__
    monkeypatch.setattr(Buffer, "__init__", lambda self, *args, **kw: seen.append(args) or real(self, *args, **kw))
    on_ranks((1,), lambda group: Buffer(group, 3))
    assert seen[0][1:] == (3,)


def test_attributes():
    def work(group):
        buffer = Buffer(group, 123, 45, True, explicitly_destroy=True)
        inside = buffer.runtime
        assert buffer.group is group and buffer.low_latency_mode and buffer.explicitly_destroy
        assert (buffer.num_nvl_bytes, buffer.num_rdma_bytes, buffer.num_sms) == (123, 45, 20) and inside.is_available()
        plain = Buffer(group)
        assert not plain.low_latency_mode and not plain.explicitly_destroy and plain.num_nvl_bytes == 0
        return (buffer.rank, buffer.group_size, inside.get_num_rdma_ranks(), inside.get_rdma_rank(),
                inside.get_local_device_id())

    assert on_ranks((1, 2), work) == [(0, 3, 2, 0, 0), (1, 3, 2, 1, 0), (2, 3, 2, 1, 1)]


def test_comm_is_the_group():
    comms = Comm.of(2)
    assert [each.group for each in run_all([lambda comm=comm: Buffer(None, comm=comm) for comm in comms])] == comms


def test_no_ranks():
    with pytest.raises(ValueError, match="one of them must be given"):
        Buffer(None)
    with refuses("enable_shrink: True, must be False", transload.NotSupported):
        Buffer(None, enable_shrink=True)


IGNORED = {"num_qps_per_rank": 12, "allow_nvlink_for_low_latency_mode": False, "allow_mnnvl": True, "use_fabric": True}


@pytest.mark.parametrize("name", IGNORED)
def test_ignored_arguments_say_so_once(name, recwarn):
    comm = Comm.of(1)[0]
    for _ in range(2):
        Buffer(None, 1 << 20, 1 << 20, comm=comm, **{name: IGNORED[name]})
        Buffer(None, comm=comm)
    assert [str(each.message) for each in recwarn if "deep_ep" in str(each.message)] == [
        warning for warning in (str(each.message) for each in recwarn)
        if re.match(rf"deep_ep: Buffer: {name}={IGNORED[name]} has no effect: ", warning)]
    assert len(recwarn) == 1 and recwarn[0].category is UserWarning and recwarn[0].filename == __file__


def test_config(recwarn):
    fields = ("num_sms", "num_max_nvl_chunked_send_tokens", "num_max_nvl_chunked_recv_tokens",
              "num_max_rdma_chunked_send_tokens", "num_max_rdma_chunked_recv_tokens")
    assert [getattr(Config(), name) for name in fields] == [20, 6, 256, 6, 256] and not recwarn.list
    for config in (Config(24, 8, 512, 16, 128), Config(**dict(zip(fields, (24, 8, 512, 16, 128))))):
        assert [getattr(config, name) for name in fields] == [24, 8, 512, 16, 128]
    said = [str(each.message) for each in recwarn]
    assert len(said) == 4 and all(f"Config: {name}=" in each for name, each in zip(fields[1:], said))
    for wrong in (0, -2, "a", 2.5, True, None):
        with refuses("num_sms: .*must be a whole number from 1"):
            Config(wrong)
    with refuses("num_max_nvl_chunked_send_tokens: -1"):
        Config(20, -1)


def test_configs_and_hints_for_any_number_of_ranks():
    for ranks in (1, 2, 3, 7, 8, 16, 160, 1000):
        for config in (Buffer.get_dispatch_config(ranks), Buffer.get_combine_config(ranks)):
            assert config.num_sms == Buffer.num_sms
            assert config.get_nvl_buffer_size_hint(14336, ranks) > config.get_nvl_buffer_size_hint(7168, ranks) > 0
            assert config.get_rdma_buffer_size_hint(14336, ranks) == 0
        hint = Buffer.get_low_latency_rdma_size_hint(128, 7168, ranks, 8 * ranks)
        assert hint >= 2 * 8 * ranks * 128 * 7168 * 2  # there and back
    for wrong in (0, 5000, "8"):
        for call in (Buffer.get_dispatch_config, Buffer.get_combine_config,
                     lambda n: Config().get_nvl_buffer_size_hint(64, n),
                     lambda n: Config().get_rdma_buffer_size_hint(64, n),
                     lambda n: Buffer.get_low_latency_rdma_size_hint(1, 64, n, 8)):
            with refuses("num_ranks: .*must be a whole number from 1 to 4096"):
                call(wrong)
    wrong = {"num_max_dispatch": (0, 64, 1, 8), "hidden": (1, 0, 1, 8), "num_experts": (1, 64, 1, 0)}
    for name, arguments in wrong.items():
        with refuses(f"{name}.*: 0, must be"):
            Buffer.get_low_latency_rdma_size_hint(*arguments)


def test_num_sms(monkeypatch):
    monkeypatch.setattr(Buffer, "num_sms", 20)
    Buffer.set_num_sms(24)
    assert Buffer.num_sms == 24 and Buffer.get_dispatch_config(8).num_sms == Buffer.get_combine_config(8).num_sms == 24
    for wrong, bound in ((23, "even"), (0, "from 2"), (-4, "from 2"), (2.0, "whole"), ("24", "whole")):
        with refuses(f"new_num_sms: .*must be .*{bound}"):
            Buffer.set_num_sms(wrong)
    assert Buffer.num_sms == 24


def test_capture_and_what_is_compiled():
    buffer = Buffer(None, comm=Comm.of(1)[0])
    for where in (Buffer, buffer):
        assert isinstance(where.capture(), EventOverlap) and isinstance(where.capture().event, EventHandle)
        assert where.is_sm90_compiled() is True
    assert buffer.get_comm_stream() is buffer.get_comm_stream()


def test_destroy():
    @of(2, explicitly_destroy=True)
    def work(buffer, rank, tokens):
        got = first(buffer, tokens[rank])
        kept = got[0].clone()
        buffer.destroy()
        assert buffer.runtime is None
        same(got[0], kept)
        for call in (lambda: first(buffer, tokens[rank]), lambda: buffer.combine(got[0], got[4]),
                     lambda: buffer.dispatch(tokens[rank].x, handle=got[4]),
                     lambda: buffer.get_dispatch_layout(tokens[rank].ids, EXPERTS)):
            with refuses("destroyed"):
                call()
        buffer.destroy()  # twice does no harm

    work()
    with pytest.raises(AssertionError, match="explicitly_destroy"):
        Buffer(None, comm=Comm.of(1)[0]).destroy()


def test_destroy_is_not_collective():
    @of(2, explicitly_destroy=True)
    def work(buffer, rank, tokens):
        back = buffer.combine(*first(buffer, tokens[rank])[0:5:4])
        if rank == 0:
            buffer.destroy()
        return back[0].shape

    work()


@pytest.mark.parametrize("nodes", [(2,), (1, 2)])
@pytest.mark.parametrize("ids", [torch.int64, torch.int32])
@pytest.mark.parametrize("calls", [0, 1])
def test_layout(nodes, ids, calls):
    """Before there is a group, and after. Ids that are no expert are no choice; an expert that is chosen twice counts
    twice, its rank once.
    """
    size, local = sum(nodes), EXPERTS // sum(nodes)
    topk = torch.tensor([[0, 1, EXPERTS - 1], [-1, -1, -1], [EXPERTS, 5, -7], [2, 2, -1]], dtype=ids)
    ranks = [{0, size - 1}, set(), {5 // local}, {2 // local}]

    def work(group):
        buffer = Buffer(group)
        for _ in range(calls):
            first(buffer, Tokens(group.rank(), 4))
        assert (buffer._groups.count(EXPERTS, topk) is not None) == bool(calls)
        per_rank, per_node, per_expert, in_rank, event = buffer.get_dispatch_layout(topk, EXPERTS)
        assert event.event is None
        same(in_rank, torch.tensor([[rank in each for rank in range(size)] for each in ranks]))
        same(per_rank, in_rank.sum(dim=0).to(torch.int32))
        wanted = torch.zeros(EXPERTS, dtype=torch.int32)
        for expert in (0, 1, EXPERTS - 1, 5, 2, 2):
            wanted[expert] += 1
        same(per_expert, wanted)
        if len(nodes) == 1:
            assert per_node is None
        else:
            same(per_node, torch.tensor([sum(0 in each for each in ranks), sum(bool(each - {0}) for each in ranks)],
                                        dtype=torch.int32))

    on_ranks(nodes, work)


def test_layout_refuses():
    @of(2)
    def work(buffer, rank, tokens):
        ids = tokens[rank].ids
        for wrong, match in ((ids.float(), "topk_idx: torch.float32, must be torch.int64 or torch.int32"),
                             (ids[0] if len(ids) else ids.flatten(), "topk_idx: 1 dimensions, must be of 2"),
                             ([[1]], "topk_idx: a list, must be a tensor"),
                             (torch.zeros(4, 3, dtype=torch.int64).t(), r"topk_idx: of strides \[1, 3\], must be cont"),
                             (ids.to("meta"), "topk_idx: on meta, must be on the CPU")):
            with refuses(match):
                buffer.get_dispatch_layout(wrong, EXPERTS)
        for wrong in (EXPERTS - 1, 0, "8", None):
            with refuses("num_experts: .*must be"):
                buffer.get_dispatch_layout(ids, wrong)
        with refuses("previous_event: 3, must be an EventOverlap"):
            buffer.get_dispatch_layout(ids, EXPERTS, previous_event=3)

    work()


def test_what_is_not_there():
    buffer = Buffer(None, comm=Comm.of(1)[0])
    for name, arguments in (("get_local_buffer_tensor", {"dtype": torch.int8, "use_rdma_buffer": True}),
                            ("low_latency_update_mask_buffer", {"rank_to_mask": 0, "mask": True}),
                            ("low_latency_clean_mask_buffer", {})):
        with refuses(name, transload.NotSupported):
            getattr(buffer, name)(**arguments)
    status = torch.ones(3, dtype=torch.int32)
    buffer.low_latency_query_mask_buffer(status)
    assert not status.any()
    buffer.clean_low_latency_buffer(128, 7168, 256)
