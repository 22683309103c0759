"""Shared by the tests of the Python package: ranks as threads, made-up tokens, and what a call must give, by NumPy."""
import threading

import ml_dtypes
import numpy as np

import transload

BF16 = np.dtype(ml_dtypes.bfloat16)
PATIENCE_S = 300  # for what hangs: no test passes because of it


def run_all(calls):
    """What each call returned, each on a thread of its own; the first exception, if there is one."""
    answers, errors = [None] * len(calls), []

    def call(index):
        try:
            answers[index] = calls[index]()
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=call, args=(index,), daemon=True) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a rank hangs"
    if errors:
        raise errors[0]
    return answers


def on_threads(nodes, work, **options):
    """work(group) of each rank, as threads of this process; what they returned, by rank."""
    rendezvous, ranks = transload.Rendezvous(), sum(nodes)

    def rank(index):
        with transload.Group(index, ranks, nodes=nodes, bootstrap=rendezvous, **small(options)) as group:
            return work(group)

    return run_all([lambda index=index: rank(index) for index in range(ranks)])


def small(options):
    """Options with which many groups fit on a small machine; what is tested are the deadlines of calls."""
    fits = {"experts": 8, "hidden": 64, "tokens_max": 64, "top_k_max": 4, "slab_bytes": 4 << 20}
    return {"create_deadline_s": 60, **fits, **options}


def tokens_of(rank, count, *, dtype=BF16, hidden=64, experts=8, top_k=2, ids=np.int64, seed=1):
    """(x, topk_idx, topk_weights) of a rank: any bits in x but for floats, which are small whole numbers."""
    random = np.random.default_rng([seed, rank])
    dtype = np.dtype(dtype)
    if dtype.kind in "iub":
        x = random.integers(0, 2 if dtype.kind == "b" else 100, (count, hidden)).astype(dtype)
    else:
        x = random.integers(-8, 9, (count, hidden)).astype(np.float32).astype(dtype)
    order = np.array([random.permutation(experts)[:top_k] for _ in range(count)], ids).reshape(count, top_k)
    order[random.random(order.shape) < 0.2] = -1
    return x, order, random.random((count, top_k)).astype(np.float32)


def numpy_type(name):
    """NumPy's, or one of ml_dtypes."""
    return np.dtype(getattr(ml_dtypes, name, name))


def owners(ranks, experts):
    """Which rank has each expert."""
    return np.repeat(np.arange(ranks), [experts // ranks + (rank < experts % ranks) for rank in range(ranks)])


def rows_of(rank, ids, experts=8):
    """[(source rank, source token)] of the rows that come to a rank, where `ids` are the choices of all ranks."""
    mine = np.flatnonzero(owners(len(ids), experts) == rank)
    return [(source, token) for source, choice in enumerate(ids)
            for token in np.flatnonzero(np.isin(choice.reshape(-1, choice.shape[-1]), mine).any(axis=1))]


def same(seen, expected):
    """Equal in shape, type and every bit."""
    assert seen.shape == expected.shape, (seen.shape, expected.shape)
    assert seen.dtype == expected.dtype, (seen.dtype, expected.dtype)
    assert seen.tobytes() == expected.tobytes()


def check_dispatch(rank, got, inputs, experts=8):
    """All outputs of a first dispatch against what `inputs`, [(x, topk_idx, topk_weights)] of all ranks, ask for."""
    ids = [each[1].reshape(-1, each[1].shape[-1]) for each in inputs]
    rows = rows_of(rank, ids, experts)
    mine = np.flatnonzero(owners(len(inputs), experts) == rank)
    chosen = np.array([np.isin(ids[s][t], mine) for s, t in rows], bool).reshape(-1, ids[0].shape[1])
    global_ids = np.array([ids[s][t] for s, t in rows], inputs[rank][1].dtype).reshape(chosen.shape)
    hidden = inputs[0][0].shape[-1]
    flat = [each[0].reshape(-1, hidden) for each in inputs]
    weights = [each[2].reshape(-1, chosen.shape[1]) for each in inputs]
    assert got.rows == got.rows_needed == len(rows)
    same(got.source, np.array(rows, np.int32).reshape(-1, 2))
    same(got.x, np.array([flat[s][t] for s, t in rows], inputs[0][0].dtype).reshape(-1, hidden))
    same(got.topk_idx, np.where(chosen, global_ids - mine[0], -1).astype(inputs[rank][1].dtype))
    all_weights = np.array([weights[s][t] for s, t in rows], np.float32).reshape(chosen.shape)
    same(got.topk_weights, np.where(chosen, all_weights, np.float32(0)))
    assert got.expert_counts == [int((global_ids[chosen] == expert).sum()) for expert in mine]
    same(got.rows_on_device, np.array([len(rows)], np.int64))
    same(got.expert_counts_on_device, np.array(got.expert_counts, np.int64))
    assert got.source_rows == [sum(source <= last for source, _ in rows) for last in range(len(inputs))]
    same(got.rows_of_sources_on_device, np.array(got.source_rows, np.int64))


def combined(rank, nodes, ids, rows_back, bias=(), experts=8):
    """[T, H] fp32 sums, in the order of the contract, before they are rounded: `rows_back` are all ranks' rows."""
    tokens, hidden = len(ids[rank]), rows_back[rank].shape[1]
    total = np.zeros((tokens, hidden), np.float32)
    for index, each in enumerate(bias):
        total = each.astype(np.float32) if index == 0 else total + each.astype(np.float32)
    first = 0
    for size in nodes:
        part, touched = np.zeros_like(total), np.zeros(tokens, bool)
        for owner in range(first, first + size):
            for row, (source, token) in enumerate(rows_of(owner, ids, experts)):
                if source == rank:
                    part[token] += rows_back[owner][row].astype(np.float32)
                    touched[token] = True
        if not first <= rank < first + size:
            part = part.astype(BF16).astype(np.float32)
        total[touched] += part[touched]
        first += size
    return total
