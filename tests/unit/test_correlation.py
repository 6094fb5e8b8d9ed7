"""Traces: the tree of what a correlation id's commands did, over calls, asks, tells, policies and what fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from aether import Actor, InvalidCommand, Model, PolicyContext, Rejected, command, event, policy
from aether.config import RuntimeConfig
from aether.correlation import Trace, TraceStep, steps_of
from aether.correlation_search import find_trace
from aether.errors import Unavailable
from aether.ids import ActorId, Position
from aether.ports import StoredCommit
from aether.sends import CancelSchedule, CancelTask, Send, SetSchedule, StartTask, encode_sends
from aether.tells import RETRY, Tell
from aether.testing import local_pool
from aether.testing.pool import LocalPool
from aether.wire import (
    DEAD_LETTERED_EVENT,
    HANDLED_EVENT,
    PARKED_EVENT,
    REFUSED_EVENT,
    WORKER_LOST_EVENT,
    Event,
    encode_commit,
    new_event,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Placed:
    """An order is there."""

    cents: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """Something is kept for it."""


class Stock(Actor):
    """Is asked and told."""

    @command
    def reserve(self) -> None:
        self.emit(Reserved())

    @command
    def refuse(self) -> None:
        raise Rejected("sold out")

    @command
    def fail(self) -> None:
        raise ValueError("broken")

    @command
    def do_nothing(self) -> None:
        """Emits nothing."""

    @event
    def reserved(self, e: Reserved) -> None:
        """Nothing."""


class Order(Actor):
    """Asks and tells."""

    @command
    async def place(self, cents: int) -> None:
        await self.ask(Stock, "asked").reserve()
        self.emit(Placed(cents))
        self.emit(Placed(cents + 1))
        for told in (Stock.refuse, Stock.fail, Stock.do_nothing):
            self.tell(told, told.name)

    @event
    def placed(self, e: Placed) -> None:
        """Nothing."""


@policy
def on_placed(event: Placed, context: PolicyContext[Order]) -> None:
    context.tell(Stock.reserve, f"policy {event.cents}")


MODEL = Model("orders", actors=[Order, Stock], policies=[on_placed])
QUICK = RuntimeConfig(tell_attempts_max=2, tell_retry_first_s=0.01, tell_retry_max_s=0.02)


async def traced(pool: LocalPool, correlation_id: str, steps: int) -> Trace:
    """The trace, once it has so many steps of which none is open."""
    async with asyncio.timeout(10):
        while True:
            found = await pool.client.trace(correlation_id)
            if len(found.steps) >= steps and not any(one.outcome == "open" for one in found.steps):
                return found
            await asyncio.sleep(0.005)


def lines(steps: Sequence[TraceStep]) -> list[str]:
    """What a reader sees, without ids and times."""
    return [
        f"{'  ' * one.depth}{one.how} {one.actor_id}.{one.name} {one.outcome} "
        f"{' '.join(f'{e.type}@{e.version}' for e in one.events)}".rstrip()
        for one in steps
    ]


async def test_a_trace_is_the_tree_of_what_a_command_led_to() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        client = pool.client.using(correlation_id="o-7", command_id="c-1")
        await pool.client.actor(Order, "other").place(1)
        await client.actor(Order, "o-7").place(5)
        found = await traced(pool, "o-7", 7)
        assert lines(found.steps) == [
            "call order/o-7. done Placed@1 Placed@2",
            "  ask stock/asked. done Reserved@2",
            "  tell stock/policy 5.reserve done Reserved@1",
            "  tell stock/policy 6.reserve done Reserved@1",
            "  tell stock/refuse.refuse rejected",
            "  tell stock/fail.fail dead-lettered",
            "  tell stock/do_nothing.do_nothing done",
        ]
        first, asked, *told = found.steps
        assert (first.command_id, first.causation_id) == ("c-1", "c-1")
        assert {one.causation_id for one in (asked, *told)} == {"c-1"}
        assert first.events[0].data == {"cents": 5}
        assert [one.error for one in told[2:]] == ["sold out", "fail failed: ValueError: broken", ""]
        assert first.time is not None
        assert first.position is not None
        assert asked.position is not None
        assert asked.position < first.position
        assert found.complete


async def test_a_trace_is_found_from_a_time_on_and_up_to_a_limit() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        client = pool.client.using(correlation_id="o-7")
        for n in range(4):
            await client.actor(Stock, f"s{n}").reserve()
        whole = await client.trace("o-7", timedelta(minutes=5))
        assert [one.actor_id.key for one in whole.steps] == ["s0", "s1", "s2", "s3"]
        assert (whole.after, whole.until, whole.complete) == (0, 4, True)
        part = await client.trace("o-7", limit=3)
        assert [one.actor_id.key for one in part.steps] == ["s0", "s1", "s2"]
        assert (part.until, part.complete) == (3, False)
        await pool.clock.advance(hours=2)
        await client.actor(Stock, "s4").reserve()
        assert [one.actor_id.key for one in (await client.trace("o-7")).steps] == ["s4"]
        since = whole.steps[1].time
        assert since is not None
        late = await client.trace("o-7", since + timedelta(hours=1))
        assert [one.actor_id.key for one in late.steps] == ["s4"]
        assert (await client.trace("nobody's")).steps == ()


async def test_progress_is_told() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        for n in range(3):
            await pool.client.actor(Stock, f"s{n}").reserve()
        heard: list[tuple[int, int]] = []
        await pool.client.untyped.trace("x", progress=lambda done, of: heard.append((done, of)))
        assert heard[-1] == (3, 3)


@pytest.mark.parametrize(
    ("since", "limit", "message"),
    [
        (timedelta(0), 1, "since: a time ago is more than 0"),
        (datetime(2026, 1, 1), 1, "since: .* has no time zone"),  # noqa: DTZ001 - what is refused
        (timedelta(hours=1), 0, "limit: the limit is a number of commits above 0, not 0"),
    ],
)
async def test_a_bad_beginning_or_limit_is_refused(since: datetime | timedelta, limit: int, message: str) -> None:
    async with local_pool(MODEL) as pool:
        with pytest.raises(InvalidCommand, match=message):
            await pool.client.trace("o-7", since, limit=limit)


async def test_all_of_time_is_a_beginning() -> None:
    async with local_pool(MODEL) as pool:
        await pool.client.using(correlation_id="o-7").actor(Stock, "s").reserve()
        assert len((await pool.client.trace("o-7", timedelta.max)).steps) == 1


# ------------------------------------------------------------------------------------------------ made commits


def stored(
    version: int,
    command_id: str,
    cause: str = "",
    *,
    type_: str = "Placed",
    of: str = "o-7",
    sends: Sequence[Send] = (),
    inboxseq: str = "",
) -> Event:
    """An event as it is stored."""
    made = new_event(
        version=version, source="/orders/order/o", type=type_, time=AT, data=b'{"n":1}', commandid=command_id,
        correlationid=of, causationid=cause or command_id, inboxseq=inboxseq,
    )  # fmt: skip
    return replace(made, sends=encode_sends(sends)) if sends else made


def commit(position: int, key: str, *events: Event) -> StoredCommit:
    return StoredCommit(ActorId("order", key), Position(position), encode_commit(events))


def tell(key: str, correlation_id: str = "o-7") -> Tell:
    return Tell(kind="order", key=key, command="go", args=Raw(b"{}"), correlationid=correlation_id, causationid="c-1")


def test_the_commands_of_one_commit_are_apart_and_their_tells_are_counted_over_the_commit() -> None:
    first = commit(
        4, "a",
        stored(1, "x", of="other", sends=[tell("nobody", "other"), tell("nobody", "other")]),
        stored(2, "c-1", sends=[tell("b"), tell("c")]),
        stored(3, "c-2", sends=[tell("d")]),
    )  # fmt: skip
    told = [commit(5 + n, key, stored(1, f"tell:4.{2 + n}", "c-1", inboxseq="9")) for n, key in enumerate("bcd")]
    assert lines(steps_of("o-7", [first, *told])) == [
        "call order/a. done Placed@2",
        "  tell order/b.go done Placed@1",
        "  tell order/c.go done Placed@1",
        "call order/a. done Placed@3",
        "  tell order/d.go done Placed@1",
    ]


def test_a_tell_that_has_not_been_run_is_open() -> None:
    [_, told] = steps_of("o-7", [commit(4, "a", stored(1, "c-1", sends=[tell("b")]))])
    assert (told.outcome, told.actor_id.key, told.command_id) == ("open", "b", "tell:4.0")
    assert (told.time, told.position, told.events) == (None, None, ())


def test_a_step_whose_cause_was_not_read_begins_a_tree_of_its_own() -> None:
    found = [commit(4, "a", stored(1, "tell:2.0", "c-0", inboxseq="9")), commit(5, "b", stored(1, "ask-1", "c-0"))]
    assert lines(steps_of("o-7", found)) == ["tell order/a. done Placed@1", "ask order/b. done Placed@1"]


def test_what_an_asked_actor_told_may_be_run_before_the_asking_one_has_committed() -> None:
    found = [
        commit(4, "asked", stored(1, "ask-1", "c-1", sends=[tell("told")])),
        commit(5, "told", stored(1, "tell:4.0", "ask-1", inboxseq="9")),
        commit(6, "asking", stored(1, "c-1")),
    ]
    assert lines(steps_of("o-7", found)) == [
        "call order/asking. done Placed@1",
        "  ask order/asked. done Placed@1",
        "    tell order/told.go done Placed@1",
    ]


def test_a_dead_letter_that_was_told_again_is_below_the_first() -> None:
    dead = b'{"error":{"code":"actor_failed","message":"broken"},"command":"go","args":{}}'
    given_up = replace(stored(1, "tell:4.0", "c-1", inboxseq="9", type_=DEAD_LETTERED_EVENT), data=Raw(dead))
    found = [
        commit(4, "a", stored(1, "c-1", sends=[tell("b")])),
        commit(5, "b", given_up),
        commit(6, "b", stored(2, f"{RETRY}9", "tell:4.0", inboxseq="12")),
    ]
    assert lines(steps_of("o-7", found)) == [
        "call order/a. done Placed@1",
        "  tell order/b.go dead-lettered",
        "    tell order/b.go done Placed@2",
    ]


def test_tasks_and_schedules_are_steps_and_what_comes_of_them_is_below() -> None:
    task = StartTask(id="t-1", task="charge", then="paid")
    schedule = SetSchedule(name="expiry", id="s-1", at=AT, kind="order", key="a", command="expire")
    sends: list[Send] = [task, schedule, CancelTask(id="t-0"), CancelSchedule(name="old")]
    found = [
        commit(4, "a", stored(1, "c-1", sends=sends)),
        commit(5, "a", stored(2, task.result_id, "c-1", inboxseq="9")),
        commit(6, "a", stored(3, schedule.firing_id, "c-1", inboxseq="10", type_=HANDLED_EVENT)),
    ]
    assert lines(steps_of("o-7", found)) == [
        "call order/a. done Placed@1",
        "  task order/a.charge sent",
        "    result order/a. done Placed@2",
        "  schedule order/a.expiry sent",
        "    tick order/a.expire done",
        "  cancelled task order/a.t-0 sent",
        "  cancelled schedule order/a.old sent",
    ]
    assert [one.due for one in steps_of("o-7", found) if one.how in ("task", "schedule", "tick")] == [None, AT, AT]
    foreign = [commit(6, "a", stored(1, "timer:of another program", "c-1", inboxseq="10"))]
    assert [(one.how, one.due) for one in steps_of("o-7", foreign)] == [("tick", None)]


def test_ticks_of_a_schedule_that_goes_on_stand_beside_each_other() -> None:
    def schedule(tick: int) -> SetSchedule:
        return SetSchedule(name="beat", id="s", at=AT + timedelta(seconds=tick), kind="order", key="a", command="beat")

    commits = [commit(1, "a", stored(1, "c-1", sends=[schedule(0)]))]
    commits += [
        commit(
            2 + n, "a", stored(2 + n, schedule(n).firing_id, "c-1", inboxseq="9", sends=[schedule(n + 1), tell("b")])
        )
        for n in range(3_000)
    ]
    steps = steps_of("o-7", commits)
    assert lines(steps[:4]) == [
        "call order/a. done Placed@1",
        "  schedule order/a.beat sent",
        "    tick order/a.beat done Placed@2",
        "      tell order/b.go open",
    ]
    assert {(one.how, one.depth) for one in steps[2:]} == {("tick", 2), ("tell", 3)}
    assert len(steps) == 2 + 2 * 3_000
    late = steps_of("o-7", commits[-2:])
    assert lines(late) == [
        "tick order/a.beat done Placed@3000",
        "  tell order/b.go open",
        "tick order/a.beat done Placed@3001",
        "  tell order/b.go open",
    ], "of a schedule that was set before what was read"


def test_a_chain_of_tells_is_as_deep_as_it_is() -> None:
    commits = [commit(1, "a", stored(1, "c-1", sends=[tell("a")]))]
    commits += [
        commit(1 + n, "a", stored(1 + n, f"tell:{n}.0", f"tell:{n - 1}.0", inboxseq="9", sends=[tell("a")]))
        for n in range(1, 3_000)
    ]
    steps = steps_of("o-7", commits)
    assert [one.depth for one in steps] == list(range(3_001))


def test_a_command_that_ended_a_worker_is_lost_and_then_what_it_came_to() -> None:
    lost = stored(1, "c-1", type_=WORKER_LOST_EVENT)
    assert lines(steps_of("o-7", [commit(4, "a", lost), commit(5, "a", stored(2, "c-1"))])) == [
        "call order/a. lost",
        "call order/a. done Placed@2",
    ]


def test_commands_that_name_each_other_as_their_cause_are_each_there_once() -> None:
    found = [commit(4, "a", stored(1, "x", "y")), commit(5, "b", stored(1, "y", "x"))]
    assert sorted(one.command_id for one in steps_of("o-7", found)) == ["x", "y"]


def test_an_id_in_quotes_is_found() -> None:
    found = [commit(4, "a", stored(1, "c-1", of='"o" \\ ä'))]
    assert len(steps_of('"o" \\ ä', found)) == 1


def test_a_step_is_plain_values() -> None:
    [step] = steps_of("o-7", [commit(4, "a", stored(1, "c-1"))])
    assert step.as_dict() == {
        "depth": 0, "how": "call", "actor": {"kind": "order", "key": "a"}, "name": "", "command_id": "c-1",
        "causation_id": "c-1", "outcome": "done", "error": "", "time": AT, "position": 4, "due": None,
        "events": [{"type": "Placed", "version": 1, "data": {"n": 1}}],
    }  # fmt: skip


def test_a_tell_that_ended_a_worker_and_then_ran_stands_twice_below_its_sender_and_what_it_asked_once() -> None:
    found = [
        commit(4, "a", stored(1, "c-1", sends=[tell("b")])),
        commit(5, "b", stored(1, "tell:4.0", "c-1", inboxseq="9", type_=WORKER_LOST_EVENT)),
        commit(6, "asked", stored(1, "ask-1", "tell:4.0")),
        commit(7, "b", stored(2, "tell:4.0", "c-1", inboxseq="9")),
    ]
    assert lines(steps_of("o-7", found)) == [
        "call order/a. done Placed@1",
        "  tell order/b.go lost",
        "  tell order/b.go done Placed@2",
        "    ask order/asked. done Placed@1",
    ]


def test_what_is_asked_is_below_the_one_that_asked_it_where_actors_have_commands_of_one_id() -> None:
    found = [
        commit(4, "asked", stored(1, "ask-1", "same")),
        commit(5, "a", stored(1, "same")),
        commit(6, "asked", stored(2, "ask-2", "same")),
        commit(7, "b", stored(1, "same")),
        commit(8, "asked", stored(3, "ask-3", "same")),
    ]
    assert lines(steps_of("o-7", found)) == [
        "call order/a. done Placed@1",
        "  ask order/asked. done Placed@1",
        "  ask order/asked. done Placed@3",
        "call order/b. done Placed@1",
        "  ask order/asked. done Placed@2",
    ]


def test_what_ended_a_worker_came_as_what_it_was() -> None:
    """The event of a loss has the command's id and no more."""
    found = [
        commit(4, "a", stored(1, "tell:2.0", type_=WORKER_LOST_EVENT)),
        commit(5, "b", stored(1, "ask-1", type_=WORKER_LOST_EVENT)),
        commit(6, "b", stored(2, "ask-1", "c-1")),
        commit(7, "c", stored(1, "c-1")),
    ]
    assert lines(steps_of("o-7", found)) == [
        "tell order/a. lost",
        "call order/c. done Placed@1",
        "  ask order/b. lost",
        "  ask order/b. done Placed@2",
    ]


