"""The two sides of a comparison on one server: a pool of Aether through its public client, and the floor's processes.

Each is an async context manager that is ready inside and gone after it.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

import nats
import orjson

from aether import Model, connect
from aether.client import Client
from aether.config import CallConfig, ConnectionConfig
from benchmarks import bank
from benchmarks.bank import Account
from benchmarks.floor import STREAM, FloorClient
from benchmarks.hosts import NAMESPACE, Host
from benchmarks.load import account_name
from benchmarks.processes import children_of, running
from benchmarks.server import Server

AETHER_TTL_S = 15
"""What a pool without an embedded server has by default."""

CHECKS_IN_FLIGHT = 500
CALL_DEADLINE_S = 30.0


class Side(Protocol):
    """What deposits are made on. `processes` are its process ids by name, those of server and load included."""

    processes: Mapping[str, Sequence[int]]

    async def deposit(self, account: str, amount: int) -> int:
        """Make a deposit; the new balance."""

    async def total(self, accounts: int) -> int:
        """The sum of the balances of the first accounts, as they are stored."""


class AetherSide:
    """A pool and a client of it."""

    def __init__(self, client: Client, host: Host, processes: Mapping[str, Sequence[int]]) -> None:
        self.client = client
        self.host = host
        self.processes = processes

    async def deposit(self, account: str, amount: int) -> int:
        """Make a deposit; the new balance."""
        balance: int = await self.client.actor(Account, account).deposit(amount)
        return balance

    async def total(self, accounts: int) -> int:
        """The sum of the balances of the first accounts."""
        waiting = iter(range(accounts))

        async def one_caller() -> int:
            found = 0
            for number in waiting:
                found += (await self.client.state(Account, account_name(number))).state.balance
            return found

        return sum(await asyncio.gather(*(one_caller() for _ in range(CHECKS_IN_FLIGHT))))


class FloorSide:
    """Floor processes and a client of them. `others` are accounts in its stream that it has not put there."""

    def __init__(self, client: FloorClient, processes: Mapping[str, Sequence[int]]) -> None:
        self.client = client
        self.processes = processes
        self.others = 0

    async def deposit(self, account: str, amount: int) -> int:
        """Make a deposit; the new balance."""
        return await self.client.deposit(account, amount)

    async def total(self, accounts: int) -> int:
        """The sum of all balances, of as many accounts as there are messages on different subjects."""
        told = await self.client.connection.request(f"$JS.API.STREAM.INFO.{STREAM}", timeout=CALL_DEADLINE_S)
        found = orjson.loads(told.data)["state"]["num_subjects"] - self.others
        if found != accounts:
            raise SystemExit(f"the floor has stored {found} accounts, not {accounts}")
        return await self.client.total()


@contextlib.asynccontextmanager
async def aether_side(
    server: Server,
    workers: int = 1,
    variables: Mapping[str, str] | None = None,
    where: str = "benchmarks.bank:model",
    model: Model = bank.model,
) -> AsyncIterator[AetherSide]:
    """A pool as users run it, ready. `where` is the model's place for the command line."""
    with Host(server.url, "a", workers, AETHER_TTL_S, {**sync_variables(server), **(variables or {})}, where) as host:
        await asyncio.to_thread(host.wait_ready)
        processes = processes_of(server, host)
        async with client_of(server, model) as client:
            yield AetherSide(client, host, processes)


def sync_variables(server: Server) -> dict[str, str]:
    """What a pool has to know of its server's files, where it is the pool that syncs them."""
    return {"AETHER_SYNC": "barrier", "AETHER_NATS_STORE": str(server.store)} if server.sync == "barrier" else {}


def processes_of(server: Server, host: Host) -> dict[str, list[int]]:
    """The process ids of a pool that is ready, by name, those of server and load included."""
    supervisor, *children = children_of(host.process.pid)
    return {"server": [server.pid], "worker": children, "supervisor": [supervisor], "load": [os.getpid()]}


@contextlib.asynccontextmanager
async def client_of(server: Server, model: Model = bank.model) -> AsyncIterator[Client]:
    """A client of the benchmark's pool, with a deadline that a busy machine can keep."""
    calls, connection = CallConfig(deadline_s=CALL_DEADLINE_S), ConnectionConfig(url=server.url)
    async with connect(model=model, namespace=NAMESPACE, calls=calls, connection=connection) as client:
        yield client


@contextlib.asynccontextmanager
async def floor_side(
    server: Server, way: str, workers: int = 1, module: str = "benchmarks.floor"
) -> AsyncIterator[FloorSide]:
    """So many floor processes that store in one way of their module, ready."""
    with contextlib.ExitStack() as stack:
        pids = []
        for part in range(workers):
            arguments = ["-m", module, server.url, way, str(part), str(server.store)]
            pids.append(stack.enter_context(running(arguments)).pid)
        connection = await nats.connect(server.url, pending_size=0, allow_reconnect=False)
        client = FloorClient(connection, workers)
        await client.start()
        try:
            yield FloorSide(client, {"server": [server.pid], "worker": pids, "load": [os.getpid()]})
        finally:
            await connection.close()


def side_of(contestant: str, server: Server, workers: int, variables: Mapping[str, str] | None = None) -> Any:
    """The side that a contestant's name stands for: `aether`, or `floor` and a way to store."""
    if contestant == "aether":
        return aether_side(server, workers, variables)
    return floor_side(server, contestant.removeprefix("floor "), workers)
