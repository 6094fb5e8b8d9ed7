"""A model's lifespan: entered before the first command, exited after the last, in the way of no drain."""

import asyncio
import contextlib
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from aether import Actor, ActorFailed, AetherError, Model, ModelError, Runtime, command, event, query
from aether.memory.connection import InMemoryConnection
from aether.testing import local_runtime
from tests.support.actors import Account
from tests.support.nodes import QUIET, node, until


@dataclass(frozen=True, slots=True)
class Looked:
    """Something was looked up."""


class Reader(Actor):
    """Asks for its resources wherever it may, and where it may not."""

    last: str = ""

    @command
    def plain(self) -> str:
        """From a plain handler."""
        return str(self.resources)

    @command
    async def waiting(self) -> str:
        """From an asynchronous handler."""
        await asyncio.sleep(0)
        return str(self.resources)

    @command(blocking=True)
    def in_thread(self) -> str:
        """From a thread."""
        return str(self.resources)

    @query
    def asked(self) -> str:
        """From a query."""
        return str(self.resources)

    @command
    def look_in_event(self) -> None:
        """From an event method."""
        self.emit(Looked())

    @event
    def looked(self, e: Looked) -> None:
        """Resources are not there when it is replayed."""
        self.last = str(self.resources)


SAID: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_said() -> Iterator[None]:
    SAID.clear()
    yield
    SAID.clear()


@asynccontextmanager
async def lifespan() -> AsyncIterator[str]:
    SAID.append("entered")
    try:
        yield "the pool"
    finally:
        SAID.append("exited")


def lasting(made: Any, *actors: type[Actor]) -> Model:
    return Model("tests", actors=actors or [Reader], lifespan=made)


@pytest.mark.parametrize("name", ["plain", "waiting", "in_thread", "asked"])
async def test_every_handler_has_what_the_lifespan_gave(name: str) -> None:
    async with local_runtime(lasting(lifespan)) as runtime:
        assert SAID == ["entered"]
        assert await getattr(runtime.actor(Reader, "r"), name)() == "the pool"
    assert SAID == ["entered", "exited"]


async def test_without_a_lifespan_the_error_says_what_to_write() -> None:
    async with local_runtime(Model("tests", actors=[Reader])) as runtime:
        with pytest.raises(ActorFailed, match=r"self.resources needs a lifespan.*Model\(\.\.\., lifespan=\.\.\.\)"):
            await runtime.actor(Reader, "r").plain()


async def test_an_event_method_has_no_resources() -> None:
    async with local_runtime(lasting(lifespan)) as runtime:
        with pytest.raises(ActorFailed, match="replay has only the event"):
            await runtime.actor(Reader, "r").look_in_event()


async def test_it_is_exited_after_the_last_handler() -> None:
    gate = asyncio.Event()

    class Slow(Actor):
        @command
        async def go(self) -> str:
            SAID.append("began")
            await gate.wait()
            SAID.append("ended")
            return str(self.resources)

    async with node(model=lasting(lifespan, Slow)) as runtime:
        asked = asyncio.create_task(runtime.actor(Slow, "s").go())
        await until(lambda: "began" in SAID)
        stopping = asyncio.create_task(runtime.stop())
        await asyncio.sleep(0)
        gate.set()
        await stopping
        assert await asked == "the pool"
    assert SAID == ["entered", "began", "ended", "exited"]


async def test_each_runtime_enters_its_own() -> None:
    made = lasting(lambda: contextlib.nullcontext(object()))
    async with local_runtime(made) as one, local_runtime(made) as other:
        assert await one.actor(Reader, "r").plain() != await other.actor(Reader, "r").plain()


def _line_of(function: Callable[..., Any], ahead: int) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno + ahead}"


def open_database() -> None:
    raise OSError("no database")


async def test_an_error_in_it_is_no_start_and_names_the_line(caplog: pytest.LogCaptureFixture) -> None:
    async def failing() -> AsyncIterator[None]:
        open_database()
        yield

    model = lasting(asynccontextmanager(failing))
    with pytest.raises(AetherError, match="lifespan of the model tests failed: OSError: no database") as failed:
        async with local_runtime(model):
            raise AssertionError("it serves")
    assert _line_of(open_database, 1) in failed.value.message
    assert isinstance(failed.value.__cause__, OSError)
    said = [record for record in caplog.records if record.name == "aether.lifespan"]
    assert [record.exc_info is not None for record in said] == [True], "once, with its traceback"


async def test_an_exit_of_the_process_is_an_error_too() -> None:
    @asynccontextmanager
    async def leaving() -> AsyncIterator[None]:
        if SAID == []:
            sys.exit(0)
        yield

    with pytest.raises(AetherError, match="SystemExit: 0"):
        async with local_runtime(lasting(leaving)):
            raise AssertionError("it serves")


async def test_what_is_no_asynchronous_context_manager_is_named() -> None:
    @contextlib.contextmanager
    def plain() -> Iterator[None]:
        yield

    with pytest.raises(AetherError, match="gave a _GeneratorContextManager, not an asynchronous context manager"):
        async with local_runtime(lasting(plain)):
            raise AssertionError("it serves")


