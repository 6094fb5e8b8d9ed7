"""Loads whose effects come after their answers: sends between accounts, delayed calls, tasks.

Every contestant is given the same plan, and is asked in the same way whether the effects are stored; what is left to it
is a `Bank`. A caller waits until its request is accepted durably, then makes the next one. What is measured ends when
the last effect is stored.
"""

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from benchmarks.figures import Measured
from benchmarks.load import Plan, closed_loop, each_once, random_deposits

TELLS, DELAYED, TASKS = "tells", "delayed", "tasks"
LOADS = (TELLS, DELAYED, TASKS)
SET, DUE = "delayed: set", "delayed: from due to the last effect"
"""The two cases of `delayed`."""

ACCOUNTS = 100
WARM_UP_IN_FLIGHT = 20
LOOK_EVERY_S = 0.005
STALLED_S = 60.0
"""When nothing more has been stored for so long, something is lost."""

Balances: TypeAlias = Mapping[str, int]


class Bank(Protocol):
    """What a contestant does. All but `balances` return when the request is durable, whatever has come of it.

    `number` is different for each request of a bank, `due_s` in seconds since 1970.
    """

    async def transfer(self, account: str, to: str, amount: int) -> object:
        """Add money to one account, whose handler sends the same to another one."""

    async def add_at(self, account: str, amount: int, due_s: float, number: int) -> object:
        """Have money added at a time."""

    async def run_task(self, account: str, amount: int, number: int) -> object:
        """Have a function run that returns the amount, and its result added."""

    async def balances(self, accounts: Sequence[str]) -> Balances:
        """What is stored for some accounts."""


async def measure(
    load: str, bank: Bank, count: int, in_flight: int, seed: int, lead_s: float, processes: Mapping[str, Sequence[int]]
) -> dict[str, Measured]:
    """Use every account once, measure one load, and check what is stored; by case.

    Delayed calls are due together, at the first whole second that is at least `lead_s` away.
    """
    first, plan = each_once(0, ACCOUNTS), plan_of(load, count, seed)
    numbers, stored = itertools.count(), totals(load, first)
    await closed_loop(_request(load, bank, time.time(), numbers), first, WARM_UP_IN_FLIGHT)
    await until_stored(bank.balances, stored)
    wanted = {account: stored[account] + more for account, more in totals(load, plan).items()}
    due_s = float(math.ceil(time.time() + lead_s))
    request = _request(load, bank, due_s, numbers)
    if load != DELAYED:
        measured = await closed_loop(request, plan, in_flight, processes, lambda: until_stored(bank.balances, wanted))
        return {load: measured}
    measured = await closed_loop(request, plan, in_flight, processes)
    check(time.time() < due_s, f"{count} delayed calls were not set in {lead_s:g} s")
    early = await bank.balances(list(stored))
    check(time.time() >= due_s or early == stored, "a delayed call was run before its time")
    await asyncio.sleep(due_s - time.time())
    await until_stored(bank.balances, wanted)
    took_s = time.time() - due_s
    return {SET: measured, DUE: Measured(per_s=count / took_s, figures={"last effect after, s": took_s})}


def plan_of(load: str, count: int, seed: int) -> Plan:
    """So many requests on random accounts. The result of a task is always 1, so that results can be counted."""
    plan = random_deposits(ACCOUNTS, count, seed)
    return [(account, 1) for account, _ in plan] if load == TASKS else plan


def receiver_of(account: str) -> str:
    """The account to which another one sends."""
    return f"to-{account}"


def totals(load: str, plan: Plan) -> dict[str, int]:
    """What the requests of a plan add to each account, those first that are requested last."""
    found: dict[str, int] = {}
    for account, amount in reversed(plan):
        for name in (receiver_of(account), account) if load == TELLS else (account,):
            found[name] = found.get(name, 0) + amount
    return found


async def until_stored(
    read: Callable[[Sequence[str]], Awaitable[Balances]],
    wanted: Balances,
    now_s: Callable[[], float] = time.monotonic,
    look_every_s: float = LOOK_EVERY_S,
) -> None:
    """Wait until each account has what is wanted; ends the run when one has more, or when nothing more comes.

    It looks at one account at a time, and at all that are left once that one is right: to look costs what is measured.
    """
    missing, found, changed_s = dict(wanted), dict.fromkeys(wanted, 0), now_s()
    whole = False
    while missing:
        asked = list(missing) if whole else [next(iter(missing))]
        balances = await read(asked)
        for account in asked:
            balance = balances.get(account, 0)
            check(balance <= wanted[account], f"{account} has {balance}, not {wanted[account]}")
            if balance != found[account]:
                found[account], changed_s = balance, now_s()
            if balance == wanted[account]:
                del missing[account]
        check(now_s() - changed_s < STALLED_S, f"{len(missing)} accounts have less than they should, and get no more")
        whole = not whole and asked[0] not in missing
        if missing and not whole:
            await asyncio.sleep(look_every_s)


def all_accounts(load: str) -> list[str]:
    """The accounts that a load uses."""
    return list(totals(load, each_once(0, ACCOUNTS)))


def check(right: bool, what: str) -> None:
    """End the program when a result is wrong: its figures would be worth nothing."""
    if not right:
        raise SystemExit(f"wrong result: {what}")


def _request(
    load: str, bank: Bank, due_s: float, numbers: "itertools.count[int]"
) -> Callable[[str, int], Awaitable[int]]:
    async def request(account: str, amount: int) -> int:
        number = next(numbers)
        if load == TELLS:
            await bank.transfer(account, receiver_of(account), amount)
        elif load == DELAYED:
            await bank.add_at(account, amount, due_s, number)
        else:
            await bank.run_task(account, amount, number)
        return amount

    return request
