"""What a worker runs, commits and stores so that an answer stays what became of the command."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from msgspec.structs import replace

from aether import Actor, ActorFailed, ActorId, InvalidCommand, Model, Rejected, Runtime
from aether import command as command_of_actor
from aether.config import RuntimeConfig
from aether.memory.clock import ManualClock
from aether.memory.faults import FaultPoint, Faults, StoredLater
from aether.memory.server import InMemoryServer
from aether.names import SHARDS_DEFAULT, event_source, shard_of
from aether.ports import START
from aether.runtime.local import local_delivery
from aether.wire import HANDLED_EVENT, REFUSED_EVENT, STORED_FORMAT, Answer, Command, decode_answer, encode_command
from tests.support.actors import GATES, Account
from tests.support.gated_store import GatedStore
from tests.support.nodes import command, history, node, send, until

ALICE = ActorId("account", "alice")
WAITER = ActorId("waiter", "w")


class Lease:
    """A lease that the test takes away, of a worker among members that read `stored_format`."""

    def __init__(self, stored_format: int = STORED_FORMAT) -> None:
        self.held = True
        self.stored_format = stored_format

    def valid(self, shard: int, boot_s: float) -> bool:
        """As the test has set it."""
        return self.held


class Verbose(Actor):
    """Says at length why not."""

    @command_of_actor
    def reject(self, size: int) -> None:
        """No."""
        raise Rejected("no" + "!" * size, why="x" * size)


async def sent(runtime: Runtime, made: Command, actor_id: ActorId = ALICE) -> Answer | type[Exception]:
    """The answer, or the class of the error that it is."""
    try:
        return await send(runtime, actor_id, made)
    except Exception as error:
        return type(error)


async def said_to_be_decided(runtime: Runtime, made: Command) -> bool:
    """What the answer itself says."""
    delivery, answered = local_delivery(ALICE, shard_of(ALICE, SHARDS_DEFAULT), encode_command(made))
    runtime.receive(delivery)
    return decode_answer(await answered).decided


async def types(runtime: Runtime) -> list[str]:
    """The types of alice's stored events."""
    return [event.type for event in await history(runtime, ALICE)]


async def quiet() -> None:
    """Let everything go as far as it goes by itself."""
    for _ in range(100):
        await asyncio.sleep(0)


# ---------------------------------------------------------------------------------- what is stored, and what is not


async def test_a_first_send_that_is_refused_or_emits_nothing_stores_nothing() -> None:
    async with node() as runtime:
        assert await sent(runtime, command("withdraw", amount=1)) is Rejected
        assert isinstance(await sent(runtime, command("touch")), Answer)
        assert await sent(runtime, command("deposit_then_break", amount=1)) is ActorFailed
        assert await types(runtime) == []


@pytest.mark.parametrize("names", [{"attempt": 2}, {"id": "mine"}], ids=["a retry", "a given id"])
async def test_a_refusal_of_any_other_send_is_stored_and_stands(names: dict[str, Any]) -> None:
    server, later = InMemoryServer(), command("withdraw", amount=1, **names)
    async with node(server) as runtime:
        assert await sent(runtime, later) is Rejected
        stored = await history(runtime, ALICE)
        assert [(e.type, e.commandid, e.reply, e.version) for e in stored] == [(REFUSED_EVENT, later.id, None, 1)]
        await runtime.actor(Account, "alice").deposit(5)
        assert await sent(runtime, later) is Rejected
        assert runtime.counters.refusals_stored == 1
    async with node(server) as other:  # which knows it from the history
        assert await sent(other, later) is Rejected
        assert await types(other) == [REFUSED_EVENT, "Deposited"]
        assert await other.actor(Account, "alice").statement() == 5


async def test_a_stored_refusal_says_again_what_it_said() -> None:
    server, later = InMemoryServer(), command("withdraw", id="mine", amount=3)
    async with node(server) as runtime:
        with pytest.raises(Rejected) as first:
            await send(runtime, ALICE, later)
    async with node(server) as other:
        with pytest.raises(Rejected) as again:
            await send(other, ALICE, later)
    assert (again.value.message, again.value.details) == (first.value.message, first.value.details)
    assert again.value.details == {"balance": 0, "asked": 3}


