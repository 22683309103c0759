"""Says whether the tests of folders run."""
import pytest


def test_torch_is_here():
    torch = pytest.importorskip("torch", reason="torch is not installed: all in folders of tests/python")
    assert torch.Tensor.__torch_dispatch__ is not None
