"""deep_ep._C: what programs take from the module of DeepEP's that is compiled."""
from . import topk_idx_t
from .config import Config
from .events import EventHandle

__all__ = ["Config", "EventHandle", "topk_idx_t"]
