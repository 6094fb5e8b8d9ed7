"""Tells: a turn with one tell, until the other account has it, beside other ways to have two accounts credited.

    python -m benchmarks tells --sync default barrier --rounds 3

Each sender has an account and one other account to credit, and waits for its own answer before it goes on. What is
measured is how many pairs are credited per second, from the first command until the last credit is committed:

- `aether`: the sender tells the other account.
- `ask`: the sender asks the other account and waits for its answer.
- `two calls`: the client calls one account after the other.
- `one call`: the client calls one account only; what a tell and its effect cost is counted in these.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeAlias

from aether import Client
from benchmarks.bank import Account
from benchmarks.figures import AETHER, Measured, Point, timed
from benchmarks.load import account_name
from benchmarks.server import Server
from benchmarks.sides import AetherSide, aether_side
from benchmarks.suite import Settings, alternate, check

SENDERS = (1, 20, 400)
SYNC = ("default", "barrier")
ASK, TWO_CALLS, ONE_CALL = "ask", "two calls", "one call"
APPLIED = "aether_tells_applied_total"
LOOK_EVERY_S = 0.005

Credit: TypeAlias = Callable[[AetherSide, int, int], Awaitable[object]]
"""Credits the account of a sender, and the other one."""

_PAIRS = {1: (2_000, 200), 20: (10_000, 1_000), 400: (20_000, 2_000)}
"""How many are credited, in full and quick, by senders."""


def tells(settings: Settings) -> Iterator[Point]:
    """Pairs of accounts credited per second."""
    for sync in settings.sync or SYNC:
        for senders in settings.in_flight or SENDERS:
            pairs = settings.deposits_or(*_PAIRS.get(senders, _PAIRS[20]))

            async def one_round(contestant: str, server: Server, _: int) -> Measured:
                async with aether_side(server) as side:
                    return await credits_on(side, contestant, senders, pairs)  # noqa: B023 - awaited in this turn

            runs = alternate(CREDITS, settings, sync, one_round)
            yield Point(name="tells", in_flight=senders, sync=sync, unit="pairs", runs=runs, more={"pairs": pairs})


async def credits_on(side: AetherSide, contestant: str, senders: int, pairs: int) -> Measured:
    """Credit each pair once, then measure, and check the balances."""
    credit, each = CREDITS[contestant], pairs // senders
    await asyncio.gather(*(credit(side, sender, senders) for sender in range(senders)))
    await applied(side, contestant, senders)
    latencies_s: list[float] = []

    async def send(sender: int) -> None:
        for _ in range(each):
            begun_s = time.perf_counter()
            await credit(side, sender, senders)
            latencies_s.append(time.perf_counter() - begun_s)

    begun_s = time.perf_counter()
    await asyncio.gather(*(send(sender) for sender in range(senders)))
    await applied(side, contestant, senders * (each + 1))
    took_s = time.perf_counter() - begun_s
    accounts = senders * (1 if contestant == ONE_CALL else 2)
    found, wanted = await side.total(accounts), accounts * (each + 1)
    check(found == wanted, f"the balances add up to {found}, not to {wanted}")
    return timed(latencies_s, senders * each / took_s)


async def applied(side: AetherSide, contestant: str, count: int) -> None:
    """Wait until so many tells are applied, where there are tells."""
    if contestant == AETHER:
        await until_applied(side.client, count)


async def until_applied(client: Client, count: int) -> None:
    """Wait until the workers have applied so many tells."""
    while (await client.metrics()).sum().value(APPLIED) < count:  # noqa: ASYNC110 - the pool makes progress
        await asyncio.sleep(LOOK_EVERY_S)


async def _tell(side: AetherSide, sender: int, senders: int) -> None:
    await side.client.actor(Account, account_name(sender)).deposit_and_tell(account_name(sender + senders), 1)


async def _ask(side: AetherSide, sender: int, senders: int) -> None:
    await side.client.actor(Account, account_name(sender)).deposit_and_ask(account_name(sender + senders), 1)


async def _two_calls(side: AetherSide, sender: int, senders: int) -> None:
    await side.deposit(account_name(sender), 1)
    await side.deposit(account_name(sender + senders), 1)


async def _one_call(side: AetherSide, sender: int, _: int) -> None:
    await side.deposit(account_name(sender), 1)


CREDITS: Mapping[str, Credit] = {AETHER: _tell, ASK: _ask, TWO_CALLS: _two_calls, ONE_CALL: _one_call}
