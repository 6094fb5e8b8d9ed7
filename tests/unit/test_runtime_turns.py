"""Turns: what a command does, what a failure undoes, what waits for what."""

import asyncio
import logging
from typing import Any

import pytest

from aether import ActorFailed, ActorId, InvalidCommand, Overloaded, Rejected, StateChangedOutsideEvent, UnknownActor
from aether.config import RuntimeConfig
from aether.errors import AetherError, DeadlineExceeded, UnknownCommand
from aether.ports import EventStore
from aether.runtime.local import Message
from tests.support.actors import GATES, LEFT_BEHIND, Account, Notebook, Waiter
from tests.support.gated_store import GatedStore
from tests.support.nodes import command, history, node, send, until

ALICE = ActorId("account", "alice")
BOB = ActorId("account", "bob")
BOOK = ActorId("notebook", "käse/🧀")


async def test_a_command_is_stored_answered_and_queried() -> None:
    async with node() as runtime:
        alice = runtime.actor(Account, "alice")
        assert await alice.deposit(10) == 10
        assert await alice.deposit_twice(first=1, second=2) == 13
        assert await alice.statement() == 13
        assert await runtime.send_message(Message(ALICE, "withdraw", {"amount": 3})) == 10
        events = await history(runtime, ALICE)
    assert [(e.version, e.type) for e in events] == [
        (1, "Deposited"),
        (2, "Deposited"),
        (3, "Deposited"),
        (4, "Withdrawn"),
    ]


async def test_a_rejection_stores_nothing_and_carries_its_details() -> None:
    async with node() as runtime:
        with pytest.raises(Rejected) as refused:
            await runtime.actor("account", "alice").withdraw(5)
        assert refused.value.message == "insufficient funds"
        assert refused.value.details == {"balance": 0, "asked": 5}
        assert await history(runtime, ALICE) == []


@pytest.mark.parametrize("name", ["deposit_then_reject", "deposit_then_break"])
async def test_a_failure_after_an_event_is_undone_with_scalar_state(name: str) -> None:
    async with node() as runtime:
        await send(runtime, ALICE, command("deposit", amount=7))
        with pytest.raises(AetherError):
            await send(runtime, ALICE, command(name, amount=100))
        answer = await send(runtime, ALICE, command("statement"))
        assert (bytes(answer.value), answer.version) == (b"7", 1)
        assert len(await history(runtime, ALICE)) == 1


async def test_a_failure_after_an_event_is_undone_with_container_state() -> None:
    async with node() as runtime:
        await send(runtime, BOOK, command("note", line="one"))
        with pytest.raises(Rejected) as refused:
            await send(runtime, BOOK, command("note_then_reject", line="two"))
        assert refused.value.details == {"lines": 2}
        answer = await send(runtime, BOOK, command("text"))
        assert (bytes(answer.value), answer.version) == (b'"one"', 1)


async def test_a_bug_is_an_actor_failure_with_its_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with node() as runtime:
        with caplog.at_level(logging.ERROR), pytest.raises(ActorFailed) as failed:
            await send(runtime, ALICE, command("deposit_then_break", id="c-1", amount=1))
    assert (failed.value.actor, failed.value.command_id) == ("account/alice", "c-1")
    assert "ZeroDivisionError" in failed.value.message
    record = next(r for r in caplog.records if r.message == "a handler failed")
    assert record.__dict__["command_id"] == "c-1"
    assert record.exc_info is not None


async def test_state_changed_outside_an_event_is_refused() -> None:
    async with node() as runtime:
        with pytest.raises(StateChangedOutsideEvent) as refused:
            await runtime.actor(Account, "alice").cheat()
        assert refused.value.field == "balance"
        assert await runtime.actor(Account, "alice").statement() == 0


async def test_a_query_cannot_emit() -> None:
    async with node() as runtime:
        with pytest.raises(ActorFailed, match="emitted an event"):
            await runtime.actor(Account, "alice").emitting_query()
        assert await history(runtime, ALICE) == []


async def test_a_handler_knows_its_call() -> None:
    async with node() as runtime:
        answer = await send(runtime, ALICE, command("whoami", id="c-9"))
    assert bytes(answer.value) == (b'{"id":"account/alice","version":"0","command":"c-9","correlation":"c-9"}')


async def test_commands_that_wait_for_a_commit_share_the_next() -> None:
    stores: list[GatedStore] = []

    def gated(store: EventStore) -> EventStore:
        stores.append(GatedStore(store))
        return stores[0]

    async with node(wrap=gated) as runtime:
        await send(runtime, ALICE, command("deposit", amount=1))
        store = stores[0]
        store.hold = True
        store.published.clear()
        first = asyncio.ensure_future(send(runtime, ALICE, command("deposit", amount=1)))
        await asyncio.sleep(0)
        later = [
            asyncio.ensure_future(send(runtime, ALICE, made))
            for made in (
                command("deposit", amount=1),
                command("withdraw", amount=1_000),
                command("deposit_then_reject", amount=5),
                command("statement"),
                command("deposit_twice", first=1, second=1),
            )
        ]
        await asyncio.sleep(0)
        assert len(store.published) == 1
        assert not any(answer.done() for answer in [first, *later])
        store.release()
        answers = await asyncio.gather(first, *later, return_exceptions=True)
        assert len(store.published) == 2
    values = [bytes(a.value) if not isinstance(a, BaseException) else type(a) for a in answers]
    assert values == [b"2", b"3", Rejected, Rejected, b"3", b"5"]


