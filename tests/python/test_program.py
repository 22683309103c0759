"""The same tokens through the program and through Python: every output is equal, bit for bit."""
import json
import struct
import subprocess

import ml_dtypes
import numpy as np
import pytest
from ranks import BF16, on_threads, same

from transload.__main__ import PROGRAM

TYPES = {"BF16": BF16, "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn), "I32": np.dtype(np.int32),
         "F32": np.dtype(np.float32)}


def tensors_of(path):
    """What a safetensors file holds."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, data = json.loads(data[8 : 8 + length]), data[8 + length :]
    return {name: np.frombuffer(data[slice(*each["data_offsets"])], TYPES[each["dtype"]]).reshape(each["shape"]).copy()
            for name, each in header.items()}


RUNS = [
    ((2, 2), (24, 16, 31, 8), 16, dict(hidden=64, biases=2, seed=7), {}),
    ((1, 3), (40, 0, 17, 5), 7, {"hidden": 104, "top-k": 5, "combine-wire": "fp32", "seed": 3},
     {"combine_wire": "fp32"}),
    ((4,), (33, 33, 33, 33), 64, {"hidden": 512, "top-k": 32, "landing": "ring", "combine-source": "push"}, {}),
    ((2, 1), (30, 9, 14), 16, {"hidden": 272, "dtype": "fp8"}, {"dtype": "fp8", "scales_max": 3}),
    ((1, 2), (12, 25, 20), 9, {"hidden": 1040, "dtype": "fp8", "scales": "ue8m0"},
     {"dtype": "fp8", "scales_max": 3}),
    ((1,), (50,), 8, {"hidden": 64, "top-k": 2}, {}),
]


@pytest.mark.parametrize("nodes,tokens,experts,flags,options", RUNS, ids=[f"{run[0]} {run[3]}" for run in RUNS])
def test_same_as_the_program(tmp_path, nodes, tokens, experts, flags, options):
    words = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    subprocess.run([PROGRAM, "run", "--node-sizes", ",".join(map(str, nodes)), "--tokens", ",".join(map(str, tokens)),
                    "--experts", str(experts), "--iterations", "1", "--warmup", "0", "--quiet", "--dump", tmp_path,
                    "--launcher", "none", *words], check=True, timeout=300)
    dumps = [tensors_of(tmp_path / f"rank{rank}.safetensors") for rank in range(len(tokens))]

    def work(g):
        dump = dumps[g.rank]
        ids = dump["topk_idx"].astype(np.int64 if g.rank % 2 else np.int32)
        got = g.dispatch(dump["x"], ids, dump["topk_weights"], scales=dump.get("scales"),
                         landing=flags.get("landing", "auto"))
        same(got.x, dump["recv_x"])
        same(got.topk_idx, dump["recv_topk_idx"].astype(ids.dtype))
        same(got.topk_weights, dump["recv_topk_weights"])
        same(got.source, dump["recv_source"])
        same(np.array(got.expert_counts, np.int32), dump["recv_counts"])
        if "scales" in dump:
            same(got.scales, dump["recv_scales"])
        bias = tuple(dump[name] for name in ("bias0", "bias1") if name in dump) or None
        back = g.combine(dump["expert_out"], got.handle, bias=bias, wire=flags.get("combine-wire", "bf16"))
        same(back.x, dump["combined_x"])
        return back.x.size

    sizes = on_threads(nodes, work, experts=experts, hidden=flags["hidden"], top_k_max=flags.get("top-k", 8), **options)
    assert sizes == [count * flags["hidden"] for count in tokens]
