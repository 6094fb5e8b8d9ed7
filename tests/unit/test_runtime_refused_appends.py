"""A store that says no: what its callers hear, what runs meanwhile, and how it ends."""

import asyncio
import logging

import pytest

from aether import Actor, ActorId, Model, Unavailable, command, event, query
from aether.errors import AetherError, DeadlineExceeded
from aether.memory.faults import FaultPoint, Faults, Lost
from aether.memory.server import InMemoryServer, NamespaceContent
from tests.support import nodes
from tests.support.actors import Account, Deposited
from tests.support.nodes import history, node, send, until

ALICE = ActorId("account", "alice")
FULL = "insufficient resources (10023)"
RUNS: list[int] = []


class Counting(Actor):
    """Counts how often its handler has run."""

    total: int = 0

    @command
    def add(self, amount: int) -> int:
        """Run, and be counted."""
        RUNS.append(amount)
        self.emit(Deposited(amount))
        return self.total

    @query
    def sum(self) -> int:
        """What was added."""
        return self.total

    @event
    def added(self, e: Deposited) -> None:
        """Keep the sum."""
        self.total += e.amount


counting = Model("tests", actors=[Counting])


def space_of(server: InMemoryServer) -> NamespaceContent:
    return server.space("tests", 256)


async def test_a_refused_append_is_known_not_stored_and_the_state_is_as_before() -> None:
    server = InMemoryServer()
    async with node(server) as runtime:
        alice = runtime.actor(Account, "alice")
        assert await alice.deposit(10) == 10
        space_of(server).refusal = FULL
        with pytest.raises(Unavailable, match=r"nothing was stored: insufficient resources \(10023\)"):
            await alice.deposit(5)
        assert await alice.statement() == 10, "what is stored can be read"
        assert FULL in runtime.health.trouble
        assert runtime.counters.appends_refused == 1
        assert runtime.counters.unknown_outcomes == 0
        space_of(server).refusal = ""
        await until(lambda: not runtime.health.trouble)
        assert await alice.deposit(1) == 11
        assert [e.version for e in await history(runtime, ALICE)] == [1, 2]


async def test_every_command_of_a_refused_turn_hears_so_whatever_it_had_decided() -> None:
    server = InMemoryServer()
    async with node(server) as runtime:
        space_of(server).refusal = FULL
        asked = [("deposit", 10), ("withdraw", 99), ("withdraw", 3)]
        sent = [send(runtime, ALICE, nodes.command(name, amount=amount)) for name, amount in asked]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Unavailable] * 3, (
            "a refusal decided on what is not stored is none"
        )
        assert runtime.counters.commits == 1


async def test_no_handler_runs_for_nothing_while_the_store_refuses() -> None:
    server = InMemoryServer()
    RUNS.clear()
    async with node(server, model=counting) as runtime:
        space_of(server).refusal = FULL
        counter = runtime.actor(Counting, "one")
        for amount in range(20):
            with pytest.raises(Unavailable):
                await counter.add(amount)
        assert RUNS == [0]
        assert await counter.sum() == 0
        space_of(server).refusal = ""
        await until(lambda: not runtime.health.trouble)
        assert await counter.add(7) == 7


async def test_after_an_append_without_an_outcome_a_refusal_proves_nothing() -> None:
    server = InMemoryServer()
    faults = Faults.script([(FaultPoint.APPEND, Lost())])
    async with node(server, faults=faults) as runtime:
        waiting = asyncio.ensure_future(send(runtime, ALICE, nodes.command("deposit", amount=10)))
        await until(lambda: runtime.counters.unknown_outcomes == 1)
        space_of(server).refusal = FULL
        await until(lambda: runtime.counters.appends_refused == 1)
        assert not waiting.done(), "the lost append may still arrive"
        space_of(server).refusal = ""
        assert bytes((await waiting).value) == b"10"
        assert len(await history(runtime, ALICE)) == 1


async def test_one_line_says_why_and_one_that_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    server = InMemoryServer()
    async with node(server) as runtime:
        space_of(server).refusal = FULL
        actors = [ActorId("account", f"a{n}") for n in range(50)]
        sent = [send(runtime, actor_id, nodes.command("deposit", amount=1)) for actor_id in actors]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        assert all(isinstance(answer, AetherError) for answer in answers)
        space_of(server).refusal = ""
        await until(lambda: not runtime.health.trouble)
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in told] == [
        "not ready: the store takes no events",
        "that is over: the store takes no events",
    ]
    assert told[0].levelno == logging.ERROR
    assert told[0].__dict__["error"] == FULL


async def test_snapshots_that_are_refused_cost_a_line_and_no_readiness(caplog: pytest.LogCaptureFixture) -> None:
    server = InMemoryServer()
    async with node(server) as runtime:
        await runtime.actor(Account, "alice").deposit(1)
        await runtime.actor(Account, "bob").deposit(1)
        space_of(server).refusal = FULL
        await runtime.stop_vm(ALICE)
        await runtime.stop_vm(ActorId("account", "bob"))
        assert runtime.counters.snapshots_failed == 2
        assert not runtime.health.trouble
        space_of(server).refusal = ""
        await runtime.actor(Account, "alice").deposit(1)
        await runtime.stop_vm(ALICE)
        assert not runtime.health.lacks
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == ["snapshots are not stored", "that is over: snapshots are not stored"]


async def test_a_store_that_is_away_for_a_moment_is_no_fault_of_an_actor(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    faults = Faults.script([(FaultPoint.LAST, Lost())] * 200)
    async with node(faults=faults) as runtime:
        actors = [ActorId("account", f"a{n}") for n in range(20)]
        late = [send(runtime, actor_id, nodes.command("deposit", for_s=0.2, amount=1)) for actor_id in actors]
        assert {type(each) for each in await asyncio.gather(*late, return_exceptions=True)} == {DeadlineExceeded}
        assert runtime.counters.actors_not_loaded == 0
    told = [record for record in caplog.records if record.getMessage() == "histories cannot be read now"]
    assert len(told) == 1, "one line for all actors and attempts"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