async def test_in_a_shared_commit_a_slow_undo_keeps_those_before_and_runs_those_after() -> None:
    async with node() as runtime:
        sent = [
            send(runtime, BOOK, command("note", line="a")),
            send(runtime, BOOK, command("note", line="b")),
            send(runtime, BOOK, command("note_then_reject", line="x")),
            send(runtime, BOOK, command("note", line="c")),
        ]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        assert [bytes(a.value) if not isinstance(a, BaseException) else type(a) for a in answers] == [
            b"1",
            b"2",
            Rejected,
            b"3",
        ]
        assert bytes((await send(runtime, BOOK, command("text"))).value) == rb'"a\nb\nc"'


async def test_an_asynchronous_handler_holds_its_actor_and_no_other() -> None:
    GATES["g"] = asyncio.Event()
    async with node() as runtime:
        waiter, other = runtime.actor(Waiter, "w"), runtime.actor(Waiter, "other")
        held = asyncio.ensure_future(waiter.wait_for("g"))
        behind = asyncio.ensure_future(waiter.count_now())
        assert await other.count_now() == 1
        assert not held.done()
        assert not behind.done()
        GATES["g"].set()
        assert [await held, await behind] == [1, 2]


async def test_an_asynchronous_handler_ends_with_its_deadline() -> None:
    GATES["never"] = asyncio.Event()
    async with node() as runtime:
        with pytest.raises(DeadlineExceeded) as late:
            await send(runtime, ActorId("waiter", "w"), command("wait_for", for_s=0.05, gate="never"))
        assert late.value.outcome_known
        assert await runtime.actor(Waiter, "w").count_now() == 1


@pytest.mark.parametrize(
    ("actor_id", "name", "args", "for_s", "error", "path"),
    [
        (ActorId("nobody", "x"), "deposit", {"amount": 1}, 10, UnknownActor, None),
        (ALICE, "depositt", {"amount": 1}, 10, UnknownCommand, None),
        (ALICE, "deposit", {"amount": "ten"}, 10, InvalidCommand, "amount"),
        (ALICE, "deposit", {"amount": 0}, 10, InvalidCommand, "amount"),
        (ALICE, "deposit", {}, 10, InvalidCommand, "amount"),
        (ALICE, "deposit", {"amount": 1, "note": "x"}, 10, InvalidCommand, "note"),
        (ALICE, "deposit", {"amount": 1}, -1, DeadlineExceeded, None),
        (ALICE, "deposit", {"amount": 1}, 100, InvalidCommand, "deadline"),
        (ALICE, "aether.nothing", {}, 10, UnknownCommand, None),
        (ALICE, "aether.state", {"version": -1}, 10, InvalidCommand, "version"),
        (ALICE, "aether.state", {"versoin": 1}, 10, InvalidCommand, "versoin"),
    ],
)
async def test_bad_input_is_named_and_writes_nothing(
    actor_id: ActorId, name: str, args: dict[str, Any], for_s: float, error: type[AetherError], path: str | None
) -> None:
    async with node() as runtime:
        with pytest.raises(error) as refused:
            await send(runtime, actor_id, command(name, for_s=for_s, **args))
        if path is not None:
            assert getattr(refused.value, "path", "") == path
        assert runtime.get_active_vms() == []
        assert await history(runtime, actor_id) == []


async def test_events_over_the_limit_are_refused_and_the_actor_goes_on() -> None:
    async with node() as runtime:
        room = runtime.event_store.commit_bytes_max
        with pytest.raises(InvalidCommand, match="bytes"):
            await send(runtime, BOOK, command("note", line="x" * (room + 1)))
        assert bytes((await send(runtime, BOOK, command("note", line="y"))).value) == b"1"


async def test_large_events_that_fit_one_commit_each_do_not_fail_one_another() -> None:
    async with node() as runtime:
        large = "x" * (runtime.event_store.commit_bytes_max * 2 // 3)
        await runtime.actor(Notebook, "n").note("first")
        answers = await asyncio.gather(*(runtime.actor(Notebook, "n").note(large) for _ in range(3)))
        assert answers == [2, 3, 4]


async def test_a_full_mailbox_refuses_and_keeps_what_it_took() -> None:
    config = RuntimeConfig(mailbox_max=3, idle_passivation_s=0)
    GATES["full"] = asyncio.Event()
    async with node(config=config) as runtime:
        waiter = ActorId("waiter", "w")
        vm = await runtime.create_vm(waiter)
        taken = [asyncio.ensure_future(send(runtime, waiter, command("wait_for", gate="full")))]
        await asyncio.sleep(0)
        taken += [asyncio.ensure_future(send(runtime, waiter, command("count_now"))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await send(runtime, waiter, command("count_now"))
        assert refused.value.limit == "mailbox_max"
        GATES["full"].set()
        assert [bytes(a.value) for a in await asyncio.gather(*taken)] == [b"1", b"2", b"3", b"4"]
        assert vm.version == 4


async def test_a_task_that_a_handler_left_behind_cannot_emit_into_another_command() -> None:
    GATES["left"], GATES["other"] = asyncio.Event(), asyncio.Event()
    LEFT_BEHIND.clear()
    async with node() as runtime:
        waiter = runtime.actor(Waiter, "w")
        await waiter.leave_behind("left")
        holding = asyncio.ensure_future(waiter.wait_for("other"))
        await until(lambda: runtime.counters.commands == 2)
        GATES["left"].set()
        with pytest.raises(RuntimeError, match="the command handler that runs now"):
            await LEFT_BEHIND[0]
        GATES["other"].set()
        assert await holding == 1
        assert len(await history(runtime, ActorId("waiter", "w"))) == 1
