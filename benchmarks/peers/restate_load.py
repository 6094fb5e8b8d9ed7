"""Deposits on Restate through its HTTP ingress, with kept-alive connections.

python -m benchmarks.peers.restate_load INGRESS_URL ACCOUNTS DEPOSITS IN_FLIGHT SEED SERVER_PID SERVICE_PID
"""

import asyncio
import os
import sys

import aiohttp  # type: ignore[import-not-found]

from benchmarks.load import account_name, closed_loop, each_once, random_deposits, sum_of
from benchmarks.peers.report import tell

WARM_UP_IN_FLIGHT = 100


async def measure(
    url: str, accounts: int, deposits: int, in_flight: int, seed: int, server_pid: int, service_pid: int
) -> None:
    """Deposit, check the balances as they are stored, and tell."""
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(path: str, body: int | None) -> int:
            # A handler without an argument refuses a content type.
            plain = ("Content-Type",) if body is None else ()
            async with session.post(path, json=body, skip_auto_headers=plain) as answer:
                answer.raise_for_status()
                return int(await answer.text())

        async def deposit(key: str, amount: int) -> int:
            return await call(f"/Account/{key}/deposit", amount)

        first, plan = each_once(0, accounts), random_deposits(accounts, deposits, seed)
        await closed_loop(deposit, first, WARM_UP_IN_FLIGHT)
        processes = {"server": [server_pid], "worker": [service_pid], "load": [os.getpid()]}
        measured = await closed_loop(deposit, plan, in_flight, processes)
        found = 0
        for number in range(accounts):
            found += await call(f"/Account/{account_name(number)}/statement", None)
    if found != sum_of(first) + sum_of(plan):
        raise SystemExit(f"wrong result: {found}")
    tell(measured)


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1], *(int(argument) for argument in sys.argv[2:])))
