"""Loads on Restate through its HTTP ingress, with kept-alive connections.

python -m benchmarks.peers.restate_load INGRESS_URL LOAD COUNT IN_FLIGHT SEED LEAD_S SERVER_PID SERVICE_PID
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence

import aiohttp  # type: ignore[import-not-found]

from benchmarks.figures import Measured
from benchmarks.load import account_name, closed_loop, each_once, random_deposits, sum_of
from benchmarks.peers import effects
from benchmarks.peers.report import DEPOSIT_ACCOUNTS, DEPOSITS, tell

WARM_UP_IN_FLIGHT = 100


class RestateBank:
    """The bank of an HTTP session."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def deposit(self, account: str, amount: int) -> int:
        """A call; the new balance."""
        return int(await self._post(f"/Account/{account}/deposit", amount))

    async def statement(self, account: str) -> int:
        """A call of a shared handler, which waits for no other one; the balance."""
        return int(await self._post(f"/Account/{account}/statement"))

    async def transfer(self, account: str, to: str, amount: int) -> None:
        """A call of a handler that sends."""
        await self._post(f"/Account/{account}/transfer", {"to": to, "amount": amount})

    async def add_at(self, account: str, amount: int, due_s: float, number: int) -> None:
        """A send with a delay."""
        delay_ms = max(0, round((due_s - time.time()) * 1000))
        await self._post(f"/Account/{account}/deposit/send?delay={delay_ms}ms", amount)

    async def run_task(self, account: str, amount: int, number: int) -> None:
        """A send to a handler with one step."""
        await self._post(f"/Account/{account}/deposit_by_step/send", amount)

    async def balances(self, accounts: Sequence[str]) -> Mapping[str, int]:
        """By a call each."""
        return dict(zip(accounts, await asyncio.gather(*map(self.statement, accounts)), strict=True))

    async def _post(self, path: str, body: object = None) -> str:
        # A handler without an argument refuses a content type.
        plain = ("Content-Type",) if body is None else ()
        async with self._session.post(path, json=body, skip_auto_headers=plain) as answer:
            answer.raise_for_status()
            return str(await answer.text())


async def deposits_on(
    bank: RestateBank, deposits: int, in_flight: int, seed: int, processes: Mapping[str, Sequence[int]]
) -> Measured:
    """Use every account once, measure random deposits, and check the balances as they are stored."""
    first, plan = each_once(0, DEPOSIT_ACCOUNTS), random_deposits(DEPOSIT_ACCOUNTS, deposits, seed)
    await closed_loop(bank.deposit, first, WARM_UP_IN_FLIGHT)
    measured = await closed_loop(bank.deposit, plan, in_flight, processes)
    found = 0
    for number in range(DEPOSIT_ACCOUNTS):
        found += await bank.statement(account_name(number))
    effects.check(found == sum_of(first) + sum_of(plan), f"the balances add up to {found}")
    return measured


async def main(
    url: str, load: str, count: int, in_flight: int, seed: int, lead_s: float, server_pid: int, service_pid: int
) -> None:
    """Measure one load, and tell."""
    processes = {"server": [server_pid], "worker": [service_pid], "load": [os.getpid()]}
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
        bank = RestateBank(session)
        if load == DEPOSITS:
            tell({DEPOSITS: await deposits_on(bank, count, in_flight, seed, processes)})
        else:
            tell(await effects.measure(load, bank, count, in_flight, seed, lead_s, processes))


if __name__ == "__main__":
    where, what, requests, callers, *others = sys.argv[1:]
    asyncio.run(
        main(where, what, int(requests), int(callers), int(others[0]), float(others[1]), int(others[2]), int(others[3]))
    )
