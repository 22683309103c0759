"""Warnings and log lines that users of deep_ep get once: about arguments without effect and about slow ways."""
import logging
import sys
import threading
import warnings

log = logging.getLogger("transload.deep_ep")

_said: set = set()
_lock = threading.Lock()


def say_once(key, text):
    """Warns the user, at the first call with this key in this process."""
    if _first(key):
        warnings.warn(f"deep_ep: {text}", UserWarning, stacklevel=_outside())


def log_once(key, text):
    """Writes a line to the log, at the first call with this key in this process."""
    if _first(key):
        log.info(text)


def ignored(where, name, value, default, why):
    """Warns once that an argument has no effect, if its value is not the default."""
    if value is not default and value != default:
        say_once((where, name), f"{where}: {name}={value!r} has no effect: {why}")


def _first(key):
    with _lock:
        new = key not in _said
        _said.add(key)
    return new


def _outside():
    """Returns how many frames above say_once the code is that called this package."""
    frame, level = sys._getframe(2), 2
    while frame is not None and frame.f_globals.get("__name__", "").startswith("transload.deep_ep"):
        frame, level = frame.f_back, level + 1
    return level
