"""deep_ep.utils.event: events."""
from ..events import EventHandle, EventOverlap

__all__ = ["EventHandle", "EventOverlap"]
