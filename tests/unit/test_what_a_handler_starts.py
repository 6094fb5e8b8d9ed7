"""The starts of tasks and the schedules that a handler makes: what is in them, and where none can be made."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.json import decode, encode

from aether import Actor, ActorFailed, After, Every, InvalidCommand, Model, TaskFailed, command, query, task
from aether.core.actor.agenda import OPEN_MAX, Agenda, OpenTask
from aether.ids import ActorId
from aether.model.definition import ActorCommand
from aether.model.schedules import When
from aether.model.tasks import TaskCall
from aether.runtime.sent_schedule import ScheduleSetting, is_too_late, next_setting, set_by, tick_for_another
from aether.runtime.sent_task import started_by
from aether.runtime.sent_tell import PLACE_BYTES
from aether.sends import CancelSchedule, CancelTask, Send, SetSchedule, StartTask, encode_send, encode_sends, made_id
from aether.tells import Tell
from aether.wire import Command

ME = ActorId("till", "a")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
IN_AN_HOUR = After(hours=1)
TOLD: Send = Tell(kind="till", key="b", command="one")


@task
async def charge(text: str) -> str:
    """Nothing."""
    return text


class Till(Actor):
    """Takes results in every way."""

    @command
    def one(self, what: str) -> None: ...

    @command
    def none_needed(self, what: str = "", more: int = 0) -> None: ...

    @command
    def two(self, what: str, more: int) -> None: ...

    @command
    def nothing(self) -> None: ...

    @command
    def by_name(self, *, what: str) -> None: ...

    @command
    def more_by_name(self, what: str = "", *, more: int) -> None: ...

    @command
    def number(self, what: int) -> None: ...

    @command
    def lost(self, failed: TaskFailed) -> None: ...

    @query
    def asks(self, what: str) -> None: ...


MODEL = Model("till", actors=[Till], tasks=[charge])


class Worker:
    """What is asked of a worker; a test changes it."""

    def __init__(self) -> None:
        self.telling: Any = SimpleNamespace(
            has_tasks=True, has_timers=True, tell_bytes_max=10_000, can_schedule=lambda: True
        )
        self.task_type = MODEL.task_type
        self.commit_bytes_max = 20_000

    def command_type(self, kind: str, name: str) -> Any:
        return MODEL.actor_type(kind).commands[name]


def opened(count: int, *names: str) -> Agenda:
    """An agenda of so many tasks, and schedules of these names."""
    tasks = {str(number): OpenTask("charge") for number in range(count)}
    return Agenda({name: tick(name=name, id=name) for name in names}, tasks)


@pytest.fixture
def worker() -> Worker:
    return Worker()


def running(name: str = "one", correlation_id: str = "together") -> Any:
    by = Command(id="c-1", command=name, deadline=NOW, correlationid=correlation_id, traceparent="trace")
    return SimpleNamespace(type=MODEL.actor_type("till").commands[name], command=by)


def start(
    worker: Any, text: str = "x", then: str = "", failed: str = "", sent: Sequence[Send] = (TOLD,) * 3,
    agenda: Agenda | None = None, by: Any = None,
) -> StartTask:  # fmt: skip
    call: TaskCall[Any] = charge(text)
    return started_by(by or running(), ME, worker, call, then, failed, version=7, sent=sent, agenda=agenda)


def schedule(
    worker: Any, text: str = "x", to: str = "one", sent: Sequence[Send] = (TOLD,) * 3, agenda: Agenda | None = None,
    by: Any = None, when: When = IN_AN_HOUR,
) -> SetSchedule:  # fmt: skip
    wanted = ScheduleSetting("hold", when, ActorCommand("till", "b", to), (text,), {})
    return set_by(by or running(), ME, worker, wanted, NOW, version=7, sent=sent, agenda=agenda)


MAKERS = pytest.mark.parametrize("make", [start, schedule])


@MAKERS
def test_what_is_made_belongs_to_the_command(worker: Worker, make: Any) -> None:
    one = make(worker)
    assert one.id == made_id(ME, "c-1", 7, 3)
    assert (one.correlationid, one.causationid, one.traceparent) == ("together", "c-1", "trace")
    assert make(worker, by=running(correlation_id="")).correlationid == "c-1"
    assert make(worker, sent=[TOLD] * 4).id != one.id


def test_a_schedule_says_all_that_its_ticks_need(worker: Worker) -> None:
    one = schedule(worker, when=Every(minutes=1, catch_up="skip"))
    assert (one.name, one.kind, one.key, one.command, decode(one.args)) == ("hold", "till", "b", "one", {"what": "x"})
    assert (one.at, one.rule, one.zone, one.catch_up) == (NOW + timedelta(minutes=1), "every 60", "", "skip")


def test_a_start_says_all_that_its_run_needs(worker: Worker) -> None:
    one = start(worker, then="one", failed="lost")
    assert (one.task, one.then, one.failed, decode(one.args)) == ("charge", "one", "lost", {"text": "x"})


@MAKERS
def test_it_is_as_large_as_a_tell_may_be_with_its_place(worker: Worker, make: Any) -> None:
    place = PLACE_BYTES if make is start else 2 * PLACE_BYTES
    worker.telling.tell_bytes_max = len(encode_send(make(worker))) + place
    make(worker)
    with pytest.raises(InvalidCommand, match=r"at most \d+ bytes, this is \d+"):
        make(worker, "xx")


@pytest.mark.parametrize(
    ("key", "when"), [("b", Every(minutes=1)), ("b", IN_AN_HOUR), ("a", Every(minutes=1))],
    ids=["again for another", "once for another", "again"],
)  # fmt: skip
def test_a_schedule_is_not_set_when_none_of_its_ticks_could_be_run(worker: Worker, key: str, when: When) -> None:
    """A tick stores the tell to another actor and the next tick in one commit."""

    def made(text: str, key: str = key, when: When = when) -> SetSchedule:
        wanted = ScheduleSetting("hold", when, ActorCommand("till", key, "one"), (text,), {})
        return set_by(running(), ME, worker, wanted, NOW, version=7, sent=(), agenda=None)  # type: ignore[arg-type]

    text = "x" * 4_000
    one = made(text)
    told = tick_for_another(one, ME, one.traceparent)
    sent = [send for send in (told, one if one.rule else None) if send is not None]
    worker.commit_bytes_max = len(encode(encode_sends(sent))) + 2 * PLACE_BYTES
    made(text)
    with pytest.raises(InvalidCommand, match=r"and for the next tick.* \(till\.one, which one schedules\)") as refused:
        made(text + "x")
    assert refused.value.path == "args"
    made(text + "x", key="a", when=IN_AN_HOUR)


@MAKERS
def test_where_nothing_can_be_made(worker: Worker, make: Any) -> None:
    worker.telling.can_schedule = lambda: False
    with pytest.raises(ActorFailed, match="while a worker of an earlier version"):
        make(worker)
    worker.telling.has_tasks = worker.telling.has_timers = False
    with pytest.raises(ActorFailed, match="this runtime has no"):
        make(worker)
    worker.telling = None
    with pytest.raises(ActorFailed, match="this runtime has no"):
        make(worker)
    with pytest.raises(ActorFailed, match="the query asks"):
        make(worker, by=running("asks"))


@MAKERS
def test_so_many_are_open_with_what_the_command_sends(worker: Worker, make: Any) -> None:
    make(worker, sent=[], agenda=opened(OPEN_MAX - 1))
    begun = [StartTask(id=f"new {number}", task="charge") for number in range(OPEN_MAX)]
    make(worker, sent=begun[:-1])
    for sent, agenda in (([], opened(OPEN_MAX)), (begun[:1], opened(OPEN_MAX - 1)), (begun, None)):
        with pytest.raises(ActorFailed, match=f"at most {OPEN_MAX} tasks and schedules open"):
            make(worker, sent=sent, agenda=agenda)


@MAKERS
@pytest.mark.parametrize(
    ("sent", "tasks"),
    [
        ([TOLD] * 30, OPEN_MAX - 2),
        ([CancelTask(id="0")], OPEN_MAX - 1),
        ([CancelSchedule(name="rent")], OPEN_MAX - 1),
        ([CancelTask(id="of another"), CancelSchedule(name="of another")], OPEN_MAX - 2),
    ],
    ids=["told", "cancelled task", "cancelled schedule", "cancelled what is not there"],
)
def test_what_opens_nothing_needs_no_room(worker: Worker, make: Any, sent: list[Send], tasks: int) -> None:
    make(worker, sent=sent, agenda=opened(tasks, "rent"))


def test_a_schedule_that_takes_the_place_of_another_needs_no_room(worker: Worker) -> None:
    schedule(worker, agenda=opened(OPEN_MAX, "hold"))
    schedule(worker, sent=[tick(name="rent"), tick(name="rent")], agenda=opened(OPEN_MAX - 2))
    schedule(worker, sent=[tick()], agenda=opened(OPEN_MAX - 1))


@pytest.mark.parametrize("what", ["then", "failed"])
def test_commands_that_take_no_result_are_refused(worker: Worker, what: str) -> None:
    for name in ("one", "none_needed") if what == "then" else ("lost",):
        start(worker, **{what: name})  # type: ignore[arg-type]
    for name in ("two", "nothing", "by_name", "more_by_name", "asks"):
        with pytest.raises(InvalidCommand) as refused:
            start(worker, **{what: name})  # type: ignore[arg-type]
        assert refused.value.path == what


def test_commands_that_take_values_of_other_types_are_refused(worker: Worker) -> None:
    with pytest.raises(InvalidCommand, match="number takes int, which what the task returns never is") as refused:
        start(worker, then="number")
    assert refused.value.path == "then"
    with pytest.raises(InvalidCommand, match="one takes str, which a TaskFailed never is") as refused:
        start(worker, failed="one")
    assert refused.value.path == "failed"


def test_a_query_cannot_be_scheduled(worker: Worker) -> None:
    with pytest.raises(InvalidCommand, match="a query cannot be scheduled"):
        schedule(worker, to="asks")


# ------------------------------------------------------------------------------------------------ ticks


def tick(**fields: Any) -> SetSchedule:
    wanted = {"name": "hold", "id": "s", "kind": "till", "key": "a", "rule": "every 60", "catch_up": "one", **fields}
    return SetSchedule(at=NOW, command="one", source="till/a", correlationid="together",
                       causationid="first", traceparent="trace", **wanted)  # fmt: skip


def test_only_a_tick_that_may_be_skipped_is_too_late() -> None:
    late = NOW + timedelta(seconds=11)
    for catch_up, now, too_late in (("skip", late, True), ("skip", NOW + timedelta(seconds=10), False),
                                    ("one", late, False)):  # fmt: skip
        assert is_too_late(tick(catch_up=catch_up), now, 10.0) == too_late


@pytest.mark.parametrize(("kind", "key"), [("room", "a"), ("till", "b")])
def test_a_tick_for_another_actor_is_told_to_it(kind: str, key: str) -> None:
    assert tick_for_another(tick(), ME, "of the tick") is None
    told = tick_for_another(tick(kind=kind, key=key), ME, "of the tick")
    assert told is not None
    assert (str(told.target), told.command) == (f"{kind}/{key}", "one")
    assert (told.correlationid, told.causationid, told.traceparent) == ("together", "first", "of the tick")


@pytest.mark.parametrize(
    ("sent", "goes_on"),
    [
        ([], True),
        ([CancelSchedule(name="other"), CancelTask(id="hold")], True),
        ([CancelSchedule(name="hold")], False),
        ([tick()], False),
    ],
)
def test_a_schedule_goes_on_unless_its_command_has_said_otherwise(sent: list[Send], goes_on: bool) -> None:
    following = next_setting(tick(), sent, NOW + timedelta(minutes=5))
    assert (following is not None) == goes_on
    if following is not None:
        assert following.at == NOW + timedelta(minutes=6)
        assert following.id == "s"
    assert next_setting(tick(rule=""), [], NOW) is None
