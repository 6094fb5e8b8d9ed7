"""Deposits on the `eventsourcing` library, in its own process, with no network before it: load and bank are one.

    python -m benchmarks.peers.eventsourcing_bank ACCOUNTS DEPOSITS IN_FLIGHT SEED THREADS SERVER_PID

The environment says where it stores; SERVER_PID is 0 without a server. Aggregates are cached and not copied, as one
process has them all. With one thread a deposit is a plain call, and callers wait for their turn; with more, threads
make the deposits, each account under a lock, so that none conflicts.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application  # type: ignore[import-not-found]
from eventsourcing.domain import Aggregate, event  # type: ignore[import-not-found]

from benchmarks.load import account_name, closed_loop, each_once, random_deposits, sum_of
from benchmarks.peers.report import DEPOSITS, tell
from benchmarks.processes import children_of


class Account(Aggregate):  # type: ignore[misc]
    """A bank account."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.balance = 0

    @staticmethod
    def create_id(key: str) -> UUID:
        """The id of an account's name."""
        return uuid5(NAMESPACE_URL, f"/accounts/{key}")

    @event("Deposited")  # type: ignore[untyped-decorator]
    def deposit(self, amount: int) -> None:
        """Add money."""
        self.balance += amount


class Bank(Application):  # type: ignore[misc]
    """All accounts, and a lock for each."""

    def __init__(self, accounts: int) -> None:
        super().__init__()
        self.locks = {account_name(number): threading.Lock() for number in range(accounts)}
        for key in self.locks:
            self.save(Account(key))

    def deposit(self, key: str, amount: int) -> int:
        """Add money; the new balance."""
        with self.locks[key]:
            account: Any = self.repository.get(Account.create_id(key))
            account.deposit(amount)
            self.save(account)
            return int(account.balance)


def callable_of(bank: Bank, threads: int) -> Callable[[str, int], Awaitable[int]]:
    """A deposit for the load: in this thread, or in one of some."""
    if threads == 1:

        async def directly(key: str, amount: int) -> int:
            await asyncio.sleep(0)  # so that the other callers' time runs, too
            return bank.deposit(key, amount)

        return directly
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(threads)

    async def in_a_thread(key: str, amount: int) -> int:
        return await loop.run_in_executor(pool, bank.deposit, key, amount)

    return in_a_thread


async def measure(accounts: int, deposits: int, in_flight: int, seed: int, threads: int, server_pid: int) -> None:
    """Deposit, check the balances as they are stored, and tell."""
    bank = Bank(accounts)
    deposit = callable_of(bank, threads)
    first, plan = each_once(0, accounts), random_deposits(accounts, deposits, seed)
    await closed_loop(deposit, first, in_flight)
    processes = {"load": [os.getpid()]} | ({"server": children_of(server_pid)} if server_pid else {})
    measured = await closed_loop(deposit, plan, in_flight, processes)
    keys = (account_name(number) for number in range(accounts))
    found = sum(bank.repository.get(Account.create_id(key)).balance for key in keys)
    events = sum(1 for key in bank.locks for _ in bank.events.get(Account.create_id(key)))
    if found != sum_of(first) + sum_of(plan) or events != 2 * accounts + deposits:
        raise SystemExit(f"wrong result: {found} in {events} events")
    tell({DEPOSITS: measured})


if __name__ == "__main__":
    asyncio.run(measure(*(int(argument) for argument in sys.argv[1:])))
