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
    """The streams of CPU ranks. A class that replaces it, as in tests, must have the same methods."""

    def current(self):
        """Returns the stream that this thread gives work to."""
        return torch.cpu.current_stream()

    def make(self):
        """Returns a stream of high priority for the calls of one buffer."""
        return self.current()

    def on(self, stream):
        """Returns a context in which `stream` is the current one."""
        return contextlib.nullcontext(stream)

    def record(self, stream):
        """Returns a mark behind all work that the stream was given."""
        return None

    def wait(self, stream, mark):
        """Makes work that the stream is given from now on begin after the mark."""

    def done(self, mark):
        """Returns whether all work before the mark is done."""
        return True

    def belongs(self, tensor, stream):
        """Keeps the memory of the tensor from other use until the stream has done the work that it was given."""


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
        """Makes the current stream wait for the event; the host does not wait."""
        current = self._streams.current()
        self._hold_back(current)
        for tensor in (each() for each in self._writes):
            if tensor is not None:
                self._streams.belongs(tensor, current)
        self._reads = ()

    def _hold_back(self, stream):
        self._streams.wait(stream, self._mark)

    def _let_go(self):
        """Drops the tensors that the event holds, if it is done. Returns whether it holds none."""
        if self._streams.done(self._mark):
            self._reads = ()
        return not self._reads


class EventOverlap:
    """An EventHandle, or None for a synchronous call, with tensors that are kept until it is waited for."""

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
        """Makes the current stream wait for the event, and then calls the hooks, once.

        release_handle: whether the event and the extra tensors are dropped afterwards
        """
        if self.event is None:
            raise InvalidArgument("event: None, must be that of an asynchronous call: a synchronous one returns none")
        self.event.current_stream_wait()
        hooks, self._hooks = self._hooks, []
        for hook in hooks:
            hook()
        if release_handle:
            self.event, self.extra_tensors = None, None

    def register_hook_after_wait(self, hook_after_wait):
        """Makes the next wait call hook_after_wait(), once."""
        self._hooks.append(hook_after_wait)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        release, self._release = self._release, False
        if self.event is not None:
            self.current_stream_wait(release)


def handle_of(event, name="previous_event"):
    """Returns the EventHandle of an EventOverlap, an EventHandle or None; None if there is none."""
    if isinstance(event, EventOverlap):
        event = event.event
    if event is not None and not isinstance(event, EventHandle):
        raise InvalidArgument(f"{name}: {event!r}, must be an EventOverlap, an EventHandle or None")
    return event


def _handles_of(events):
    """Returns the EventHandles of previous_event, which may be a tuple of several events."""
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
        """The buffer's own stream, on which asynchronous calls run."""
        if self._own is None:
            self._own = self._streams.make()
        return self._own

    def run(self, call, reads, previous_event=None, asynchronous=False):
        """Runs call() behind previous_event, on the current stream, or on the buffer's own if it is asynchronous.

        reads: the tensors that call() reads
        previous_event: one event or a tuple of several; None: the buffer's own stream waits for the current one

        Returns (the results of call(), EventOverlap). Tensors among the results belong to the stream that writes them.
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
    """Yields the tensors in nested tuples and lists."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)
