"""Groups of torch's process groups: processes over gloo, a part of them, threads; who dies; the example."""
import pathlib
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from ranks import run_all, small
from torch_processes import die, in_processes
from torch_ranks import torch_tokens

import transload
import transload.torch as tl

ROOT = pathlib.Path(__file__).resolve().parents[3]


def step(group):
    """What a layer that doubles gives, with the gradient of x."""
    x, ids, weights = torch_tokens(group.rank, 6, top_k=3)
    x.requires_grad_()
    got = tl.dispatch(group, x, ids, weights)
    back = tl.combine(group, got.x * 2, got.handle)
    back.sum().backward()
    owners = sum(((ids >= 0) & (ids * group.ranks // 8 == each)).any(1) for each in range(group.ranks))[:, None]
    assert torch.equal(back, 2 * owners * x.detach()) and torch.equal(x.grad, (2 * owners).expand_as(x).bfloat16())
    return group.rank, group.ranks, group.nodes


def of_world_and_parts(rank):
    seen = []
    with tl.group(dist.group.WORLD, **small({})) as group:
        seen.append(step(group))
    with tl.group(nodes=(1, 3), rank=rank, ranks=4, **small({})) as group:
        seen.append(step(group))
    part = dist.new_group([1, 3])
    if rank in (1, 3):
        with tl.group(part, **small({})) as group:
            seen.append(step(group))
    else:
        with pytest.raises(transload.InvalidArgument, match="process_group: one without this process"):
            tl.group(part, **small({}))
    dist.barrier()
    return seen


def test_processes(tmp_path):
    answers = in_processes(of_world_and_parts, 4, tmp_path)
    for rank, seen in enumerate(answers):
        assert seen[:2] == [(rank, 4, (4,)), (rank, 4, (1, 3))]
        assert seen[2:] == ([((1, 3).index(rank), 2, (2,))] if rank in (1, 3) else [])


def refused_in_process_groups(rank):
    refused = []
    for given, options in ((3, {}), ("gloo", {}), (None, {"ranks": 3}), (None, {"rank": 1 - rank}),
                           (None, {"bootstrap": "host:1"}), (None, {"nodes": (3,)}), (None, {"device": "cuda"})):
        with pytest.raises(transload.Error) as error:
            tl.group(given, **small(options))
        refused.append((error.value.code, str(error.value)))
    with tl.group(**small({})) as group:
        assert step(group)[:2] == (rank, 2)
    return refused


def test_refusals(tmp_path):
    for rank, refused in enumerate(in_processes(refused_in_process_groups, 2, tmp_path)):
        codes, words = zip(*refused)
        assert set(codes[:-1]) == {"invalid_argument"} and codes[-1] == "not_supported"
        for seen, expected in zip(words, ("process_group: 3, must be a", "process_group: 'gloo', must be a",
                                          "ranks: 3, must be 2, the process group's",
                                          f"rank: {1 - rank}, must be {rank}, the process group's",
                                          "bootstrap: given, must be left out", "nodes: (3,), must be",
                                          "device: 'cuda'")):
            assert seen.startswith(expected), seen


def test_without_process_groups():
    with pytest.raises(transload.InvalidArgument, match="process_group: torch.distributed is not initialised"):
        tl.group(experts=8)


def rank_2_dies_before_its_backward(rank):
    group = tl.group(**small({"deadline_s": 60}))
    x, ids, weights = torch_tokens(rank, 6, top_k=3)
    x.requires_grad_()
    got = tl.dispatch(group, x, ids, weights)
    loss = got.x.float().sum()
    if rank == 2:
        die()
    with pytest.raises(transload.Fault) as fault:
        loss.backward()
    return fault.value.culprit_rank, fault.value.kind


def test_who_dies_is_named(tmp_path):
    answers = in_processes(rank_2_dies_before_its_backward, 3, tmp_path, dies=(2,))
    assert answers == [(2, "lost"), (2, "lost"), None]


@pytest.fixture
def threaded_world():
    """Torch's own stand-in, whose ranks are threads: each sees process groups of its own."""
    multi = pytest.importorskip("torch.testing._internal.distributed.multi_threaded_pg")
    isolate = getattr(torch._C._distributed_c10d, "_set_thread_isolation_mode", lambda _: None)
    multi._install_threaded_pg()
    isolate(True)
    yield dist.HashStore()
    isolate(False)
    multi._uninstall_threaded_pg()


def test_threads(threaded_world):
    ranks = 3

    def member(rank):
        dist.init_process_group("threaded", rank=rank, world_size=ranks, store=threaded_world)
        try:
            with tl.group(nodes=(1, 2), **small({})) as group:
                return step(group)
        finally:
            dist.destroy_process_group()

    assert run_all([lambda rank=rank: member(rank) for rank in range(ranks)]) == [
        (rank, ranks, (1, 2)) for rank in range(ranks)]


@pytest.mark.parametrize("launcher", [[], ["-m", "torch.distributed.run", "--nproc-per-node", "4"]])
def test_example(launcher):
    example = [*launcher, ROOT / "examples/06_torch_moe/main.py", *(["--device", "cpu"] if launcher else [])]
    done = subprocess.run([sys.executable, *example], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and done.stdout.endswith("\nverified\n"), done.stdout + done.stderr
    assert done.stdout.startswith("4 ranks" if launcher else "1 ranks")
