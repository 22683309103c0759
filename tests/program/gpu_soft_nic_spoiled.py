# GPUs that fill the queues of a NIC themselves: one that lands rows behind the count that speaks of them is found.
from _common import PATIENT, expect, finish_test
from _gpu_soft_nic import job

LARGER = ("--tokens", "300", "--hidden", "2048", "--iterations", "10", "--slots", "2", "--deadline-ms", "3000",
          *PATIENT)
status, result, err = job("seed=1", *LARGER, "--node-sizes", "1,1")
expect(status == 0 and result.get("verified"), f"not spoiled: verified ({status}) {err}")
for seed in (1, 2):
    status, result, err = job(f"spoils,seed={seed}", *LARGER, "--node-sizes", "1,1")
    expect(status in (1, 3) and not result.get("verified"), f"spoiled, seed {seed}: found ({status}) {err}")
finish_test()
