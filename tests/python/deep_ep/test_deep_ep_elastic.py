"""ElasticBuffer: what its calls bring, on ranks that are threads, against loops over all tokens (dense_v2.py)."""
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import dense_v2 as dense  # noqa: E402
from dense_v2 import HIDDEN, TOKENS_MAX, TOP_K  # noqa: E402
from deep_ep_ranks import NODES, on_ranks  # noqa: E402

from transload.deep_ep import ElasticBuffer, EPHandle  # noqa: E402


def buffer_of(group, **options):
    sizes = {"num_max_tokens_per_rank": TOKENS_MAX, "hidden": HIDDEN, "num_topk": TOP_K}
    return ElasticBuffer(group, **{**sizes, **options})


def on_buffers(nodes, counts, work, **options):
    """work(buffer, everybody's tokens, experts) of each rank."""
    ranks, experts = sum(nodes), 2 * sum(nodes)
    everybody = dense.world(ranks, dense.COUNTS[counts], experts)
    return on_ranks(nodes, lambda group: work(buffer_of(group, **options), everybody, experts))


def on_all_cases(nodes, work, **options):
    """work(buffer, everybody's tokens, experts, options of a form) of each rank, for all counts and forms in turn."""
    ranks, experts = sum(nodes), 2 * sum(nodes)
    worlds = {counts: dense.world(ranks, dense.COUNTS[counts], experts) for counts in dense.COUNTS}

    def each(group):
        buffer = buffer_of(group, **options)
        for counts, everybody in worlds.items():
            for form, told in FORMS.items():
                print(f"rank {buffer.rank_idx}: {counts}, {form}")  # seen if the test fails
                work(buffer, everybody, experts, told)

    on_ranks(nodes, each)


def dispatched(buffer, mine, experts, **options):
    return buffer.dispatch(mine.x, mine.ids, mine.weights, num_experts=experts, **options)


