"""deep_ep.utils: events."""
from ..events import EventHandle, EventOverlap

__all__ = ["EventHandle", "EventOverlap"]
