"""The asks of one handler, over a caller by hand: what is sent for it, and when it is put off."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from msgspec.json import decode

from aether import ActorFailed, ActorId, DeadlineExceeded, InvalidCommand, Rejected, Unavailable, UnknownCommand
from aether.calls import Cause
from aether.config import CallConfig
from aether.core.actor.deadlock import Ask, Waits
from aether.errors import AetherError
from aether.memory.clock import ManualClock
from aether.model.definition import CommandType
from aether.ports import Delivery
from aether.runtime import asks as asks_module
from aether.runtime.ask_errors import passed_on
from aether.runtime.asks import Asks, HandlerAsks
from aether.runtime.counters import CommandCounts, Counters
from aether.runtime.deadlocks import ACTORS_MAX, encode_waits, look_at
from aether.runtime.pending_command import PendingCommand
from aether.wire import (
    DEADLINE_AHEAD_MAX_S,
    WAITS_COMMAND,
    Answer,
    Command,
    decode_command,
    encode_answer,
    encode_error,
    instant,
)
from tests.support.asking import Purse, model

ME = ActorId("purse", "a")
OTHER = ActorId("purse", "b")


class Calls:
    """Stands for the caller of a worker: what was called, and what each actor says that it waits for."""

    def __init__(self) -> None:
        self.called: list[tuple[ActorId, str, dict[str, Any]]] = []
        self.looked: list[str] = []
        self.says: Callable[[str], Waits | bytes | AetherError] = lambda _: Waits("", ())
        self.answered = asyncio.Event()

    async def call(self, actor_id: ActorId, command: str, args: bytes, **options: Any) -> Answer:
        self.called.append((actor_id, command, options))
        await self.answered.wait()
        return Answer(ok=True)

    async def look(self, actor_id: ActorId, payload: bytes, timeout_s: float) -> bytes:
        asked = decode_command(payload)
        assert asked.command == WAITS_COMMAND
        self.looked.append(str(actor_id))
        assert len(self.looked) < 1_000, "it looks for ever"
        await asyncio.sleep(0)
        says = self.says(str(actor_id))
        if isinstance(says, Unavailable):
            raise says
        if isinstance(says, AetherError):
            return encode_error(says)
        return encode_answer(says if isinstance(says, bytes) else encode_waits(says, bytes(asked.args)), 0, 0)


class Transport:
    """Follows owners, or cannot."""

    def __init__(self) -> None:
        self.followed = 0
        self.stopped = 0
        self.error: AetherError | None = None

    async def follow_owners(self) -> "Transport":
        self.followed += 1
        if self.error is not None:
            raise self.error
        return self

    async def stop(self) -> None:
        self.stopped += 1


class Connection:
    """What asks need of it."""

    namespace, server, shards = "n", "s", 256

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.transport = Transport()


class Side:
    """A worker's asks."""

    def __init__(self) -> None:
        connection: Any = Connection()
        self.transport: Transport = connection.transport
        self.clock: ManualClock = connection.clock
        self.counters = Counters()
        self.spawned: list[asyncio.Task[Any]] = []
        self.asks = Asks(model, connection, CallConfig(), lambda: 0.0, self._spawn, self.counters)
        self.put_off = 0

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        self.spawned.append(asyncio.ensure_future(work))

    async def settle(self) -> None:
        await asyncio.gather(*self.spawned)

    def handler(self, command: str = "pay", for_s: float = 30.0, chain: tuple[str, ...] = ()) -> HandlerAsks:
        type_: CommandType = model.actor_type("purse").commands[command]
        wire = Command(id="c-1", command=command, deadline=instant(self.clock.wall_s()), causationid="cause",
                       traceparent="trace", correlationid="together", chain=chain)  # fmt: skip
        pending = PendingCommand(wire, type_, None, Delivery(0, ME, b"", lambda _: None), self.clock.wall_s() + for_s,
                                 CommandCounts(), arrived_s=0.0)  # fmt: skip
        return HandlerAsks(self.asks, ME, pending, self._put_off)

    def _put_off(self) -> None:
        self.put_off += 1


@pytest.fixture
async def side() -> Side:
    return Side()


