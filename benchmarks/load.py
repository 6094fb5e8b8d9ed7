"""Loads of deposits, and what they measured.

A closed loop has a number of callers, each of which waits for its answer. An open loop sends when it is time to send,
whatever has been answered, and counts a latency from the time at which a deposit should have been sent: a stall is
felt by every command that would have come in it (no coordinated omission).
"""

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from benchmarks.figures import Measured, timed
from benchmarks.processes import cpu_by_name

Deposit: TypeAlias = Callable[[str, int], Awaitable[int]]
Plan: TypeAlias = Sequence[tuple[str, int]]

OPEN_LOOP_TIMEOUT_S = 60.0
"""How long an open loop waits for its last answers."""


def account_name(number: int) -> str:
    """What the benchmarks call an account."""
    return f"a{number}"


def random_deposits(accounts: int, deposits: int, seed: int) -> Plan:
    """So many deposits of 1 to 99 on random accounts."""
    chooser = random.Random(seed)  # noqa: S311 - a workload, not a secret
    return [(account_name(chooser.randrange(accounts)), chooser.randrange(1, 100)) for _ in range(deposits)]


def each_once(begin: int, end: int) -> Plan:
    """A deposit of 1 on every account of a range."""
    return [(account_name(number), 1) for number in range(begin, end)]


def sum_of(plan: Plan) -> int:
    """What the deposits of a plan add up to."""
    return sum(amount for _, amount in plan)


async def closed_loop(
    deposit: Deposit,
    plan: Plan,
    in_flight: int,
    processes: Mapping[str, Sequence[int]] | None = None,
    until: Callable[[], Awaitable[None]] | None = None,
) -> Measured:
    """Make all deposits of a plan, `in_flight` at once. Whatever fails ends it.

    `until` is what must have come of them, beside their answers, before the clock stops.
    """
    waiting = iter(plan)
    latencies_s: list[float] = []

    async def one_caller() -> None:
        for account, amount in waiting:
            begun_s = time.perf_counter()
            await deposit(account, amount)
            latencies_s.append(time.perf_counter() - begun_s)

    with set_aside():
        before = cpu_by_name(processes or {})
        begun_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(one_caller())
        if until is not None:
            await until()
        took_s = time.perf_counter() - begun_s
    return timed(latencies_s, len(plan) / took_s, spent(before, processes or {}, len(plan)))


def arrivals_s(per_s: float, count: int, seed: int) -> list[float]:
    """When each of `count` deposits is to be sent, in seconds from the start: a Poisson process."""
    chooser = random.Random(seed)  # noqa: S311 - a workload, not a secret
    now_s, found = 0.0, []
    for _ in range(count):
        now_s += chooser.expovariate(per_s)
        found.append(now_s)
    return found


async def open_loop(
    deposit: Deposit,
    plan: Plan,
    due_s: Sequence[float],
    processes: Mapping[str, Sequence[int]] | None = None,
    now_s: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Send each deposit of a plan at its time; `figures` has how late the load itself sent at worst."""
    latencies_s: list[float] = []
    late_s = 0.0

    async def one(account: str, amount: int, intended_s: float) -> None:
        await deposit(account, amount)
        latencies_s.append(now_s() - intended_s)

    with set_aside():
        before = cpu_by_name(processes or {})
        begun_s = now_s()
        async with asyncio.timeout(due_s[-1] + OPEN_LOOP_TIMEOUT_S), asyncio.TaskGroup() as group:
            for (account, amount), due in zip(plan, due_s, strict=True):
                # Also when it is late already: what has been begun must run on.
                await asyncio.sleep(max(0.0, begun_s + due - now_s()))
                late_s = max(late_s, now_s() - begun_s - due)
                group.create_task(one(account, amount, begun_s + due))
        took_s = now_s() - begun_s
    late = {"sent late at most, ms": late_s * 1e3}
    return timed(latencies_s, len(plan) / took_s, spent(before, processes or {}, len(plan)), late)


@contextmanager
def set_aside() -> Iterator[None]:
    """What the load has made so far, its libraries and its plan, is not looked at when garbage is collected inside.

    Otherwise the load stops for 20 to 80 ms per second, and reports that as the latency of others.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def spent(before: Mapping[str, float], processes: Mapping[str, Sequence[int]], count: int) -> dict[str, float]:
    """CPU seconds of each process since `before`, per 1,000 of what was done."""
    after = cpu_by_name(processes)
    return {name: (after[name] - before[name]) / count * 1000 for name in after}
