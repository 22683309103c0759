"""What calls of deep_ep must give: a layer of experts, computed where the tokens are.

Expert e multiplies a row by FACTORS[e]. Values are such that every sum is exact in bf16, so results are compared to the
bit, whatever their order.
"""
import torch

HIDDEN, TOP_K, EXPERTS = 256, 3, 24  # experts divide by 1, 2, 3 and 8 ranks
FACTORS = torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float32, device="cpu").repeat(EXPERTS // 4)


class Tokens:
    """x [T, H] bfloat16, ids [T, K] int64, weights [T, K] float32 of one rank."""

    def __init__(self, rank, count, *, seed=1, hidden=HIDDEN, holes=True):
        random = torch.Generator(device="cpu").manual_seed(100 * seed + rank)

        def some(low, high, *shape):
            return torch.randint(low, high, shape, generator=random, device="cpu")

        self.x = some(-4, 5, count, hidden).to(torch.bfloat16)
        order = torch.rand(count, EXPERTS, generator=random, dtype=torch.float32, device="cpu")
        self.ids = order.argsort(dim=1)[:, :TOP_K].contiguous()
        if holes:
            self.ids[some(0, 5, count, TOP_K) == 0] = -1
        self.weights = some(1, 5, count, TOP_K).to(torch.float32) / 4
        self.count = count

    def chosen(self):
        """FACTORS of the choices [T, K], 0 where there is none."""
        return torch.where(self.ids >= 0, FACTORS[self.ids.clamp(min=0)], 0.0)

    def layer(self):
        """What the experts' weighted sum is, [T, H] bfloat16."""
        return ((self.weights * self.chosen()).sum(dim=1, keepdim=True) * self.x.float()).bfloat16()


def counts(ranks):
    """Tokens of each rank: none on the second, and unequal."""
    return [0 if rank == 1 else 3 + 4 * rank for rank in range(ranks)]


def everybody(ranks, **how):
    return [Tokens(rank, count, **how) for rank, count in enumerate(counts(ranks))]


def rows_of(rank, tokens):
    """[(source, token)] that come to a rank, by the choices of all, in order."""
    local = EXPERTS // len(tokens)
    return [(source, token) for source, each in enumerate(tokens)
            for token, ids in enumerate(each.ids.tolist()) if any(e >= 0 and e // local == rank for e in ids)]


def received(rank, tokens):
    """x, ids (local, -1 for others'), weights, counts of local experts of what comes to a rank."""
    local, rows = EXPERTS // len(tokens), rows_of(rank, tokens)
    begin = rank * local

    def gather(name, width, dtype):
        each = [getattr(tokens[source], name)[token] for source, token in rows]
        return torch.stack(each) if each else torch.empty((0, width), dtype=dtype, device="cpu")

    ids = gather("ids", TOP_K, torch.int64) - begin
    mine = (ids >= 0) & (ids < local)
    weights = torch.where(mine, gather("weights", TOP_K, torch.float32), 0.0)
    x = gather("x", tokens[0].x.shape[1], torch.bfloat16)
    per_expert = torch.bincount(ids[mine], minlength=local).tolist()
    return x, torch.where(mine, ids, -1), weights, per_expert


def experts_of(rank, ranks, x, ids, weights=None):
    """What a rank's experts make of the rows [M, H], bfloat16: weighted and summed over the choices of each row."""
    local = EXPERTS // ranks
    mine = torch.where(ids >= 0, FACTORS[(ids + rank * local).clamp(0, EXPERTS - 1)], 0.0)
    if weights is not None:
        mine = mine * weights
    return (x.float() * mine.sum(dim=1, keepdim=True)).to(torch.bfloat16)


def same(seen, expected):
    """Equal in shape, type and value."""
    assert seen.shape == expected.shape, (seen.shape, expected.shape)
    assert seen.dtype == expected.dtype, (seen.dtype, expected.dtype)
    assert torch.equal(seen, expected), (seen, expected)
