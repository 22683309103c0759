# Digests say that outputs are the same bytes: for any channels, slots, landing, source and link; those of dispatch for
# any cut into nodes too.
# Contract 1.2, 3.6.
import struct

from _common import expect, finish_test, run_json, write_file

WORKLOAD = (
    "run",
    "--tokens",
    "40,0,64,33,7,50",
    "--hidden",
    "264",
    "--experts",
    "13",
    "--top-k",
    "6",
    "--iterations",
    "2",
    "--warmup",
    "1",
    "--biases",
    "1",
)


def digest(*more):
    status, result, err = run_json(*WORKLOAD, *more)
    good = status == 0 and result["verified"] and result["mismatch"] is None and result["fault"] is None
    expect(good, f"{' '.join(more)} is verified ({status}) {err}")
    return result


base = digest("--node-sizes", "3,3", "--scale-out", "loopback")
for more in (
    ("--channels", "1"),
    ("--channels", "7"),
    ("--slots", "1"),
    ("--slots", "3", "--channels", "2"),
    ("--landing", "ring"),
    ("--combine-source", "push"),
    ("--landing", "ring", "--combine-source", "push", "--slots", "1"),
    ("--threads",),
):
    result = digest("--node-sizes", "3,3", "--scale-out", "loopback", *more)
    expect(result["digest"] == base["digest"], f"{' '.join(more)}: the same digests")
auto = digest("--node-sizes", "3,3")
expect(auto["digest"] == base["digest"], f"{auto['transports']['scale_out']}: the same digests")
for node_sizes in ("6", "1,1,1,1,1,1", "2,2,2", "1,5", "1,2,3"):
    result = digest("--node-sizes", node_sizes, "--scale-out", "loopback")
    expect(result["digest"]["dispatch"] == base["digest"]["dispatch"], f"{node_sizes}: the same digest of dispatch")
    expect(result["dispatch"]["rows"] == base["dispatch"]["rows"], f"{node_sizes}: as many rows")
f32 = digest("--node-sizes", "3,3", "--scale-out", "loopback", "--combine-wire", "fp32")
expect(f32["digest"]["combine"] != base["digest"]["combine"], "fp32 between nodes: other sums")
other = digest("--node-sizes", "3,3", "--scale-out", "loopback", "--seed", "2")
expect(other["digest"]["dispatch"] != base["digest"]["dispatch"], "another seed: other rows")
ring = digest("--node-sizes", "3,3", "--scale-out", "loopback", "--landing", "ring", "--combine-source", "push")
expect((ring["landing"], ring["combine_source"]) == ("ring", "push"), "what was asked for is reported")
expect((base["landing"], base["combine_source"]) == ("direct", "pull"), "by itself: direct and pull")

# Rows of fp8, and rows without room: whatever the way, the same bytes.
for what in (
    ("--dtype", "fp8", "--hidden", "272"),
    ("--dtype", "fp8", "--scales", "ue8m0", "--hidden", "720"),
    ("--rows-max", "20", "--overflow", "drop"),
    ("--rows-max", "33", "--overflow", "drop", "--dtype", "fp8", "--hidden", "144"),
):
    ways = [
        digest("--node-sizes", "3,3", "--scale-out", "loopback", *what, *more)
        for more in ((), ("--landing", "ring", "--combine-source", "push", "--slots", "1"), ("--channels", "7"))
    ]
    same = all(way["digest"] == ways[0]["digest"] for way in ways)
    expect(same and ways[0]["digest"] != base["digest"], f"{' '.join(what)}: the same digests, and others than bf16's")
    seen = ways[0]["workload"]
    expect(seen["dtype"] == ("fp8" if "fp8" in what else "bf16"), f"{' '.join(what)}: what was asked for is reported")
roomy = digest("--node-sizes", "3,3", "--scale-out", "loopback", "--rows-max", "300")
expect(roomy["digest"] == base["digest"], "with room for all nothing changes")

# The same routing in every type that a file may have gives the same bytes.
ids, weights = [(7 * i) % 13 for i in range(60)], [(i % 8 + 1) / 16 for i in range(60)]
seen = set()
for id_type, code in (("I16", "h"), ("I32", "i"), ("I64", "q")):
    for weight_type, values in (
        ("F16", struct.pack("<60e", *weights)),
        ("F32", struct.pack("<60f", *weights)),
        ("BF16", b"".join(struct.pack("<f", w)[2:] for w in weights)),
    ):
        data = struct.pack(f"<60{code}", *ids)
        header = {
            "topk_idx": {"dtype": id_type, "shape": [20, 3], "data_offsets": [0, len(data)]},
            "topk_weights": {
                "dtype": weight_type,
                "shape": [20, 3],
                "data_offsets": [len(data), len(data) + len(values)],
            },
        }
        status, result, err = run_json(
            "run",
            "--node-sizes",
            "2",
            "--tokens",
            "12,8",
            "--hidden",
            "16",
            "--experts",
            "13",
            "--iterations",
            "1",
            "--warmup",
            "0",
            "--threads",
            "--routing",
            write_file("routing", header, data + values),
        )
        if expect(status == 0 and result["workload"]["top_k"] == 3, f"{id_type} and {weight_type} {err}"):
            seen.add(str(result["digest"]))
expect(len(seen) == 1, "one digest for all types of a file")
finish_test()
