"""One start of a task, over a server by hand: what is said, told and written down in the cases that are seldom."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from aether import Model, Retry, task
from aether.core.backoff import Backoff
from aether.errors import InvalidCommand, Unavailable
from aether.model.task_type import TaskType
from aether.runtime import task_run, task_store
from aether.runtime.task_notes import ERROR_CHARS_MAX, GIVEN_UP, RUNS, WAITS, TaskNote, decode_note, said
from tests.support.errands import Errand, World, model, renew
from tests.support.task_server import TTL_S, TaskSide, start_of


@pytest.fixture
def world() -> World:
    return renew()


@pytest.fixture
async def side(world: World, monkeypatch: pytest.MonkeyPatch) -> TaskSide:
    monkeypatch.setattr(task_store, "SEND_AGAIN", Backoff(first_s=0.0, cap_s=0.0))
    return TaskSide(model)


async def until_running(world: World) -> None:
    async with asyncio.timeout(10):
        while not world.running:  # noqa: ASYNC110 - the run makes progress
            await asyncio.sleep(0)


def note(**fields: Any) -> TaskNote:
    return TaskNote(task="echo", actor="errand/a", **fields)


async def test_a_result_that_cannot_be_stored_goes_back_when_the_worker_leaves(side: TaskSide) -> None:
    run = side.run_of(start_of("echo", b'{"text":"x"}'))
    asked: list[None] = []

    def away() -> Exception:
        asked.append(None)
        if len(asked) == 3:
            run.give_back()
        return Unavailable("no store")

    side.server.send_error = away
    await run.live()
    assert len(asked) == 3
    assert side.server.said == [("again", 7, 0.0)]
    assert not run.done
    assert side.counters.by_task == {}
    assert side.counters.attempts_by_task == {}


async def test_a_note_that_cannot_be_read_is_waited_for_until_the_worker_leaves(side: TaskSide, world: World) -> None:
    side.server.row_errors = [Unavailable("no store")] * 2
    run = side.run_of(start_of("echo", b'{"text":"x"}'), deliveries=2)
    run.give_back()
    await run.live()
    assert side.server.said == [("again", 7, task_run.UNKNOWN_AGAIN_S)]
    assert world.calls == []
    assert side.left == [run]
    assert side.counters.attempts_by_task == {}


async def test_what_nothing_foresees_has_it_handed_out_again(side: TaskSide, world: World) -> None:
    side.resources_error = LookupError("what nothing foresees")
    run = side.run_of(start_of("echo", b'{"text":"x"}'))
    await run.live()
    assert side.server.said == [("again", 7, task_run.UNKNOWN_AGAIN_S)]
    assert not run.done
    assert side.left == [run]
    assert world.calls == []


async def test_one_that_lost_its_workers_after_it_was_given_back_says_so(side: TaskSide) -> None:
    side.server.notes["t1"] = note(given_back=1)
    run = side.run_of(start_of("echo", b'{"text":"x"}'), deliveries=5)
    await run.live()
    (tell,) = side.server.told
    assert tell["args"]["failed"] == {
        "message": "its worker was lost each time, or could not keep it",
        "error_type": "WorkerLost",
        "attempts": 3,
    }
    assert side.server.said == [("done", 7)]
    written = side.server.notes["t1"]
    assert (written.state, written.error, written.error_type) == (
        GIVEN_UP, "its worker was lost each time, or could not keep it", "WorkerLost")  # fmt: skip


async def test_one_that_failed_and_then_lost_its_workers_says_how_it_failed(side: TaskSide) -> None:
    side.server.notes["t1"] = note(error="no 1", error_type="ConnectionError", attempt=1)
    run = side.run_of(start_of("echo", b'{"text":"x"}'), deliveries=6)
    await run.live()
    (tell,) = side.server.told
    assert tell["args"]["failed"] == {"message": "no 1", "error_type": "ConnectionError", "attempts": 3}


async def test_what_is_handed_back_needs_no_store_to_be_run_elsewhere(side: TaskSide, world: World) -> None:
    side.server.write_error = Unavailable("no store")
    run = side.run_of(start_of("waits"))
    living = asyncio.create_task(run.live())
    await until_running(world)
    run.give_back()
    await living
    assert side.server.said == [("again", 7, 0.0)]
    assert side.counters.attempts_by_task == {("waits", "given_back"): 1}
    assert not run.done


async def test_what_is_handed_back_waits_for_no_time_and_cannot_be_hurried(side: TaskSide) -> None:
    side.server.notes["t1"] = note(state=WAITS, attempt=1, error="no 1", next_s=9.0, token="old", given_back=1)
    run = side.run_of(start_of("echo", b'{"text":"x"}'), deliveries=3)
    await run.hand_back()
    wanted = structs.replace(side.server.notes["t1"], given_back=2, attempts=3, next_s=0.0, token="")
    assert side.server.notes["t1"] == wanted
    assert (wanted.state, wanted.attempt, wanted.error) == (WAITS, 1, "no 1")


async def test_a_failure_is_written_down_before_it_is_tried_again(side: TaskSide) -> None:
    run = side.run_of(start_of("fails", b'{"times":9}'))
    await run.live()
    (written,) = side.server.written
    now_s = side.clock.wall_s()
    assert written == TaskNote(
        task="fails",
        actor="errand/a",
        state=WAITS,
        attempt=1,
        attempts=3,
        error="no 1",
        error_type="ConnectionError",
        at_s=now_s,
        next_s=now_s + 0.5,
        token="token-1",
        correlationid="together",
        causationid="first",
    )
    assert side.server.said == [("again", 7, 0.5)]
    assert side.server.said_before == [0], "another worker may have it before it is written down"
    (group,) = side.counters.failures.groups()
    assert (group.kind, group.command, group.outcome) == ("errand", "task fails", "failed")


async def test_one_that_is_cancelled_while_its_failure_is_written_down_does_not_wait(
    side: TaskSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_row = side.server.write_row

    async def cancelled_meanwhile(task_id: str, payload: bytes) -> None:
        side.cancelled[task_id] = "operator"
        await write_row(task_id, payload)

    monkeypatch.setattr(side.server, "write_row", cancelled_meanwhile)
    await side.run_of(start_of("fails", b'{"times":9}')).live()
    assert side.server.said == [("again", 7, 0.0)]


async def test_it_is_kept_until_it_is_put_off(side: TaskSide) -> None:
    """The server would hand it out when the time of its claim is over, hours before its next attempt is due."""
    run = side.run_of(start_of("fails", b'{"times":9}'))
    run.keep()
    await run.live()
    run.keep()  # before the runner hears that it has ended
    assert side.server.said == [("keep", 7), ("again", 7, 0.5)]


async def test_the_first_attempt_is_1_where_the_server_counts_anew(side: TaskSide, world: World) -> None:
    """As it does with a consumer that was deleted; what is written down is of before."""
    side.server.notes["t1"] = note(given_back=5)
    await side.run_of(start_of("echo", b'{"text":"x"}'), deliveries=2).live()
    assert [one.attempt for one in world.calls] == [1]


class Spans:
    """Tracing and its only span."""

    traceparent = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"

    def __init__(self) -> None:
        self.begun: list[tuple[str, dict[str, str | int], str]] = []
        self.errors: list[BaseException] = []
        self.ended = 0

    def span(self, name: str, _kind: object, attributes: dict[str, str | int], *, parent: str = "") -> "Spans":
        self.begun.append((name, attributes, parent))
        return self

    @contextmanager
    def current(self) -> Iterator[None]:
        yield

    def raised(self, error: BaseException) -> None:
        self.errors.append(error)

    def end(self) -> None:
        self.ended += 1


def traced(side: TaskSide) -> Spans:
    spans = Spans()
    side.worker = replace(side.worker, tracing=spans)  # type: ignore[arg-type]
    return spans


async def test_an_attempt_has_a_span_and_what_it_sends_belongs_to_that(side: TaskSide, world: World) -> None:
    spans = traced(side)
    await side.run_of(start_of("echo", b'{"text":"x"}')).live()
    ((name, attributes, _),) = spans.begun
    assert (name, attributes["aether.attempt"], attributes["aether.task_id"]) == ("task echo", 1, "t1")
    assert world.calls[0].traceparent == spans.traceparent
    (tell,) = side.server.told
    assert (tell["traceparent"], tell["correlationid"], tell["causationid"]) == (
        spans.traceparent, "together", "first")  # fmt: skip
    assert (spans.errors, spans.ended) == ([], 1)


async def test_the_span_of_an_attempt_that_failed_has_its_error(side: TaskSide, world: World) -> None:
    spans = traced(side)
    await side.run_of(start_of("fails", b'{"times":9}')).live()
    (error,) = spans.errors
    assert (str(error), spans.ended) == ("no 1", 1)


async def test_a_function_knows_what_it_belongs_to(side: TaskSide, world: World) -> None:
    await side.run_of(start_of("echo", b'{"text":"x"}')).live()
    (context,) = world.calls
    assert context.correlation_id == "together"
    assert context.deadline.timestamp() == side.clock.wall_s() + model.task_types["echo"].timeout_s


@pytest.mark.parametrize(("path", "ends"), [("id", "ok"), ("args", "given_up")])
async def test_a_result_that_the_inbox_refuses(side: TaskSide, path: str, ends: str) -> None:
    """Another result of the task is there already, which counts; or it is too large, which is its failure."""
    refusals = [InvalidCommand("no", path=path)]
    side.server.send_error = lambda: refusals.pop() if refusals else None
    await side.run_of(start_of("echo", b'{"text":"x"}'), deliveries=3).live()
    assert side.counters.by_task == {("echo", ends): 1}
    assert side.server.said == [("done", 7)]
    if ends == "given_up":
        assert side.server.told[0]["args"]["failed"]["error_type"] == "InvalidCommand"


async def test_an_operators_cancellation_that_cannot_be_told_goes_back_when_the_worker_leaves(side: TaskSide) -> None:
    side.cancelled["t1"] = "operator"
    run = side.run_of(start_of("echo", b'{"text":"x"}'))

    def away() -> Exception:
        run.give_back()
        return Unavailable("no store")

    side.server.send_error = away
    await run.live()
    assert side.server.said == [("again", 7, 0.0)]
    assert not run.done
    assert side.counters.by_task == {}


async def test_a_task_that_is_over_leaves_no_note_unless_it_was_given_up(side: TaskSide, world: World) -> None:
    for reason in ("", "actor"):
        side.cancelled["t1"] = reason
        side.server.notes["t1"] = note(error="no 1", error_type="ConnectionError", attempt=1)
        await side.run_of(start_of("echo", b'{"text":"x"}'), deliveries=2).live()
        assert side.server.notes == {}
    assert [one.state for one in side.server.written] == [RUNS]
    assert side.server.said == [("done", 7), ("done", 7)]
    assert side.server.ended_cancelled == [("t1", "actor")]


@pytest.mark.parametrize("reason", ["actor", "operator"])
async def test_a_cancellation_need_not_be_known_for_long_once_its_task_is_over(
    side: TaskSide, world: World, reason: str
) -> None:
    """Each worker has all of them in memory. It may come while the function runs, and find it done."""
    run = side.run_of(start_of("waits"))
    live = asyncio.ensure_future(run.live())
    while not world.calls:  # noqa: ASYNC110 - the run makes progress
        await asyncio.sleep(0)
    side.cancelled["t1"] = reason
    world.opened.set()
    await live
    assert side.counters.by_task == {("waits", "ok"): 1}
    side.server.write_error = Unavailable("no store")
    await side.run_of(start_of("echo", b'{"text":"x"}')).live()
    side.server.write_error = None
    await side.run_of(start_of("echo", b'{"text":"x"}')).live()
    assert side.server.ended_cancelled == [("t1", reason)] * 2
    assert side.server.said == [("done", 7)] * 3


async def test_what_cannot_be_written_down_stops_nothing(side: TaskSide) -> None:
    side.server.notes["t1"] = note(error="no 1", error_type="ConnectionError", attempt=1)
    side.server.write_error = Unavailable("no store")
    await side.run_of(start_of("fails", b'{"times":9}'), deliveries=2).live()
    assert side.server.said == [("again", 7, 1.0)]
    await side.run_of(start_of("echo", b'{"text":"x"}'), deliveries=2).live()
    assert side.server.said[1:] == [("done", 7)]


async def test_what_another_version_may_take_goes_back_after_a_while(side: TaskSide, world: World) -> None:
    side.foreign_error = Unavailable("another version may know it")
    await side.run_of(start_of("echo", b'{"text":"x"}', then="later")).live()
    side.server.notes.clear()
    side.cancelled["t1"] = "operator"
    await side.run_of(start_of("echo", b'{"text":"x"}', failed="later")).live()
    assert side.server.said == [("again", 7, task_run.ANOTHER_VERSION_S)] * 2
    assert side.server.told == []
    assert world.calls == []


async def test_what_users_code_raises_is_of_no_other_version(side: TaskSide, world: World) -> None:
    side.foreign_error = Unavailable("another version may know it")
    world.breaks = lambda: 1 // 0
    await side.run_of(start_of("breaks", then="")).live()
    assert side.counters.by_task == {("breaks", "given_up"): 1}


async def test_arguments_that_users_code_cannot_make_are_of_no_other_version(
    side: TaskSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: TaskType, __: bytes) -> None:
        raise KeyError("no such account")

    monkeypatch.setattr(TaskType, "decode_args", refused)
    side.foreign_error = Unavailable("another version may know it")
    await side.run_of(start_of("breaks", then="")).live()
    assert side.counters.by_task == {("breaks", "given_up"): 1}


lingering = asyncio.Event()


@task
async def lingers() -> None:
    """Needs a moment to end."""
    lingering.set()
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(20):
            await asyncio.sleep(0)


@task(retry=Retry(first_s=30, cap_s=2, attempts=2))
async def hopeless() -> None:
    """Fail."""
    raise ValueError("no")


OTHERS = Model("others", actors=[Errand], tasks=[lingers, hopeless])


async def test_a_function_that_is_stopped_has_a_while_to_end(caplog: pytest.LogCaptureFixture) -> None:
    side = TaskSide(OTHERS)
    run = side.run_of(start_of("lingers", then=""))
    living = asyncio.create_task(run.live())
    async with asyncio.timeout(10):
        await lingering.wait()
    run.give_back()
    await living
    assert side.left == [run]
    assert "a task goes on although it was cancelled" not in caplog.messages
    assert side.server.said == [("again", 7, 0.0)]


async def test_a_task_waits_no_longer_than_it_says() -> None:
    side = TaskSide(OTHERS)
    await side.run_of(start_of("hopeless", then="")).live()
    assert side.server.said == [("again", 7, 1.0)]


async def test_a_run_says_what_it_is(side: TaskSide, world: World) -> None:
    side.clock.advance(100.0)
    run = side.run_of(start_of("waits"), deliveries=2)
    side.clock.advance(3.0)
    line = run.line()
    assert (line.id, line.task, line.actor, line.attempt, line.runs_s) == ("t1", "waits", "errand/a", 2, 3.0)


async def test_it_is_stopped_once_however_often_that_is_said(side: TaskSide, world: World) -> None:
    run = side.run_of(start_of("waits"))
    living = asyncio.create_task(run.live())
    await until_running(world)
    side.cancelled["t1"] = "actor"
    run.cancel()
    run.cancel()
    run.give_back()
    await living
    assert side.counters.by_task == {("waits", "cancelled"): 1}
    assert side.left == [run]


@pytest.mark.parametrize("payload", [None, b"", b"?", b'{"task":1}', b'{"task":"of a later version"}'])
def test_a_note_that_cannot_be_read_is_none(payload: bytes | None) -> None:
    assert decode_note(payload) is None


def test_what_an_error_says_is_cut() -> None:
    assert said(ValueError("x" * 100_000)) == "x" * ERROR_CHARS_MAX


async def test_one_that_is_handed_out_once_too_often_while_its_last_attempt_runs_is_not_given_up(
    side: TaskSide, world: World
) -> None:
    """Two operators tried it again at once."""
    start = start_of("fails", b'{"times":3}')
    side.server.notes[start.id] = note(state=RUNS, attempt=2, error="no 2", error_type="ConnectionError")
    await side.run_of(start, deliveries=4).live()
    assert side.server.said == [("again", 7, TTL_S)]
    assert side.server.told == []
    assert side.left
    await side.run_of(start, deliveries=5).live()
    assert [one["command"] for one in side.server.told] == ["failed"]
    assert world.calls == []


@pytest.mark.parametrize("name", ["blocks", "fails"])
async def test_one_that_is_stopped_while_its_row_is_read_is_not_called(side: TaskSide, world: World, name: str) -> None:
    start = start_of(name, b'{"times":0}' if name == "fails" else b"{}")
    side.server.notes[start.id] = note(attempt=1, error="no", error_type="ConnectionError")
    run = side.run_of(start, deliveries=2)
    world.gate.set()
    run.give_back()
    await run.live()
    assert world.calls == []
    assert side.left == [run]
    assert side.server.said == [("again", 7, 0.0)]
    assert side.server.notes[start.id].given_back == 1


async def test_a_task_is_not_called_where_the_lifespan_has_ended_and_that_is_no_attempt(
    side: TaskSide, world: World
) -> None:
    side.resources_error = RuntimeError("the lifespan has ended")
    run = side.run_of(start_of("echo", b'{"text":"x"}'))
    await run.live()
    assert world.calls == []
    assert side.server.said == [("again", 7, task_run.UNKNOWN_AGAIN_S)]
    assert side.server.notes["t1"].given_back == 1
    assert side.counters.attempts_by_task == {("echo", "given_back"): 1}
    assert side.left == [run]


@pytest.mark.parametrize("error", [KeyError("no"), SystemExit(1)])
async def test_a_failure_that_users_code_does_not_take_is_told_as_it_is(
    side: TaskSide, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its actor makes of that is a dead letter."""

    class Refusing:
        def encode_args(self, *_: object) -> bytes:
            raise error

    side.worker = replace(side.worker, command_type=lambda *_: Refusing())  # type: ignore[arg-type]
    await side.run_of(start_of("fails", b'{"times":9}'), deliveries=3).live()
    (tell,) = side.server.told
    assert (tell["command"], tell["args"]["failed"]["message"]) == ("failed", "no 3")
    assert side.server.said == [("done", 7)]