async def test_the_first_send_that_arrives_after_a_refused_retry_is_refused_too() -> None:
    async with node() as runtime:
        first, retry = (
            command("withdraw", id="x", attempt=1, amount=1),
            command("withdraw", id="x", attempt=2, amount=1),
        )
        assert await sent(runtime, retry) is Rejected
        await runtime.actor(Account, "alice").deposit(5)
        assert await sent(runtime, first) is Rejected
        assert await runtime.actor(Account, "alice").statement() == 5


async def test_a_reply_without_events_is_stored_for_a_retry_and_is_the_same_again() -> None:
    server, retry = InMemoryServer(), command("whoami", id="mine")
    async with node(server) as runtime:
        first = await send(runtime, ALICE, retry)
        assert await types(runtime) == [HANDLED_EVENT]
    async with node(server) as other:
        await other.actor(Account, "alice").deposit(1)
        assert await send(other, ALICE, retry) == first


async def test_queries_store_nothing_whatever_send_it_is() -> None:
    async with node() as runtime:
        assert isinstance(await sent(runtime, command("statement", id="mine")), Answer)
        assert await sent(runtime, command("emitting_query", id="other")) is ActorFailed
        assert await types(runtime) == []


async def test_nothing_is_stored_that_a_member_cannot_read() -> None:
    async with node(lease=Lease(stored_format=0)) as runtime:
        refused = command("withdraw", id="mine", amount=1)
        assert await sent(runtime, refused) is Rejected
        assert not await said_to_be_decided(runtime, refused)
        assert await said_to_be_decided(runtime, command("withdraw", amount=1))
        assert isinstance(await sent(runtime, command("touch", id="other")), Answer)
        assert await types(runtime) == []


async def test_a_refusal_larger_than_a_commit_is_stored_without_its_details() -> None:
    server = InMemoryServer(payload_bytes_max=4_096)
    verbose = ActorId("verbose", "v")
    async with node(server, model=Model("verbose", actors=[Verbose])) as runtime:
        with pytest.raises(Rejected, match="no!!") as first:
            await send(runtime, verbose, command("reject", id="mine", size=5_000))
        assert first.value.details == {}
        [event] = await history(runtime, verbose)
        assert event.type == REFUSED_EVENT
    async with node(server, model=Model("verbose", actors=[Verbose])) as runtime:
        with pytest.raises(Rejected, match="no!!"):
            await send(runtime, verbose, command("reject", id="mine", size=5_000))


@pytest.mark.parametrize("name", ["correlationid", "causationid", "traceparent", "caller"])
async def test_a_command_whose_origin_would_fill_its_commits_is_refused(name: str) -> None:
    """Each of its events has that; a refusal without room for it could never be stored."""
    async with node() as runtime:
        for count in (513, 999_000):
            with pytest.raises(InvalidCommand, match="at most 512 characters") as refused:
                await send(runtime, ALICE, replace(command("withdraw", id="mine", amount=1), **{name: "x" * count}))
            assert refused.value.path == name
        assert await sent(runtime, replace(command("withdraw", id="mine", amount=1), **{name: "x" * 512})) is Rejected


# ---------------------------------------------------------------------------------- late appends, late sends


async def test_a_command_of_an_append_without_an_outcome_is_no_first_send_any_more() -> None:
    """[deposit, withdraw] is late, the depositor gives up, the withdrawal is refused, and then the append arrives."""
    clock = ManualClock()
    server = InMemoryServer(clock=clock)
    faults = Faults.script([(FaultPoint.APPEND, StoredLater(20.0))])
    async with node(server, faults=faults) as runtime:
        now_s = clock.wall_s()
        gives_up = asyncio.ensure_future(sent(runtime, command("deposit", for_s=5, now_s=now_s, amount=5)))
        refused = asyncio.ensure_future(sent(runtime, command("withdraw", for_s=60, now_s=now_s, amount=5)))
        await until(lambda: runtime.counters.unknown_outcomes == 1)
        clock.advance(6.0)
        assert await refused is Rejected
        assert not isinstance(await gives_up, Answer)
        assert await types(runtime) == [REFUSED_EVENT]
        clock.advance(20.0)
        await quiet()
        assert await types(runtime) == [REFUSED_EVENT]


