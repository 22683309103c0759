"""deep_ep._C: the names that programs import from DeepEP's compiled module."""
from . import topk_idx_t
from .config import Config
from .events import EventHandle

__all__ = ["Config", "EventHandle", "topk_idx_t"]
