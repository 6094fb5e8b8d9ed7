"""Handlers that block: they run in threads and hold their actor only; past their deadline nothing is stored."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from aether import (
    Actor,
    ActorFailed,
    ActorId,
    DeadlineExceeded,
    Model,
    ModelError,
    Rejected,
    Runtime,
    Unavailable,
    command,
    event,
    query,
)
from tests.support.nodes import QUIET, history, node, send, until
from tests.support.nodes import command as made


@dataclass(frozen=True, slots=True)
class Did:
    """Something was done."""

    what: str


class Worker(Actor):
    """Blocks in threads until the test lets it go."""

    done: list[str] = field(default_factory=list)

    @command(blocking=True)
    def work(self, what: str, gate: str = "") -> str:
        """Emit, block, and emit again."""
        self.emit(Did(f"{what} begun"))
        BEGUN.append((what, threading.get_ident()))
        if gate:
            GATES[gate].wait()
        self.emit(Did(what))
        return f"{self.context.command_id} {self.id.key} {self.version} {len(self.done)}"

    @command(blocking=True)
    def work_on(self, gate: str) -> None:
        """Look away when nothing of it is stored any more."""
        BEGUN.append(("work_on", threading.get_ident()))
        GATES[gate].wait()
        try:
            self.emit(Did("too late"))
        except RuntimeError as error:
            REFUSED.append(str(error))
        OVER.set()

    @command(blocking=True)
    def refuse(self) -> None:
        """Emit, then decide no."""
        self.emit(Did("nothing"))
        raise Rejected("no")

    @command(blocking=True)
    def leave(self) -> None:
        """Try to end the thread, and the process."""
        self.emit(Did("nothing"))
        raise SystemExit(1)

    @command(blocking=True)
    def give_a_coroutine(self) -> None:
        """What only an asynchronous handler may do."""
        return asyncio.sleep(0)  # type: ignore[return-value]  # what a user may do

    @query(blocking=True)
    def say(self, gate: str = "") -> list[str]:
        """Read, slowly."""
        if gate:
            GATES[gate].wait()
        return self.done

    @query(blocking=True)
    def emitting(self) -> None:
        """Break its word."""
        self.emit(Did("never"))

    @query
    def now(self) -> list[str]:
        """Read at once."""
        return self.done

    @event
    def did(self, e: Did) -> None:
        """Keep it."""
        self.done.append(e.what)


BEGUN: list[tuple[str, int]] = []
REFUSED: list[str] = []
GATES: dict[str, threading.Event] = {}
OVER = threading.Event()
model = Model("tests", actors=[Worker])
W, OTHER = ActorId("worker", "w"), ActorId("worker", "other")


@pytest.fixture(autouse=True)
def gates() -> Iterator[None]:
    """Closed gates, opened at the end at the latest, so that no thread is left."""
    BEGUN.clear()
    REFUSED.clear()
    OVER.clear()
    GATES.update({name: threading.Event() for name in ("a", "b", "c")})
    yield
    for gate in GATES.values():
        gate.set()


async def stored(runtime: Runtime, actor_id: ActorId = W) -> list[str]:
    return [bytes(e.data).decode() for e in await history(runtime, actor_id) if e.type == "Did"]


async def test_it_runs_in_a_thread_with_its_own_context() -> None:
    async with node(model=model) as runtime:
        answer = await send(runtime, W, made("work", id="c-1", attempt=1, what="x"))
        assert bytes(answer.value) == b'"c-1 w 2 2"'
        assert BEGUN[0][1] != threading.get_ident()
        assert await stored(runtime) == ['{"what":"x begun"}', '{"what":"x"}']
        assert bytes((await send(runtime, W, made("say"))).value) == b'["x begun","x"]'


async def test_it_holds_its_actor_and_no_other() -> None:
    async with node(model=model) as runtime:
        held = asyncio.ensure_future(send(runtime, W, made("work", what="x", gate="a")))
        behind = asyncio.ensure_future(send(runtime, W, made("now")))
        assert bytes((await send(runtime, OTHER, made("now"))).value) == b"[]"
        await until(lambda: bool(BEGUN))
        assert not behind.done()
        GATES["a"].set()
        await held
        assert bytes((await behind).value) == b'["x begun","x"]'


async def test_many_run_at_once_each_for_its_own_command() -> None:
    async with node(model=model) as runtime:
        ids = [ActorId("worker", f"w{n}") for n in range(8)]
        sent = [asyncio.ensure_future(send(runtime, one, made("work", what=one.key, gate="a"))) for one in ids]
        await until(lambda: len(BEGUN) == len(ids))
        GATES["a"].set()
        await asyncio.gather(*sent)
        for one in ids:
            assert await stored(runtime, one) == [f'{{"what":"{one.key} begun"}}', f'{{"what":"{one.key}"}}']


async def test_what_it_raises_is_as_from_any_handler() -> None:
    async with node(model=model) as runtime:
        with pytest.raises(Rejected, match="no"):
            await send(runtime, W, made("refuse"))
        for name, what in (("leave", "SystemExit"), ("give_a_coroutine", "await"), ("emitting", "emitted an event")):
            with pytest.raises(ActorFailed, match=what):
                await send(runtime, W, made(name))
        assert await stored(runtime) == []
        assert bytes((await send(runtime, W, made("now"))).value) == b"[]"


async def test_after_its_deadline_nothing_of_it_is_stored_and_the_actor_is_held_until_it_ends() -> None:
    async with node(model=model) as runtime:
        with pytest.raises(DeadlineExceeded) as late:
            await send(runtime, W, made("work_on", gate="a", for_s=0.3))
        assert late.value.outcome_known
        for name in ("now", "work"):
            args = {"what": "y"} if name == "work" else {}
            with pytest.raises(Unavailable, match="still runs work_on"):
                await send(runtime, W, made(name, **args))  # type: ignore[arg-type]  # arguments of the command
        assert [what for what, _ in BEGUN] == ["work_on"], "no other run began"
        GATES["a"].set()
        await until(OVER.is_set)
        assert len(REFUSED) == 1
        worker = runtime._worker
        assert worker is not None
        await until(lambda: not worker.detached)
        assert await stored(runtime) == []
        await send(runtime, W, made("work", what="y"))
        assert await stored(runtime) == ['{"what":"y begun"}', '{"what":"y"}']
        outcomes = runtime.counters.of("worker", "work_on")
        assert (outcomes.timed_out, outcomes.late, runtime.counters.handlers_late) == (1, 1, 1)


async def test_what_it_had_emitted_before_its_deadline_is_undone() -> None:
    async with node(model=model) as runtime:
        await send(runtime, W, made("work", what="x"))
        with pytest.raises(DeadlineExceeded):
            await send(runtime, W, made("work", what="y", gate="a", for_s=0.3))
        GATES["a"].set()
        worker = runtime._worker
        assert worker is not None
        await until(lambda: not worker.detached)
        assert bytes((await send(runtime, W, made("now"))).value) == b'["x begun","x"]'
        assert len(await stored(runtime)) == 2


async def test_what_was_decided_before_it_in_the_same_turn_is_stored() -> None:
    async with node(model=model) as runtime:
        await send(runtime, W, made("now"))
        first = asyncio.ensure_future(send(runtime, W, made("work", what="x")))
        second = asyncio.ensure_future(send(runtime, W, made("work", what="y", gate="a", for_s=0.5)))
        await first
        with pytest.raises(DeadlineExceeded):
            await second
        GATES["a"].set()
        assert await stored(runtime) == ['{"what":"x begun"}', '{"what":"x"}']


async def test_one_that_gets_no_thread_before_its_deadline_never_runs() -> None:
    async with node(model=model, config=replace(QUIET, blocking_threads_max=1)) as runtime:
        held = asyncio.ensure_future(send(runtime, W, made("work", what="x", gate="a")))
        await until(lambda: bool(BEGUN))
        with pytest.raises(DeadlineExceeded) as late:
            await send(runtime, OTHER, made("work", what="y", for_s=0.3))
        assert late.value.outcome_known
        assert bytes((await send(runtime, OTHER, made("now"))).value) == b"[]", "its actor is free"
        GATES["a"].set()
        await held
        assert [what for what, _ in BEGUN] == ["x"]


async def test_a_drain_waits_for_it_within_its_bound() -> None:
    async with node(model=model) as runtime:
        held = asyncio.ensure_future(send(runtime, W, made("work", what="x", gate="a")))
        await until(lambda: bool(BEGUN))
        stopping = asyncio.ensure_future(runtime.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        GATES["a"].set()
        await stopping
        assert b"w 2 2" in bytes((await held).value)


async def test_beyond_the_bound_a_drain_goes_on_without_it_and_stores_nothing_of_it() -> None:
    async with node(model=model, config=replace(QUIET, drain_timeout_s=0.05)) as runtime:
        unheard = asyncio.ensure_future(send(runtime, W, made("work_on", gate="a")))
        await until(lambda: bool(BEGUN))
        await runtime.stop()
        GATES["a"].set()
        await until(OVER.is_set)
        assert len(REFUSED) == 1
        assert await stored(runtime) == []
        unheard.cancel()


async def test_a_blocking_query_reads_while_others_wait() -> None:
    async with node(model=model) as runtime:
        await send(runtime, W, made("work", what="x"))
        asked = asyncio.ensure_future(send(runtime, W, made("say", gate="b")))
        assert bytes((await send(runtime, OTHER, made("now"))).value) == b"[]"
        GATES["b"].set()
        assert bytes((await asked).value) == b'["x begun","x"]'


def test_an_asynchronous_handler_cannot_be_blocking() -> None:
    with pytest.raises(ModelError, match="asynchronous"):

        class Both(Actor):
            """One or the other."""

            @command(blocking=True)
            async def both(self) -> None:
                """Never."""