def test_a_dead_letter_that_was_told_again_is_below_what_was_given_up_and_not_what_failed_before() -> None:
    found = [
        commit(4, "b", stored(1, "tell:2.0", "c-1", inboxseq="9", type_=PARKED_EVENT)),
        commit(5, "b", stored(2, "tell:2.0", "c-1", inboxseq="9", type_=DEAD_LETTERED_EVENT)),
        commit(6, "b", stored(3, f"{RETRY}9", "tell:2.0", inboxseq="12")),
    ]
    assert lines(steps_of("o-7", found)) == [
        "tell order/b. failed",
        "tell order/b. dead-lettered",
        "  tell order/b. done Placed@3",
    ]


@pytest.mark.parametrize(
    ("type_", "body", "outcome", "error"),
    [
        (REFUSED_EVENT, b'{"code":"rejected","message":"sold out"}', "rejected", "sold out"),
        (REFUSED_EVENT, b'{"code":"actor_failed","message":"broken"}', "failed", "broken"),
        (PARKED_EVENT, b'{"code":"rejected","message":"not now"}', "failed", "not now"),
        (DEAD_LETTERED_EVENT, b'{"error":{"message":"broken"}}', "dead-lettered", "broken"),
        (DEAD_LETTERED_EVENT, b'{"error":"broken"}', "dead-lettered", ""),
        (DEAD_LETTERED_EVENT, b"[]", "dead-lettered", ""),
    ],
)
def test_what_came_of_a_command_is_said_as_its_last_event_says_it(
    type_: str, body: bytes, outcome: str, error: str
) -> None:
    ended = replace(stored(1, "tell:1.0", "c-0", inboxseq="9", type_=type_), data=Raw(body))
    [step] = steps_of("o-7", [commit(4, "a", ended)])
    assert (step.outcome, step.error) == (outcome, error)


