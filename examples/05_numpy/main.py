"""NumPy: four ranks on two nodes, as threads. Prints which token went where, and checks every element that came back.

pip install '.[numpy]' && python examples/05_numpy/main.py
"""
import sys
import threading

try:
    import ml_dtypes
    import numpy as np

    import transload
except ImportError as error:
    sys.exit(f"{error}: pip install '.[numpy]' brings it")

NODES, EXPERTS, HIDDEN, TOP_K = (2, 2), 8, 64, 2
RANKS = sum(NODES)
BF16 = ml_dtypes.bfloat16


def tokens_of(rank):
    """(x, topk_idx, topk_weights): ranks may have different numbers of tokens, one of them none."""
    tokens = [4, 0, 3, 6][rank]
    random = np.random.default_rng(rank)
    x = random.integers(-4, 5, (tokens, HIDDEN)).astype(BF16)
    topk_idx = random.random((tokens, EXPERTS)).argsort(axis=1)[:, :TOP_K].copy()
    return x, topk_idx, np.full((tokens, TOP_K), 0.5, np.float32)


def experts(group, got):
    """Scales each row by its expert's factor and the router's weight, into memory that peers read in place."""
    factors = np.array(group.local_experts()) + 1
    scale = np.where(got.topk_idx < 0, 0, got.topk_weights * factors[got.topk_idx]).sum(axis=1, keepdims=True)
    y = group.empty(got.x.shape)
    y[:] = scale * got.x.astype(np.float32)
    return y


def run_rank(rank, rendezvous, report):
    x, topk_idx, topk_weights = tokens_of(rank)
    with transload.Group(rank, RANKS, nodes=NODES, experts=EXPERTS, hidden=HIDDEN, bootstrap=rendezvous) as group:
        got = group.dispatch(x, topk_idx, topk_weights)
        back = group.combine(experts(group, got), got.handle)
        expected = (topk_weights * (topk_idx + 1)).sum(axis=1, keepdims=True) * x.astype(np.float32)
        report[rank] = {
            "experts": group.local_experts(),
            "tokens": len(x),
            "source": got.source.copy(),
            "counts": got.expert_counts,
            "crossed": got.scale_out_rows,
            "wrong": int((back.x.astype(np.float32) != expected).sum()),
        }


def picture(report):
    """Prints a line for each rank: the tokens that it sent, and its rows, with a letter for the token's rank."""
    letters = "ABCD"
    node_of = np.repeat(range(len(NODES)), NODES)
    for rank, said in enumerate(report):
        if rank == 0 or node_of[rank] != node_of[rank - 1]:
            print(f"node {node_of[rank]}")
        sent = " ".join(f"{letters[rank]}{token}" for token in range(said["tokens"])) or "nothing"
        rows = " ".join(f"{letters[source]}{token}" for source, token in said["source"])
        print(f"  rank {rank} sends {sent:<18} experts {said['experts']} get {rows}")
        print(f"{'':31}{said['crossed']} copies crossed to the other node; rows of each expert: {said['counts']}")


def main():
    rendezvous, report = transload.Rendezvous(), [None] * RANKS
    ranks = [threading.Thread(target=run_rank, args=(rank, rendezvous, report)) for rank in range(RANKS)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    if None in report:
        return 1
    picture(report)
    wrong = sum(said["wrong"] for said in report)
    print("verified" if wrong == 0 else f"{wrong} elements came back WRONG")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
