"""What passes between a pool and its calls beside arguments and results: notes and requests."""

import fcntl
import itertools
import logging
import os
import pickle
import signal
import socket
import sys
import threading
from multiprocessing.connection import Connection, Pipe
from queue import SimpleQueue

import pytest

from app.core import FutureCancelledError, ProcessPoolExecutor, child, keeper, spawned
from tests.core import process_calls as calls
from tests.core.future_contract import SOON

MEGABYTE = 2**20

pytest_plugins = ["tests.core.process_fixtures"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


# -- notes


def test_notes_arrive_in_order_and_before_the_future_is_done(pool, received):
    pool.submit(calls.send_all, *range(100)).result(SOON)
    assert received.notes == list(range(100))


def test_a_note_may_come_from_a_thread(pool, received):
    pool.submit(calls.send_from_thread, "note").result(SOON)
    assert received.notes == ["note"]


@pytest.mark.parametrize(("cls", "error"), [(calls.Local, "TypeError"), (calls.Exits, "SystemExit")])
def test_a_note_that_cannot_be_pickled_is_the_callers_error(pool, received, cls, error):
    assert pool.submit(calls.send_made, cls).result(SOON) == error
    assert received.notes == []


def test_a_note_that_cannot_be_received_is_logged(pool, received, caplog):
    received.act = calls.raises_first(SystemExit)
    with caplog.at_level(logging.ERROR):
        pool.submit(calls.send_all, 1, 2).result(SOON)
        pool.submit(calls.send_made, calls.Unloadable).result(SOON)
    assert received.notes == [1, 2]
    assert caplog.messages == ["what a call has sent could not be received"] * 2


def test_notes_are_dropped_when_nobody_receives(narrow):
    assert narrow.submit(calls.send_all, 1).result(SOON) is None


def test_a_thread_left_behind_that_sends_without_an_end_holds_up_no_call():
    with ProcessPoolExecutor(1, max_tasks_per_child=3) as pool:
        futures = [pool.submit(calls.flood), pool.submit(calls.identity, 1), pool.submit(calls.identity, 2)]
        # The third is the last, and the thread does not stop when the process is to end.
        assert [future.result(SOON) for future in futures] == [None, 1, 2]
        pool.kill_workers()


def test_outside_of_a_process_of_a_pool_notes_and_checkpoints_do_nothing():
    child.send(threading.Lock())
    child.checkpoint()
    assert not child.is_asked_to_stop()


# -- requests


def test_checkpoint_raises_after_cancel_and_the_future_is_cancelled(pool, fifo):
    future = pool.submit(calls.run_until_stopped, told := fifo("told"))
    calls.read(told)
    assert not future.cancel()
    with pytest.raises(FutureCancelledError):
        future.result(SOON)
    assert future.cancelled()


def test_the_first_request_is_raised_anew_at_each_checkpoint(fifo):
    told = fifo("told")
    with ProcessPoolExecutor(1, None, calls.meet, (told, gate := fifo("gate"))) as pool:
        future = pool.submit(calls.catch_two_requests, mark := fifo("mark"))
        calls.read(told)
        assert future.stop(TimeoutError("over"))
        assert future.stop(ValueError("later"))
        calls.write(gate)
        calls.read(mark)
    assert future.result(SOON) == (["TimeoutError('over')"] * 2, True)


def test_a_request_that_the_call_does_not_look_for_reaches_no_other_call(narrow, fifo):
    told, gate = fifo("told"), fifo("gate")
    future = narrow.submit(calls.meet, told, gate, "done")
    later = narrow.submit(calls.checkpointed)
    calls.read(told)
    future.cancel()
    calls.write(gate)
    assert future.result(SOON) == "done"
    assert later.result(SOON) is None
    assert not future.stop(ValueError())


def test_a_request_at_the_start_of_the_process_is_kept_until_the_call_is_sent(fifo):
    told, gate, mark = fifo("told"), fifo("gate"), fifo("mark")
    with ProcessPoolExecutor(1, None, calls.meet, (told, gate)) as pool:
        future = pool.submit(calls.run_until_stopped, mark)
        calls.read(told)
        assert not future.cancel()
        calls.write(gate)
        calls.read(mark)
        with pytest.raises(FutureCancelledError):
            future.result(SOON)


def test_a_request_that_cannot_be_pickled_is_the_callers_error(pool, fifo):
    told, gate = fifo("told"), fifo("gate")
    future = pool.submit(calls.meet, told, gate, "done")
    calls.read(told)
    with pytest.raises(SystemExit):
        future.stop(calls.UnpicklableError())
    calls.write(gate)
    assert future.result(SOON) == "done"


def test_a_pending_call_is_cancelled_and_not_sent(narrow, fifo):
    told, gate = fifo("told"), fifo("gate")
    running = narrow.submit(calls.meet, told, gate)
    pending = narrow.submit(calls.identity, 1)
    calls.read(told)
    assert pending.cancel()
    assert not pending.stop(ValueError())
    assert not pending.kill()
    calls.write(gate)
    assert running.result(SOON) is None
    assert pending.cancelled()


def test_a_thread_left_behind_that_looks_for_requests_takes_no_call_away(narrow, fifo):
    narrow.submit(calls.leave_a_thread_at_checkpoints).result(SOON)
    for n in range(200):
        assert narrow.submit(calls.identity, n).result(SOON) == n
    future = narrow.submit(calls.run_until_stopped, told := fifo("told"))
    calls.read(told)
    future.cancel()
    with pytest.raises(FutureCancelledError):
        future.result(SOON)


class _Pipe:
    """A process that only notes what is sent."""

    def __init__(self):
        self.sent = []

    def send(self, message):
        self.sent.append(message)


def test_a_request_is_not_sent_before_its_call():
    # A thread that wanted to pass on a request to the call before comes late.
    pool = ProcessPoolExecutor(1)
    one = keeper.Keeper(pool._keepers, None, None, None)
    future = one._current = keeper.ProcessFuture()
    one._child = pipe = _Pipe()
    assert one.stop(future, ValueError())
    one._send_request()
    assert pipe.sent == []
    one._sent = True
    one._pass_on()
    assert [child.split(message)[0] for message in pipe.sent] == [child.STOP]
    one._send_request()
    assert len(pipe.sent) == 1


# -- what processes do as they end, and forks in them


class Ended(BaseException):
    """In place of an end."""


@pytest.fixture
def ended(monkeypatch):
    """Have `os._exit` raise, and return the exit codes."""
    codes = []

    def end(code):
        codes.append(code)
        raise Ended

    monkeypatch.setattr(os, "_exit", end)
    # It would close the handlers of the tests.
    monkeypatch.setattr(logging, "shutdown", calls.nothing)
    return codes


@pytest.mark.parametrize(
    ("failure", "code"),
    [(None, 0), (SystemExit(), 0), (SystemExit(3), 3), (SystemExit("text"), 1), (ValueError("said"), 1)],
)
def test_a_forked_process_ends_with_the_exit_code_of_a_script(ended, capsys, failure, code):
    child._end_other_than(os.getpid(), failure)
    assert ended == []
    with pytest.raises(Ended):
        child._end_other_than(0, failure)
    assert ended == [code]
    assert ("ValueError: said" in capsys.readouterr().err) == isinstance(failure, ValueError)


def test_a_process_that_cannot_go_on_says_why_and_ends_at_once(ended, monkeypatch, caplog):
    monkeypatch.setattr(child, "_detach", calls.raises_first(MemoryError))
    with pytest.raises(Ended):
        child.main(0, 0, False)
    assert ended == [1]
    assert "MemoryError" in caplog.text


def test_a_process_whose_parent_is_gone_ends_without_a_word(ended, monkeypatch, caplog):
    monkeypatch.setattr(child, "_detach", calls.raises_first(BrokenPipeError))
    with pytest.raises(Ended):
        child.main(0, 0, False)
    assert len(ended) == 1
    assert caplog.text == ""


def test_an_initializer_that_never_comes_is_no_failure(ends):
    first, second = ends
    second.close()
    assert not child._initialize(child._Parent(first.fileno()))


def test_a_forked_process_has_no_parent_to_send_to(ends, monkeypatch):
    first, _ = ends
    pipe = Connection(os.dup(first.fileno()))
    monkeypatch.setattr(child, "_parent", child._Parent(pipe.fileno()))
    child._part(pipe)
    assert child._parent is None
    assert pipe.closed


def test_a_forked_process_of_the_parent_closes_the_pipes(monkeypatch, narrow):
    narrow.submit(calls.nothing).result(SOON)
    (one,) = narrow._keepers._keepers
    with monkeypatch.context() as patch:
        patch.setattr(spawned, "_CHILDREN", {one._child})
        # What runs before the fork.
        spawned._FORKING.acquire()
        spawned._part_forked()
    spawned._CHILDREN.discard(one._child)
    assert one._child._pipe.closed
    assert one._child._lifeline.closed


def test_a_disowned_pool_forgets_its_processes_and_its_calls():
    pool = ProcessPoolExecutor(1)
    one = keeper.Keeper(pool._keepers, None, None, None)
    pool._keepers._keepers.append(one)
    future = one._current = keeper.ProcessFuture()
    future._keeper, one._child = one, _Pipe()
    pool._keepers.disown()
    assert not future.stop(ValueError())
    assert not future.kill()
    pool.kill_workers()
    assert one._bury() is None
    with pytest.raises(RuntimeError, match="belongs to its parent process"):
        pool.submit(calls.nothing)


# -- the lifeline


@pytest.fixture
def closed(monkeypatch):
    """The lifeline of a parent that is gone, and which groups were killed."""
    groups = SimpleQueue()
    monkeypatch.setattr(os, "killpg", lambda *group: groups.put(group))
    ours, theirs = Pipe(duplex=False)
    theirs.close()
    with ours:
        yield ours, groups


def test_a_process_whose_parent_has_gone_before_the_kernel_was_asked_ends_itself(closed, monkeypatch):
    lifeline, groups = closed
    monkeypatch.setattr(fcntl, "fcntl", lambda *_: 0)
    monkeypatch.setattr(fcntl, "F_SETSIG", 10, raising=False)
    child._end_with(lifeline)
    assert groups.get(timeout=SOON) == (0, signal.SIGKILL)


def test_where_the_kernel_cannot_be_asked_a_thread_sees_to_the_end(closed, monkeypatch):
    lifeline, groups = closed
    monkeypatch.setattr(fcntl, "fcntl", calls.raises_first(OSError))
    child._end_with(lifeline)
    assert groups.get(timeout=SOON) == (0, signal.SIGKILL)


# -- messages that are interrupted


@pytest.fixture
def ends():
    """A pipe whose first end does not wait, so that it interrupts as a signal's handler would."""
    first, second = socket.socketpair()
    with first, second:
        first.setblocking(False)
        yield first, second


def test_what_is_half_sent_is_finished_by_the_next_message(ends):
    first, second = ends
    parent = child._Parent(first.fileno())
    large = child.encode(child.NOTE, bytes(MEGABYTE))
    with pytest.raises(BlockingIOError):
        parent.send(large)
    arrived = threading.Thread(target=lambda: box.extend([pipe.recv_bytes(), pipe.recv_bytes()]))
    box, pipe = [], Connection(os.dup(second.fileno()))
    first.setblocking(True)
    arrived.start()
    parent.send(child.encode(child.RETURNED, 1))
    arrived.join()
    pipe.close()
    assert box == [bytes(large), bytes(child.encode(child.RETURNED, 1))]


@pytest.mark.parametrize("steps", [[1], [3, 1], [4], [5, 7, 2]])
def test_what_is_half_received_is_finished_by_the_next_look(ends, steps):
    first, second = ends
    parent = child._Parent(first.fileno())
    message = child.encode(child.CALL, "call")
    framed = _framed(message)
    for step in steps:
        second.sendall(framed[:step])
        framed = framed[step:]
        with pytest.raises(BlockingIOError):
            parent._in.read()
    second.sendall(framed)
    assert parent._in.has_some()
    assert parent._in.read() == message
    parent._in.drop()
    assert not parent._in.has_some()


def test_a_handler_that_raises_anywhere_in_a_checkpoint_costs_neither_the_request_nor_the_lock(ends):
    first, second = ends
    for moment in itertools.count(1):
        parent, moments = child._Parent(first.fileno()), itertools.count(1)
        second.sendall(_framed(child.encode(child.STOP, "stop")))

        def raise_at_the_moment(frame, event, _, moment=moment, moments=moments):
            # Where handlers run: as a function begins, and behind a call into C.
            here = event in ("call", "c_return") and frame.f_code.co_filename == child.__file__
            if here and next(moments) == moment:
                raise TimeoutError

        raised = False
        sys.setprofile(raise_at_the_moment)
        try:
            parent.request()
        except TimeoutError:
            raised = True
        finally:
            sys.setprofile(None)
        assert not parent._reading.locked()
        assert pickle.loads(parent.request()) == "stop"
        if not raised:
            break
    assert moment > 10


def test_the_frame_of_more_than_two_gigabytes_is_the_standard_librarys(ends, monkeypatch):
    first, second = ends
    monkeypatch.setattr(child, "_SHORT_MAX", 0)
    parent = child._Parent(first.fileno())
    parent.send(child.encode(child.RETURNED, "long"))
    pipe = Connection(os.dup(second.fileno()))
    assert child.split(pipe.recv_bytes())[0] == child.RETURNED
    pipe.close()
    second.sendall(b"\xff\xff\xff\xff" + bytes([0] * 6))
    with pytest.raises(BlockingIOError):
        parent._in.read()
    second.sendall(bytes([0, 1]) + child.EXIT)
    assert parent.next_call() is None


def test_a_message_sent_from_within_the_sending_of_another_comes_after_it(ends):
    first, second = ends
    parent = child._Parent(first.fileno())
    inner = iter([child.encode(child.NOTE, "inner")])

    class Interrupted(child._Outflow):
        def write(self):
            for message in inner:
                parent.send(message)
            super().write()

    parent._out = Interrupted(first.fileno())
    parent.send(child.encode(child.NOTE, "outer"))
    pipe = Connection(os.dup(second.fileno()))
    assert [pickle.loads(child.split(pipe.recv_bytes())[1]) for _ in range(2)] == ["outer", "inner"]
    pipe.close()


def test_a_thread_that_comes_upon_a_call_leaves_it_to_the_one_that_waits_for_it(ends):
    first, second = ends
    parent = child._Parent(first.fileno())
    for tag in (child.STOP, child.CALL, child.STOP):
        second.sendall(_framed(child.encode(tag, tag)))
    assert pickle.loads(parent.request()) == child.STOP
    parent._request = None
    assert parent.request() is None
    assert parent.request() is None
    assert pickle.loads(parent.next_call()) == child.CALL
    assert pickle.loads(parent.request()) == child.STOP
    with parent._reading:
        parent._request = None
        assert parent.request() is None
    second.close()
    assert parent.request() is None
    assert parent.next_call() is None


def _framed(message):
    return len(message).to_bytes(4, "big") + bytes(message)


def test_an_alarm_that_a_call_has_set_does_not_go_off_in_another(narrow):
    narrow.submit(calls.set_alarm).result(SOON)
    assert narrow.submit(calls.alarm).result(SOON) == (0, 0)