def check_handle(handle, expected, options, rank):
    """The fields that do not depend on whether rows are by expert."""
    alignment, ranks = options.get("expert_alignment") or 1, len(expected.sources)
    waited = options.get("do_cpu_sync", True) is not False
    rounded = [-(-count // alignment) * alignment for count in expected.counts]
    rows = len(expected.source)
    assert (handle.num_experts, handle.expert_alignment) == (2 * ranks, alignment)
    assert (handle.num_max_tokens_per_rank, handle.do_expand) == (TOKENS_MAX, bool(options.get("do_expand")))
    assert handle.num_recv_tokens == (rows if waited else ranks * TOKENS_MAX)
    assert handle.num_recv_tokens_per_expert_list == (rounded if waited else [])
    assert handle.psum_num_recv_tokens_per_scaleup_rank.tolist() == expected.sources
    assert handle.num_unaligned_recv_tokens_per_expert.tolist() == expected.counts
    ends = [sum(rounded[:expert + 1]) for expert in range(len(rounded))]
    if handle.do_expand:
        ends = [end - room + count for end, room, count in zip(ends, rounded, expected.counts)]
    assert handle.psum_num_recv_tokens_per_expert.tolist() == ends
    told = handle.recv_src_metadata
    assert told.shape == (handle.num_recv_tokens, 2 + TOP_K)
    for row, (source, token) in enumerate(expected.source):
        first = next(choice for choice in range(TOP_K) if expected.ids[row, choice] >= 0)
        assert told[row, :2].tolist() == [source * TOKENS_MAX + token, source * TOP_K + first]
    assert told[rows:].eq(-1).all() and (handle.do_expand or told[:, 2:].eq(-1).all())
    tensors = (told, handle.psum_num_recv_tokens_per_expert, handle.psum_num_recv_tokens_per_scaleup_rank,
               handle.num_unaligned_recv_tokens_per_expert, handle.dst_buffer_slot_idx)
    assert {each.dtype for each in tensors} == {torch.int32}
    assert handle.dst_buffer_slot_idx.shape == handle.topk_idx.shape
    assert handle.token_metadata_at_forward is None and handle.channel_linked_list is None


FORMS = {
    "plain": {},
    "aligned": {"expert_alignment": 4},
    "without a wait": {"do_cpu_sync": False},
    "by expert": {"do_expand": True},
    "by expert, aligned": {"do_expand": True, "expert_alignment": 4, "do_zero_padding": True},
    "by expert, without a wait": {"do_expand": True, "do_cpu_sync": False, "expert_alignment": 4,
                                  "do_zero_padding": True},
    "by expert, columns": {"do_expand": True, "expert_alignment": 4, "use_tma_aligned_col_major_sf": True},
}


def check_rows(got, handle, expected, options):
    """(x, scales), ids and weights of a dispatch in its form, first or cached."""
    (x, scales), ids, weights = got
    rows = len(expected.source)
    if not options.get("do_expand"):
        assert len(x) == len(scales) == len(ids) == handle.num_recv_tokens
        assert torch.equal(x[:rows].view(torch.uint8), expected.x.to(x.dtype).view(torch.uint8))
        assert torch.equal(scales[:rows], expected.scales)
        assert torch.equal(ids[:rows], expected.ids) and ids[rows:].eq(-1).all()
        assert torch.equal(weights[:rows], expected.weights) and not weights[rows:].any()
        return
    count, slots = handle.num_expanded_tokens, handle.recv_src_metadata[:rows, 2:]
    assert ids is None and len(x) == len(scales) == count and weights.shape == (count,)
    slot_experts = dense.expert_of_slot(handle.psum_num_recv_tokens_per_expert.tolist(), handle.expert_alignment, count)
    assert torch.equal(slots < 0, expected.ids < 0)
    filled = slots[slots >= 0].tolist()
    assert sorted(filled) == [slot for slot, (_, is_row) in enumerate(slot_experts) if is_row]
    for row in range(rows):
        for choice in range(TOP_K):
            slot = slots[row, choice]
            if slot >= 0:
                assert slot_experts[slot][0] == expected.ids[row, choice]
                assert torch.equal(x[slot].view(torch.uint8), expected.x[row].to(x.dtype).view(torch.uint8))
                assert torch.equal(scales[slot], expected.scales[row])
                assert weights[slot] == expected.weights[row, choice]
    gaps = torch.ones(count, dtype=torch.bool, device="cpu")
    gaps[torch.tensor(filled, dtype=torch.int64, device="cpu")] = False
    assert not weights[gaps].any()
    if options.get("do_zero_padding"):
        assert not x[gaps].view(torch.uint8).any() and not scales[gaps].any()
    if options.get("use_tma_aligned_col_major_sf"):
        assert scales.stride() == (1, -(-count // 4) * 4)


@pytest.mark.parametrize("nodes", NODES, ids=str)
def test_dispatch_and_cached_dispatch(nodes):
    """fp8 rows with scales, then the same along the handle, once bf16."""

    def work(buffer, everybody, experts, options):
        rank = buffer.rank_idx
        again = {name: options[name] for name in ("do_expand", "do_zero_padding", "use_tma_aligned_col_major_sf")
                 if name in options}
        mine, expected = everybody[rank], dense.came(rank, everybody, experts)
        fp8 = (mine.x.to(torch.float8_e4m3fn), mine.scales)
        *got, handle, event = buffer.dispatch(fp8, mine.ids, mine.weights, num_experts=experts, **options)
        assert event.event is None and isinstance(handle, EPHandle)
        assert torch.equal(handle.topk_idx, mine.ids)
        check_handle(handle, expected, options, rank)
        check_rows(got, handle, expected, options)
        for x in (mine.x, fp8[0]):
            *got, same, _ = buffer.dispatch((x, mine.scales), handle=handle, topk_weights=mine.weights, **again)
            assert same is handle
            check_rows(got, handle, expected, options)
        x, _, weights, _, _ = buffer.dispatch(mine.x, handle=handle, **again)
        assert isinstance(x, torch.Tensor) and weights is None

    on_all_cases(nodes, work)


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("nodes", NODES, ids=str)
def test_there_and_back(nodes, one_by_one):
    """A layer of experts, its weights back as gradients come, and biases: none, one and two."""

    def work(buffer, everybody, experts, options):
        rank, ranks = buffer.rank_idx, buffer.num_ranks
        mine = everybody[rank]
        x, ids, weights, handle, _ = dispatched(buffer, mine, experts, **options)
        if handle.do_expand:
            ends = handle.psum_num_recv_tokens_per_expert.tolist()
            whose = dense.expert_of_slot(ends, handle.expert_alignment, len(x))
            first = rank * (experts // ranks)
            factors = [dense.factor(first + expert) if is_row else 1 for expert, is_row in whose]
            y = x * torch.tensor(factors, dtype=x.dtype, device="cpu")[:, None]
        else:
            y = dense.experts_of(rank, x, ids, experts, ranks)
            weights = weights.masked_fill(ids < 0, 7)  # counts for nothing: those choices are other ranks'
        expected, bias = dense.layer(mine), mine.x
        combined, none, event = buffer.combine(y, handle)
        assert torch.equal(combined, expected) and none is None and event.event is None
        for biases, total in ((bias, expected + bias), ((bias, bias), expected + bias + bias)):
            combined, back, _ = buffer.combine(y, handle, topk_weights=weights, bias=biases)
            assert combined.dtype == torch.bfloat16 and torch.equal(combined, total)
            assert torch.equal(back, mine.weights.masked_fill(mine.ids < 0, 0))

    on_all_cases(nodes, work, allow_multiple_reduction=not one_by_one)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_rounded_after_each_rank_or_once(one_by_one):
    """256 and 1 of rank 0's experts, 1 of rank 1's: (256 + 1) is 256 in bf16, so two roundings lose both."""

    def work(buffer, _, experts):
        ids = torch.tensor([[0, 1, 2]], dtype=torch.int64, device="cpu")
        x = torch.ones((1, HIDDEN), dtype=torch.bfloat16, device="cpu")
        y, _, _, handle, _ = buffer.dispatch(x, ids, num_experts=experts, do_expand=True)
        if buffer.rank_idx == 0:
            y[handle.recv_src_metadata[:, 2].to(torch.int64)] = 256  # of both source ranks
        combined = buffer.combine(y, handle)[0]
        assert combined.eq(258 if one_by_one else 256).all()

    on_buffers((2,), "none", work, allow_multiple_reduction=not one_by_one)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_sums_of_other_nodes_are_rounded_unless_it_is_once(one_by_one):
    """256 and 1 of two ranks of node 1, 1 of node 0."""

    def work(buffer, _, experts):
        ids = torch.tensor([[0, 2, 4]], dtype=torch.int64, device="cpu")
        x = torch.ones((1, HIDDEN), dtype=torch.bfloat16, device="cpu")
        y, _, _, handle, _ = dispatched(buffer, dense.Tokens(x, ids, x[:, :3].float(), None), experts)
        combined = buffer.combine(y * (256 if buffer.rank_idx == 1 else 1), handle)[0]
        if buffer.rank_idx == 0:
            assert combined.eq(258 if one_by_one else 256).all()

    on_buffers((1, 2), "none", work, allow_multiple_reduction=not one_by_one)


def test_choices_are_added_in_their_order():
    """1e30 - 1e30 + 1 is 1, in any other order 0."""

    def work(buffer, _, experts):
        ids = torch.tensor([[3, 0, 2]], dtype=torch.int64, device="cpu")
        x = torch.ones((1, HIDDEN), dtype=torch.bfloat16, device="cpu")
        y, _, _, handle, _ = buffer.dispatch(x, ids, num_experts=4, do_expand=True)
        for choice, value in enumerate((1e30, -1e30, 1)):
            slots = handle.recv_src_metadata[:, 2 + choice]
            y[slots[slots >= 0].to(torch.int64)] = value
        return buffer.combine(y, handle)[0].eq(1).all()

    assert on_buffers((1,), "none", work) == [True]
    assert on_buffers((2,), "none", work, allow_multiple_reduction=False) == [True, True]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_who_moves_expanded_rows_writes_it_into_the_handle(one_by_one):
    """Rows in reverse, as the handle is told: combine and cached dispatches find them; who is gone adds nothing."""

    def work(buffer, everybody, experts):
        mine = everybody[buffer.rank_idx]
        x, _, weights, handle, _ = dispatched(buffer, mine, experts, do_expand=True)
        last = len(x) - 1
        slots = handle.recv_src_metadata[:, 2:]
        slots[slots >= 0] = last - slots[slots >= 0]
        expected = mine.x * (mine.ids >= 0).sum(1)[:, None].to(mine.x.dtype)
        combined, back, _ = buffer.combine(x.flip(0), handle, weights.flip(0))
        assert torch.equal(combined, expected)
        assert torch.equal(back, mine.weights.masked_fill(mine.ids < 0, 0))
        told = {"handle": handle, "topk_weights": mine.weights, "do_expand": True}
        again, _, weights_again, _, _ = buffer.dispatch(mine.x, **told)
        assert torch.equal(again, x.flip(0)) and torch.equal(weights_again, weights.flip(0))
        handle.recv_src_metadata[:, 2:] = -1
        assert not buffer.combine(x, handle)[0].any()

    on_buffers((1, 2), "unequal", work, allow_multiple_reduction=not one_by_one)


def test_cached_dispatch_of_an_expanded_handle_without_expansion():
    """What the backward of a combine gets that does not ask for rows by expert."""

    def work(buffer, everybody, experts):
        mine = everybody[buffer.rank_idx]
        handle = dispatched(buffer, mine, experts, do_expand=True)[3]
        x, ids, weights, _, _ = buffer.dispatch(mine.x, handle=handle, topk_weights=mine.weights)
        expected = dense.came(buffer.rank_idx, everybody, experts)
        assert torch.equal(x, expected.x) and torch.equal(ids, expected.ids) and torch.equal(weights, expected.weights)

    on_buffers((2,), "unequal", work)


@pytest.mark.parametrize("alignment", [1, 3])
def test_all_choose_one_expert_without_a_wait(alignment):
    """A row becomes as many rows as it has choices then, though there is one expert."""

    def work(group):
        buffer = ElasticBuffer(group)
        x = torch.arange(4 * HIDDEN, device="cpu").reshape(4, HIDDEN).remainder(64).to(torch.bfloat16)
        ids = torch.zeros((4, 2), dtype=torch.int64, device="cpu")
        got, _, weights, handle, _ = buffer.dispatch(
            x, ids, torch.ones((4, 2), device="cpu"), num_experts=1, num_max_tokens_per_rank=4,
            expert_alignment=alignment, do_cpu_sync=False, do_expand=True)
        slots = handle.recv_src_metadata[:, 2:].long()
        assert sorted(slots.flatten().tolist()) == list(range(8))
        assert torch.equal(got[slots], x[:, None].expand(4, 2, HIDDEN)) and weights[:8].eq(1).all()
        assert torch.equal(buffer.combine(got, handle)[0], 2 * x)

    on_ranks((1,), work)


def test_weights_of_many_choices_are_wider_than_a_row():
    """A cached dispatch brings 9 weights over rows that have room for 4."""
    top_k, hidden = 9, 8

    def work(group):
        buffer = ElasticBuffer(group)
        everybody = dense.world(2, dense.COUNTS["unequal"], 4, top_k=top_k, hidden=hidden)
        mine = everybody[buffer.rank_idx]
        told = {"num_experts": 4, "num_max_tokens_per_rank": TOKENS_MAX}
        _, _, weights, handle, _ = buffer.dispatch(mine.x, mine.ids, mine.weights, **told)
        again = buffer.dispatch(mine.x, handle=handle, topk_weights=mine.weights)[2]
        assert torch.equal(weights, dense.came(buffer.rank_idx, everybody, 4).weights)
        assert torch.equal(again, weights)

    on_ranks((2,), work)


@pytest.mark.parametrize("ids_type", [torch.int32, torch.int64])
def test_ids_go_out_as_they_came_in(ids_type):
    def work(buffer, everybody, experts):
        mine = everybody[buffer.rank_idx]
        ids, handle = buffer.dispatch(mine.x, mine.ids.to(ids_type), num_experts=experts)[1:4:2]
        assert ids.dtype == handle.topk_idx.dtype == ids_type
        assert torch.equal(ids.long(), dense.came(buffer.rank_idx, everybody, experts).ids)
        assert buffer.dispatch(mine.x, handle=handle)[1].dtype == ids_type

    on_buffers((2,), "as many", work)


def test_nothing_rests_on_torchs_defaults_or_modes():
    before = torch.get_default_dtype()

    def work(buffer, everybody, experts):
        with torch.inference_mode():
            mine = everybody[buffer.rank_idx]
            x, _, _, handle, _ = dispatched(buffer, mine, experts, do_expand=True, do_cpu_sync=False)
            combined = buffer.combine(x, handle)[0]
            assert torch.equal(combined, mine.x * (mine.ids >= 0).sum(1)[:, None].to(mine.x.dtype))

    everything = ((1,), "as many", work)
    torch.set_default_dtype(torch.bfloat16)
    try:
        on_buffers(*everything)
        on_buffers(*everything, allow_multiple_reduction=False)
    finally:
        torch.set_default_dtype(before)
