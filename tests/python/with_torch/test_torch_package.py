"""The package beside torch: both ways that tensors cross, what the page says, the doctor."""
import pathlib
import re
import subprocess
import sys

import pytest
import torch

import transload

ROOT = pathlib.Path(__file__).resolve().parents[3]
FOLDER = pathlib.Path(__file__).parent
NAMES = "__dlpack_c_exchange_api__", "__c_dlpack_exchange_api__"
# Types of arrays are looked at once in a process, so each way is tried in one of its own. Before anything sees torch.
TRY = """
import sys, torch
names, name = {names!r}, {name!r}
table = next(filter(None, (getattr(torch.Tensor, each, None) for each in names)), None)
for each in names:
    if hasattr(torch.Tensor, each):
        delattr(torch.Tensor, each)
if name:
    setattr(torch.Tensor, name, table)
import pytest, transload
assert transload.has_exchange_table(torch.Tensor) == bool(name and table), table
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def run(*command):
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["", *NAMES])
def test_tensors_cross_both_ways(name):
    """By __dlpack__, and by the C table under either name: the same tests."""
    if name and not transload.has_exchange_table(torch.Tensor):
        pytest.skip("this torch has no C exchange table")
    status, out, err = run("-c", TRY.format(names=NAMES, name=name), FOLDER / "test_torch_calls.py",
                           FOLDER / "test_torch_gradients.py", *(["-k", "trip or types or refusals"] if name else []))
    assert status == 0 and " passed" in out, out + err


def test_no_table():
    """Of other types, and of what is no table."""
    class Other:
        __dlpack_c_exchange_api__ = "no capsule"

    assert not transload.has_exchange_table(int) and not transload.has_exchange_table(Other)


def test_lines_of_the_page():
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^```python torch\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    check = "assert out.shape == x.shape and x.grad.abs().sum() > 0 and scores.grad.abs().sum() > 0\n"
    status, out, err = run("-c", lines + check)
    assert status == 0, out + err


def test_doctor():
    status, out, err = run("-m", "transload.doctor")
    way = "DLPack's C exchange table" if transload.has_exchange_table(torch.Tensor) else "__dlpack__"
    assert status == 0, out + err
    assert re.search(rf"^torch +{re.escape(torch.__version__)}, its tensors cross by {way}$", out, re.MULTILINE), out
