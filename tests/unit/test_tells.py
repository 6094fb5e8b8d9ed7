"""Tells in memory: from actors and from clients, once, in order, whatever crashes in between."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated

import pytest
from msgspec import Meta

from aether import (
    Actor,
    ActorFailed,
    ClientUnusable,
    DeadlineExceeded,
    InvalidCommand,
    Model,
    Overloaded,
    Rejected,
    Unavailable,
    command,
    event,
    query,
)
from aether.aio import Room
from aether.config import RuntimeConfig
from aether.ids import ActorId
from aether.ports import NotSent
from aether.testing import local_pool
from aether.testing.pool import LocalPool
from aether.untyped_client import TELL_BYTES
from aether.wire import DEAD_LETTERED_EVENT, HANDLED_EVENT, REFUSED_EVENT, TOLD_EVENT

STAY: list[int] = []
"""Not empty: a handler that goes on although it was cancelled may end."""

STAYING: list[int] = []
"""Not empty: it has begun."""


@dataclass(frozen=True, slots=True)
class Moved:
    """So much more, or less."""

    amount: int


class Purse(Actor):
    """What somebody has."""

    balance: int = 0
    log: list[int] = field(default_factory=list[int])

    @command
    def put(self, amount: Annotated[int, Meta(gt=0)]) -> int:
        if amount == 13:
            raise Rejected("unlucky")
        if amount == 14:
            raise ValueError("broken")
        self.emit(Moved(amount))
        return self.balance

    @command
    def note(self, amount: int) -> None:
        """Emits nothing."""

    @command
    async def stay(self) -> None:
        STAYING.append(1)
        while not STAY:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)

    @command
    async def hang(self) -> None:
        await asyncio.Event().wait()

    @command
    def pay(self, to: str, amount: int) -> int:
        self.emit(Moved(-amount))
        self.tell(Purse.put, to, amount)
        return self.balance

    @command
    def fan_out(self, to: list[str], amount: int) -> None:
        for one in to:
            self.tell(Purse.put, one, amount)

    @command
    def pay_and_fail(self, to: str, amount: int) -> None:
        self.tell(Purse.put, to, amount)
        raise Rejected("after all not")

    @command
    def tell_wrong(self, to: str) -> None:
        self.tell(Purse.put, to, -1)

    @command
    def sign(self, text: str) -> None:
        """Take a text."""

    @command
    def tell_much(self, count: int) -> None:
        self.tell(Purse.sign, "b", "x" * count)

    @command
    def tell_query(self, to: str) -> None:
        self.tell(Purse.total, to)  # type: ignore[arg-type]  # what is tested

    @event
    def moved(self, e: Moved) -> None:
        self.balance += e.amount
        self.log = [*self.log, e.amount]

    @query
    def total(self) -> int:
        return self.balance


MODEL = Model("purses", actors=[Purse])
QUICK = RuntimeConfig(tell_attempts_max=3, tell_retry_first_s=0.01, tell_retry_max_s=0.02)


async def balance(pool: LocalPool, key: str, wanted: int) -> None:
    async with asyncio.timeout(10):
        while await pool.client.actor(Purse, key).total() != wanted:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.005)


async def types(pool: LocalPool, key: str) -> list[str]:
    return [one.type async for one, _ in pool.client.untyped.history(ActorId("purse", key))]


async def stored(pool: LocalPool, key: str, type_: str, count: int = 1) -> list[str]:
    async with asyncio.timeout(10):
        while (found := await types(pool, key)).count(type_) < count:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.005)
    return found


async def test_a_tell_of_an_actor_arrives() -> None:
    async with local_pool(MODEL) as pool:
        assert await pool.client.actor(Purse, "a").pay("b", 5) == -5
        await balance(pool, "b", 5)


async def test_a_client_tells() -> None:
    async with local_pool(MODEL) as pool:
        receipt = await pool.client.tell(Purse.put, "c", 7)
        assert receipt.sequence > 0
        assert receipt.actor_id == ActorId("purse", "c")
        await balance(pool, "c", 7)


async def test_many_tells_to_one_actor_come_in_order() -> None:
    async with local_pool(MODEL) as pool:
        for n in range(1, 60):
            if n not in (13, 14):
                await pool.client.actor(Purse, "a").pay("b", n)
        total = sum(range(1, 60)) - 27
        await balance(pool, "b", total)
        state = await pool.client.state(Purse, "b")
        assert state.state.log == [n for n in range(1, 60) if n not in (13, 14)]


async def test_a_command_that_only_tells_stores_that_it_did() -> None:
    async with local_pool(MODEL) as pool:
        await pool.client.actor(Purse, "a").fan_out([f"t{n}" for n in range(20)], 3)
        for n in range(20):
            await balance(pool, f"t{n}", 3)
        assert await types(pool, "a") == [TOLD_EVENT]


async def test_a_command_that_is_rejected_has_told_nothing() -> None:
    async with local_pool(MODEL) as pool:
        with pytest.raises(Rejected):
            await pool.client.actor(Purse, "a").pay_and_fail("b", 5)
        await pool.client.actor(Purse, "a").pay("b", 1)
        await balance(pool, "b", 1)
        assert await types(pool, "b") == ["Moved"]


@pytest.mark.parametrize("name", ["tell_wrong", "tell_query"])
async def test_what_cannot_be_run_cannot_be_told(name: str) -> None:
    async with local_pool(MODEL) as pool:
        with pytest.raises(InvalidCommand):
            await getattr(pool.client.actor(Purse, "a"), name)("b")
        with pytest.raises(InvalidCommand):
            await pool.client.tell(Purse.put, "b", -1)
        assert await types(pool, "a") == []


async def test_what_is_wrong_with_a_tell_is_said_to_be_of_the_tell() -> None:
    async with local_pool(MODEL) as pool:
        with pytest.raises(InvalidCommand, match=r"\(an argument of purse\.put, which tell_wrong tells\)") as wrong:
            await pool.client.actor(Purse, "a").tell_wrong("b")
        assert wrong.value.path == "amount"
        with pytest.raises(
            InvalidCommand, match=r"cannot be empty \(the actor of purse\.put, which pay tells\)"
        ) as wrong:
            await pool.client.actor(Purse, "a").pay("", 1)
        assert wrong.value.path == "key"
        with pytest.raises(
            InvalidCommand, match=r"a tell is at most \d+ bytes.* \(purse\.sign, which tell_much tells\)"
        ):
            await pool.client.actor(Purse, "a").tell_much(2_000_000)
        assert await types(pool, "a") == []


async def test_the_ids_of_tells_to_different_actors_are_told_apart() -> None:
    async with local_pool(MODEL) as pool:
        receipts = [
            await pool.client.using(command_id=command_id).tell(Purse.put, key, 5)
            for key, command_id in (("a", "b/c"), ("a/b", "c"), ("a/b/c", "d"))
        ]
        assert len({one.sequence for one in receipts}) == 3
        for key in ("a", "a/b", "a/b/c"):
            await balance(pool, key, 5)


async def test_a_told_command_without_events_is_stored_as_handled() -> None:
    async with local_pool(MODEL) as pool:
        await pool.client.tell(Purse.note, "a", 1)
        await stored(pool, "a", HANDLED_EVENT)


async def test_a_rejection_is_final_and_what_is_behind_it_goes_on() -> None:
    async with local_pool(MODEL) as pool:
        await pool.client.tell(Purse.put, "a", 13)
        await pool.client.tell(Purse.put, "a", 2)
        await balance(pool, "a", 2)
        assert await types(pool, "a") == [REFUSED_EVENT, "Moved"]


async def test_a_failure_is_tried_again_and_then_given_up_and_blocks_no_other_actor() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Purse.put, "a", 14)
        await pool.client.tell(Purse.put, "a", 2)
        await pool.client.tell(Purse.put, "b", 3)
        await balance(pool, "b", 3)
        await balance(pool, "a", 2)
        assert await types(pool, "a") == [DEAD_LETTERED_EVENT, "Moved"]
        counters = pool.worker_of(Purse, "a").runtime.counters
        assert (counters.tells_failed, counters.tells_given_up) == (3, 1)


async def test_told_commands_that_the_model_does_not_have_are_counted_under_no_name() -> None:
    """Their names are the caller's, and there may be any number of them."""
    async with local_pool(MODEL, config=QUICK) as pool:
        for name in ("shake", "rattle"):
            await pool.client.untyped.tell(ActorId("purse", "a"), name)
        await pool.client.tell(Purse.put, "a", 2)
        await balance(pool, "a", 2)
        assert await types(pool, "a") == [DEAD_LETTERED_EVENT, DEAD_LETTERED_EVENT, "Moved"]
        named = {command for _, command in pool.worker_of(Purse, "a").runtime.counters.by_command}
        assert named >= {"", "put"}
        assert not named & {"shake", "rattle"}


