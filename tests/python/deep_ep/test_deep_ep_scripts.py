"""tests/python/deepep/run, with a script of ours in the manner of DeepEP's."""
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed")

DEEPEP = pathlib.Path(__file__).resolve().parents[1] / "deepep"
OURS = ["--scripts", str(DEEPEP / "ours")]
MANY = ["--tokens", "140", "--hidden", "512"]  # x 4 choices of 2 ranks: more elements than 100,000
PATIENCE_S = 300


def run(*options):
    done = subprocess.run([sys.executable, str(DEEPEP / "run"), *options], text=True, timeout=PATIENCE_S,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout


def test_a_script_for_gpus_passes_on_cpus():
    status, said = run(*OURS, "--ranks", "3", "--tokens", "8", "--hidden", "128")
    first = said.splitlines()[0]
    assert status == 0, said
    assert "'cuda' is read as 'cpu'" in first and "timing helpers are replaced" in first
    assert "--num-processes 3 --num-tokens 8 --hidden 128 --num-experts 255" in said
    assert said.count(" passed\n") == 4 and "passed: round_trip.py: 4 cases, 3 ranks, 0 of " in said
    assert "[timing]" not in said and "GB/s" not in said


def test_two_nodes_of_eight():
    status, said = run(*OURS, "--ranks", "16", "--tokens", "8", "--hidden", "128")
    passed = "passed: round_trip.py: 4 cases, 16 ranks, 0 of "
    assert status == 0 and said.count("node 0: ") >= 4 and passed in said, said


def test_a_script_of_one_node_is_skipped_on_two(tmp_path):
    (tmp_path / "test_intranode.py").write_text(LATER)  # it does not come to run
    status, said = run("--scripts", str(tmp_path), "--ranks", "16")
    assert status == 77 and "SKIPPED: test_intranode.py: it runs on one node" in said, said


def test_a_last_bit_may_differ_in_one_of_many_elements():
    status, said = run(*OURS, *MANY, "--", "--lost", "one", "1")
    assert status == 0 and "1 of 142848 combined elements differ in the last bit" in said, said


def test_last_bits_may_not_differ_in_many_elements():
    status, said = run(*OURS, *MANY, "--", "--lost", "all", "1")
    assert status == 1 and "FAILED: round_trip.py" in said, said
    assert "142848 of 142848 combined elements differ in the last bit: more than 1 in 100000" in said


def test_no_element_may_be_further_off():
    status, said = run(*OURS, *MANY, "--", "--lost", "one", "2")
    assert status == 1 and "combined rows differ" in said and "FAILED: round_trip.py" in said, said
    assert "cases do not say that they passed" in said


def test_a_script_that_does_not_end():
    status, said = run(*OURS, "--deadline", "0.2")
    assert status == 1 and "not at its end after 0.2 s" in said, said


LATER = """
import argparse, os, torch
import deep_ep
from deep_ep.utils.envs import init_dist
from deep_ep.utils.math import WORD
from deep_ep.utils.testing import bench

def rank(local_rank, count):
    index, size, group = init_dist(local_rank, count)
    buffer = deep_ep.Buffer(group)
    ids = torch.full((3, 1), (index + 1) % size, dtype=deep_ep.topk_idx_t, device="cuda")
    per_rank, _, per_expert, in_rank, _ = buffer.get_dispatch_layout(ids, size)
    got = buffer.dispatch(torch.full((3, 64), index, device="cuda"), topk_idx=ids, topk_weights=ids.float(),
                          num_tokens_per_rank=per_rank, is_token_in_rank=in_rank, num_tokens_per_expert=per_expert)
    assert (got[0] == (index - 1) % size).all() and len(got[0]) == 3 and bench(lambda: None)[0] == 1.0
    os.write(1, (f"Running with {WORD} ... passed\\n" * 8).encode())  # at once, as all ranks say it

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--num-processes", type=int)
    told = parser.parse_args()
    torch.multiprocessing.spawn(rank, args=(told.num_processes,), nprocs=told.num_processes)
"""


def test_a_whole_copy_with_the_scripts_of_v1_among_others(tmp_path):
    """As later versions lie: they import helpers from deep_ep.utils, of the copy that is given."""
    for folder in ("deep_ep/utils", "tests/legacy"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "deep_ep/utils/math.py").write_text("WORD = 'a helper'\n")
    (tmp_path / "tests/legacy/test_intranode.py").write_text(LATER)
    status, said = run("--scripts", str(tmp_path), "--ranks", "3")
    assert status == 0 and said.count("Running with a helper ... passed") == 24, said
    assert "passed: test_intranode.py: 24 cases, 3 ranks" in said


SILENT = """
import argparse, os, torch
import deep_ep

def rank(local_rank, count):
    where = "tcp://127.0.0.1:" + os.environ["MASTER_PORT"]
    torch.distributed.init_process_group("nccl", init_method=where, world_size=count, rank=local_rank)
    WORK

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--num-processes", type=int)
    count = parser.parse_known_args()[0].num_processes
    torch.multiprocessing.spawn(rank, args=(count,), nprocs=count)
"""
DISPATCH = """x = torch.zeros((3, 64), device="cuda", dtype=torch.bfloat16)
    ids = torch.zeros((3, 1), dtype=deep_ep.topk_idx_t, device="cuda")
    buffer = deep_ep.Buffer(torch.distributed.group.WORLD, low_latency_mode=True)
    buffer.low_latency_dispatch(x, ids, 3, 2, use_fp8=False)"""
TOLD = DISPATCH + "; print('Running with ... passed') if local_rank else None"
JUDGED = {  # name, what its ranks do, with more arguments: how it ends
    "no case": ("round_trip.py", DISPATCH, (), "FAILED: round_trip.py: 0 cases, 2 ranks: 4 cases or more are expected"),
    "few cases": ("test_intranode.py", TOLD, (),
                  "FAILED: test_intranode.py: 1 cases, 2 ranks: 24 cases or more are expected"),
    "no case of those asked for": ("round_trip.py", DISPATCH, ("more",), ": 1 cases or more are expected"),
    "fewer are asked for": ("round_trip.py", TOLD,
                            ("more",), "passed: round_trip.py: 1 cases, 2 ranks"),
    "silent until its end": ("test_low_latency.py", DISPATCH, (), "passed: test_low_latency.py: 2 ranks"),
    # The first rank has the store that the other meets by: it must not end before that.
    "nothing done": ("test_low_latency.py", "torch.distributed.barrier()", (),
                     "FAILED: test_low_latency.py: 2 ranks: 2 ranks made no disp"),
}


@pytest.mark.parametrize("what", JUDGED)
def test_how_a_script_is_judged(what, tmp_path):
    name, does, more, end = JUDGED[what]
    (tmp_path / name).write_text(SILENT.replace("WORK", does))
    status, said = run("--scripts", str(tmp_path), *(["--", *more] if more else []))
    assert end in said and status == (1 if "expected" in end or "FAILED" in end else 0), said


REFUSED = {
    "cuda": (2, [*OURS, "--device", "cuda"], "--device cuda: the package has CPU ranks only"),
    "no folder": (77, [], "SKIPPED: neither --scripts FOLDER nor --v2 FOLDER"),
    "an empty folder": (2, ["--scripts", str(DEEPEP / "nothing")], "none of test_intranode.py"),
    "no ranks": (2, [*OURS, "--ranks", "0"], "--ranks 0: must be 1 or more"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_run(what):
    status, options, text = REFUSED[what]
    seen, said = run(*options)
    assert seen == status and text in said, said
