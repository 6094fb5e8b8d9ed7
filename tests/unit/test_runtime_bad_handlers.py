"""Users' code that misbehaves: its actor undoes it, says so, and goes on. No command stays without an answer."""

import asyncio
from dataclasses import dataclass, field

import pytest

from aether import Actor, ActorFailed, ActorId, InvalidCommand, Model, Rejected, Runtime, command, event, query
from aether.errors import (
    ERRORS,
    AetherError,
    DeadlineExceeded,
    Overloaded,
    Unavailable,
    UnknownCommand,
    VersionConflict,
)
from aether.memory.clock import ManualClock
from aether.memory.server import InMemoryServer
from aether.names import shard_of
from aether.ports import Delivery
from aether.wire import encode_command
from tests.support.nodes import append_from_outside, history, node, send
from tests.support.nodes import command as made


@dataclass(frozen=True, slots=True)
class Added:
    """A number was added; a negative one breaks its handler half way."""

    amount: int


class TooMuch(Rejected):
    """A rejection that forgot to initialise its base."""

    def __init__(self, amount: int) -> None:
        self.amount = amount


class OutOfStock(Rejected):
    """A rejection with a code of its own."""

    code = "unavailable"


class Own(AetherError):
    """An error of the user's own under Aether's root."""

    code = "rejected"


class Unspeakable(Exception):
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@dataclass
class Odd:
    """An argument that raises an error of its own when it is read."""

    amount: int

    def __post_init__(self) -> None:
        raise TooMuch(self.amount)


@dataclass
class Speaking:
    """An argument that raises an error of the runtime's when it is made."""

    how: str

    def __post_init__(self) -> None:
        raise FAILURES[self.how]


LEFT_BEHIND: list[asyncio.Task[None]] = []


class Tally(Actor):
    """Scalar state, undone from a checkpoint."""

    total: int = 0
    count: int = 0

    @command
    def add(self, amount: int) -> int:
        """Add."""
        self.emit(Added(amount))
        return self.total

    @command
    def take(self, odd: Odd) -> int:
        """Is never called."""
        return odd.amount

    @command
    def hear(self, speaking: Speaking) -> str:
        """Is never called."""
        return speaking.how

    @command
    async def add_and_leave(self, amount: int, behind: int) -> int:
        """Add, and leave somebody behind who adds as soon as this is over."""
        self.emit(Added(amount))
        LEFT_BEHIND.append(asyncio.create_task(self._add_soon(behind)))
        return self.total

    async def _add_soon(self, amount: int) -> None:
        await asyncio.sleep(0)
        self.emit(Added(amount))

    @command
    def add_anyway(self, amount: int) -> int:
        """Add, and look away when it fails."""
        return self._add_anyway(amount)

    def _add_anyway(self, amount: int) -> int:
        try:
            self.emit(Added(amount))
        except Exception:
            return -1
        return self.total

    @command
    def add_anyway_then(self, amount: int, then: int) -> int:
        """Add, look away when it fails, and add something else."""
        self._add_anyway(amount)
        self.emit(Added(then))
        return self.total

    @command
    def fail(self, how: str) -> None:
        """Emit, then raise what cannot be described or is no `Exception`."""
        self.emit(Added(1))
        raise FAILURES[how]

    @command
    async def fail_later(self, how: str) -> None:
        """The same from an asynchronous handler."""
        self.emit(Added(1))
        await asyncio.sleep(0)
        raise FAILURES[how]

    @command
    async def wait(self) -> int:
        """Wait for nothing."""
        self.emit(Added(1))
        await asyncio.Event().wait()
        return self.total

    @query
    def say(self) -> int:
        """The total."""
        return self.total

    @event
    def added(self, e: Added) -> None:
        """Count half, check, count the other half."""
        self.total += e.amount
        if e.amount < 0:
            raise ValueError("negative")
        self.count += 1


class Sheet(Actor):
    """Container state, undone by a replay."""

    lines: list[int] = field(default_factory=list)

    @command
    def add_anyway(self, amount: int) -> int:
        """Add, and look away when it fails."""
        try:
            self.emit(Added(amount))
        except Exception:
            return -1
        return len(self.lines)

    @query
    def say(self) -> list[int]:
        """All lines."""
        return list(self.lines)

    @event
    def added(self, e: Added) -> None:
        """Write it down before looking at it."""
        self.lines.append(e.amount)
        if e.amount < 0:
            raise ValueError("negative")


