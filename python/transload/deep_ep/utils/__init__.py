"""deep_ep.utils: the classes of events, under DeepEP's name."""
from ..events import EventHandle, EventOverlap
from . import event  # noqa: F401

__all__ = ["EventHandle", "EventOverlap"]
