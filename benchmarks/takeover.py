"""A worker's shards get another owner while tells to them wait: how long until they answer, and until all is applied.

    python -m benchmarks takeover --rounds 5

Two hosts with a worker each share 128 shards. One of them goes:

- `killed`: its supervisor is killed, and its worker with it; the other one takes its shards when its row has ended.
- `killed, replaced`: its worker is killed, and its supervisor starts another one in its place.
- `drained`: it is asked to leave, and hands its shards over.

To each of its shards 20 tells are sent that it does not apply any more (`drained`: while it leaves), and one command
that waits for its answer. What is measured begins for each shard when its new owner writes the lease: the table's row
of who holds it. The promise is that the shard answers and has applied its tells within 250 ms.
"""

import asyncio
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import nats
import orjson
import uvloop

from aether import Client
from aether.connecting import connect_untyped
from aether.core.cluster.membership import decode_lease
from aether.ids import ActorId
from aether.names import Names, shard_of
from aether.table_keys import LEASE_PREFIX, member_name, shard_of_lease_key
from benchmarks.bank import Account
from benchmarks.figures import AETHER, Measured, Point, percentile
from benchmarks.hosts import NAMESPACE, Host
from benchmarks.recovery import owned
from benchmarks.server import Server
from benchmarks.sides import client_of, sync_variables
from benchmarks.suite import Settings, bounded, check

SHARDS = 128
TELLS_PER_SHARD = 20
TELLERS = 200
TTL_S = 5
LOOK_EVERY_S = 0.005
KIND = "account"
SYNC = ("default", "barrier")


