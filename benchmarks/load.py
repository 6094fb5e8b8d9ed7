"""A closed loop of deposits, and what it measured."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

TICKS_A_SECOND = 100
"""Linux's USER_HZ, the unit of /proc/<pid>/stat."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: commands a second, latencies in milliseconds, CPU seconds per 1,000 commands by process."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s: dict[str, float]


async def closed_loop(
    deposit: Callable[[str, int], Awaitable[int]],
    *,
    deposits: int,
    accounts: int,
    in_flight: int,
    seed: int,
    processes: dict[str, list[int]],
) -> tuple[Measured, int]:
    """Make `deposits` random deposits, `in_flight` at once; also gives the sum of what was acknowledged."""
    chooser = random.Random(seed)  # noqa: S311 - a workload, not a secret
    plan = iter([(f"a{chooser.randrange(accounts)}", chooser.randrange(1, 100)) for _ in range(deposits)])
    latencies: list[float] = []
    total = 0

    async def one_caller() -> None:
        nonlocal total
        for account, amount in plan:
            begun_s = time.perf_counter()
            await deposit(account, amount)
            latencies.append(time.perf_counter() - begun_s)
            total += amount

    before = {name: cpu_of(pids) for name, pids in processes.items()}
    begun_s = time.perf_counter()
    await asyncio.gather(*(one_caller() for _ in range(in_flight)))
    took_s = time.perf_counter() - begun_s
    spent = {name: (cpu_of(pids) - before[name]) / deposits * 1000 for name, pids in processes.items()}
    latencies.sort()
    measured = Measured(
        deposits / took_s, latencies[len(latencies) // 2] * 1e3, latencies[len(latencies) * 99 // 100] * 1e3, spent
    )
    return measured, total


def cpu_of(pids: list[int]) -> float:
    """CPU seconds that the processes have used so far, user and system."""
    ticks = 0
    for pid in pids:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        ticks += int(after_name[11]) + int(after_name[12])
    return ticks / TICKS_A_SECOND


def children_of(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found