class Spoilt(Actor):
    """A state that is not of its declared type."""

    total: int = 0

    @command
    def spoil(self) -> None:
        """Emit."""
        self.emit(Added(1))

    @query
    def say(self) -> None:
        """Nothing."""

    @event
    def added(self, e: Added) -> None:
        """Write a word for a number."""
        self.total = "one"  # type: ignore[assignment]  # what a user may do


FAILURES: dict[str, BaseException] = {
    "uninitialised": TooMuch(5),
    "unspeakable": Unspeakable(),
    "unspeakable details": Rejected("no", thing=Unspeakable()),
    "message is no text": Rejected(404),  # type: ignore[arg-type]  # what a user may do
    "cancelled": asyncio.CancelledError(),
    "own rejection": OutOfStock("none left", item="tea"),
    "own error": Own("hm"),
    "invalid": InvalidCommand("not that one", path="how"),
    "unavailable": Unavailable("the bank is closed"),
    "overloaded": Overloaded("too much"),
    "known outcome": DeadlineExceeded("late", outcome_known=True),
    "unknown outcome": DeadlineExceeded("late"),
    "conflict": VersionConflict("tally:t", 1, 2),
    "unknown command": UnknownCommand("what?"),
    "root": AetherError("something"),
    "no exception": BaseException("neither fish nor fowl"),
}

model = Model("tests", actors=[Tally, Sheet, Spoilt])
TALLY = ActorId("tally", "t")
SHEET = ActorId("sheet", "s")
SPOILT = ActorId("spoilt", "s")


async def goes_on(runtime: Runtime, actor_id: ActorId, value: bytes, version: int) -> None:
    """The actor answers, with the state that its history has, and nothing waits."""
    answer = await send(runtime, actor_id, made("say"))
    assert (bytes(answer.value), answer.version) == (value, version)
    assert len(await history(runtime, actor_id)) == version
    vm = await runtime.create_vm(actor_id)
    assert vm.idle


@pytest.mark.parametrize("how", [how for how in FAILURES if how != "no exception"])
@pytest.mark.parametrize("name", ["fail", "fail_later"])
async def test_whatever_a_handler_raises_is_answered_and_undone(name: str, how: str) -> None:
    async with node(model=model) as runtime:
        with pytest.raises(AetherError):
            await asyncio.wait_for(send(runtime, TALLY, made(name, how=how)), 5)
        await goes_on(runtime, TALLY, b"0", 0)


@pytest.mark.parametrize("name", ["fail", "fail_later"])
async def test_a_handlers_decision_reaches_the_caller_and_every_other_error_is_its_failure(name: str) -> None:
    decisions = {"own rejection": Rejected, "invalid": InvalidCommand}
    async with node(model=model) as runtime:
        for how, raised in FAILURES.items():
            if isinstance(raised, AetherError) and how not in {"uninitialised", "unspeakable details"}:
                kind = Rejected if how == "message is no text" else decisions.get(how, ActorFailed)
                with pytest.raises(AetherError) as told:
                    await asyncio.wait_for(send(runtime, TALLY, made(name, how=how)), 5)
                assert type(told.value) is kind
                assert ERRORS[told.value.code] is kind
                if kind is ActorFailed:
                    assert type(raised).__name__ in told.value.message
                    assert raised.message in told.value.message
        assert runtime.counters.handlers_failed == 8
        await goes_on(runtime, TALLY, b"0", 0)


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("own rejection", Rejected),
        ("invalid", InvalidCommand),
        *((how, ActorFailed) for how in ("unavailable", "overloaded", "known outcome", "conflict", "unknown command")),
    ],
)
async def test_an_argument_that_raises_an_error_of_the_runtime_does_not_speak_for_it(
    how: str, kind: type[AetherError]
) -> None:
    async with node(model=model) as runtime:
        with pytest.raises(AetherError) as told:
            await asyncio.wait_for(send(runtime, TALLY, made("hear", speaking={"how": how})), 5)
        assert type(told.value) is kind
        await goes_on(runtime, TALLY, b"0", 0)