def takeover(settings: Settings) -> Iterator[Point]:
    """Milliseconds from the lease to what it is for."""
    for sync in settings.sync or SYNC:
        for case in GOES:
            rounds = [_round(case, sync) for _ in range(settings.rounds)]
            more = {"shards": SHARDS // 2, "tells_per_shard": TELLS_PER_SHARD}
            yield Point(name="takeover", case=case, sync=sync, runs={AETHER: rounds}, more=more)


def _round(case: str, sync: str) -> Measured:
    with Server(sync) as server:
        variables = {**sync_variables(server), "AETHER_SHARDS": str(SHARDS)}
        with Host(server.url, "a", 1, TTL_S, variables) as stays:
            stays.wait_ready()
            with Host(server.url, "b", 1, TTL_S, variables) as goes:
                goes.wait_ready()
                return uvloop.run(bounded(taken_over(server, goes, GOES[case])))


class Going(NamedTuple):
    """How a worker goes: what is done before it is sent tells, and after that."""

    begin: Callable[[Host], None]
    end: Callable[[Host], None]


@dataclass
class Watch:
    """When the shards got their new owner, answered, and had all their tells; `perf_counter`, by shard."""

    names: Names
    shards: frozenset[int]
    told_key: Mapping[int, str]
    owned_s: dict[int, float] = field(default_factory=dict)
    answered_s: dict[int, float] = field(default_factory=dict)
    applied_s: dict[int, float] = field(default_factory=dict)
    applied: Counter[int] = field(default_factory=Counter)

    async def lease(self, message: Any) -> None:
        """A row is written."""
        shard = shard_of_lease_key(LEASE_PREFIX + message.subject.rpartition(".")[2])
        row = decode_lease(message.data)
        if shard in self.shards and row is not None and row.holder:
            self.owned_s.setdefault(shard, time.perf_counter())

    async def commit(self, message: Any) -> None:
        """A commit is stored."""
        actor_id = self.names.parse_event(message.subject)
        shard = shard_of(actor_id, SHARDS)
        if self.told_key.get(shard) == actor_id.key:
            self.applied[shard] += len(orjson.loads(message.data))
            self.applied_s[shard] = time.perf_counter()

    def is_over(self) -> bool:
        """Whether every shard has its new owner and has applied its tells."""
        return len(self.owned_s) == len(self.shards) and all(
            self.applied[shard] >= TELLS_PER_SHARD for shard in self.shards
        )

    def figures(self) -> dict[str, float]:
        """What is told of a round."""
        begin_s = min(self.owned_s.values())
        found = {"leases written in, ms": (max(self.owned_s.values()) - begin_s) * 1e3}
        for what, at_s in (("answers", self.answered_s), ("tells applied", self.applied_s)):
            each_ms = sorted(max(0.0, at_s[shard] - self.owned_s[shard]) * 1e3 for shard in self.shards)
            found[f"{what}: p50 ms"] = percentile(each_ms, 0.5)
            found[f"{what}: last ms"] = each_ms[-1]
        return found


async def taken_over(server: Server, host: Host, goes: Going) -> Measured:
    """Have a host go, and watch who has its shards after it."""
    await owned(server.url, 2)
    shards = await _shards_of(server, host)
    told, asked = _keys("told", shards), _keys("asked", shards)
    async with client_of(server) as client:
        await asyncio.gather(*(client.actor(Account, key).deposit(1) for key in [*told.values(), *asked.values()]))
        watch = Watch(Names(NAMESPACE, SHARDS), shards, told)
        connection = await nats.connect(server.url, pending_size=0)
        await connection.subscribe(f"$KV.{watch.names.table}.{LEASE_PREFIX}*", cb=watch.lease)
        await connection.subscribe(watch.names.stored(watch.names.events_all), cb=watch.commit)
        await connection.flush()
        goes.begin(host)
        await _tell_all(client, list(told.values()))
        asking = [asyncio.create_task(_ask(client, watch, shard, key)) for shard, key in asked.items()]
        goes.end(host)
        await asyncio.gather(*asking)
        while not watch.is_over():  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(LOOK_EVERY_S)
        await connection.close()
        for key in told.values():
            balance = (await client.state(Account, key)).state.balance
            check(balance == 1 + TELLS_PER_SHARD, f"{key} has {balance}, not {1 + TELLS_PER_SHARD}")
    return Measured(figures=watch.figures())


async def _shards_of(server: Server, host: Host) -> frozenset[int]:
    async with connect_untyped(server.url, namespace=NAMESPACE) as session:
        shards = (await session.overview()).shards
    return frozenset(one.shard for one in shards if one.holder == member_name(host.node, 0))


def _keys(name: str, shards: frozenset[int]) -> dict[int, str]:
    """An account in each of the shards."""
    found: dict[int, str] = {}
    for number in itertools.count():
        key = f"{name}{number}"
        shard = shard_of(ActorId(KIND, key), SHARDS)
        if shard in shards:
            found.setdefault(shard, key)
        if len(found) == len(shards):
            break
    return found


async def _tell_all(client: Client, keys: Sequence[str]) -> None:
    waiting = iter([key for _ in range(TELLS_PER_SHARD) for key in keys])

    async def one_teller() -> None:
        for key in waiting:
            await client.tell(Account.deposit, key, 1)

    await asyncio.gather(*(one_teller() for _ in range(TELLERS)))


async def _ask(client: Client, watch: Watch, shard: int, key: str) -> None:
    await client.actor(Account, key).deposit(1)
    watch.answered_s[shard] = time.perf_counter()


def _kill_worker(host: Host) -> None:
    host.process.send_signal(signal.SIGSTOP)  # it starts no other one before the tells are there
    os.kill(host.workers[0], signal.SIGKILL)


def _let_replace(host: Host) -> None:
    host.process.send_signal(signal.SIGCONT)


def _drain(host: Host) -> None:
    host.process.send_signal(signal.SIGTERM)


def _nothing(_: Host) -> None:
    pass


GOES = {
    "killed": Going(Host.kill, _nothing),
    "killed, replaced": Going(_kill_worker, _let_replace),
    "drained": Going(_drain, _nothing),
}