async def test_an_ask_is_answered_while_a_tell_waits_for_its_next_try() -> None:
    slow = RuntimeConfig(tell_attempts_max=5, tell_retry_first_s=30.0)
    async with local_pool(MODEL, config=slow) as pool:
        await pool.client.tell(Purse.put, "a", 14)
        await pool.client.tell(Purse.put, "a", 2)
        worker = pool.worker_of(Purse, "a").runtime
        async with asyncio.timeout(10):
            while not worker.counters.tells_failed:  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.005)
        assert await pool.client.actor(Purse, "a").put(1) == 1
        assert worker.counters.tells_applied == 0


async def test_crashes_neither_lose_nor_repeat_a_tell() -> None:
    async with local_pool(MODEL, workers=3) as pool:

        async def pay(source: str) -> None:
            for n in range(40):
                await pool.client.actor(Purse, source, deadline_s=30).pay(f"to {n % 5}", 1)

        paying = [asyncio.ensure_future(pay(f"from {n}")) for n in range(4)]
        for _ in range(6):
            await asyncio.sleep(0.02)
            await pool.crash()
        await asyncio.gather(*paying)
        for n in range(5):
            await balance(pool, f"to {n}", 32)
        await asyncio.sleep(0.05)
        for n in range(5):
            await balance(pool, f"to {n}", 32)