def test_an_event_that_cannot_be_shown_is_there_all_the_same() -> None:
    no_text = replace(stored(1, "c-1"), data=Raw(b'"\xff"'))
    [step] = steps_of("o-7", [commit(4, "a", no_text)])
    assert [(one.type, one.data) for one in step.events] == [("Placed", None)]


def test_a_tick_that_sets_another_schedule_leads_to_that() -> None:
    def schedule(name: str) -> SetSchedule:
        return SetSchedule(name=name, id=name, at=AT, kind="order", key="a", command="beat")

    found = [commit(4, "a", stored(1, schedule("s10").firing_id, "c-0", inboxseq="9", sends=[schedule("s1")]))]
    found.append(commit(5, "a", stored(2, schedule("s1").firing_id, "c-0", inboxseq="10")))
    assert [(one.how, one.depth) for one in steps_of("o-7", found)] == [("tick", 0), ("schedule", 1), ("tick", 2)]


# ------------------------------------------------------------------------------------------------ reading on


class Stream:
    """Commits of a stream from position 10 on, two at a time; reading breaks off where a test says."""

    def __init__(self, last: int) -> None:
        self.commits = [commit(n, "a", stored(n, f"c-{n}")) for n in range(11, last + 1)]
        self.breaks: list[int] = []
        self.begun: list[int] = []

    async def positions_since(self, _time: datetime) -> tuple[Position, Position]:
        return Position(10), self.commits[-1].position

    async def search_stream(
        self, after: Position, until: Position, _having: bytes
    ) -> AsyncIterator[tuple[Position, list[StoredCommit]]]:
        self.begun.append(after)
        wanted = [one for one in self.commits if after < one.position <= until]
        for number in range(0, len(wanted), 2):
            batch = wanted[number : number + 2]
            if batch[0].position in self.breaks:
                self.breaks.remove(batch[0].position)
                raise Unavailable("the connection was lost")
            yield batch[-1].position, batch


