# Everything that the program dumps, against NumPy: an oracle that shares nothing with ours.
# Contract 3.7, 4.1.
from _common import expect, finish_test, path, read_file, run, skip

try:
    import numpy as np
except ImportError:
    skip("python3-numpy is not here")

TYPES = {"BF16": np.uint16, "F8_E4M3": np.uint8, "I32": np.int32, "F32": np.float32}
CODES = np.arange(256)
STEPS = np.where(CODES >> 3 & 15, 8 + (CODES & 7), CODES & 7)  # of 2^-9 for the smallest exponent
SIGNS = np.where(CODES & 128, -1.0, 1.0)
E4M3 = (SIGNS * STEPS * 2.0 ** np.maximum((CODES >> 3 & 15) - 1, 0) * 2**-9).astype(np.float32)


def f32(bf16):
    return (bf16.astype(np.uint32) << 16).view(np.float32)


def bf16(values):
    bits = values.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(values), 0x7FFF, rounded).astype(np.uint16)


def experts_rows(d):
    """What came, as fp32 of bf16: fp8 codes times the scale of their 128 elements."""
    x = d["recv_x"]
    if x.dtype == np.uint16:
        return f32(x)
    scales = d["recv_scales"]
    if scales.dtype == np.int32:  # four exponents each
        scales = (scales.view(np.uint8).reshape(len(x), -1).astype(np.uint32) << 23).view(np.float32)
    return f32(bf16(E4M3[x] * np.repeat(scales, 128, axis=1)[:, : x.shape[1]]))


def load(folder, rank):
    return {
        k: np.frombuffer(data, TYPES[dtype]).reshape(shape)
        for k, (dtype, shape, data) in read_file(f"{folder}/rank{rank}.safetensors").items()
    }


def same(seen, expected):
    return seen.shape == expected.shape and seen.dtype == expected.dtype and seen.tobytes() == expected.tobytes()


def check_dispatch(ranks, owner, r):
    d, experts = ranks[r], np.flatnonzero(owner == r)
    mine = [np.isin(s["topk_idx"], experts) for s in ranks]
    rows = [(s, t) for s in range(len(ranks)) for t in np.flatnonzero(mine[s].any(axis=1))]
    k = d["topk_idx"].shape[1]
    chosen = np.array([mine[s][t] for s, t in rows]).reshape(-1, k)
    ids = np.array([ranks[s]["topk_idx"][t] for s, t in rows], np.int32).reshape(-1, k)
    weights = np.array([ranks[s]["topk_weights"][t] for s, t in rows], np.float32).reshape(-1, k)
    x = np.array([ranks[s]["x"][t] for s, t in rows], d["x"].dtype).reshape(-1, d["x"].shape[1])
    first = experts[0] if len(experts) else 0
    expect(
        same(d["recv_source"], np.array(rows, np.int32).reshape(-1, 2)),
        f"rank {r}: source of {len(rows)} rows, in order",
    )
    expect(same(d["recv_x"], x), f"rank {r}: rows")
    if "scales" in d:
        scales = np.array([ranks[s]["scales"][t] for s, t in rows], d["scales"].dtype).reshape(-1, d["scales"].shape[1])
        expect(same(d["recv_scales"], scales), f"rank {r}: scales")
    expect(same(d["recv_topk_idx"], np.where(chosen, ids - first, -1).astype(np.int32)), f"rank {r}: local ids")
    expect(same(d["recv_topk_weights"], np.where(chosen, weights, np.float32(0))), f"rank {r}: weights")
    expect(same(d["recv_counts"], np.array([(ids[chosen] == e).sum() for e in experts], np.int32)), f"rank {r}: counts")


def check_expert(d, owner, r):
    experts = np.append(np.flatnonzero(owner == r), 0).astype(np.uint32)
    factor = np.float32(0.5) + (experts * np.uint32(2654435761) >> 16).astype(np.float32) * np.float32(2**-16)
    factor = np.ldexp(np.where(experts % 2 == 0, factor, -factor), (experts * 7 % 25).astype(np.int32) - 12)
    scale = np.zeros(len(d["recv_x"]), np.float32)
    for k in range(d["recv_topk_idx"].shape[1]):
        ids = d["recv_topk_idx"][:, k]
        scale += np.where(ids < 0, np.float32(0), d["recv_topk_weights"][:, k] * factor[ids])
    expect(same(d["expert_out"], bf16(scale[:, None] * experts_rows(d))), f"rank {r}: expert")


def check_combine(ranks, node_sizes, r, wire):
    d = ranks[r]
    biases = [f32(d[name]) for name in ("bias0", "bias1") if name in d]
    total = biases[0].copy() if biases else np.zeros(d["x"].shape, np.float32)
    for bias in biases[1:]:
        total = total + bias
    first = 0
    for size in node_sizes:
        part, touched = np.zeros(total.shape, np.float32), np.zeros(len(total), bool)
        for owner in range(first, first + size):
            at = np.flatnonzero(ranks[owner]["recv_source"][:, 0] == r)
            tokens = ranks[owner]["recv_source"][at, 1]
            part[tokens] += f32(ranks[owner]["expert_out"][at])
            touched[tokens] = True
        if not first <= r < first + size and wire == "bf16":
            part = f32(bf16(part))
        total[touched] += part[touched]
        first += size
    expect(same(d["combined_x"], bf16(total)), f"rank {r}: combine")


def check_run(node_sizes, tokens, experts, *more, wire="bf16"):
    print(f"-- nodes {node_sizes}, tokens {tokens}, {experts} experts {' '.join(more)}, {wire} between nodes")
    folder, ranks = path("dump"), sum(node_sizes)
    status, _, err = run(
        "run",
        "--node-sizes",
        ",".join(map(str, node_sizes)),
        "--tokens",
        ",".join(map(str, tokens)),
        "--experts",
        str(experts),
        "--combine-wire",
        wire,
        "--iterations",
        "1",
        "--warmup",
        "1",
        "--quiet",
        "--dump",
        folder,
        *more,
    )
    if not expect(status == 0, f"exit status {status} {err}"):
        return
    dumps = [load(folder, r) for r in range(ranks)]
    owner = np.repeat(np.arange(ranks), [experts // ranks + (r < experts % ranks) for r in range(ranks)])
    for r in range(ranks):
        expect(dumps[r]["x"].shape[0] == tokens[r], f"rank {r}: {tokens[r]} tokens")
        check_dispatch(dumps, owner, r)
        check_expert(dumps[r], owner, r)
        check_combine(dumps, node_sizes, r, wire)


check_run([2, 2], [24, 16, 31, 8], 16, "--hidden", "64", "--biases", "2")
check_run([1, 3], [40, 0, 17, 5], 7, "--hidden", "104", "--top-k", "5", "--biases", "1", wire="fp32")
check_run([2, 1, 2], [20] * 5, 3, "--hidden", "8", "--top-k", "4", "--routing", "zipf:1.2")
check_run([4], [33] * 4, 64, "--hidden", "512", "--top-k", "32", "--landing", "ring", "--combine-source", "push")
check_run([2, 2], [30, 9, 0, 14], 16, "--hidden", "272", "--dtype", "fp8")
check_run([1, 2], [12, 25, 20], 9, "--hidden", "1040", "--dtype", "fp8", "--scales", "ue8m0", wire="fp32")
check_run([1], [50], 8, "--hidden", "64", "--top-k", "2")
finish_test()