async def test_tells_survive_passivation_and_snapshots() -> None:
    config = RuntimeConfig(snapshot_every_events=2)
    async with local_pool(MODEL, config=config) as pool:
        for _ in range(9):
            await pool.client.actor(Purse, "a").pay("b", 1)
        await balance(pool, "b", 9)
        for key in ("a", "b"):
            await pool.worker_of(Purse, key).runtime.stop_vm(ActorId("purse", key))
        await pool.client.actor(Purse, "a").pay("b", 1)
        await balance(pool, "b", 10)
        await pool.crash(pool.worker_of(Purse, "b"))
        await balance(pool, "b", 10)
        await pool.client.actor(Purse, "a").pay("b", 1)
        await balance(pool, "b", 11)


async def test_an_id_that_was_given_to_another_command_is_refused_or_the_tell_is_not_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A second tell is refused at once; one with the id of a call is found out by its actor only."""
    alice = ActorId("purse", "alice")
    async with local_pool(MODEL) as pool:
        tell = pool.client.untyped.tell
        first = await tell(alice, "put", b'{"amount":1}', command_id="mine")
        assert await tell(alice, "put", b'{"amount": 1}', command_id="mine") == first
        for name, args in (("put", b'{"amount":2}'), ("pay", b'{"amount":1}')):
            with pytest.raises(InvalidCommand) as refused:
                await tell(alice, name, args, command_id="mine")
            assert refused.value.path == "id"
        await balance(pool, "alice", 1)
        await pool.client.actor(Purse, "alice", command_id="yours").put(10)
        other = await tell(alice, "put", b'{"amount":100}', command_id="yours")
        await pool.client.tell(Purse.put, "alice", 1000)
        await balance(pool, "alice", 1011)
        said = [one for one in caplog.records if "a tell is not run" in one.message]
        assert [(one.sequence, one.command_id) for one in said] == [(other.sequence, "yours")]  # type: ignore[attr-defined]


class SilentInbox:
    """Stores a client's tell and does not acknowledge it, after it was out of reach so many times."""

    def __init__(self, pool: LocalPool, away: int = 0) -> None:
        self.inbox = pool.client.untyped._node.inbox
        self.away = away
        self.stored = asyncio.Event()

    async def send(self, target: int, payload: bytes, message_id: str) -> int:
        if self.away:
            self.away -= 1
            raise NotSent("there is no connection")
        await type(self.inbox).send(self.inbox, target, payload, message_id)
        self.stored.set()
        return await asyncio.Future()


@pytest.mark.parametrize("away", [0, 1])
async def test_a_tell_that_was_sent_and_not_acknowledged_may_be_stored_though_an_earlier_try_was_not_sent(
    monkeypatch: pytest.MonkeyPatch, away: int
) -> None:
    async with local_pool(MODEL) as pool:
        silent = SilentInbox(pool, away)
        monkeypatch.setattr(silent.inbox, "send", silent.send)
        with pytest.raises(DeadlineExceeded) as late:
            await pool.client.using(deadline_s=0.3).tell(Purse.put, "a", 7)
        assert not late.value.outcome_known
        await balance(pool, "a", 7)
        [event] = [one async for one, _ in pool.client.untyped.history(ActorId("purse", "a"))]
        assert late.value.details["command_id"] == event.commandid, "with which it can be told again"


async def test_a_tell_that_has_waited_for_a_connection_until_its_deadline_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def without_end(*_: object) -> int:
        return await asyncio.Future()

    async with local_pool(MODEL) as pool:
        monkeypatch.setattr(pool.client.untyped._node.inbox, "send", without_end)
        with monkeypatch.context() as patch:
            patch.setattr(type(pool.client.untyped), "trouble", "there is no connection")
            with pytest.raises(Unavailable, match=r"could not be stored within 0.1 s: there is no connection"):
                await pool.client.using(deadline_s=0.1).tell(Purse.put, "a", 7)


