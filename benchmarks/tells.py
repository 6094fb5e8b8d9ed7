"""Tells: a turn with one tell, until the other account has it, beside other ways to have two accounts credited.

    python -m benchmarks tells --sync default barrier --rounds 3

Each sender has an account and one other account to credit, and waits for its own answer before it goes on. What is
measured is how many pairs are credited per second, from the first command until the last credit is committed:

- `aether`: the sender tells the other account.
- `ask`: the sender asks the other account and waits for its answer.
- `two calls`: the client calls one account after the other.
- `one call`: the client calls one account only; what a tell and its effect cost is counted in these.
- `floor tell`: the sender tells the other account, by a program by hand (`benchmarks.floor_tells`).
- `floor one call`: the client calls one account only, by a program by hand (`benchmarks.floor`).

`calls per pair` is how long a pair takes, as a multiple of a call of the same side in the round beside it; `by CPU` the
same of the CPU seconds of server and workers.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from aether import Client
from benchmarks import floor_tells
from benchmarks.bank import Account
from benchmarks.figures import AETHER, Measured, Point, timed
from benchmarks.load import account_name, set_aside, spent
from benchmarks.processes import cpu_by_name
from benchmarks.server import Server
from benchmarks.sides import AetherSide, FloorSide, Side, aether_side, floor_side
from benchmarks.suite import Settings, alternate, check

SENDERS = (1, 20, 400)
SYNC = ("default", "barrier")
ASK, TWO_CALLS, ONE_CALL = "ask", "two calls", "one call"
FLOOR_TELL, FLOOR_ONE_CALL = "floor tell", "floor one call"
CALLS, CALLS_BY_CPU = "calls per pair", "calls per pair, by CPU"
APPLIED = "aether_tells_applied_total"
LOOK_EVERY_S = 0.005

_PAIRS = {1: (2_000, 200), 20: (10_000, 1_000), 400: (20_000, 2_000)}
"""How many are credited, in full and quick, by senders."""


def tells(settings: Settings) -> Iterator[Point]:
    """Pairs of accounts credited per second."""
    for sync in settings.sync or SYNC:
        for senders in settings.in_flight or SENDERS:
            pairs = settings.deposits_or(*_PAIRS.get(senders, _PAIRS[20]))

            async def one_round(name: str, server: Server, _: int) -> Measured:
                contestant = CONTESTANTS[name]
                async with contestant.side(server) as side:
                    return await credits_on(side, contestant, senders, pairs)  # noqa: B023 - awaited in this turn

            runs = in_calls(alternate(CONTESTANTS, settings, sync, one_round))
            yield Point(
                name="tells", in_flight=senders, sync=sync, unit="pairs", runs=runs, beside=FLOOR_TELL,
                more={"pairs": pairs},
            )  # fmt: skip


Credit: TypeAlias = Callable[[Any, int, int], Awaitable[object]]
"""Credits, on a side, the account of a sender, and the other one of so many senders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A way to credit a pair. `call` is the contestant in whose calls its cost is told; it has one account a sender.

    `applied` says how many tells are applied, where there are tells.
    """

    side: Callable[[Server], AbstractAsyncContextManager[Side]]
    credit: Credit
    call: str | None
    applied: Callable[[Any], Awaitable[float]] | None = None


async def credits_on(side: Side, contestant: Contestant, senders: int, pairs: int) -> Measured:
    """Credit each pair once, then measure, and check the balances."""
    credit, each = contestant.credit, pairs // senders
    await asyncio.gather(*(credit(side, sender, senders) for sender in range(senders)))
    await _until(side, contestant, senders)
    latencies_s: list[float] = []

    async def send(sender: int) -> None:
        for _ in range(each):
            begun_s = time.perf_counter()
            await credit(side, sender, senders)
            latencies_s.append(time.perf_counter() - begun_s)

    with set_aside():
        before = cpu_by_name(side.processes)
        begun_s = time.perf_counter()
        await asyncio.gather(*(send(sender) for sender in range(senders)))
        await _until(side, contestant, senders * (each + 1))
        took_s = time.perf_counter() - begun_s
    cpu_s = spent(before, side.processes, senders * each)
    accounts = senders * (1 if contestant.call is None else 2)
    found, wanted = await side.total(accounts), accounts * (each + 1)
    check(found == wanted, f"the balances add up to {found}, not to {wanted}")
    return timed(latencies_s, senders * each / took_s, cpu_s)


async def _until(side: Side, contestant: Contestant, count: int) -> None:
    """Wait until so many tells are applied, where there are tells."""
    applied = contestant.applied
    while applied is not None and await applied(side) < count:  # noqa: ASYNC110 - the workers make progress
        await asyncio.sleep(LOOK_EVERY_S)


async def until_applied(client: Client, count: int) -> None:
    """Wait until the workers have applied so many tells."""
    while await _applied(client) < count:  # noqa: ASYNC110 - the pool makes progress
        await asyncio.sleep(LOOK_EVERY_S)


def in_calls(runs: Mapping[str, list[Measured]]) -> dict[str, list[Measured]]:
    """The same rounds, and what a pair costs in calls of the same side in the same round."""
    told = {}
    for name, rounds in runs.items():
        call = CONTESTANTS[name].call
        told[name] = rounds if call is None else [_in_calls(*both) for both in zip(rounds, runs[call], strict=True)]
    return told


def _in_calls(pair: Measured, call: Measured) -> Measured:
    figures = {CALLS: call.per_s / pair.per_s} if call.per_s and pair.per_s else {}
    if _pool(call):
        figures[CALLS_BY_CPU] = _pool(pair) / _pool(call)
    return replace(pair, figures={**pair.figures, **figures})


def _pool(measured: Measured) -> float:
    return sum(measured.cpu_s.get(name, 0.0) for name in ("server", "worker"))


async def _applied(client: Client) -> float:
    return (await client.metrics()).sum().value(APPLIED)


async def _applied_of_pool(side: AetherSide) -> float:
    return await _applied(side.client)


async def _applied_of_floor(side: FloorSide) -> float:
    return await floor_tells.applied(side.client)


async def _tell(side: AetherSide, sender: int, senders: int) -> None:
    await side.client.actor(Account, account_name(sender)).deposit_and_tell(account_name(sender + senders), 1)


async def _ask(side: AetherSide, sender: int, senders: int) -> None:
    await side.client.actor(Account, account_name(sender)).deposit_and_ask(account_name(sender + senders), 1)


async def _two_calls(side: Side, sender: int, senders: int) -> None:
    await side.deposit(account_name(sender), 1)
    await side.deposit(account_name(sender + senders), 1)


async def _one_call(side: Side, sender: int, _: int) -> None:
    await side.deposit(account_name(sender), 1)


async def _floor_tell(side: FloorSide, sender: int, senders: int) -> None:
    await floor_tells.tell(side.client, account_name(sender), account_name(sender + senders), 1)


def _floor(server: Server) -> AbstractAsyncContextManager[FloorSide]:
    return floor_side(server, "barrier" if server.sync == "barrier" else "single")


def _floor_of_tells(server: Server) -> AbstractAsyncContextManager[FloorSide]:
    way = "tells barrier" if server.sync == "barrier" else "tells"
    return floor_side(server, way, module="benchmarks.floor_tells")


CONTESTANTS: Mapping[str, Contestant] = {
    AETHER: Contestant(side=aether_side, credit=_tell, call=ONE_CALL, applied=_applied_of_pool),
    ASK: Contestant(side=aether_side, credit=_ask, call=ONE_CALL),
    TWO_CALLS: Contestant(side=aether_side, credit=_two_calls, call=ONE_CALL),
    ONE_CALL: Contestant(side=aether_side, credit=_one_call, call=None),
    FLOOR_TELL: Contestant(side=_floor_of_tells, credit=_floor_tell, call=FLOOR_ONE_CALL, applied=_applied_of_floor),
    FLOOR_ONE_CALL: Contestant(side=_floor, credit=_one_call, call=None),
}
