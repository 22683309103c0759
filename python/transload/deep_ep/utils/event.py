"""deep_ep.utils.event: the classes of events, under DeepEP's name."""
from ..events import EventHandle, EventOverlap

__all__ = ["EventHandle", "EventOverlap"]
