"""The module `deep_ep` over Transload: programs written for DeepEP run unchanged, on any number of ranks.

    import transload.deep_ep as deep_ep        # or: pip install transload-deep-ep, and import deep_ep
    python -m transload.deep_ep SCRIPT ARGS    # or: run a script with this module in its place

docs/deepep.md says which arguments have an effect, which have none, and which are refused.
"""
import torch

from .buffer import Buffer
from .config import Config
from .elastic import ElasticBuffer
from .elastic_handle import EPHandle
from .events import EventHandle, EventOverlap

__version__ = "2.1.0"  # of the interface
topk_idx_t = torch.int64

from . import _C, utils  # noqa: E402, F401  # so that one import brings them too; _C needs the names above
__all__ = [
    "Buffer",
    "Config",
    "ElasticBuffer",
    "EPHandle",
    "EventHandle",
    "EventOverlap",
    "topk_idx_t",
]