class Patience:
    """Asks again at once, without end."""

    def __init__(self) -> None:
        self.begun_again = 0

    async def ask(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await ask()
            except Unavailable:
                continue

    def start_again(self) -> None:
        self.begun_again += 1


async def found_in(stream: Stream, limit: int) -> tuple[Trace, list[tuple[int, int]], Patience]:
    heard: list[tuple[int, int]] = []
    patience: Any = Patience()
    store: Any = stream
    found = await find_trace(store, patience, "o-7", AT, limit, lambda done, of: heard.append((done, of)))
    return found, heard, patience


async def test_a_search_goes_on_from_where_it_was_when_the_connection_is_lost() -> None:
    stream = Stream(17)
    stream.breaks = [11, 15, 15]
    found, heard, patience = await found_in(stream, 100)
    assert [one.position for one in found.steps] == list(range(11, 18))
    assert stream.begun == [10, 10, 14, 14]
    assert heard == [(2, 7), (4, 7), (6, 7), (7, 7)]
    assert patience.begun_again == 4
    assert (found.after, found.until, found.complete) == (10, 17, True)


async def test_a_search_that_finds_its_limit_at_the_end_is_complete() -> None:
    for limit, complete in ((6, False), (7, True), (8, True)):
        found, _, _ = await found_in(Stream(17), limit)
        assert (found.complete, len(found.steps), found.until) == (complete, min(limit, 7), 10 + min(limit, 7))
