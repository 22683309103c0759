"""What users of deep_ep are told once: arguments without an effect, and ways that are slow."""
import logging
import sys
import threading
import warnings

log = logging.getLogger("transload.deep_ep")

_said: set = set()
_lock = threading.Lock()


def say_once(key, text):
    """A warning, at the first call with this key in this process."""
    if _first(key):
        warnings.warn(f"deep_ep: {text}", UserWarning, stacklevel=_outside())


def log_once(key, text):
    """A line of the log, at the first call with this key in this process."""
    if _first(key):
        log.info(text)


def ignored(where, name, value, default, why):
    """An argument that has no effect: said once, if it is not the default."""
    if value is not default and value != default:
        say_once((where, name), f"{where}: {name}={value!r} has no effect: {why}")


def _first(key):
    with _lock:
        new = key not in _said
        _said.add(key)
    return new


def _outside():
    """How many frames above say_once the caller of this package is."""
    frame, level = sys._getframe(2), 2
    while frame is not None and frame.f_globals.get("__name__", "").startswith("transload.deep_ep"):
        frame, level = frame.f_back, level + 1
    return level