async def test_one_that_is_given_up_and_not_told_is_not_called_by_the_next_worker(side: TaskSide, world: World) -> None:
    start = start_of("lies", then="", failed="later")
    side.foreign_error = Unavailable("another version may know it")
    await side.run_of(start).live()
    assert side.server.told == []
    assert side.server.said == [("again", 7, task_run.ANOTHER_VERSION_S)]
    await side.run_of(start, deliveries=2).hand_back()  # it has no room
    note = side.server.notes["t1"]
    assert (note.state, note.attempt, note.error_type) == (GIVEN_UP, 1, "TypeError")
    side.foreign_error = None
    failures = side.counters.attempts_by_task["lies", "failed"]
    await side.run_of(start, deliveries=3).live()
    (tell,) = side.server.told
    failed = tell["args"]["failed"]
    assert (failed["error_type"], failed["attempts"]) == ("TypeError", 1)
    assert side.counters.attempts_by_task["lies", "failed"] == failures, "it was called again"
    assert side.server.notes["t1"] == note


async def test_a_function_that_got_no_thread_is_not_called_by_another_one_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = ThreadPoolExecutor(2)
    side = TaskSide(model, threads)
    first = asyncio.create_task(side.run_of(start_of("blocks")).live())
    async with asyncio.timeout(10):
        while not world.calls:  # noqa: ASYNC110 - a thread makes progress
            await asyncio.sleep(0.002)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        await side.run_of(start_of("blocks", id="t2")).live()
    assert side.server.notes["t2"].error == "can't start new thread"
    world.gate.set()
    await first
    await asyncio.to_thread(threads.shutdown)
    assert [one.task_id for one in world.calls] == ["t1"]