async def test_a_rejection_of_a_users_own_class_keeps_its_details() -> None:
    async with node(model=model) as runtime:
        with pytest.raises(Rejected, match="none left") as told:
            await send(runtime, TALLY, made("fail", how="own rejection"))
        assert told.value.details == {"item": "tea"}


async def test_what_is_no_exception_is_answered_and_undone() -> None:
    async with node(model=model) as runtime:
        with pytest.raises(ActorFailed, match="fish"):
            await asyncio.wait_for(send(runtime, TALLY, made("fail", how="no exception")), 5)
        await goes_on(runtime, TALLY, b"0", 0)


@pytest.mark.parametrize(("actor_id", "value"), [(TALLY, b"0"), (SHEET, b"[]")])
async def test_an_event_that_failed_fails_its_command_even_if_the_handler_looks_away(
    actor_id: ActorId, value: bytes
) -> None:
    async with node(model=model) as runtime:
        with pytest.raises(ActorFailed, match="negative"):
            await send(runtime, actor_id, made("add_anyway", amount=-5))
        await goes_on(runtime, actor_id, value, 0)


async def test_no_event_follows_one_that_failed() -> None:
    async with node(model=model) as runtime:
        await send(runtime, TALLY, made("add", amount=1))
        with pytest.raises(ActorFailed, match="negative"):
            await send(runtime, TALLY, made("add_anyway_then", amount=-5, then=3))
        await goes_on(runtime, TALLY, b"1", 1)


async def test_a_handler_past_its_deadline_says_so_whatever_the_wall_clock_says() -> None:
    clock = ManualClock()
    async with node(InMemoryServer(clock=clock), model=model) as runtime:
        late = made("wait", for_s=0.01, now_s=clock.wall_s())
        with pytest.raises(DeadlineExceeded) as exceeded:
            await send(runtime, TALLY, late)
        assert exceeded.value.outcome_known
        answer = await send(runtime, TALLY, made("add", now_s=clock.wall_s(), amount=2))
        assert bytes(answer.value) == b"2"


async def test_a_way_back_that_fails_holds_up_no_other_command() -> None:
    def broken(answer: bytes) -> None:
        raise OSError("the way back is gone")

    async with node(model=model) as runtime:
        payload = encode_command(made("add", amount=2))
        runtime.receive(Delivery(shard_of(TALLY, 256), TALLY, payload, broken))
        runtime.receive(Delivery(shard_of(TALLY, 256), TALLY, b"{", broken))
        await goes_on(runtime, TALLY, b"2", 1)


async def test_a_followed_event_whose_handler_breaks_stops_the_actor_and_is_not_skipped() -> None:
    async with node(model=model) as runtime:
        await send(runtime, TALLY, made("add", amount=1))
        await append_from_outside(runtime, TALLY, model.actor_type("tally"), Added(-1))
        with pytest.raises(ActorFailed, match="version 2"):
            await send(runtime, TALLY, made("say"))


async def test_a_state_that_cannot_be_shown_is_an_answer_too() -> None:
    async with node(model=model) as runtime:
        await send(runtime, SPOILT, made("spoil"))
        for asked in (made("aether.state"), made("aether.state", version=1)):
            with pytest.raises(AetherError, match="total"):
                await asyncio.wait_for(send(runtime, SPOILT, asked), 5)
        await goes_on(runtime, SPOILT, b"null", 1)


@pytest.mark.parametrize("behind", [7, -5])
async def test_what_a_handler_left_behind_changes_nothing_once_it_has_returned(behind: int) -> None:
    async with node(model=model) as runtime:
        answer = await send(runtime, TALLY, made("add_and_leave", amount=1, behind=behind))
        assert bytes(answer.value) == b"1"
        with pytest.raises(RuntimeError, match="handler"):
            await LEFT_BEHIND.pop()
        await goes_on(runtime, TALLY, b"1", 1)


async def test_an_argument_whose_error_cannot_be_told_is_refused_and_in_no_others_way() -> None:
    async with node(model=model) as runtime:
        odd, good = await asyncio.wait_for(
            asyncio.gather(
                send(runtime, TALLY, made("take", odd={"amount": 1})),
                send(runtime, TALLY, made("add", amount=1)),
                return_exceptions=True,
            ),
            5,
        )
        assert isinstance(odd, AetherError)
        assert not isinstance(good, BaseException)
        assert bytes(good.value) == b"1"
