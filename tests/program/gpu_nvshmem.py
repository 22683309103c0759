# On GPUs of one host whose network regions lie in the heap of NVSHMEM itself: verified, with the digests of loopback,
# graphs too. The library is the one that TRANSLOAD_NVSHMEM names, or the loader's.
import os
import re

from _common import expect, finish_test, run, run_json, skip

NVSHMEM = {"TRANSLOAD_NVSHMEM": os.environ.get("TRANSLOAD_NVSHMEM", "libnvshmem_host.so.3")}
status, out, err = run("limits", extra=NVSHMEM)
lines = {line.split()[0]: line.split(maxsplit=2) for line in reversed(out.splitlines()) if line.strip()}  # the first
if status != 0 or "gpus" not in lines or "nvshmem" not in lines:
    print(f"WRONG limits -> {status} {out} {err}")
    raise SystemExit(1)
if not lines["gpus"][1].isdigit() or int(lines["gpus"][1]) < 2:
    skip(f"two GPUs are needed: {' '.join(lines['gpus'][1:])}")
if lines["nvshmem"][1] != "yes":
    skip(lines["nvshmem"][2])
SHAPE = ("--device", "cuda", "--sms", "8", "--node-sizes", "1,1", "--tokens", "97,64", "--hidden", "272", "--experts",
         "13", "--top-k", "5", "--iterations", "3", "--seed", "7")

PAYLOADS = (
    (),
    ("--dtype", "fp8"),
    ("--dtype", "fp8", "--scales", "ue8m0"),
    ("--combine-wire", "fp32"),
    ("--rows-max", "60", "--overflow", "drop", "--biases", "2"),
    ("--rows-max", "194", "--graph"),
)

for more in PAYLOADS:
    what = f"1,1 {' '.join(more)}"
    status, base, err = run_json("run", *SHAPE, *more, "--scale-out", "loopback")
    if not expect(status == 0 and base["verified"], f"{what} over loopback ({status}) {err.strip()[:300]}"):
        continue
    status, result, err = run_json("run", *SHAPE, *more, "--scale-out", "nvshmem", extra=NVSHMEM)
    if not expect(status == 0 and result["verified"], f"{what} over the heap ({status}) {err.strip()[:600]}"):
        continue
    way = result["transports"]["scale_out"]
    expect(way == "nvshmem, peer memory", f"{what}: rows went by {way}")
    expect(result["digest"] == base["digest"], f"{what}: the digests of loopback")
    for name in ("first_us", "cached_us"):
        times = [r["dispatch"][name]["median"] for r in (result, base)]
        print(f"{what}: dispatch {name}: {times[0]}, loopback {times[1]}")

status, out, err = run("run", *SHAPE, "--scale-out", "nvshmem", extra={**NVSHMEM, "NVSHMEM_DISABLE_P2P": "1"})
words = "nvshmem(: its init left the process in status 1|: it drives no NIC| by GPUs: this build had no headers)"
refused = status == 2 and re.search(words, err)
expect(refused, f"without peer memory and without a NIC it is refused ({status}) {err.strip()[-400:]}")
finish_test()
