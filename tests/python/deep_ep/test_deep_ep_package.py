"""What is imported by which name, scripts that are run in place, and what the doctor says."""
import importlib
import os
import pathlib
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import transload  # noqa: E402
from transload import deep_ep, doctor  # noqa: E402
from transload.deep_ep import __main__ as in_place  # noqa: E402

PATIENCE_S = 300
ROOT = pathlib.Path(__file__).resolve().parents[3]


def run(*arguments, **variables):
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False,
                          timeout=PATIENCE_S, env={**os.environ, **variables})
    return done.returncode, done.stdout, done.stderr


def test_names_in_both_places():
    """Programs take them from either."""
    places = {"": "Buffer Config EventHandle EventOverlap topk_idx_t __version__", ".utils": "EventHandle EventOverlap",
              ".utils.event": "EventHandle EventOverlap", "._C": "EventHandle Config topk_idx_t"}
    for module, names in places.items():
        found = importlib.import_module("transload.deep_ep" + module)
        for name in names.split():
            assert hasattr(found, name), (module, name)
            if hasattr(deep_ep, name):
                assert getattr(found, name) is getattr(deep_ep, name)
    assert deep_ep.topk_idx_t is torch.int64 and deep_ep.__version__ == "2.1.0"


SAME = """
import importlib, sys, warnings
warnings.simplefilter("error")
for name in ("", ".utils", ".utils.event", "._C"):
    theirs, ours = importlib.import_module("deep_ep" + name), importlib.import_module("transload.deep_ep" + name)
    assert theirs is not ours and theirs.__all__ is ours.__all__, name
    for each in ours.__all__:
        assert getattr(theirs, each) is getattr(ours, each), each
assert importlib.import_module("deep_ep").__version__ == "2.1.0"
print("alike", sys.argv)
"""


def test_a_script_in_place(tmp_path):
    """Its arguments, its folder, the processes that it starts, and its exit status are its own."""
    (tmp_path / "same.py").write_text(SAME)
    (tmp_path / "beside.py").write_text("WORD = 5\n")
    script = tmp_path / "script.py"
    script.write_text("import beside, same, subprocess, sys\nassert __name__ == '__main__' and beside.WORD == 5\n"
                      f"subprocess.run([sys.executable, {str(tmp_path / 'same.py')!r}, 'child'], check=True)\n"
                      "sys.exit(int(sys.argv[2]))\n")
    status, out, err = run("-m", "transload.deep_ep", script, "--flag", "7")
    assert (status, err) == (7, "") and f"alike ['{script}', '--flag', '7']" in out and "child" in out


BARE = """
import deep_ep
for name in ("utils.EventOverlap", "utils.EventHandle", "utils.event.EventOverlap", "_C.Config", "_C.topk_idx_t"):
    each = deep_ep
    for part in name.split("."):
        each = getattr(each, part)
assert deep_ep.utils.EventOverlap is deep_ep.EventOverlap
print(deep_ep.__file__)
"""


def test_names_after_a_bare_import(tmp_path):
    """Of the module itself, and of the name for it."""
    status, _, err = run("-c", BARE.replace("import deep_ep", "import transload.deep_ep as deep_ep"))
    assert (status, err) == (0, "")
    (tmp_path / "bare.py").write_text(BARE)
    status, out, err = run("-m", "transload.deep_ep", tmp_path / "bare.py")
    assert (status, out, err) == (0, f"{in_place.IN_PLACE / 'deep_ep/__init__.py'}\n", "")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package transload-deep-ep, as pip installs it without a network."""
    pytest.importorskip("scikit_build_core", reason="scikit-build-core is not installed")
    folder = tmp_path_factory.mktemp("installed")
    status, _, err = run("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target",
                         folder, ROOT / "python/deep_ep")
    assert status == 0, err
    return folder


def test_the_package_that_has_the_name(installed):
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    status, out, err = run("-c", BARE, PYTHONPATH=path)
    module = installed / "deep_ep/__init__.py"
    assert (status, out, err) == (0, f"{module}\n", "")
    assert run("-c", SAME, PYTHONPATH=path)[0::2] == (0, "")
    status, out, _ = run("-m", "transload.doctor", PYTHONPATH=path)
    assert status == 0 and f"Transload's, {module}; installed: transload-deep-ep {transload.__version__}" in out, out


def test_no_script(tmp_path):
    status, out, err = run("-m", "transload.deep_ep")
    assert status == 2 and out == "" and err == "usage: python -m transload.deep_ep SCRIPT ARGS\n"
    status, out, err = run("-m", "transload.deep_ep", tmp_path / "none.py")
    assert status == 2 and "none.py', must be a file" in err


PROCESSES = """
import os, sys
import torch, torch.distributed as dist
from deep_ep import Buffer

