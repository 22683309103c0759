"""deep_ep.utils: events."""
from ..events import EventHandle, EventOverlap
from . import event  # noqa: F401

__all__ = ["EventHandle", "EventOverlap"]
