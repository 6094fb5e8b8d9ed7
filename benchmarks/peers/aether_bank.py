"""Aether's account for the loads of `effects`, and the bank that asks a pool of one worker for them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import uvloop

from aether import Actor, At, Client, Model, command, event, query, task
from benchmarks.figures import Measured
from benchmarks.hosts import Host
from benchmarks.peers import effects
from benchmarks.server import Server
from benchmarks.sides import AETHER_TTL_S, client_of, processes_of, sync_variables
from benchmarks.suite import bounded

MODEL = "benchmarks.peers.aether_bank:model"


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money came in."""

    amount: int


@task()
async def same(amount: int) -> int:
    """The amount itself."""
    return amount


class Account(Actor):
    """A bank account."""

    balance: int = 0

    @command
    def deposit(self, amount: int) -> None:
        """Add money."""
        self.emit(Deposited(amount))

    @command
    def transfer(self, to: str, amount: int) -> None:
        """Add money, and send the same to another account."""
        self.emit(Deposited(amount))
        self.tell(Account.deposit, to, amount)

    @command
    def deposit_at(self, amount: int, due: datetime, number: int) -> None:
        """Have money added at a time."""
        self.schedule(f"n{number}", At(due), Account.deposit, self.id.key, amount)

    @command
    def deposit_by_task(self, amount: int) -> None:
        """Have a task tell how much to add."""
        self.start_task(same(amount), then=Account.deposit)

    @event
    def deposited(self, e: Deposited) -> None:
        """Count it."""
        self.balance += e.amount

    @query
    def statement(self) -> int:
        """The balance."""
        return self.balance


model = Model("peers", actors=[Account], tasks=[same])


class AetherBank:
    """The bank of a client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def transfer(self, account: str, to: str, amount: int) -> None:
        """A command that tells the other account."""
        await self._client.actor(Account, account).transfer(to, amount)

    async def add_at(self, account: str, amount: int, due_s: float, number: int) -> None:
        """A command that sets a schedule."""
        await self._client.actor(Account, account).deposit_at(amount, datetime.fromtimestamp(due_s, UTC), number)

    async def run_task(self, account: str, amount: int, number: int) -> None:
        """A command that starts a task."""
        await self._client.actor(Account, account).deposit_by_task(amount)

    async def balances(self, accounts: Sequence[str]) -> Mapping[str, int]:
        """By a query each."""
        asked = (self._client.actor(Account, account).statement() for account in accounts)
        return dict(zip(accounts, await asyncio.gather(*asked), strict=True))


def aether_round(load: str, count: int, in_flight: int, seed: int, lead_s: float) -> dict[str, Measured]:
    """One load on a fresh server that syncs every write, as the peers' do."""

    async def run(server: Server) -> dict[str, Measured]:
        async with _pool(server) as (bank, processes):
            return await effects.measure(load, bank, count, in_flight, seed, lead_s, processes)

    with Server("barrier") as server:
        return uvloop.run(bounded(run(server)))


@contextlib.asynccontextmanager
async def _pool(server: Server) -> AsyncIterator[tuple[AetherBank, Mapping[str, Sequence[int]]]]:
    with Host(server.url, "a", 1, AETHER_TTL_S, sync_variables(server), MODEL) as host:
        await asyncio.to_thread(host.wait_ready)
        async with client_of(server, model) as client:
            yield AetherBank(client), processes_of(server, host)
