"""Events and the streams behind them.

The ranks are on CPUs: a call is done when it returns, so an event is done when it is made. All the same every call goes
through Work.run, which says what is ordered behind what and how long tensors are kept. It asks `Streams` for all that a
device would do.
"""
import contextlib
import weakref

import torch

from ..errors import InvalidArgument


class Streams:
    """The streams of CPU ranks. Whatever replaces this class, as in tests, has the same methods."""

    def current(self):
        """The stream that this thread gives work to."""
        return torch.cpu.current_stream()

    def make(self):
        """A stream of high priority for the calls of one buffer."""
        return self.current()

    def on(self, stream):
        """A context in which `stream` is the current one."""
        return contextlib.nullcontext(stream)

    def record(self, stream):
        """A mark behind all that the stream was given."""
        return None

    def wait(self, stream, mark):
        """What the stream is given from now on begins after the mark."""

    def done(self, mark):
        return True

    def belongs(self, tensor, stream):
        """Memory of the tensor is not used anew before the stream has done what it was given."""


_streams = Streams()


class EventHandle:
    """A mark in the current stream, at the time when it is made.

    The event of a call holds the tensors that the call reads, until a stream waits for it or it is done.
    """

    def __init__(self):
        self._streams = _streams
        self._mark = self._streams.record(self._streams.current())
        self._reads, self._writes = (), ()

    @classmethod
    def _of_call(cls, streams, stream, reads, writes):
        self = cls.__new__(cls)
        self._streams, self._mark = streams, streams.record(stream)
        self._reads, self._writes = tuple(reads), tuple(weakref.ref(tensor) for tensor in writes)
        return self

    def current_stream_wait(self):
        """The current stream waits; the host does not."""
        current = self._streams.current()
        self._hold_back(current)
        for tensor in (each() for each in self._writes):
            if tensor is not None:
                self._streams.belongs(tensor, current)
        self._reads = ()

    def _hold_back(self, stream):
        self._streams.wait(stream, self._mark)

    def _let_go(self):
        """Drops what the event holds if it is done. True: it holds nothing."""
        if self._streams.done(self._mark):
            self._reads = ()
        return not self._reads


class EventOverlap:
    """An event, or none, with what is to be kept until it is waited for."""

    def __init__(self, event=None, extra_tensors=None):
        if event is not None and not isinstance(event, EventHandle):
            raise InvalidArgument(f"event: {event!r}, must be an EventHandle or None")
        self.event, self.extra_tensors = event, extra_tensors
        self._hooks = []
        self._release = False  # whether the next end of `with` lets the event go

    def __call__(self, release_handle=False):
        """Returns itself, for `with event(release_handle=True):`."""
        self._release = release_handle
        return self

    def current_stream_wait(self, release_handle=False):
        """The current stream waits for the event; then the hooks run, once. With release_handle the event is let go."""
        if self.event is None:
            raise InvalidArgument("event: None, must be that of an asynchronous call: a synchronous one returns none")
        self.event.current_stream_wait()
        hooks, self._hooks = self._hooks, []
        for hook in hooks:
            hook()
        if release_handle:
            self.event, self.extra_tensors = None, None

    def register_hook_after_wait(self, hook_after_wait):
        """hook_after_wait() is called once, by the next wait."""
        self._hooks.append(hook_after_wait)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        release, self._release = self._release, False
        if self.event is not None:
            self.current_stream_wait(release)


def handle_of(event, name="previous_event"):
    """The EventHandle of an event of either kind, or None."""
    if isinstance(event, EventOverlap):
        event = event.event
    if event is not None and not isinstance(event, EventHandle):
        raise InvalidArgument(f"{name}: {event!r}, must be an EventOverlap, an EventHandle or None")
    return event


def _handles_of(events):
    """The EventHandles of previous_event, which may be a tuple of several events."""
    several = events if isinstance(events, tuple) else (events,)
    return [each for each in map(handle_of, several) if each is not None]


class Work:
    """The calls of one buffer, in order."""

    def __init__(self):
        self._streams = _streams
        self._own = None
        self._under_way = []  # events that hold tensors, and for which nobody has waited

    @property
    def stream(self):
        """The buffer's own stream."""
        if self._own is None:
            self._own = self._streams.make()
        return self._own

    def run(self, call, reads, previous_event=None, asynchronous=False):
        """call() behind previous_event, one or several, on the current stream, or if asynchronous on the buffer's own.

        `reads` are the tensors that call() reads. Returns (what it gave, EventOverlap). The tensors among what it gave
        belong to the stream that writes them. Without previous_event the buffer's own stream waits for the current one.
        """
        streams, before = self._streams, _handles_of(previous_event)
        current = streams.current()
        if not asynchronous:
            for each in before:
                each._hold_back(current)
            return call(), EventOverlap(None)
        for each in before:
            each._hold_back(self.stream)
        if not before:
            streams.wait(self.stream, streams.record(current))
        with streams.on(self.stream):
            gave = call()
        event = EventHandle._of_call(streams, self.stream, _tensors(reads), _tensors(gave))
        self._under_way.append(event)
        self._under_way = [each for each in self._under_way if not each._let_go()]
        return gave, EventOverlap(event)


def _tensors(values):
    """The tensors in nested tuples and lists."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)