@pytest.fixture
async def calls(side: Side, monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr(side.asks, "caller", lambda: calls)
    monkeypatch.setattr(side.transport, "request", calls.look, raising=False)
    monkeypatch.setattr(asks_module, "LOOK_AFTER_S", 0.0)
    return calls


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - the asks make progress
            await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------------ what is sent


async def test_an_ask_goes_on_for_the_command_of_its_handler(side: Side, calls: Calls) -> None:
    calls.answered.set()
    handler = side.handler(chain=("node/x", "node/y"))
    await handler.send("ask-3", OTHER, "put", b"{}")
    ((actor_id, command, options),) = calls.called
    assert (actor_id, command) == (OTHER, "put")
    now_s = side.clock.wall_s()
    assert options == {
        "deadline_s": 30.0,
        "command_id": "ask-3",
        "cause": Cause(now_s + 30.0, "together", "c-1", "trace", ("node/x", "node/y", "purse/a")),
    }
    for _ in range(3):
        await asyncio.sleep(0)
    assert side.spawned == [], "an answer that comes at once is not looked for"
    assert handler.waits() == Waits("c-1", (), ("together", "node/x", "node/y", "purse/a"))


async def test_an_ask_ends_with_the_command_and_at_most_so_much_later(side: Side, calls: Calls) -> None:
    calls.answered.set()
    await side.handler(for_s=3 * DEADLINE_AHEAD_MAX_S).send("ask-1", OTHER, "put", b"{}")
    assert calls.called[0][2]["deadline_s"] == DEADLINE_AHEAD_MAX_S
    with pytest.raises(DeadlineExceeded, match=r"the deadline of pay passed before purse/b was asked") as late:
        await side.handler(for_s=0.0).send("ask-1", OTHER, "put", b"{}")
    assert late.value.outcome_known
    assert len(calls.called) == 1


async def test_a_handler_that_has_ended_asks_nothing(side: Side, calls: Calls) -> None:
    handler = side.handler()
    handler.end()
    with pytest.raises(RuntimeError, match="can only be asked by the command handler that runs now"):
        await handler.send("ask-1", OTHER, "put", b"{}")
    with pytest.raises(RuntimeError):  # and not that it would ask itself
        await handler.send("ask-1", ME, "put", b"{}")
    assert side.asks.waits_of(ME) == Waits("", ())


async def test_an_ask_waits_for_room_and_is_not_sent_when_its_handler_ends_before(side: Side, calls: Calls) -> None:
    side.asks.in_flight_max = 1
    handler, other = side.handler(), side.handler()
    first, second, third = (
        asyncio.ensure_future(handler.send(f"ask-{number}", OTHER, "put", b"{}")) for number in (1, 2, 3)
    )
    another = asyncio.ensure_future(other.send("ask-4", OTHER, "put", b"{}"))
    await until(lambda: len(calls.called) == 2)
    assert handler.waits().asks == (Ask("purse/b", "ask-1"),)
    first.cancel()
    await until(lambda: len(calls.called) == 3)
    assert handler.waits().asks == (Ask("purse/b", "ask-2"),)
    handler.end()
    calls.answered.set()
    await asyncio.gather(second, another)
    with pytest.raises(RuntimeError, match="can only be asked by the command handler that runs now"):
        await third
    assert len(calls.called) == 3


async def test_what_an_actor_waits_for_is_that_of_its_last_handler(side: Side, calls: Calls) -> None:
    """An earlier one may go on, detached, and end later."""
    first, last = side.handler(), side.handler()
    asked = asyncio.ensure_future(last.send("ask-2", OTHER, "put", b"{}"))
    await until(lambda: len(calls.called) == 1)
    first.end()
    assert side.asks.waits_of(ME) == Waits("c-1", (Ask("purse/b", "ask-2"),), ("together", "purse/a"))
    calls.answered.set()
    await asked


async def test_ids_are_of_the_actor_its_command_whom_it_asks_and_their_number(side: Side) -> None:
    ids = {
        side.handler(command).id_of(actor, number)
        for command in ("pay", "put")
        for actor in ("purse/b", "purse/c")
        for number in (1, 2)
    }
    assert len(ids) == 8
    assert side.handler().id_of("purse/b", 1) == side.handler().id_of("purse/b", 1)


# ------------------------------------------------------------------------------------------------ new owners


async def test_owners_are_followed_once_and_no_more_at_the_end(side: Side) -> None:
    one = side.asks.caller()
    await side.settle()
    assert side.asks.caller() is one
    await side.settle()
    assert side.transport.followed == 1
    await side.asks.close()
    assert side.transport.stopped == 1
    with pytest.raises(AetherError):
        one.check()


async def test_owners_that_cannot_be_followed_now_are_followed_with_a_later_ask(side: Side) -> None:
    side.transport.error = Unavailable("no server")
    side.asks.caller()
    await side.settle()
    side.transport.error = None
    side.asks.caller()
    await side.settle()
    assert side.transport.followed == 2
    await side.asks.close()
    assert side.transport.stopped == 1


# ------------------------------------------------------------------------------------------------ circles


def asks_back(runs: str) -> Waits:
    """Of purse b: it runs this, and asks purse a."""
    return Waits(runs, (Ask("purse/a", "ask-x"),))


async def test_a_circle_counts_when_it_is_seen_twice_in_a_row(side: Side, calls: Calls) -> None:
    seen = [asks_back("b-1"), Waits("", ()), asks_back("b-1"), asks_back("b-2"), asks_back("b-2")]
    calls.says = lambda _: seen.pop(0)
    asked = asyncio.ensure_future(side.handler().send("ask-1", OTHER, "put", b"{}"))
    await until(lambda: len(side.spawned) == 1)
    await side.settle()
    assert (seen, side.put_off, side.counters.handlers_put_off) == ([], 1, 1)
    calls.answered.set()
    await asked


async def test_another_handler_of_a_circle_is_put_off_by_its_own_worker(side: Side, calls: Calls) -> None:
    calls.says = lambda _: asks_back("z")  # the last of the ids
    asked = asyncio.ensure_future(side.handler().send("ask-1", OTHER, "put", b"{}"))
    await until(lambda: len(calls.looked) == 20)
    calls.answered.set()
    await asked
    await side.settle()
    assert side.put_off == 0


async def test_a_handler_that_ended_meanwhile_is_not_put_off(side: Side, calls: Calls) -> None:
    handler = side.handler()

    def ends(_: str) -> Waits:
        if len(calls.looked) == 2:
            handler.end()
        return asks_back("b-1")

    calls.says = ends
    asked = asyncio.ensure_future(handler.send("ask-1", OTHER, "put", b"{}"))
    await until(lambda: len(side.spawned) == 1)
    await side.settle()
    assert (side.put_off, len(calls.looked)) == (0, 2)
    calls.answered.set()
    await asked


async def test_each_ask_that_waits_is_looked_for_and_by_one_look(side: Side, calls: Calls) -> None:
    handler = side.handler()
    for number in (1, 2):
        asked = [asyncio.ensure_future(handler.send(f"ask-{n}", OTHER, "put", b"{}")) for n in (number, number + 10)]
        before = len(calls.looked)
        await until(lambda: len(calls.looked) > before + 3)  # noqa: B023 - called at once
        calls.answered.set()
        await asyncio.gather(*asked)
        await side.settle()
        assert len(side.spawned) == number
        calls.answered.clear()


async def test_it_looks_less_and_less_often_while_there_is_no_circle(
    side: Side, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asks_module, "LOOK_AFTER_S", 0.5)
    pauses: list[float] = []
    seen = [Waits("", ())] * 4 + [asks_back("z"), Waits("", ())]

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if not seen:
            handler.end()

    calls.says = lambda _: seen.pop(0)
    handler = side.handler()
    asked = asyncio.ensure_future(handler.send("ask-1", OTHER, "put", b"{}"))
    await until(lambda: len(calls.called) == 1)
    sleep = asyncio.sleep
    monkeypatch.setattr("asyncio.sleep", lambda s: pause(s) if s else sleep(0))
    handler._begin_to_look()
    await side.settle()
    assert pauses == [1.0, 2.0, 2.0, 2.0, 0.5, 1.0]
    calls.answered.set()
    await asked


async def test_a_deadlock_is_looked_for_among_so_many_actors(side: Side, calls: Calls) -> None:
    calls.says = lambda actor: Waits("r", (Ask(f"{actor}x", "i"), Ask(f"{actor}y", "i")))
    assert len(await look_at("purse/a", Waits("r", (Ask("purse/b", "i"),)), side.asks)) == ACTORS_MAX
    assert len(calls.looked) == ACTORS_MAX - 1


@pytest.mark.parametrize(
    "says", [Unavailable("away"), UnknownCommand("earlier"), b'"of an earlier version"', Waits("", ())]
)
async def test_each_actor_is_asked_once_and_what_is_not_known_waits_for_nothing(
    side: Side, calls: Calls, says: Waits | bytes | AetherError
) -> None:
    waits: dict[str, Waits] = {name: Waits(name, (Ask("purse/d", "i"), Ask("purse/b", "i"))) for name in
                               ("purse/b", "purse/c")}  # fmt: skip
    calls.says = lambda actor: waits.get(actor, says)
    waiting = Waits("r", (Ask("purse/b", "i"), Ask("purse/c", "j"), Ask("purse/b", "k")))
    nothing = Waits("", ())
    assert await look_at("purse/a", waiting, side.asks) == {"purse/a": waiting, **waits, "purse/d": nothing}
    assert calls.looked == ["purse/b", "purse/c", "purse/d"]


async def test_all_that_the_actors_of_one_step_wait_for_are_looked_at(side: Side, calls: Calls) -> None:
    waits = {"purse/b": Waits("b", (Ask("purse/d", "i"),)), "purse/c": Waits("c", (Ask("purse/e", "i"),))}
    calls.says = lambda actor: waits.get(actor, Waits("", ()))
    await look_at("purse/a", Waits("r", (Ask("purse/b", "i"), Ask("purse/c", "j"))), side.asks)
    assert calls.looked == ["purse/b", "purse/c", "purse/d", "purse/e"]


async def test_what_handlers_of_this_worker_wait_for_is_known_without_a_message(side: Side, calls: Calls) -> None:
    asked = asyncio.ensure_future(side.handler().send("ask-1", OTHER, "put", b"{}"))
    await until(lambda: len(calls.called) == 1)
    waits = await look_at("purse/b", Waits("b-1", (Ask("purse/a", "i"), Ask("purse/c", "j"))), side.asks)
    assert waits["purse/a"] == Waits("c-1", (Ask("purse/b", "ask-1"),), ("together", "purse/a"))
    assert "purse/a" not in calls.looked
    assert "purse/c" in calls.looked
    calls.answered.set()
    await asked


@pytest.mark.parametrize("left", [False, True])
async def test_one_whose_shard_is_left_is_put_off_whatever_its_path(side: Side, calls: Calls, left: bool) -> None:
    side.asks.leave(0)
    if not left:
        side.asks.serve(0)
    calls.says = lambda _: asks_back("z")  # the last of the ids
    asked = asyncio.ensure_future(side.handler().send("ask-1", OTHER, "put", b"{}"))
    await until(lambda: side.put_off == 1 or len(calls.looked) == 20)
    assert (side.put_off, len(calls.looked)) == ((1, 1) if left else (0, 20))  # it goes at once
    calls.answered.set()
    await asked
    await side.settle()


def test_what_an_actor_waits_for_is_said_as_it_was_asked() -> None:
    waits = Waits("c-1", (Ask("purse/b", "i"),), ("together", "purse/a"))
    assert decode(encode_waits(waits, b"{}")) == ["c-1", [["purse/b", "i"]]]
    assert decode(encode_waits(waits, b'{"path":true}')) == ["c-1", [["purse/b", "i"]], ["together", "purse/a"]]
    for wrong in (b"", b"[]", b'{"path":1}'):
        with pytest.raises(InvalidCommand):
            encode_waits(waits, wrong)


# ------------------------------------------------------------------------------------------------ what must not be


async def test_so_many_may_wait_in_a_chain(side: Side, calls: Calls) -> None:
    calls.answered.set()
    chain = tuple(f"node/{n}" for n in range(31))
    await side.handler(chain=chain).send("ask-1", OTHER, "put", b"{}")
    with pytest.raises(ActorFailed, match="at most 32 actors may wait in a chain") as failed:
        await side.handler(chain=(*chain, "node/x")).send("ask-1", OTHER, "put", b"{}")
    assert failed.value.details["chain"] == [*chain, "node/x", "purse/a"]
    with pytest.raises(ActorFailed, match="node/3 waits already"):
        await side.handler(chain=chain).send("ask-1", ActorId("node", "3"), "put", b"{}")
    assert len(calls.called) == 1


async def test_only_a_refusal_of_its_own_id_is_explained(side: Side, calls: Calls) -> None:
    handler = side.handler()
    proxy = handler.proxy(Purse, "b")
    assert repr(proxy)
    ask = handler._begin("purse/b", "put")
    other = InvalidCommand("amount is an int")
    ask.mark(other)
    assert other.message == "amount is an int"
    own = InvalidCommand(f"the id {handler.id_of('purse/b', 1)} was given to another command")
    ask.mark(own)
    assert own.message.startswith("purse/a ran again and asked for something else: purse/b.put, its ask number 1 of")
    assert (str(own), own.args) == (own.message, (own.message,))


def test_a_rejection_that_is_passed_on_keeps_who_said_it_first() -> None:
    first = Rejected("no")
    first.details = {"cents": 0, "rejected_by": "purse/c.put"}
    heard = passed_on(first, "purse/b.put", "pay")
    assert heard.details == {"cents": 0, "rejected_by": "purse/c.put"}


def test_a_failure_that_is_passed_on_keeps_its_details() -> None:
    first = ActorFailed("a cycle", actor="purse/b")
    first.details = {"chain": ["purse/b"]}
    heard = passed_on(first, "purse/b.put", "pay")
    assert (heard.message, heard.details) == ("purse/b.put: a cycle", {"chain": ["purse/b"]})