async def test_a_client_has_so_many_bytes_of_tells_on_their_way_and_those_beyond_wait_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with local_pool(MODEL) as pool:
        silent = SilentInbox(pool)
        monkeypatch.setattr(pool.client.untyped, "_tells", Room(TELL_BYTES + 1))
        with monkeypatch.context() as patch:
            patch.setattr(silent.inbox, "send", silent.send)
            first = asyncio.ensure_future(pool.client.using(deadline_s=0.3).tell(Purse.put, "a", 7))
            await silent.stored.wait()
            with pytest.raises(Overloaded, match="were on their way until the deadline") as full:
                await pool.client.using(deadline_s=0.01).tell(Purse.put, "b", 7)
            assert full.value.limit == "tells_bytes_max"
            with pytest.raises(DeadlineExceeded):
                await first
        await pool.client.tell(Purse.put, "b", 1)
        await balance(pool, "b", 1)


async def test_a_key_of_any_characters_begins_no_line_in_the_log_of_a_client(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aether.retried_request.SAY_AFTER_S", -1.0)
    async with local_pool(MODEL) as pool:
        silent = SilentInbox(pool, away=1)
        monkeypatch.setattr(silent.inbox, "send", silent.send)
        with pytest.raises(DeadlineExceeded):
            await pool.client.using(deadline_s=0.3).tell(Purse.put, "a\n2026-01-01 ERROR", 7)
    [said] = [one.getMessage() for one in caplog.records if "yet, after" in one.getMessage()]
    assert said.startswith(r"the tell to purse/a\n2026-01-01 ERROR cannot be stored yet")


async def test_a_client_that_is_closed_says_that_an_open_tell_may_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with local_pool(MODEL) as pool:
        silent, untyped = SilentInbox(pool), pool.client.untyped
        monkeypatch.setattr(silent.inbox, "send", silent.send)
        telling = asyncio.ensure_future(untyped.tell(ActorId("purse", "a"), "put", b'{"amount":7}', deadline_s=0.3))
        await silent.stored.wait()
        untyped.close()
        with pytest.raises(ClientUnusable, match="it may be stored") as closed:
            await telling
        assert not closed.value.outcome_known


async def test_a_handler_that_hangs_fails_though_its_tell_is_handed_over_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it would hold its actor for ever: what is handed over again has a later deadline."""
    monkeypatch.setattr("aether.runtime.tell_line.DELIVERY_S", 0.1)
    monkeypatch.setattr("aether.runtime.tell_delivery.UNANSWERED_S", 0.0)
    config = RuntimeConfig(tell_attempts_max=2, tell_retry_first_s=0.01)
    async with local_pool(MODEL, config=config, workers=1) as pool:
        await pool.client.tell(Purse.hang, "alice")
        await pool.client.tell(Purse.put, "alice", 1)
        async with asyncio.timeout(20):
            while DEAD_LETTERED_EVENT not in await types(pool, "alice"):
                for served in pool.workers[0].runtime._telling._serving.values():  # type: ignore[union-attr]
                    served.inbox.look()
                await asyncio.sleep(0.005)
        (letter,) = [one async for one in pool.client.dead_letters(Purse)]
        assert isinstance(letter.error, DeadlineExceeded)
        await balance(pool, "alice", 1)


async def test_a_tell_that_cannot_be_run_while_a_handler_goes_on_has_not_failed() -> None:
    """The handler of a call has been given up, and holds its actor until it ends."""
    STAY.clear()
    STAYING.clear()
    config = RuntimeConfig(tell_attempts_max=1, tell_retry_first_s=0.01, cancel_grace_s=0.01)
    async with local_pool(MODEL, config=config, workers=1) as pool:
        try:
            while not STAYING:  # a deadline may pass before it has begun
                with pytest.raises(DeadlineExceeded):
                    await pool.client.actor(Purse, "alice", deadline_s=0.05).stay()
            with pytest.raises(ActorFailed, match="still runs"):
                await pool.client.actor(Purse, "alice").total()
            await pool.client.tell(Purse.put, "alice", 1)
            async with asyncio.timeout(5):
                while not [one for one in (await pool.client.untyped.waiting_tells())[0] if one.error is not None]:  # noqa: ASYNC110 - the pool makes progress
                    await asyncio.sleep(0.005)
            ((line,), _) = await pool.client.untyped.waiting_tells()
            assert line.failures == 0
        finally:
            STAY.append(1)
        await stored(pool, "alice", "Moved")
        assert DEAD_LETTERED_EVENT not in await types(pool, "alice")
