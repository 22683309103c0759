"""Programs of serving's shape: prefill over the layout, with and without two micro-batches that take turns; decode by
experts, with hooks; both modes over one buffer; ranks of MPI. Each against a dense layer.
"""
import threading

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from deep_ep_ranks import NODES, PATIENCE_S, Comm, on_ranks, run_all, variables  # noqa: E402
from dense import EXPERTS, FACTORS, HIDDEN, everybody, experts_of, received, same  # noqa: E402

from transload.deep_ep import Buffer, Config  # noqa: E402

MOST = 40  # tokens of a rank in a decode call
pytestmark = pytest.mark.filterwarnings("ignore:deep_ep")  # each argument's notice has its own test


def to_fp8(x, block=128):
    """Rows whose values fp8 has, and the scales that undo it."""
    scale = torch.full((len(x), x.shape[1] // block), 0.5, dtype=torch.float32)
    return (x.float() * 2).to(torch.float8_e4m3fn), scale


def from_fp8(rows, scales):
    block = rows.shape[-1] // scales.shape[-1] if scales.shape[-1] else 1
    return (rows.float() * scales.repeat_interleave(block, dim=-1)).to(torch.bfloat16)


class Turns:
    """Two threads, of which one runs."""

    def __init__(self):
        self.changed, self.running = threading.Condition(), 0

    def wait(self, mine):
        with self.changed:
            assert self.changed.wait_for(lambda: self.running == mine, PATIENCE_S)

    def give(self, mine):
        with self.changed:
            self.running = 1 - mine
            self.changed.notify_all()
        self.wait(mine)

    def leave(self, mine):
        with self.changed:
            self.running = 1 - mine
            self.changed.notify_all()


class Prefill:
    """vLLM's high-throughput path, of one rank; one handle for each micro-batch."""

    def __init__(self, group, fp8, turns=None):
        self.turns, self.fp8, self.handles = turns, fp8, [None, None]
        self.buffer = Buffer(group=group, num_nvl_bytes=1 << 20, num_rdma_bytes=0, low_latency_mode=False,
                             num_qps_per_rank=1, explicitly_destroy=True)
        self.rank, self.size = group.rank(), group.size()
        self.offset = self.rank * (EXPERTS // self.size)
        self.config = Buffer.get_dispatch_config(self.size) if self.size in (2, 4, 8) else None

    def layer(self, tokens, batch=0):
        alone = self.turns is None
        previous = None if alone else self.buffer.capture()
        per_rank, per_node, per_expert, in_rank, event = self.buffer.get_dispatch_layout(
            topk_idx=tokens.ids, num_experts=EXPERTS, previous_event=previous, async_finish=False,
            allocate_on_comm_stream=False)
        got, ids, weights, counts, self.handles[batch], event = self.buffer.dispatch(
            x=to_fp8(tokens.x) if self.fp8 else tokens.x,
            handle=None,
            num_tokens_per_rank=per_rank,
            num_tokens_per_rdma_rank=per_node,
            is_token_in_rank=in_rank,
            num_tokens_per_expert=per_expert,
            topk_idx=tokens.ids,
            topk_weights=tokens.weights,
            expert_alignment=1,
            config=self.config,
            previous_event=previous,
            async_finish=alone,
            allocate_on_comm_stream=False,
        )
        self.switch(batch)
        if event.event is not None:
            event.current_stream_wait()
        assert (event.event is not None) == alone
        x = from_fp8(*got) if self.fp8 else got
        ids = torch.where(ids == -1, EXPERTS - 1 if self.offset == 0 else 0, ids + self.offset)
        assert torch.tensor(counts, dtype=torch.int32).tolist() == counts and len(counts) == EXPERTS // self.size
        mine = (ids >= self.offset) & (ids < self.offset + EXPERTS // self.size) & (weights != 0)
        y = (x.float() * (weights * torch.where(mine, FACTORS[ids], 0)).sum(dim=1, keepdim=True)).to(torch.bfloat16)
        self.switch(batch)
        previous = None if alone else self.buffer.capture()
        combined, _, event = self.buffer.combine(
            x=y, handle=self.handles[batch], topk_weights=None, config=self.config, previous_event=previous,
            async_finish=alone, allocate_on_comm_stream=False)
        if event.event is not None:
            event.current_stream_wait()
        output = torch.zeros_like(tokens.x)
        output.copy_(combined, non_blocking=True)
        return output

    def switch(self, batch):
        if self.turns is not None:
            self.turns.give(batch)


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("fp8", [False, True])
def test_prefill(nodes, fp8):
    layers = [everybody(sum(nodes), seed=seed) for seed in (1, 2)]

    def work(group):
        program = Prefill(group, fp8)
        for tokens in layers:
            same(program.layer(tokens[group.rank()]), tokens[group.rank()].layer())
        program.buffer.destroy()

    on_ranks(nodes, work)


@pytest.mark.parametrize("nodes", NODES)
def test_prefill_of_two_batches_that_take_turns(nodes):
    batches = [everybody(sum(nodes), seed=seed) for seed in (1, 2)]

    def work(group):
        program = Prefill(group, False, Turns())

        def batch(index):
            program.turns.wait(index)
            try:
                return program.layer(batches[index][group.rank()], index)
            finally:
                program.turns.leave(index)

        for index, output in enumerate(run_all([lambda: batch(0), lambda: batch(1)])):
            same(output, batches[index][group.rank()].layer())
        assert program.handles[0] is not program.handles[1]
        program.buffer.destroy()

    on_ranks(nodes, work)


def masked_experts(rank, size, x, counts):
    """What a masked grouped product makes of [E, P, H]: rows past the counts are not looked at."""
    local = EXPERTS // size
    y = torch.full(x.shape, torch.nan, dtype=torch.bfloat16)
    for expert, count in enumerate(counts.tolist()):
        y[expert, :count] = (x[expert, :count].float() * FACTORS[rank * local + expert]).to(torch.bfloat16)
    return y


def decode_buffer(group):
    size = Buffer.get_low_latency_rdma_size_hint(num_max_dispatch_tokens_per_rank=MOST, hidden=HIDDEN,
                                                 num_ranks=group.size(), num_experts=EXPERTS)
    return Buffer(group=group, num_nvl_bytes=1 << 20, num_rdma_bytes=size, low_latency_mode=True,
                  num_qps_per_rank=EXPERTS // group.size(), allow_nvlink_for_low_latency_mode=True, allow_mnnvl=False,
                  explicitly_destroy=True, enable_shrink=False)


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("cast", [(False, False, False), (True, True, False)])
def test_decode_of_two_batches(nodes, cast):
    """vLLM's low-latency path: hooks that the other batch calls, two handles at once."""
    batches = [everybody(sum(nodes), seed=seed) for seed in (1, 2)]

    def work(group):
        buffer, rank, size = decode_buffer(group), group.rank(), group.size()
        tokens = [batch[rank] for batch in batches]
        open_calls = []
        for each in tokens:
            got, count, handle, event, hook = buffer.low_latency_dispatch(
                each.x, each.ids, MOST, EXPERTS, use_fp8=cast[0], round_scale=cast[1], use_ue8m0=cast[2],
                async_finish=False, return_recv_hook=True)
            assert event.event is None
            open_calls.append((each, got, count, handle, hook))
        backs = []
        for each, got, count, handle, hook in open_calls:
            hook()
            x = from_fp8(*got) if cast[0] else got
            y = masked_experts(rank, size, x, count)
            output = torch.full_like(each.x, torch.nan)
            _, _, hook = buffer.low_latency_combine(
                y, each.ids, each.weights, handle, async_finish=False, zero_copy=False, return_recv_hook=True,
                out=output)
            backs.append((each, output, hook))
        for each, output, hook in backs:
            hook()
            same(output, each.layer())
        status = torch.ones(size, dtype=torch.int32)
        buffer.low_latency_query_mask_buffer(status)
        assert not status.any()
        buffer.destroy()

    on_ranks(nodes, work)


class BothModes:
    """SGLang's: one buffer for prefill and decode, which is cleaned when decode comes after prefill."""

    def __init__(self, group):
        self.buffer = Buffer(group, 1 << 20, 1 << 20, low_latency_mode=True, num_qps_per_rank=max(Buffer.num_sms, 12),
                             allow_mnnvl=True)
        self.config = Config(**{"num_sms": 20, "num_max_nvl_chunked_send_tokens": 8,
                                "num_max_nvl_chunked_recv_tokens": 256, "num_max_rdma_chunked_send_tokens": 16,
                                "num_max_rdma_chunked_recv_tokens": 128})
        assert self.buffer.low_latency_mode and self.buffer.group_size == group.size()
        self.rank, self.size, self.handle, self.seen = group.rank(), group.size(), None, []

    def prefill(self, tokens, fp8, asynchronous):
        previous = Buffer.capture() if asynchronous else None
        per_rank, per_node, per_expert, in_rank, previous = self.buffer.get_dispatch_layout(
            tokens.ids, EXPERTS, previous_event=previous, async_finish=asynchronous,
            allocate_on_comm_stream=previous is not None)
        got, ids, weights, counts, self.handle, event = self.buffer.dispatch(
            to_fp8(tokens.x) if fp8 else tokens.x,
            topk_idx=tokens.ids.to(torch.int64),
            topk_weights=tokens.weights,
            num_tokens_per_rank=per_rank,
            num_tokens_per_rdma_rank=per_node,
            is_token_in_rank=in_rank,
            num_tokens_per_expert=per_expert,
            previous_event=previous,
            async_finish=asynchronous,
            allocate_on_comm_stream=asynchronous,
            expert_alignment=128 if fp8 else 1,
            config=self.config,
        )
        if asynchronous:
            event.current_stream_wait()
        self.seen.append((per_rank, per_node, per_expert, counts))
        y = experts_of(self.rank, self.size, from_fp8(*got) if fp8 else got, ids, weights)
        out, _, event = self.buffer.combine(
            y, self.handle, async_finish=asynchronous, previous_event=Buffer.capture() if asynchronous else None,
            allocate_on_comm_stream=asynchronous, config=self.config)
        if asynchronous:
            event.current_stream_wait()
        return out

    def decode(self, tokens, hooked):
        got, count, self.handle, event, hook = self.buffer.low_latency_dispatch(
            tokens.x, tokens.ids, MOST, EXPERTS, use_fp8=True, async_finish=not hooked, return_recv_hook=hooked,
            round_scale=True, use_ue8m0=False)
        hook() if hooked else event.current_stream_wait()
        y = masked_experts(self.rank, self.size, from_fp8(*got), count)
        out, event, hook = self.buffer.low_latency_combine(
            x=y, topk_idx=tokens.ids, topk_weights=tokens.weights, handle=self.handle, async_finish=not hooked,
            return_recv_hook=hooked)
        hook() if hooked else event.current_stream_wait()
        return out


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("way", [False, True])
def test_prefill_and_decode_over_one_buffer(nodes, way):
    tokens = everybody(sum(nodes))

    def work(group):
        program, mine = BothModes(group), tokens[group.rank()]
        same(program.prefill(mine, fp8=way, asynchronous=way), mine.layer())
        program.buffer.clean_low_latency_buffer(MOST, HIDDEN, EXPERTS)
        same(program.decode(mine, hooked=way), mine.layer())
        same(program.prefill(mine, fp8=not way, asynchronous=not way), mine.layer())
        program.buffer.clean_low_latency_buffer(MOST, HIDDEN, EXPERTS)
        same(program.decode(mine, hooked=not way), mine.layer())
        expected = received(program.rank, tokens)[3]
        for (per_rank, per_node, per_expert, counts), fp8 in zip(program.seen, (way, not way)):
            assert counts == [-(-count // 128) * 128 if fp8 else count for count in expected]
            assert per_expert.tolist() == torch.bincount(mine.ids[mine.ids >= 0], minlength=EXPERTS).tolist()
            assert per_rank.shape == (program.size,) and (per_node is None) == (len(nodes) == 1)

    on_ranks(nodes, work)


@pytest.mark.parametrize("nodes", NODES)
def test_ranks_of_mpi(nodes):
    """TensorRT-LLM's: rows of fp8 seen as bf16 of half the length, scales as float32, longer rows on the way back."""
    tokens = everybody(sum(nodes))

    def work(comm):
        rank, size, mine = comm.Get_rank(), comm.Get_size(), tokens[comm.Get_rank()]
        buffer = Buffer(None, 1 << 20, 0, comm=comm)
        per_rank, per_node, per_expert, in_rank, event = buffer.get_dispatch_layout(mine.ids, EXPERTS)
        assert event.event is None
        rows, scales = to_fp8(mine.x)
        got, ids, weights, counts, handle, event = buffer.dispatch(
            (rows.view(torch.bfloat16), scales.view(torch.float32)), topk_idx=mine.ids, topk_weights=mine.weights,
            num_tokens_per_rank=per_rank, num_tokens_per_rdma_rank=per_node, is_token_in_rank=in_rank,
            num_tokens_per_expert=per_expert)
        assert event.event is None and counts == received(rank, tokens)[3]
        y = experts_of(rank, size, from_fp8(got[0].view(torch.float8_e4m3fn), got[1]), ids, weights)
        out, _, event = buffer.combine(y, handle)
        assert event.event is None
        same(out, mine.layer())
        buffer = None
        comm.allgather(None)
        buffer = Buffer(None, 0, 1 << 20, low_latency_mode=True, num_qps_per_rank=EXPERTS // size,
                        allow_nvlink_for_low_latency_mode=True, comm=comm)
        got, count, handle, event, hook = buffer.low_latency_dispatch(
            rows.view(torch.bfloat16), mine.ids, MOST, EXPERTS, use_fp8=False)
        assert event.event is None and hook is None
        x = from_fp8(got.view(torch.float8_e4m3fn), torch.full((*got.shape[:2], 2), 0.5, dtype=torch.float32))
        out, event, hook = buffer.low_latency_combine(
            masked_experts(rank, size, x, count), mine.ids, mine.weights, handle)
        assert event.event is None and hook is None
        same(out, mine.layer())

    with variables(TRANSLOAD_NODES=",".join(map(str, nodes))):
        run_all([lambda comm=comm: work(comm) for comm in Comm.of(sum(nodes))])
