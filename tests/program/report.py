# The JSON object has the documented shape, the table the same numbers, and rings do not grow with tokens.
import json

from _common import expect, finish_test, path, run, run_json

KEYS = {
    "": [
        "verified",
        "mismatch",
        "topology",
        "workload",
        "device",
        "method",
        "transports",
        "decisions",
        "channels",
        "landing",
        "combine_source",
        "dispatch",
        "combine",
        "backward",
        "memory",
        "digest",
        "fault",
    ],
    "topology": ["node_sizes"],
    "workload": ["tokens", "hidden", "experts", "top_k", "dtype", "routing", "layer", "seed"],
    "transports": ["scale_up", "scale_out"],
    "dispatch": ["first_us", "cached_us", "rows", "scale_out_rows", "logical_gbps", "wire_gbps"],
    "combine": ["us", "scale_out_rows", "logical_gbps", "wire_gbps"],
    "backward": ["us"],
    "memory": ["ring_bytes_per_rank", "output_bytes_per_rank"],
    "digest": ["dispatch", "combine"],
}

small = (
    "run",
    "--node-sizes",
    "1,2",
    "--tokens",
    "9,0,12",
    "--hidden",
    "32",
    "--experts",
    "4",
    "--top-k",
    "2",
    "--iterations",
    "3",
)
status, out, err = run(*small, "--json", path("result.json"))
expect(status == 0 and err == "", f"exit status {status}, nothing on stderr {err}")
with open(path("result.json")) as file:
    result = json.load(file)
for name, keys in KEYS.items():
    seen = list((result[name] if name else result).keys())
    expect(seen == keys, f"{name or 'the object'} has {seen}")
expect(
    result["workload"]["tokens"] == [9, 0, 12] and result["topology"]["node_sizes"] == [1, 2], "it says what was run"
)
for span in (
    result["dispatch"]["first_us"],
    result["dispatch"]["cached_us"],
    result["combine"]["us"],
    result["backward"]["us"],
):
    expect(0 < span["min"] <= span["median"] <= span["max"], f"a time {span}")
expect((result["device"], result["method"]) == ("cpu", "clock"), "it says where, and how times were taken")
for text in (
    "verified: ",
    "the host's clock around the call",
    "over the network",
    "without one copy a node",
    "dispatch, cached",
    "backward pair",
    result["digest"]["combine"],
):
    expect(text in out, f"the table says '{text}'")
status, out, err = run(*small, "--quiet")
expect((status, out, err) == (0, "", ""), "quiet says nothing")
status, out, err = run(*small, "--json", "-")
expect(status == 0 and json.loads(out)["verified"] and "verified" in err, "with --json - the table goes to stderr")

# Room for fewer rows than come: told by each rank that has too little.
status, out, err = run(*small, "--rows-max", "3", "--overflow", "drop")
expect(status == 0 and "room for" in out and "dropped" in out, f"dropped rows are told {err}")
status, out, err = run(*small, "--rows-max", "3")
lines = err.strip().split("\n")
good = all(line.startswith("transload: rank ") and "rows_max: 3, but " in line for line in lines)
expect(status == 2 and out == "" and good, f"too little room is told by each rank that has it -> {status} {err}")

sizes = []
for tokens in ("64", "8192"):
    status, result, err = run_json(
        "run", "--node-sizes", "2,2", "--tokens", tokens, "--hidden", "64", "--iterations", "1", "--warmup", "0"
    )
    if expect(status == 0, f"{tokens} tokens {err}"):
        sizes.append(result["memory"]["ring_bytes_per_rank"])
expect(len(set(sizes)) == 1, f"rings with 64 and 8192 tokens: {sizes} bytes")
finish_test()
