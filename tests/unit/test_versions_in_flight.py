"""A new version of the model while tells, ticks and results of the old one are on their way: each waits, is applied
once, or is a dead letter that says why."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from msgspec import Raw

from aether import Actor, ActorId, After, InvalidCommand, Model, Runtime, command, event, query
from aether.config import RuntimeConfig
from aether.dead_letters import DeadLetter
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.names import shard_of
from aether.tells import Tell, encode_tell
from aether.testing import local_pool
from aether.testing.pool import LocalPool
from aether.wire import DEAD_LETTERED_EVENT, GIVE_UP_COMMAND, PARKED_EVENT
from tests.support import nodes
from tests.support.nodes import send

JAR = ActorId("jar", "a")
QUICK = RuntimeConfig(tell_attempts_max=3, tell_retry_first_s=0.002, tell_retry_max_s=0.004)


@dataclass(frozen=True)
class Added:
    """So much more."""

    amount: int


@dataclass(frozen=True)
class Sealed:
    """An event that only some versions know."""

    why: str


@dataclass(frozen=True)
class Portion:
    """An argument with a field that only the second version knows."""

    amount: int
    note: str = ""


@dataclass(frozen=True)
class Picky:
    """An argument that refuses with an error of its own."""

    amount: int

    def __post_init__(self) -> None:
        raise KeyError(self.amount)


@dataclass(frozen=True)
class PlainPortion:
    """The first version of `Portion`."""

    amount: int


class _Jar(Actor, kind="jar"):
    total: int = 0

    @query
    def content(self) -> int:
        return self.total

    @event
    def added(self, e: Added) -> None:
        self.total += e.amount


class Jar1(_Jar, kind="jar"):
    """The first version."""

    @command
    def add(self, amount: int) -> int:
        self.emit(Added(amount))
        return self.total

    @command
    def pour(self, portion: PlainPortion) -> int:
        self.emit(Added(portion.amount))
        return self.total

    @command
    def remind(self) -> None:
        self.schedule("peek", After(minutes=1), type(self).peek, self.id.key)

    @command
    def peek(self) -> int:
        return self.total


class Jar2(_Jar, kind="jar"):
    """The second version: further arguments with defaults, an event more; `peek` is a query."""

    @command
    def add(self, amount: int, note: str = "") -> int:
        self.emit(Added(amount))
        return self.total

    @command
    def pour(self, portion: Portion, note: str = "") -> int:
        self.emit(Added(portion.amount))
        return self.total

    @command
    def seal(self, why: str) -> None:
        self.emit(Sealed(why))

    @query
    def peek(self) -> int:
        return self.total

    @event
    def sealed(self, e: Sealed) -> None:
        pass


class JarOfTexts(_Jar, kind="jar"):
    """`add` takes something else."""

    @command
    def add(self, amount: str) -> int:
        self.emit(Added(int(amount)))
        return self.total


class JarOfPicky(_Jar, kind="jar"):
    """`pour` takes what cannot be made."""

    @command
    def pour(self, portion: Picky) -> None:
        self.emit(Added(portion.amount))

    @command
    def add(self, amount: int) -> int:
        self.emit(Added(amount))
        return self.total


class LooseOfPicky(JarOfPicky, kind="jar"):
    """And in any order."""

    tells_in_order: ClassVar[bool] = False


class BrokenJar(Jar1, kind="jar"):
    """Its `@event` method has a bug."""

    @event
    def added(self, e: Added) -> None:
        raise ValueError("a bug")


class Loose1(Jar1, kind="jar"):
    """The first version, in any order."""

    tells_in_order: ClassVar[bool] = False


class Loose2(Jar2, kind="jar"):
    """The second version, in any order."""

    tells_in_order: ClassVar[bool] = False


def model(jar: type[Actor]) -> Model:
    return Model("jars", actors=[jar])


async def until(asked: Callable[[], Coroutine[Any, Any, Any]], wanted: Any) -> None:
    async with asyncio.timeout(10):
        while await asked() != wanted:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.002)


async def deploy(pool: LocalPool, jar: type[Actor]) -> None:
    """All workers run another version."""
    pool.model = model(jar)
    for worker in pool.workers:
        await pool.crash(worker)


async def letters(pool: LocalPool) -> list[DeadLetter]:
    return [one async for one in pool.client.untyped.dead_letters()]


def content(pool: LocalPool) -> Callable[[], Coroutine[Any, Any, Any]]:
    async def asked() -> Any:
        return int(bytes((await pool.client.untyped.call(JAR, "content", b"{}")).value))

    return asked


# ------------------------------------------------------------------------------------------ actors that cannot be read


@pytest.mark.parametrize("old", [Jar1, BrokenJar], ids=["an event is not known", "its method has a bug"])
async def test_tells_to_an_actor_that_cannot_be_activated_wait_and_are_applied_once_it_can(old: type[Actor]) -> None:
    async with local_pool(model(Jar2), config=QUICK, workers=1) as pool:
        await pool.client.untyped.call(JAR, "seal", b'{"why":"new"}')
        await pool.client.untyped.call(JAR, "add", b'{"amount":1}')
        await deploy(pool, old)
        for amount in (2, 3):
            await pool.client.untyped.tell(JAR, "add", b'{"amount":%d}' % amount)
        counters = pool.workers[0].runtime.counters

        async def tried() -> bool:
            return counters.actors_not_loaded > 2 * QUICK.tell_attempts_max

        await until(tried, True)
        (line,) = (await pool.client.untyped.waiting_tells())[0]
        assert line.error is not None
        assert (line.count, line.failures, line.error.code) == (2, 0, "unavailable")
        assert line.error.message.startswith("jar/a cannot be activated: ")
        (group,) = counters.failures.groups()
        assert (group.kind, group.command) == ("jar", "add")
        await deploy(pool, Jar2)
        await until(content(pool), 6)
        assert await letters(pool) == []


async def test_such_an_actor_is_looked_at_less_and_less_often() -> None:
    config = RuntimeConfig(tell_attempts_max=3, tell_retry_first_s=3600.0, tell_retry_max_s=3600.0)
    async with local_pool(model(Jar2), config=config, workers=1) as pool:
        await pool.client.untyped.call(JAR, "seal", b'{"why":"new"}')
        await deploy(pool, Jar1)
        await pool.client.untyped.tell(JAR, "add", b'{"amount":2}')
        counters = pool.workers[0].runtime.counters

        async def tried() -> int:
            return counters.actors_not_loaded

        await until(tried, 1)
        await pool.clock.advance(seconds=1000)
        assert await tried() == 1
        await pool.clock.advance(hours=2)
        assert await tried() > 1


async def test_a_tell_that_waits_for_long_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    config = RuntimeConfig(tell_retry_first_s=3600.0, tell_retry_max_s=3600.0)
    async with local_pool(model(Jar2), config=config, workers=1) as pool:
        await pool.client.untyped.call(JAR, "seal", b'{"why":"new"}')
        await deploy(pool, Jar1)
        sequence = (await pool.client.untyped.tell(JAR, "add", b'{"amount":2}')).sequence
        counters = pool.workers[0].runtime.counters

        async def tried() -> int:
            return counters.actors_not_loaded

        def said() -> list[logging.LogRecord]:
            return [one for one in caplog.records if one.getMessage() == "a tell waits and has not failed"]

        await until(tried, 1)
        inbox = pool.workers[0].runtime._telling._serving[shard_of(JAR, 32)].inbox  # type: ignore[union-attr]
        inbox.look()
        assert said() == []
        (line,) = inbox._delivery._lines.values()
        line.tells[0].read_s -= 60.0
        inbox.look()
        inbox.look()
        (record,) = said()
        fields = {**record.__dict__}
        assert (record.levelname, fields["actor"], fields["sequence"], fields["tells"]) == (
            "WARNING",
            "jar/a",
            sequence,
            1,
        )
        assert "no event type 'Sealed'" in fields["error"]


# ------------------------------------------------------------------------------------------ what is not taken any more


async def test_behind_one_whose_arguments_do_not_fit_any_more_each_further_one_has_one_try() -> None:
    async with local_pool(model(Jar1), config=QUICK, workers=1) as pool:
        await deploy(pool, JarOfTexts)
        for amount in range(4):
            await pool.client.untyped.tell(JAR, "add", b'{"amount":%d}' % amount)
        await pool.client.untyped.tell(JAR, "add", b'{"amount":"7"}')
        await until(content(pool), 7)
        found = await letters(pool)
        assert [one.failures for one in found] == [3, 1, 1, 1]
        assert {str(one.error) for one in found} == {"amount: Expected 'str', got 'int'"}


@pytest.mark.parametrize("jar", [JarOfPicky, LooseOfPicky])
async def test_arguments_that_fail_with_an_error_of_their_own_hold_back_nothing_for_ever(jar: type[Actor]) -> None:
    async with local_pool(model(jar), config=QUICK, workers=1) as pool:
        await pool.client.untyped.tell(JAR, "pour", b'{"portion":{"amount":1}}')
        await pool.client.untyped.tell(JAR, "add", b'{"amount":2}')
        await until(content(pool), 2)

        async def dead() -> int:
            return len(await letters(pool))

        await until(dead, 1)
        (letter,) = await letters(pool)
        assert "KeyError" in letter.error.message
        types = [one.type async for one, _ in pool.client.untyped.history(JAR)]
        assert types.count(DEAD_LETTERED_EVENT) == 1


async def test_a_tell_of_what_is_a_query_now_is_a_dead_letter() -> None:
    async with local_pool(model(Jar1), config=QUICK, workers=1) as pool:
        await deploy(pool, Jar2)
        await pool.client.untyped.tell(JAR, "peek", b"{}")
        await pool.client.untyped.tell(JAR, "add", b'{"amount":2}')
        await until(content(pool), 2)
        (letter,) = await letters(pool)
        assert str(letter.error) == "command: peek is a query, and a query cannot be told: it does nothing"


async def test_a_schedule_of_what_is_a_query_now_ends() -> None:
    async with local_pool(model(Jar1), config=QUICK, workers=1) as pool:
        await pool.client.untyped.call(JAR, "remind", b"{}")
        await deploy(pool, Jar2)
        await pool.clock.advance(minutes=1)

        async def dead() -> int:
            return len(await letters(pool))

        await until(dead, 1)
        with pytest.raises(InvalidCommand, match="no schedule"):
            await pool.client.untyped.cancel_schedule(JAR, "peek")


# ------------------------------------------------------------------------------------------ an id that comes again


@pytest.mark.parametrize(("name", "args"), [("add", b'{"amount":5}'), ("pour", b'{"portion":{"amount":5}}')])
@pytest.mark.parametrize("versions", [(Jar1, Jar2), (Jar2, Jar1)], ids=["forward", "back"])
async def test_an_id_that_comes_again_is_known_by_a_version_with_further_arguments(
    name: str, args: bytes, versions: tuple[type[Actor], type[Actor]]
) -> None:
    old, new = versions
    async with local_pool(model(old), config=QUICK, workers=1) as pool:
        first = await pool.client.untyped.call(JAR, name, args, command_id="order-7")
        await deploy(pool, new)
        again = await pool.client.untyped.call(JAR, name, args, command_id="order-7")
        assert (bytes(again.value), again.version) == (bytes(first.value), first.version)
        with pytest.raises(InvalidCommand, match="was given to another command, or to other arguments"):
            await pool.client.untyped.call(JAR, name, args.replace(b"5", b"6"), command_id="order-7")
        assert await content(pool)() == 5


# ------------------------------------------------------------------------------------------ two versions side by side


class Deployment:
    """What the members' rows say: set by the test."""

    under_way = "model version 2: b-0"

    def __call__(self) -> str:
        return self.under_way