def rank(index, ranks, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=index, world_size=ranks)
    buffer = Buffer(dist.new_group(list(range(ranks))), int(1e6), 0, explicitly_destroy=True)
    ids = torch.arange(6, dtype=torch.int64).reshape(3, 2) % 4
    x, weights = torch.full((3, 64), index + 1, dtype=torch.bfloat16), torch.ones(3, 2)
    per_rank, per_node, per_expert, in_rank, _ = buffer.get_dispatch_layout(ids, 4)
    got, local, _, counts, handle, _ = buffer.dispatch(
        x, topk_idx=ids, topk_weights=weights, num_tokens_per_rank=per_rank, num_tokens_per_rdma_rank=per_node,
        is_token_in_rank=in_rank, num_tokens_per_expert=per_expert)
    back = buffer.combine(got, handle)[0]
    assert (back == (index + 1) * in_rank.sum(dim=1, keepdim=True)).all()
    os.write(1, f"rank {index} {counts} {got[:, 0].tolist()}\\n".encode())  # at once: ranks share a pipe
    buffer.destroy()
    dist.barrier()
    dist.destroy_process_group()

if __name__ == "__main__":
    torch.multiprocessing.spawn(rank, args=(2, int(sys.argv[1])), nprocs=2)
"""


def test_ranks_that_are_processes(tmp_path):
    """As scripts start them, over torch's own process group."""
    import socket

    script = tmp_path / "processes.py"
    script.write_text(PROCESSES)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    status, out, err = run("-m", "transload.deep_ep", script, port)
    assert status == 0, err
    assert sorted(out.splitlines()) == ["rank 0 [4, 4] [1.0, 1.0, 2.0, 2.0]", "rank 1 [2, 2] [1.0, 2.0]"]


def test_import_has_no_effect():
    """No group, no thread, no stream; and transload alone imports no torch."""
    status, out, err = run("-c", "import sys, threading, transload; assert 'torch' not in sys.modules; import torch; "
                                 "before = threading.active_count(); import transload.deep_ep; "
                                 "assert threading.active_count() == before and not torch.distributed.is_initialized()")
    assert (status, out, err) == (0, "", "")


@pytest.mark.parametrize("whose", ["Transload's", "another library's"])
def test_the_doctor_says_whose(whose, tmp_path, monkeypatch, capsys):
    folder = in_place.IN_PLACE
    if whose != "Transload's":
        (tmp_path / "deep_ep").mkdir()
        (tmp_path / "deep_ep" / "__init__.py").write_text("import deep_ep_cpp\n")
        folder = tmp_path
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    assert doctor.main() == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("deep_ep"))
    assert f"{whose}, {pathlib.Path(folder) / 'deep_ep' / '__init__.py'}" in line


def test_the_doctor_finds_none(capsys, monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    doctor.main()
    assert "deep_ep             not installed; python -m transload.deep_ep SCRIPT has it" in capsys.readouterr().out


def test_errors_are_the_library_s():
    with pytest.raises(transload.Error):
        deep_ep.Buffer.set_num_sms(3)
