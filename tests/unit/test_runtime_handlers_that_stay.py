"""Asynchronous handlers and cancellation: whose it was, and what becomes of an actor whose handler does not end."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from aether import Actor, ActorFailed, ActorId, Model, Rejected, Runtime, Unavailable, command, event, query
from aether.errors import DeadlineExceeded
from tests.support.nodes import QUIET, history, node, send, until
from tests.support.nodes import command as made

GRACE = replace(QUIET, cancel_grace_s=0.01)


@dataclass(frozen=True, slots=True)
class Done:
    """Something was done."""


class Stayer(Actor):
    """Handlers that end otherwise than they should."""

    count: int = 0

    @command
    async def stay(self, for_cancels: int = 1_000_000) -> int:
        """Emit, then look away when it is cancelled, so often."""
        self.emit(Done())
        BEGUN.append(self.version)
        while not FREE.is_set():
            try:
                await FREE.wait()
            except asyncio.CancelledError:
                CANCELS.append(1)
                if len(CANCELS) > for_cancels:
                    raise
        LATE.append(asyncio.current_task())
        self.emit(Done())
        return self.count

    @command
    async def wait(self) -> int:
        """Emit and wait, properly."""
        self.emit(Done())
        BEGUN.append(self.version)
        await FREE.wait()
        return self.count

    @command
    async def clean_up(self, how: str) -> int:
        """What it does when it is cancelled."""
        self.emit(Done())
        try:
            await FREE.wait()
        except asyncio.CancelledError:
            assert self.context.command_id
            if how == "return":
                return self.count
            if how == "reject":
                raise Rejected("too late") from None
            raise ValueError("a bug in the cleaning up") from None
        return self.count

    @command
    async def foreign(self, how: str) -> int:
        """A cancellation that nobody but the handler had a hand in."""
        self.emit(Done())
        if how == "raised":
            raise asyncio.CancelledError
        if how == "itself":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
        if how == "future":
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        task_of_it = asyncio.ensure_future(asyncio.sleep(3600))
        task_of_it.cancel()
        if how == "gathered":
            await asyncio.gather(task_of_it)
        await task_of_it
        return self.count

    @command
    async def bounded(self) -> int:
        """A time-out of its own within the deadline."""
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            self.emit(Done())
        return self.count

    @command
    async def timed_out(self) -> int:
        """A time-out of its own that it does not catch."""
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
        return self.count

    @command
    def touch(self) -> int:
        """Emit."""
        self.emit(Done())
        return self.count

    @query
    def say(self) -> int:
        """How often."""
        return self.count

    @event
    def done(self, e: Done) -> None:
        """Count it."""
        self.count += 1


FREE: asyncio.Event
BEGUN: list[int] = []
CANCELS: list[int] = []
LATE: list[object] = []
model = Model("tests", actors=[Stayer])
STAYER = ActorId("stayer", "s")


@pytest.fixture(autouse=True)
async def free() -> AsyncIterator[None]:
    """The event that lets handlers go, set at the end at the latest."""
    global FREE  # noqa: PLW0603 - an Event belongs to the loop of one test
    FREE = asyncio.Event()
    BEGUN.clear()
    CANCELS.clear()
    LATE.clear()
    yield
    FREE.set()
    await asyncio.sleep(0)


async def says(runtime: Runtime, value: int) -> None:
    """The actor answers, with the state that its history has."""
    assert bytes((await send(runtime, STAYER, made("say"))).value) == str(value).encode()
    assert len(await history(runtime, STAYER)) == value


@pytest.mark.parametrize("how", ["raised", "itself", "future", "task", "gathered"])
async def test_a_cancellation_of_its_own_is_the_handlers_failure_at_once(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with node(model=model) as runtime:
        with caplog.at_level(logging.ERROR), pytest.raises(ActorFailed, match="CancelledError"):
            await asyncio.wait_for(send(runtime, STAYER, made("foreign", id="c-1", attempt=1, how=how)), 5)
        assert [r.__dict__["command_id"] for r in caplog.records if r.message == "a handler failed"] == ["c-1"]
        await says(runtime, 0)


async def test_a_handlers_own_time_outs_are_its_own() -> None:
    async with node(model=model) as runtime:
        assert bytes((await send(runtime, STAYER, made("bounded"))).value) == b"1"
        with pytest.raises(ActorFailed, match="TimeoutError"):
            await send(runtime, STAYER, made("timed_out"))
        await says(runtime, 1)


async def test_at_its_deadline_a_handler_is_cancelled_and_undone() -> None:
    async with node(model=model) as runtime:
        with pytest.raises(DeadlineExceeded) as late:
            await send(runtime, STAYER, made("wait", for_s=0.2))
        assert late.value.outcome_known
        await says(runtime, 0)


@pytest.mark.parametrize(("how", "count"), [("return", 1), ("reject", 0), ("break", 0)])
async def test_what_a_handler_does_when_it_is_cancelled_counts_if_it_ends_soon(how: str, count: int) -> None:
    async with node(model=model) as runtime:
        sent = send(runtime, STAYER, made("clean_up", how=how, for_s=0.2))
        if how == "return":
            assert bytes((await sent).value) == b"1"
        else:
            with pytest.raises(Rejected if how == "reject" else ActorFailed):
                await sent
        await says(runtime, count)


async def test_a_handler_that_will_not_be_cancelled_is_given_up_and_its_actor_held(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with node(model=model, config=GRACE) as runtime:
        await send(runtime, STAYER, made("touch"))
        with caplog.at_level(logging.ERROR), pytest.raises(ActorFailed, match="goes on"):
            await asyncio.wait_for(send(runtime, STAYER, made("stay", id="c-1", attempt=1, for_s=0.2)), 5)
        (line,) = [r.__dict__ for r in caplog.records if "goes on" in r.message]
        assert (line["actor"], line["command"], line["command_id"]) == ("stayer/s", "stay", "c-1")
        assert line["at"].endswith("in wait")
        assert "asyncio" in line["at"]
        assert runtime.counters.handlers_given_up == 1
        for name in ("touch", "say", "stay"):
            with pytest.raises(ActorFailed, match="still runs stay"):
                await asyncio.wait_for(send(runtime, STAYER, made(name)), 5)
        assert CANCELS == [1], "nothing of the actor ran meanwhile"
        assert len(await history(runtime, STAYER)) == 1
        FREE.set()
        await until(lambda: bool(LATE))
        await asyncio.sleep(0)
        await says(runtime, 1)
        assert bytes((await send(runtime, STAYER, made("touch"))).value) == b"2"


async def test_a_caller_behind_such_a_handler_hears_of_it_and_what_was_decided_before_is_stored() -> None:
    async with node(model=model, config=GRACE) as runtime:
        await send(runtime, STAYER, made("touch"))
        sent = [made("touch"), made("stay", for_s=0.2), made("touch"), made("say")]
        answers = await asyncio.wait_for(
            asyncio.gather(*(send(runtime, STAYER, one) for one in sent), return_exceptions=True), 5
        )
        first, *others = answers
        assert not isinstance(first, BaseException)
        assert bytes(first.value) == b"2"
        assert [type(one) for one in others] == [ActorFailed] * 3
        assert len(await history(runtime, STAYER)) == 2
        FREE.set()
        await until(lambda: bool(LATE))
        await asyncio.sleep(0)
        await says(runtime, 2)


async def test_a_held_actor_is_in_no_drains_way() -> None:
    async with node(model=model, config=GRACE) as runtime:
        with pytest.raises(ActorFailed):
            await send(runtime, STAYER, made("stay", for_s=0.2))
        draining = asyncio.ensure_future(runtime._drain())
        await asyncio.wait_for(draining, 5)
        assert not LATE
        FREE.set()


async def test_a_machine_that_was_abandoned_under_a_handler_leaves_its_actor_held() -> None:
    async with node(model=model, config=replace(QUIET, cancel_grace_s=3600)) as runtime:
        await send(runtime, STAYER, made("touch"))
        unheard = asyncio.ensure_future(send(runtime, STAYER, made("stay")))
        await until(lambda: bool(BEGUN))
        runtime.abandon_shard(runtime.get_active_vms()[0].shard)
        await until(lambda: bool(CANCELS))
        with pytest.raises(Unavailable, match="still runs stay"):
            await asyncio.wait_for(send(runtime, STAYER, made("say")), 5)
        FREE.set()
        await until(lambda: bool(LATE))
        await asyncio.sleep(0)
        unheard.cancel()
        assert len(await history(runtime, STAYER)) == 1


async def test_after_the_grace_an_abandoned_handler_is_named_and_its_actor_fails() -> None:
    async with node(model=model, config=GRACE) as runtime:
        unheard = asyncio.ensure_future(send(runtime, STAYER, made("stay")))
        await until(lambda: bool(BEGUN))
        runtime.abandon_shard(runtime.get_active_vms()[0].shard)
        await until(lambda: runtime.counters.handlers_given_up == 1)
        with pytest.raises(ActorFailed, match="still runs stay"):
            await asyncio.wait_for(send(runtime, STAYER, made("say")), 5)
        unheard.cancel()
        FREE.set()


async def test_a_handler_that_ends_within_the_grace_holds_nothing() -> None:
    async with node(model=model, config=replace(QUIET, cancel_grace_s=3600)) as runtime:
        unheard = asyncio.ensure_future(send(runtime, STAYER, made("wait")))
        await until(lambda: bool(BEGUN))
        runtime.abandon_shard(runtime.get_active_vms()[0].shard)
        await says(runtime, 0)
        assert runtime.counters.handlers_given_up == 0
        unheard.cancel()
