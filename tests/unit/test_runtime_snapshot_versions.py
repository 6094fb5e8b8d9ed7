"""Code that folds otherwise finds the state that its own fold makes of the history, whatever was snapshotted before."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from aether import Actor, ActorId, Decider, InMemoryServer, Model, ModelError, command, event, query
from aether.memory.connection import InMemoryConnection
from tests.support.nodes import node

A = ActorId("account", "a")


@dataclass(frozen=True)
class Deposited:
    """Money came in."""

    amount: int


def model(start: int = 0, rate: int = 1, version: int = 1) -> Model:
    def rated(amount: int) -> int:
        return amount * rate

    class Account(Actor):
        snapshot_version: ClassVar[int] = version
        balance: int = start

        @command
        def deposit(self, amount: int) -> int:
            self.emit(Deposited(amount))
            return self.balance

        @query
        def statement(self) -> int:
            return self.balance

        @event
        def deposited(self, e: Deposited) -> None:
            self.balance += self.worth(e.amount)

        def worth(self, amount: int) -> int:
            return rated(amount)

    return Model("bank", actors=[Account])


@pytest.mark.parametrize(
    ("later", "ignored", "balance"),
    [
        (model(), 0, 10),
        (model(start=100), 1, 110),
        (model(rate=3), 1, 30),
        (model(version=2), 1, 10),
    ],
)
async def test_a_snapshot_of_another_fold_is_ignored(later: Model, ignored: int, balance: int) -> None:
    server = InMemoryServer()
    async with node(server, model=model()) as runtime:
        await runtime.actor("account", "a").deposit(10)
    async with node(server, model=later) as runtime:
        assert await runtime.actor("account", "a").statement() == balance
        assert runtime.counters.snapshots_ignored == ignored


async def test_a_dropped_snapshot_is_not_there() -> None:
    server = InMemoryServer()
    async with node(server, model=model()) as runtime:
        await runtime.actor("account", "a").deposit(10)
    async with InMemoryConnection(server, "tests") as connection:
        assert await connection.snapshots.delete_kind("other") == 0
        assert await connection.snapshots.delete_kind("account") == 1
    async with node(server, model=model()) as runtime:
        assert await runtime.actor("account", "a").statement() == 10
        assert runtime.counters.events_replayed == 1


def test_a_snapshot_version_is_a_whole_number_of_the_class() -> None:
    class Wrong(Actor):
        snapshot_version = "2"  # type: ignore[assignment]  # the fault is the point

    class Field(Actor):
        snapshot_version: int = 2  # type: ignore[misc]  # the fault is the point

    def decide(state: int, command: Deposited) -> list[Deposited]:
        return [command]

    def evolve(state: int, event: Deposited) -> int:
        return state + event.amount

    for declared, said in (
        (Wrong, "whole number"),
        (Field, "ClassVar"),
        (Decider(0, decide, evolve, kind="till", snapshot_version=True), "whole number"),
    ):
        with pytest.raises(ModelError, match=said) as refused:
            Model("bank", actors=[declared])
        assert refused.value.file == __file__
