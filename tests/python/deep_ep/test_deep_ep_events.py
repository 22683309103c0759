"""Events and the order of calls, by a recorder that stands in for streams; and on the CPU, where there are none."""
import gc
import weakref

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from deep_ep_ranks import Recorder  # noqa: E402

import transload  # noqa: E402
from transload.deep_ep import EventHandle, EventOverlap, events  # noqa: E402


@pytest.fixture(name="recorder")
def _recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(events, "_streams", recorder)
    return recorder


def some():
    return torch.zeros(3, dtype=torch.float32, device="cpu")


def test_sync_is_on_the_current_stream(recorder):
    gave, event = events.Work().run(lambda: recorder.did("it") or 5, ())
    assert gave == 5 and event.event is None
    assert recorder.said == [("call", "main", "it")]


@pytest.mark.parametrize("wrap", [lambda event: event, EventOverlap])
def test_sync_behind_an_event(recorder, wrap):
    before = EventHandle()
    with recorder.on("compute"):
        events.Work().run(lambda: recorder.did("it"), (), wrap(before))
    assert recorder.said == [("record", "main", 0), ("wait", "compute", 0), ("call", "compute", "it")]


@pytest.mark.parametrize("none", [None, EventOverlap(None), EventOverlap()])
def test_no_event_is_none(recorder, none):
    work = events.Work()
    work.run(lambda: recorder.did("it"), (), none)
    assert recorder.said == [("call", "main", "it")]
    work.run(lambda: recorder.did("it"), (), none, asynchronous=True)
    assert recorder.said[1:3] == [("record", "main", 0), ("wait", "own0", 0)]


def test_async_waits_for_the_current_stream(recorder):
    work = events.Work()
    with recorder.on("compute"):
        _, event = work.run(lambda: recorder.did("it"), (), asynchronous=True)
        assert recorder.current() == "compute"
    assert recorder.said == [("record", "compute", 0), ("wait", "own0", 0), ("call", "own0", "it"),
                             ("record", "own0", 1)]
    with recorder.on("later"):
        event.current_stream_wait()
    assert recorder.said[4:] == [("wait", "later", 1)]
    work.run(lambda: recorder.did("more"), (), asynchronous=True)
    assert ("call", "own0", "more") in recorder.said  # one stream a buffer
    events.Work().run(lambda: recorder.did("other"), (), asynchronous=True)
    assert ("call", "own1", "other") in recorder.said


def test_async_waits_for_the_event_instead(recorder):
    before = EventHandle()
    with recorder.on("compute"):
        events.Work().run(lambda: recorder.did("it"), (), before, asynchronous=True)
    assert recorder.said == [("record", "main", 0), ("wait", "own0", 0), ("call", "own0", "it"), ("record", "own0", 1)]


def test_reads_are_kept_until_waited_for(recorder):
    work, tensor = events.Work(), some()
    kept = weakref.ref(tensor)
    _, event = work.run(lambda: None, (tensor, None), asynchronous=True)
    del tensor
    gc.collect()
    assert kept() is not None
    event.current_stream_wait()
    assert kept() is None


def test_reads_are_kept_though_the_event_is_dropped(recorder):
    """The buffer keeps them; the next call lets go of what is done."""
    work, tensor = events.Work(), some()
    kept = weakref.ref(tensor)
    work.run(lambda: None, ((tensor,),), asynchronous=True)
    del tensor
    gc.collect()
    work.run(lambda: None, (), asynchronous=True)
    assert kept() is not None
    recorder.finished.add(1)
    work.run(lambda: None, (), asynchronous=True)
    assert kept() is None


def test_outputs_are_recorded_on_who_waits(recorder):
    first, second = some(), some()
    outputs, event = events.Work().run(lambda: ((first, None), [second], 3), (), asynchronous=True)
    gone = first.data_ptr()
    del first, outputs
    gc.collect()
    with recorder.on("compute"):
        event.current_stream_wait()
    with recorder.on("other"):
        event.current_stream_wait()
    assert [said for said in recorder.said if said[0] == "belongs"] == [
        ("belongs", second.data_ptr(), "compute"), ("belongs", second.data_ptr(), "other")]
    assert gone != second.data_ptr()


def test_a_call_that_raises(recorder):
    work = events.Work()

    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError):
        work.run(fail, (), asynchronous=True)
    assert recorder.current() == "main"
    work.run(lambda: recorder.did("it"), (), asynchronous=True)
    assert recorder.said[-2:-1] == [("call", "own0", "it")]


def test_context_hooks_and_release(recorder):
    event, order = EventOverlap(EventHandle(), (some(),)), []
    event.register_hook_after_wait(lambda: order.append(len(recorder.said)))
    with event as entered:
        assert entered is event and len(recorder.said) == 1
    assert recorder.said[1:] == [("wait", "main", 0)] and order == [2]
    event.current_stream_wait(release_handle=True)
    assert order == [2] and event.event is None and event.extra_tensors is None
    with EventOverlap(None):
        pass
    with pytest.raises(transload.InvalidArgument, match="None, must be that of an asynchronous call"):
        event.current_stream_wait()


@pytest.mark.parametrize("event", [3, "event", some()])
def test_what_is_no_event(event):
    with pytest.raises(transload.InvalidArgument, match="previous_event: .*must be an EventOverlap"):
        events.handle_of(event)
    with pytest.raises(transload.InvalidArgument, match="event: .*must be an EventHandle"):
        EventOverlap(event)


def test_on_the_cpu_all_is_done_at_once():
    work, tensor = events.Work(), some()
    kept = weakref.ref(tensor)
    _, event = work.run(lambda: None, (tensor,), EventHandle(), asynchronous=True)
    del tensor
    gc.collect()
    assert kept() is None and isinstance(event.event, EventHandle)
    event.current_stream_wait()


def test_let_go_by_the_end_of_a_block(recorder):
    """`with event(release_handle=True):` lets the event go at its end, and that of the next block does not."""
    _, event = events.Work().run(lambda: recorder.did("it"), (), asynchronous=True)
    with event as same:
        assert same is event
    assert event.event is not None
    with event(release_handle=True) as same:
        assert same is event and event.event is not None
    assert event.event is None
    again = EventOverlap(EventHandle())
    with again(release_handle=True):
        again.event, kept = None, again.event
    again.event = kept
    with again:
        pass
    assert again.event is kept


def test_a_hook_by_its_name(recorder):
    called = []
    event = EventOverlap(EventHandle())
    event.register_hook_after_wait(hook_after_wait=lambda: called.append(1))
    event.current_stream_wait()
    event.current_stream_wait()
    assert called == [1]
