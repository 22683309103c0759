"""Shared by the tests of ElasticBuffer: made-up tokens of all ranks, and what must come of them, by loops.

An expert multiplies a row by factor(expert). All values are small whole numbers, so that every sum is exact in bf16,
whatever its order; tests of order and rounding have values of their own.
"""
import dataclasses

import torch

HIDDEN, TOP_K, TOKENS_MAX = 32, 3, 9
COUNTS = {
    "as many": lambda rank: 5,
    "none": lambda rank: 0,
    "unequal": lambda rank: (0, TOKENS_MAX, 1, 4)[rank % 4],
}


@dataclasses.dataclass
class Tokens:
    x: torch.Tensor  #: [T, H] bf16
    ids: torch.Tensor  #: [T, K] int64; -1 here and there, and an expert twice
    weights: torch.Tensor  #: [T, K] float32
    scales: torch.Tensor  #: [T, 2] float32


def tokens(rank, count, experts, top_k=TOP_K, hidden=HIDDEN):
    random = torch.Generator(device="cpu").manual_seed(100 + rank)

    def whole(least, most, *shape):
        return torch.randint(least, most + 1, shape, generator=random, device="cpu")

    return Tokens(
        x=whole(-3, 3, count, hidden).to(torch.bfloat16),
        ids=whole(-1, experts - 1, count, top_k),
        weights=whole(1, 8, count, top_k).to(torch.float32) / 8,
        scales=whole(1, 99, count, 2).to(torch.float32),
    )


def world(ranks, counts, experts, **options):
    """The tokens of all ranks; every rank makes the same ones."""
    return [tokens(rank, counts(rank), experts, **options) for rank in range(ranks)]


def factor(expert):
    return expert % 3 + 1


def local(each, rank, experts, ranks):
    """ids as rank's own experts count them, -1 for others."""
    mine = experts // ranks
    return torch.where(each.ids.div(mine, rounding_mode="floor") == rank, each.ids - rank * mine, -1)


@dataclasses.dataclass
class Came:
    """What a dispatch must bring to a rank."""

    source: list  #: [(rank, token)] of each row
    x: torch.Tensor
    scales: torch.Tensor
    ids: torch.Tensor
    weights: torch.Tensor
    counts: list  #: choices of each expert
    sources: list  #: rows of each source rank and those before it


def came(rank, everybody, experts):
    ranks = len(everybody)
    ids = [local(each, rank, experts, ranks) for each in everybody]
    source = [(other, token) for other in range(ranks) for token in range(len(ids[other]))
              if (ids[other][token] >= 0).any()]

    def rows(tensors):
        return torch.stack([tensors[other][token] for other, token in source]) if source else tensors[0][:0]

    chosen = rows(ids)
    return Came(
        source=source,
        x=rows([each.x for each in everybody]),
        scales=rows([each.scales for each in everybody]),
        ids=chosen,
        weights=rows([each.weights for each in everybody]).masked_fill(chosen < 0, 0),
        counts=[int((chosen == expert).sum()) for expert in range(experts // ranks)],
        sources=[sum(1 for other, _ in source if other <= last) for last in range(ranks)],
    )


def experts_of(rank, x, ids, experts, ranks):
    """[M, H]: what the experts of a rank make of rows, added for each row. ids: [M, K], local."""
    first = rank * (experts // ranks)
    factors = torch.where(ids < 0, 0, factor(ids + first)).sum(1)
    return x * factors[:, None].to(x.dtype)


def layer(mine):
    """[T, H]: what a dense layer makes of a rank's tokens."""
    return mine.x * torch.where(mine.ids < 0, 0, factor(mine.ids)).sum(1)[:, None].to(mine.x.dtype)


def expert_of_slot(ends, alignment, count):
    """For each of `count` expanded rows: (expert, whether it is a row and no gap)."""
    begin, out = 0, []
    for expert, end in enumerate(ends):
        room = -(-(end - begin) // alignment) * alignment
        out += [(expert, begin + place < end) for place in range(room)]
        begin += room
    return out + [(None, False)] * (count - len(out))
