"""Arrays of other libraries: what their types are called, and how an array of ours becomes one of theirs."""
import functools
import importlib.util
import sys

_SHORT = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64", "fp8": "float8_e4m3fn"}


def _root(module):
    return module.partition(".")[0]


@functools.cache
def _has_numpy():
    return importlib.util.find_spec("numpy") is not None


def numpy_type(name):
    """Returns NumPy's dtype with this name, or that of ml_dtypes if NumPy has none."""
    import numpy

    try:
        return numpy.dtype(name)
    except TypeError:
        return numpy.dtype(getattr(importlib.import_module("ml_dtypes"), name))


def _of_torch(array):
    return sys.modules["torch"].from_dlpack(array)


def _of_cupy(array):
    return sys.modules["cupy"].from_dlpack(array)


def _of_jax(array):
    return importlib.import_module("jax.dlpack").from_dlpack(array)


_WRAPS = {"torch": _of_torch, "cupy": _of_cupy, "jax": _of_jax, "jaxlib": _of_jax}


def library_of(kind):
    """Returns three facts about `kind`, a type of arrays.

    The first is the name of its library: 'numpy', 'torch', 'cupy', 'jax' or 'jaxlib'; '' for any other. The second is a
    function that makes its array of a transload.Array; None: a transload.Array serves as it is. The third says why
    calls cannot take arrays of this type; None: they can.
    """
    for each in kind.__mro__:
        root = _root(each.__module__)
        if root == "numpy" and issubclass(kind, sys.modules["numpy"].ndarray):
            return root, None, None
        if root in _WRAPS:
            return root, _WRAPS[root], _no_memory(kind) if root == "torch" else None
    return "", None, None


def _no_memory(kind):
    """Says why calls cannot take a subclass of torch.Tensor without memory, such as FakeTensor; None: they can."""
    plain = sys.modules["torch"].Tensor
    if not issubclass(kind, plain) or kind.__torch_dispatch__ is plain.__torch_dispatch__:
        return None
    return f"a {kind.__name__}, which has no memory of its own"


def name_of_numpy(dtype):
    """Returns the dtype's name, such as 'bfloat16'; None if it has fields or another byte order than this machine."""
    return dtype.name if dtype.isnative and dtype.names is None and dtype.subdtype is None else None


def name_of_type(dtype):
    """Returns the name of a type, given by name or as a dtype of NumPy, ml_dtypes or torch; None: it is no type."""
    if isinstance(dtype, str):
        return _SHORT.get(dtype, dtype)
    if _root(type(dtype).__module__) == "torch":
        return str(dtype).partition(".")[2]
    try:
        return name_of_numpy(sys.modules["numpy"].dtype(dtype)) if "numpy" in sys.modules else None
    except TypeError:
        return None


def library_of_type(dtype):
    """Returns what library_of does, for new arrays of a type: torch's for its dtypes, else NumPy's if it is there."""
    if _root(type(dtype).__module__) == "torch":
        return "torch", _of_torch, None
    return "numpy" if _has_numpy() else "", None, None