@asynccontextmanager
async def serving(server: InMemoryServer, jar: type[Actor], deployment: Deployment) -> AsyncIterator[Runtime]:
    connection = InMemoryConnection(server, "tests")
    runtime = Runtime(connection, connection.event_store, QUICK, deployment=deployment, inbox=connection.inbox)
    runtime.load_model(model(jar))
    async with connection, runtime:
        yield runtime


async def told(runtime: Runtime, name: str, args: bytes) -> int:
    tell = Tell(kind="jar", key="a", command=name, args=Raw(args), id=f"{name}-{len(args)}")
    inbox = runtime._around.inbox
    assert inbox is not None
    return await inbox.send(shard_of(JAR, 256), encode_tell(tell), tell.id)


async def stored(runtime: Runtime) -> list[str]:
    return [one.type for one in await nodes.history(runtime, JAR)]


async def waits_for_another_version(runtime: Runtime) -> str:
    async with asyncio.timeout(10):
        while True:
            for line in runtime.waiting_tells():
                if line.error is not None:
                    return line.error.message
            await asyncio.sleep(0.002)


async def test_what_waits_for_another_version_says_so_and_names_the_field() -> None:
    async with serving(InMemoryServer(), Jar1, Deployment()) as runtime:
        await told(runtime, "add", b'{"amount":1,"note":"x"}')
        message = await waits_for_another_version(runtime)
        assert message.startswith("note: ")
        assert "a deployment is under way" in message
        assert await stored(runtime) == []


async def test_an_operator_can_give_up_what_waits_for_another_version() -> None:
    async with serving(InMemoryServer(), Jar1, Deployment()) as runtime:
        await told(runtime, "seal", b'{"why":"x"}')
        await waits_for_another_version(runtime)
        await told(runtime, "add", b'{"amount":1}')
        await send(runtime, JAR, nodes.command(GIVE_UP_COMMAND, until=1))
        async with asyncio.timeout(10):
            while await stored(runtime) != [DEAD_LETTERED_EVENT, "Added"]:  # noqa: ASYNC110 - the runtime makes progress
                await asyncio.sleep(0.002)


async def test_where_tells_need_not_be_in_order_those_behind_it_go_on() -> None:
    server, deployment = InMemoryServer(), Deployment()
    async with serving(server, Loose1, deployment) as runtime:
        await told(runtime, "seal", b'{"why":"x"}')
        await told(runtime, "add", b'{"amount":1}')
        async with asyncio.timeout(10):
            while await stored(runtime) != [PARKED_EVENT, "Added"]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.002)
    async with serving(server, Loose2, deployment) as runtime:
        async with asyncio.timeout(10):
            while await stored(runtime) != [PARKED_EVENT, "Added", "Sealed"]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.002)
