"""What a model does not know while another version of it serves beside it: asked for again, and final afterwards."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from aether import (
    Actor,
    ActorId,
    InvalidCommand,
    Model,
    Runtime,
    Unavailable,
    UnknownActor,
    UnknownCommand,
    UnreadableEvent,
    command,
    event,
)
from aether.errors import AetherError
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from tests.support import nodes
from tests.support.nodes import QUIET, send

ALICE = ActorId("account", "alice")


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money came in."""

    amount: int


@dataclass(frozen=True, slots=True)
class Closed:
    """An event that only the second version has."""

    reason: str


def account_v1() -> type[Actor]:
    class Account(Actor):
        balance: int = 0

        @command
        def deposit(self, amount: int) -> int:
            self.emit(Deposited(amount))
            return self.balance

        @event
        def deposited(self, e: Deposited) -> None:
            self.balance += e.amount

    return Account


def account_v2() -> type[Actor]:
    class Account(Actor):
        balance: int = 0
        closed: bool = False

        @command
        def deposit(self, amount: int, note: str = "") -> int:
            self.emit(Deposited(amount))
            return self.balance

        @command
        def close(self, reason: str) -> bool:
            self.emit(Closed(reason))
            return self.closed

        @event
        def deposited(self, e: Deposited) -> None:
            self.balance += e.amount

        @event
        def has_closed(self, e: Closed) -> None:
            self.closed = True

    return Account


class Safe(Actor):
    """A kind that only the second version has."""

    things: int = 0

    @command
    def put(self) -> int:
        self.emit(Deposited(1))
        return self.things

    @event
    def was_put(self, e: Deposited) -> None:
        self.things += e.amount


V1 = Model("bank", actors=[account_v1()])
V2 = Model("bank", actors=[account_v2(), Safe])


class Deployment:
    """What the members' rows say: set by the test."""

    under_way = ""

    def __call__(self) -> str:
        return self.under_way


@asynccontextmanager
async def serving(server: InMemoryServer, model: Model, deployment: Deployment) -> AsyncIterator[Runtime]:
    connection = InMemoryConnection(server, "tests")
    runtime = Runtime(connection, connection.event_store, QUIET, deployment=deployment)
    runtime.load_model(model)
    async with connection, runtime:
        yield runtime


READS: list[tuple[str, dict[str, Any]]] = [
    ("deposit", {"amount": 1}),
    ("aether.state", {}),
    ("aether.state", {"version": 1}),
]
ASKED: list[tuple[ActorId, str, dict[str, Any], type[AetherError]]] = [
    (ALICE, "close", {"reason": "moved"}, UnknownCommand),
    (ActorId("safe", "one"), "put", {}, UnknownActor),
    (ALICE, "deposit", {"amount": 1, "note": "rent"}, InvalidCommand),
    (ALICE, "aether.later", {}, UnknownCommand),
]


@pytest.mark.parametrize(("actor_id", "name", "args", "final"), ASKED, ids=lambda one: str(one)[:40])
async def test_what_only_another_version_knows_is_final_when_there_is_no_other(
    actor_id: ActorId, name: str, args: dict[str, Any], final: type[AetherError]
) -> None:
    deployment = Deployment()
    async with serving(InMemoryServer(), V1, deployment) as old:
        with pytest.raises(final):
            await send(old, actor_id, nodes.command(name, **args))
        deployment.under_way = "model version 2: b-0"
        with pytest.raises(Unavailable, match=r"a deployment is under way, .*model version 2: b-0") as refused:
            await send(old, actor_id, nodes.command(name, **args))
        assert not isinstance(refused.value, final)
        deployment.under_way = ""
        with pytest.raises(final):
            await send(old, actor_id, nodes.command(name, **args))


async def test_events_of_another_version_stop_an_actor_for_as_long_as_the_versions_differ(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, deployment = InMemoryServer(), Deployment()
    async with serving(server, V2, deployment) as new:
        await send(new, ALICE, nodes.command("close", reason="moved"))
    async with serving(server, V1, deployment) as old:
        deployment.under_way = "model version 2: b-0"
        for name, args in READS:
            with pytest.raises(Unavailable, match="a deployment is under way"):
                await send(old, ALICE, nodes.command(name, **args))
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
        assert old.counters.actors_not_loaded == 0
        deployment.under_way = ""
        for name, args in READS:
            with pytest.raises(UnreadableEvent):
                await send(old, ALICE, nodes.command(name, **args))


async def test_a_deadline_that_is_too_far_ahead_is_invalid_in_every_version() -> None:
    deployment = Deployment()
    deployment.under_way = "model version 2: b-0"
    async with serving(InMemoryServer(), V1, deployment) as old:
        with pytest.raises(InvalidCommand, match="a deadline is at most"):
            await send(old, ALICE, nodes.command("deposit", for_s=600, amount=1))
        assert (await send(old, ALICE, nodes.command("deposit", amount=1))).version == 1