async def test_a_command_that_is_sent_again_while_its_refusal_waits_is_decided_once_more_and_stored() -> None:
    gates: list[GatedStore] = []

    def gated(store: object) -> GatedStore:
        gates.append(GatedStore(store))  # type: ignore[arg-type]
        return gates[-1]

    async with node(wrap=gated) as runtime:
        store = gates[0]
        await runtime.create_vm(ALICE)
        store.hold = True
        deposited = asyncio.ensure_future(sent(runtime, command("deposit", amount=1)))
        first = asyncio.ensure_future(sent(runtime, command("withdraw", id="x", attempt=1, amount=9)))
        await until(lambda: len(store.held) == 1)
        third = asyncio.ensure_future(sent(runtime, command("withdraw", id="x", attempt=3, amount=9)))
        await quiet()
        store.release()
        assert isinstance(await deposited, Answer)
        assert (await first, await third) == (Rejected, Rejected)
        await runtime.actor(Account, "alice").deposit(50)
        assert await sent(runtime, command("withdraw", id="x", attempt=2, amount=9)) is Rejected
        assert await types(runtime) == ["Deposited", REFUSED_EVENT, "Deposited"]


# ---------------------------------------------------------------------------------- the lease before everything


async def test_without_a_lease_no_handler_runs() -> None:
    lease = Lease()
    async with node(lease=lease) as stale:
        await stale.create_vm(ALICE)
        lease.held = False
        for made in (command("deposit", amount=1), command("statement"), command("withdraw", amount=1)):
            stale_answer = asyncio.ensure_future(sent(stale, made))
            await quiet()
            assert not stale_answer.done()
            stale_answer.cancel()
        assert stale.counters.answers_fenced == 3
        assert stale.counters.commits == 0
        assert stale.get_active_vms()[0].idle


async def test_a_commit_does_not_leave_when_the_lease_has_ended_during_the_turn() -> None:
    server, lease = InMemoryServer(), Lease()
    async with node(server, lease=lease) as stale:
        GATES["w"] = asyncio.Event()
        made = command("wait_for", gate="w")
        unanswered = asyncio.ensure_future(sent(stale, made, WAITER))
        behind = asyncio.ensure_future(sent(stale, command("count_now"), WAITER))
        await until(lambda: bool(stale.get_active_vms()) and not stale.get_active_vms()[0].idle)
        await quiet()
        lease.held = False
        GATES["w"].set()
        await until(lambda: stale.counters.commits_fenced == 1)
        await quiet()
        assert await history(stale, WAITER) == []
        assert not unanswered.done()
        assert stale.get_active_vms()[0].idle
        assert stale.get_active_vms()[0].version == 0
        lease.held = True
        assert isinstance(await sent(stale, made, WAITER), Answer)
        assert len(await history(stale, WAITER)) == 1
        unanswered.cancel()
        behind.cancel()


async def test_the_stale_owner_does_not_carry_out_what_the_new_owner_has_refused() -> None:
    """Both are handed the request; the stale one, stopped meanwhile, comes back after a deposit."""
    server, lease = InMemoryServer(), Lease()
    async with node(server, lease=lease) as stale, node(server) as owner:
        await stale.create_vm(ALICE)
        lease.held = False
        both = command("withdraw", amount=5)
        assert await sent(owner, both) is Rejected
        await owner.actor(Account, "alice").deposit(5)
        unanswered = asyncio.ensure_future(sent(stale, both))
        await quiet()
        assert not unanswered.done()
        assert await types(owner) == ["Deposited"]
        unanswered.cancel()


# ---------------------------------------------------------------------------------- ids that callers give


WINDOW = [(1, [4.0], [8.0]), (0, [8.0, 110.0], [125.0])]


@pytest.mark.parametrize(
    ("attempt", "known_after_s", "forgotten_after_s"), WINDOW, ids=["made by the library", "given"]
)
@pytest.mark.parametrize("replayed", [False, True])
async def test_an_id_is_remembered_as_long_as_is_promised_and_no_longer(
    attempt: int, known_after_s: list[float], forgotten_after_s: list[float], replayed: bool
) -> None:
    for wait_s, times in [(wait_s, 1) for wait_s in known_after_s] + [(wait_s, 2) for wait_s in forgotten_after_s]:
        clock = ManualClock()
        server = InMemoryServer(clock=clock)
        async with AsyncExitStack() as nodes:
            runtime = await nodes.enter_async_context(node(server))
            now_s = clock.wall_s()
            first = command("deposit", id="mine", attempt=attempt, for_s=1, now_s=now_s, amount=1)
            await send(runtime, ALICE, first)
            clock.advance(wait_s)
            if replayed:
                runtime = await nodes.enter_async_context(node(server))
            again = command("deposit", id="mine", for_s=1, now_s=clock.wall_s(), amount=1)
            await send(runtime, ALICE, again)
            assert len(await history(runtime, ALICE)) == times, (wait_s, times)


