"""Rows by expert, against loops over rows and choices."""
import pytest

torch = pytest.importorskip("torch", reason="rows by expert are torch's: torch is not installed")
expand = pytest.importorskip("transload.deep_ep.expand")

SHAPES = [(0, 2, 3, 4), (1, 1, 1, 1), (9, 4, 1, 1), (5, 2, 3, 1), (17, 4, 6, 8), (64, 8, 4, 128), (9, 3, 5, 16)]


def choices(rows, top_k, experts, seed=3):
    """[M, K] local experts with gaps; a token may choose an expert twice."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(-2, experts, (rows, top_k), generator=random).clamp(min=-1)


def by_hand(ids, experts, alignment):
    """(slot of each (row, choice), counts, ends), counted one by one."""
    slots, counts, ends, begin = {}, [], [], 0
    for expert in range(experts):
        mine = [(row, choice) for row in range(len(ids)) for choice in range(ids.shape[1])
                if ids[row, choice] == expert]
        slots.update({pair: begin + place for place, pair in enumerate(mine)})
        counts.append(len(mine))
        ends.append(begin + len(mine))
        begin += -(-len(mine) // alignment) * alignment
    return slots, counts, ends, begin


@pytest.mark.parametrize("rows,top_k,experts,alignment", SHAPES)
@pytest.mark.parametrize("ids_type", [torch.int32, torch.int64])
@pytest.mark.parametrize("ids_of", [choices, lambda rows, top_k, _: torch.zeros((rows, top_k), dtype=torch.int64)])
def test_layout(rows, top_k, experts, alignment, ids_type, ids_of):
    ids = ids_of(rows, top_k, experts).to(ids_type)
    slots, counts, ends, room = by_hand(ids, experts, alignment)
    layout = expand.lay_out(ids, experts, alignment)
    assert {each.dtype for each in (layout.slots, layout.counts, layout.ends)} == {torch.int32}
    assert layout.counts.tolist() == counts
    assert layout.ends.tolist() == ends
    assert layout.slots.shape == ids.shape
    for row in range(rows):
        for choice in range(top_k):
            assert layout.slots[row, choice] == slots.get((row, choice), -1)
    assert room <= expand.rows_at_most(rows, top_k, experts, alignment)


@pytest.mark.parametrize("rows,top_k,experts,alignment", SHAPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float32, torch.int32])
def test_there_and_back(rows, top_k, experts, alignment, dtype):
    ids = choices(rows, top_k, experts)
    layout = expand.lay_out(ids, experts, alignment)
    slots, _, _, room = by_hand(ids, experts, alignment)
    whose = expand.rows_of_slots(layout.slots, room)
    x = torch.arange(1, rows * 32 + 1, dtype=torch.float32).reshape(rows, 32).to(dtype)
    weights = torch.rand(rows, top_k, dtype=torch.float32, generator=torch.Generator().manual_seed(1)) + 1
    spread = expand.spread(x, whose, zero_padding=True)
    weights_spread = expand.spread_weights(weights, layout.slots, room)
    assert spread.shape == (room, 32) and spread.dtype == dtype
    filled = set()
    for (row, choice), slot in slots.items():
        assert torch.equal(spread[slot].view(torch.uint8), x[row].view(torch.uint8))
        assert weights_spread[slot] == weights[row, choice]
        filled.add(slot)
    for gap in set(range(room)) - filled:
        assert not spread[gap].view(torch.uint8).any()
        assert weights_spread[gap] == 0
    folded = expand.fold_weights(weights_spread, layout.slots)
    assert torch.equal(folded, weights.masked_fill(ids < 0, 0))


def test_gaps_are_left_alone_unless_asked():
    ids = torch.tensor([[0]])
    layout = expand.lay_out(ids, 1, 2)
    whose = expand.rows_of_slots(layout.slots, 2)
    x = torch.full((1, 4), 7, dtype=torch.bfloat16)
    assert expand.spread(x, whose)[1].any()
    assert not expand.spread(x, whose, zero_padding=True)[1].any()


def test_column_major_scales():
    scales = torch.arange(21, dtype=torch.float32).reshape(7, 3)
    out = expand.column_major(scales)
    assert torch.equal(out, scales)
    assert out.stride() == (1, 8)  # 7 rows, rounded up to 16 bytes


def test_reduce_adds_in_order_and_rounds_once():
    # 256 + 1 is 256 in bf16, 256 + 1 + 1 is 258; and (1e30 + -1e30) + 1 is 1 where 1e30 + (-1e30 + 1) is 0.
    slots = torch.tensor([[0, 1, 2], [3, 4, 5], [-1, 2, -1], [-1, -1, -1]], dtype=torch.int32)
    x = torch.tensor([256, 1, 1, 1e30, -1e30, 1, float("nan")], dtype=torch.bfloat16)[:, None].repeat(1, 4)
    assert expand.reduce(x, slots)[:, 0].tolist() == [258, 1, 1, 0]
    assert expand.reduce(x, slots).dtype == torch.bfloat16
    assert expand.reduce(x[:0], slots).tolist() == [[0.0] * 4] * 4


def test_sum_of_choices_begins_with_biases():
    x = torch.tensor([[1, 1], [-1e30, 1]], dtype=torch.bfloat16)[:, :, None]
    bias = torch.tensor([[256], [1e30]], dtype=torch.bfloat16)
    assert expand.sum_choices(x, (bias,)).tolist() == [[258], [1]]
    assert expand.sum_choices(x, (bias, bias))[0] == 514


def test_source_metadata():
    source = torch.tensor([[0, 3], [2, 0]], dtype=torch.int32)
    ids = torch.tensor([[-1, 5], [1, 1]])
    slots = torch.tensor([[-1, 9], [4, 5]], dtype=torch.int32)
    seen = expand.source_metadata(source, ids, slots, 10)
    assert seen.dtype == torch.int32
    assert seen.tolist() == [[3, 1, -1, 9], [20, 4, 4, 5]]


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64])
def test_nothing_rests_on_torchs_defaults(default):
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    torch.set_default_device("meta")
    try:
        ids = torch.tensor([[0, -1], [1, 0]], device="cpu")
        layout = expand.lay_out(ids, 2, 4)
        x = torch.ones((8, 16), dtype=torch.bfloat16, device="cpu")
        assert expand.reduce(x, layout.slots)[:, 0].tolist() == [1, 2]
        assert expand.spread_weights(torch.ones((2, 2), dtype=torch.float32, device="cpu"), layout.slots, 8).sum() == 3
    finally:
        torch.set_default_dtype(before)
        torch.set_default_device(None)
