"""A value is refused, never bent, on every path: argument, reply, event, state, and JSON of a foreign client."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pydantic
import pytest

from aether import Actor, ActorFailed, ActorId, InvalidCommand, Model, command, event
from aether.testing import local_runtime
from tests.support.nodes import QUIET, history, node, send
from tests.support.nodes import command as made

BIG = 2**53 + 1
ODD = datetime(1900, 1, 1, tzinfo=timezone(timedelta(minutes=19, seconds=32)))


class Login(pydantic.BaseModel):
    """A name and a secret."""

    name: str
    password: pydantic.SecretStr


@dataclass(frozen=True)
class Size:
    """A number that may be too large for its type."""

    size: float = 0.0


@dataclass(frozen=True)
class Sized(Size):
    """The same, as another class."""


@dataclass(frozen=True)
class Happened:
    """One field of each kind that could be bent."""

    size: float = 0.0
    at: datetime | None = None
    names: dict[str | int, int] = field(default_factory=dict)
    inner: Size = field(default_factory=Size)


@dataclass(frozen=True)
class Spoilt:
    """Makes its handler keep a value of another type."""


class Holder(Actor):
    """Takes, keeps and answers values."""

    size: float = 0.0
    sizes: list[float] = []  # noqa: RUF012 - copied for each actor

    @command
    def log_in(self, login: Login) -> bool:
        """Whether the password is right."""
        return login.password.get_secret_value() == "right"

    @command
    def take(self, happened: Happened) -> int:
        """Take a value of many parts."""
        return 1

    @command
    def weigh(self, size: float) -> float:
        """Echo."""
        return size

    @command
    def answer(self, what: str) -> Happened:
        """A reply that would be bent."""
        return WRONG[what]

    @command
    def say(self, what: str) -> None:
        """An event that would be bent."""
        self.emit(WRONG[what])

    @command
    def spoil(self) -> None:
        """A state that would be bent."""
        self.emit(Spoilt())

    @event
    def happened(self, e: Happened) -> None:
        """Keep it."""
        self.size = e.size

    @event
    def spoilt(self, e: Spoilt) -> None:
        """Keep what is no float."""
        self.sizes.append(BIG)


WRONG: dict[str, Happened] = {
    "size": Happened(size=BIG),
    "at": Happened(at=ODD),
    "names": Happened(names={2: 2}),
    "inner": Happened(inner=Sized()),
}
model = Model("holders", actors=[Holder])
A = ActorId("holder", "a")


@pytest.mark.parametrize("path", WRONG)
async def test_an_argument_a_reply_and_an_event_are_refused_with_their_path(path: str) -> None:
    async with local_runtime(model) as runtime:
        holder = runtime.actor(Holder, "a")
        with pytest.raises(InvalidCommand) as refused:
            await holder.take(WRONG[path])
        assert refused.value.path.startswith(f"happened.{path}")
        for failing in (holder.answer, holder.say):
            with pytest.raises(ActorFailed, match=path):
                await failing(path)
        assert not await history(runtime, A)


async def test_a_secret_is_refused_as_an_object_and_arrives_as_a_text() -> None:
    async with local_runtime(model) as runtime:
        holder = runtime.actor(Holder, "a")
        with pytest.raises(InvalidCommand, match="asterisks") as refused:
            await holder.log_in(Login(name="a", password=pydantic.SecretStr("wrong")))
        assert refused.value.path == "login.password"
        assert await holder.log_in({"name": "a", "password": "right"})  # type: ignore[arg-type]  # the same as JSON
        assert not await holder.log_in({"name": "a", "password": "wrong"})  # type: ignore[arg-type]  # the same as JSON


async def test_conveniences_of_arguments() -> None:
    async with local_runtime(model) as runtime:
        holder = runtime.actor(Holder, "a")
        assert await holder.weigh(3) == 3.0
        as_json: Any = {"size": 1, "at": "2030-01-01T00:00:00Z", "names": {"a": 1}, "inner": {"size": 2}}
        assert await holder.take(as_json)
        assert await holder.take(Happened(1.5, datetime(2030, 1, 1, tzinfo=UTC), {"a": 1}, Size(1.0)))


@pytest.mark.parametrize(
    ("name", "args", "path"),
    [
        ("weigh", {"size": BIG}, "size"),
        ("take", {"happened": {"size": BIG}}, "happened.size"),
        ("take", {"happened": {"more": 1}}, "happened.more"),
        ("take", {"happened": {"inner": {"size": 1, "more": 1}}}, "happened.inner.more"),
        ("take", {"happened": {"at": "2030-01-01T00:00:00.1234567Z"}}, "happened.at"),
        ("take", {"happened": {"at": "1900-01-01T00:00:00+00:19:32"}}, "happened.at"),
    ],
)
async def test_a_foreign_clients_json_is_refused_with_its_path(name: str, args: dict[str, Any], path: str) -> None:
    async with node(model=model) as runtime:
        with pytest.raises(InvalidCommand) as refused:
            await send(runtime, A, made(name, **args))
        assert refused.value.path == path


async def test_a_state_that_is_not_of_its_types_is_neither_shown_nor_kept() -> None:
    async with local_runtime(model) as runtime:
        await runtime.actor(Holder, "a").spoil()
        with pytest.raises(ActorFailed, match=r"sizes\[0\]"):
            await send(runtime, A, made("aether.state"))
        await runtime.stop_vm(A)
        assert runtime.counters.snapshots_failed == 1
        assert runtime.counters.snapshots_written == 0


async def test_a_state_that_cannot_be_kept_is_not_written_at_each_commit() -> None:
    async with node(config=replace(QUIET, snapshot_every_events=3), model=model) as runtime:
        for _ in range(6):
            await runtime.actor(Holder, "a").spoil()
        assert runtime.counters.snapshots_failed == 2


async def test_a_decimal_never_goes_through_a_float() -> None:
    class Till(Actor):
        @command
        def add(self, amount: Decimal) -> Decimal:
            return amount

    async with local_runtime(Model("tills", actors=[Till])) as runtime:
        till = runtime.actor(Till, "a")
        assert str(await till.add(Decimal("1.10"))) == "1.10"
        assert await till.add(1) == 1  # type: ignore[arg-type]  # a whole number is a decimal
        with pytest.raises(InvalidCommand):
            await till.add(1.1)  # type: ignore[arg-type]  # the fault is the point