async def test_a_kind_may_have_a_window_of_its_own() -> None:
    clock = ManualClock()
    async with node(InMemoryServer(clock=clock), config=RuntimeConfig(command_window_s=7, idle_passivation_s=0)) as one:
        made = command("deposit", id="mine", for_s=1, now_s=clock.wall_s(), amount=1)
        await send(one, ALICE, made)
        clock.advance(9.0)
        await send(one, ALICE, command("deposit", id="mine", for_s=1, now_s=clock.wall_s(), amount=1))
        assert len(await history(one, ALICE)) == 2


async def test_a_repeated_command_with_a_longer_deadline_does_not_end_with_the_first_one() -> None:
    clock = ManualClock()
    async with node(InMemoryServer(clock=clock)) as runtime:
        GATES["w"] = asyncio.Event()
        short = asyncio.ensure_future(
            sent(runtime, command("wait_for", id="x", for_s=0.5, now_s=clock.wall_s(), gate="w"), WAITER)
        )
        await quiet()
        longer = asyncio.ensure_future(
            sent(runtime, command("wait_for", id="x", for_s=30, now_s=clock.wall_s(), gate="w"), WAITER)
        )
        loop = asyncio.get_running_loop()
        past_s = loop.time() + 0.6
        await until(lambda: loop.time() > past_s)
        GATES["w"].set()
        assert isinstance(await longer, Answer)
        short.cancel()


OTHERS: list[Callable[[], Command]] = [
    lambda: command("deposit", id="mine", amount=2),
    lambda: command("withdraw", id="mine", amount=1),
    lambda: command("touch", id="mine"),
]


@pytest.mark.parametrize("other", OTHERS)
async def test_an_id_that_comes_again_for_something_else_is_refused_and_nothing_runs(
    other: Callable[[], Command],
) -> None:
    server = InMemoryServer()
    async with node(server) as runtime:
        first = await send(runtime, ALICE, command("deposit", id="mine", amount=1))
        with pytest.raises(InvalidCommand, match="mine") as refused:
            await send(runtime, ALICE, other())
        assert refused.value.path == "id"
        assert await send(runtime, ALICE, command("deposit", id="mine", amount=1)) == first
    async with node(server) as replayed:
        with pytest.raises(InvalidCommand):
            await send(replayed, ALICE, other())
        assert [e.type for e in await history(replayed, ALICE)] == ["Deposited"]


@pytest.mark.parametrize("other", OTHERS)
async def test_so_it_is_while_the_first_is_on_its_way(other: Callable[[], Command]) -> None:
    async with node() as runtime:
        first = asyncio.ensure_future(sent(runtime, command("deposit", id="mine", amount=1)))
        second = asyncio.ensure_future(sent(runtime, other()))
        assert isinstance(await first, Answer)
        assert await second is InvalidCommand
        assert len(await history(runtime, ALICE)) == 1


async def test_the_same_arguments_in_another_form_are_the_same_command() -> None:
    async with node() as runtime:
        spaced = command("deposit_twice", id="mine", first=1, second=2)
        turned = command("deposit_twice", id="mine", second=2, first=1)
        assert await send(runtime, ALICE, spaced) == await send(runtime, ALICE, turned)
        assert len(await history(runtime, ALICE)) == 2


async def test_an_id_whose_digest_was_not_stored_is_not_compared() -> None:
    """As in the histories of earlier versions."""
    server = InMemoryServer()
    async with node(server) as runtime:
        await send(runtime, ALICE, command("deposit", id="mine", amount=1))
        [event] = await history(runtime, ALICE)
        assert event.commanddigest
        bob = ActorId("account", "bob")
        before = replace(event, commanddigest="", source=event_source("tests", bob))
        await runtime.event_store.append(bob, [before], START)
        assert isinstance(await sent(runtime, command("deposit", id="mine", amount=2), bob), Answer)
        assert len(await history(runtime, bob)) == 1