class Mute(Exception):
    """Has no words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


async def test_an_error_without_words_is_told_at_its_start_and_is_in_no_drains_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def mute(start: bool) -> AsyncIterator[None]:
        if start:
            raise Mute
        yield
        raise Mute

    with pytest.raises(AetherError, match="the lifespan of the model tests failed: Mute:"):
        async with local_runtime(lasting(lambda: mute(True))):
            raise AssertionError("it serves")
    async with local_runtime(lasting(lambda: mute(False))):
        pass
    assert "failed at its end: Mute:" in caplog.text


async def test_one_that_is_cancelled_while_it_is_entered_cleans_up(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        try:
            SAID.append("entering")
            await asyncio.Event().wait()
            yield
        finally:
            SAID.append("cleaned up")

    connection = InMemoryConnection(None, "tests")
    runtime = Runtime(connection, connection.event_store, QUIET)
    runtime.load_model(lasting(slow))
    starting = asyncio.create_task(runtime.start())
    await until(lambda: "entering" in SAID)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert SAID == ["entering", "cleaned up"]
    assert caplog.records == [], "it is cancelled at once, not when its time is up"


async def test_one_that_hangs_at_its_end_is_cancelled_and_named(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def hanging() -> AsyncIterator[None]:
        yield
        try:
            await asyncio.Event().wait()
        finally:
            SAID.append("cancelled")

    async with local_runtime(lasting(hanging), replace(QUIET, lifespan_exit_timeout_s=0.01)):
        pass
    assert SAID == ["cancelled"]
    record = next(r for r in caplog.records if r.getMessage() == "the lifespan did not end in time, and was cancelled")
    assert re.fullmatch(rf"{re.escape(__file__)}:\d+", record.__dict__["at"])


async def test_one_that_will_not_be_cancelled_is_in_no_drains_way(caplog: pytest.LogCaptureFixture) -> None:
    released = asyncio.Event()

    @asynccontextmanager
    async def stubborn() -> AsyncIterator[None]:
        yield
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    async with local_runtime(lasting(stubborn), replace(QUIET, lifespan_exit_timeout_s=0.01)):
        pass
    assert "the lifespan goes on although it was cancelled" in caplog.text
    released.set()


async def test_an_error_at_its_end_is_logged_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        yield
        open_database()

    async with local_runtime(lasting(failing)):
        pass
    assert "failed at its end: OSError: no database" in caplog.text
    assert _line_of(open_database, 1) in caplog.text


async def test_one_that_ends_by_itself_fails_the_runtime(caplog: pytest.LogCaptureFixture) -> None:
    breaks = asyncio.Event()

    async def watch() -> None:
        await breaks.wait()
        raise ConnectionError("the database went away")

    @asynccontextmanager
    async def watched() -> AsyncIterator[str]:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch())
            yield "the pool"

    async with local_runtime(lasting(watched)) as runtime:
        reader = runtime.actor(Reader, "r")
        assert await reader.plain() == "the pool"
        breaks.set()
        failure = await runtime.failed()
        assert "has ended by itself: ExceptionGroup" in failure.message
        with pytest.raises(ActorFailed, match="has ended, and its resources with it"):
            await reader.plain()
    assert "the database went away" in caplog.text


async def test_it_is_entered_and_exited_in_one_task_whichever_task_stops_the_runtime() -> None:
    tasks: list[asyncio.Task[Any] | None] = []

    @asynccontextmanager
    async def recorded() -> AsyncIterator[None]:
        tasks.append(asyncio.current_task())
        async with asyncio.timeout(60):  # which refuses to be left in another task
            yield
        tasks.append(asyncio.current_task())

    context = local_runtime(lasting(recorded))
    await asyncio.create_task(context.__aenter__())
    await asyncio.create_task(context.__aexit__(None, None, None))
    assert len(tasks) == 2
    assert tasks[0] is tasks[1] is not None


def _generator() -> Any:
    async def bare() -> AsyncIterator[None]:
        yield

    return bare


def _coroutine() -> Any:
    async def bare() -> None: ...

    return bare


WRONG: dict[str, tuple[Any, str]] = {
    "no function": ("pool", "a lifespan is a function"),
    "undecorated": (_generator(), "put @contextlib.asynccontextmanager on it"),
    "a coroutine": (_coroutine(), "the lifespan bare is a coroutine"),
    "takes arguments": (lambda app: app, "is called without arguments: missing a required argument: 'app'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_a_lifespan_is_a_model_error_with_its_place(name: str) -> None:
    made, message = WRONG[name]
    with pytest.raises(ModelError, match=re.escape(message)) as wrong:
        Model("tests", actors=[Account], lifespan=made)
    assert wrong.value.file == __file__


async def test_a_model_that_is_only_imported_enters_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        lasting(lifespan)
    assert SAID == []
