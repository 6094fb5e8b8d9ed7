"""Members of a cluster over memory: each a runtime, or any VM provider, with a connection of its own to one server.

Time is real and short: rows last a second. A test waits for a fact, under a guard.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from uuid import uuid4

import orjson

from aether import ActorId, Runtime
from aether.calls import Caller
from aether.cluster.cluster import Cluster
from aether.config import CallConfig, ClusterConfig, RuntimeConfig
from aether.core.cluster.membership import MemberRow, decode_lease, decode_member
from aether.core.cluster.ring import assignment, owners
from aether.core.health import Health
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.names import shard_of
from aether.ports import ActiveVM, Row, VMProvider
from aether.table_keys import member_of_row_key, shard_of_lease_key
from tests.support.actors import model
from tests.support.nodes import QUIET

SHARDS = 16
GUARD_S = 20.0
FAST = ClusterConfig(ttl_s=1, gather_s=0.05, regather_s=0.1, retry_s=0.02, close_timeout_s=10)
BLIND = replace(QUIET, follow_stored=False)
"""A runtime that hears of what others store only when it reads."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member; `runtime` is None when another VM provider stands in for it."""

    connection: InMemoryConnection
    cluster: Cluster
    runtime: Runtime | None = None
    health: Health = field(default_factory=Health)

    def answering(self) -> set[int]:
        """The shards that it would answer for at this instant."""
        now_s = self.connection.clock.boot_s()
        return {shard for shard in range(SHARDS) if self.cluster.valid(shard, now_s)}

    @property
    def running(self) -> Runtime:
        """Its runtime."""
        assert self.runtime is not None
        return self.runtime


_runs = count(1)


@asynccontextmanager
async def member(
    server: InMemoryServer,
    node: str,
    slot: int = 0,
    *,
    config: ClusterConfig = FAST,
    runtime_config: RuntimeConfig = BLIND,
    replaces: str | None = None,
    incarnation: str | None = None,
    claim: str = "",
    siblings: Sequence[str] = (),
    provider: VMProvider | None = None,
) -> AsyncIterator[Member]:
    """A member that has started; it ends without leaving unless the test says so."""
    connection = InMemoryConnection(server, "tests", shards=SHARDS)
    me = MemberRow(node=node, slot=slot, incarnation=incarnation or f"run{next(_runs)}-1", claim=claim)
    health = Health()
    cluster = Cluster(connection, me, config, replaces=replaces, siblings=siblings, health=health)
    if provider is not None:
        cluster.set_vm_provider(provider)
        async with connection, cluster:
            yield Member(connection, cluster)
        return
    runtime = Runtime(connection, connection.event_store, runtime_config, shards=(), lease=cluster, health=health)
    runtime.load_model(model)
    cluster.set_vm_provider(runtime)
    async with connection, runtime, cluster:
        yield Member(connection, cluster, runtime, health)


def placed(*names: str) -> dict[int, str]:
    """Who the ring wants to have each shard."""
    return owners(assignment(names, SHARDS))


def shards_of(name: str, *names: str) -> set[int]:
    """What the ring wants one of these members to have."""
    return {shard for shard, owner in placed(*names).items() if owner == name}


def answered_by(*members: Member) -> dict[int, str]:
    """Who would answer for each shard at this instant. Fails when two would."""
    holders: dict[int, str] = {}
    for one in members:
        for shard in one.answering():
            assert shard not in holders, f"shard {shard} is answered by {holders[shard]} and {one.cluster.name}"
            holders[shard] = one.cluster.name
    return holders


async def soon(condition: Callable[[], bool]) -> None:
    """Return when it is so."""
    async with asyncio.timeout(GUARD_S):
        while not condition():  # noqa: ASYNC110 - looks at facts that nobody announces
            await asyncio.sleep(0.002)


async def settled(*members: Member) -> None:
    """Return when these members answer for all shards, each for what the ring gives it."""
    wanted = placed(*(one.cluster.name for one in members))
    await soon(lambda: answered_by(*members) == wanted and all(one.cluster.moves().giving == 0 for one in members))


def actor_of(shard: int, kind: str = "account", nth: int = 0) -> ActorId:
    """Some actor of a shard."""
    found = (ActorId(kind, f"k{n}") for n in range(100_000))
    fitting = (each for each in found if shard_of(each, SHARDS) == shard)
    return next(each for n, each in enumerate(fitting) if n == nth)


@asynccontextmanager
async def client(server: InMemoryServer) -> AsyncIterator["Client"]:
    """A caller that hears of new owners and retries as clients do."""
    connection = InMemoryConnection(server, "tests", shards=SHARDS)
    async with connection:
        followed = await connection.transport.follow_owners()
        yield Client(connection)
        await followed.stop()


class Client:
    """Calls commands by name; the reply."""

    def __init__(self, connection: InMemoryConnection) -> None:
        config = CallConfig(attempt_timeout_s=5.0)
        self._caller = Caller(
            connection.transport,
            connection.clock,
            config,
            new_id=lambda: uuid4().hex,
            jitter=random.random,
        )

    async def call(self, actor_id: ActorId, command: str, *, deadline_s: float = 20.0, **args: object) -> int:
        """The reply, an integer in all of the tests' actors that are used here."""
        answer = await self._caller.call(actor_id, command, orjson.dumps(args), deadline_s=deadline_s)
        reply = orjson.loads(bytes(answer.value))
        assert isinstance(reply, int)
        return reply


class Rows:
    """All that happened in the table, in its order."""

    def __init__(self) -> None:
        self.seen: list[Row] = []

    @classmethod
    async def of(cls, server: InMemoryServer) -> "Rows":
        """From now on."""
        rows = cls()
        await InMemoryConnection(server, "tests", shards=SHARDS).table.watch(rows.seen.append)
        return rows

    def holders(self, shard: int) -> list[str]:
        """The members that have held a shard, "" for nobody."""
        leases = (decode_lease(row.value) for row in self.seen if shard_of_lease_key(row.key) == shard)
        return ["" if lease is None else lease.holder for lease in leases]

    def taken_at(self, shard: int, member: str) -> int:
        """The revision at which a member last took a shard."""
        for row in reversed(self.seen):
            lease = decode_lease(row.value) if shard_of_lease_key(row.key) == shard else None
            if lease is not None and lease.holder == member:
                return row.revision
        raise AssertionError(f"{member} never took shard {shard}")

    def ended_at(self, member: str) -> int:
        """The revision at which a member's row ended."""
        return next(row.revision for row in self.seen if member_of_row_key(row.key) == member and row.value is None)

    def incarnations(self, member: str) -> list[str]:
        """Who has written a member's row, each time."""
        words = (decode_member(row.value) for row in self.seen if member_of_row_key(row.key) == member)
        return [word.incarnation for word in words if word is not None]


@dataclass(frozen=True, slots=True)
class RecordedVM:
    """An active actor of a provider that only records."""

    actor_id: ActorId
    shard: int


@dataclass
class RecordingProvider:
    """A VM provider that records what it is asked; in each shard that it serves one actor is active.

    `serving` and `stopping` are called before a shard is served and an actor is stopped, to fail or to wait.
    """

    calls: list[tuple[str, int]] = field(default_factory=list)
    serving: Callable[[int], None] = lambda shard: None
    stopping: Callable[[int], None] = lambda shard: None
    gate: asyncio.Event | None = None
    active: dict[int, RecordedVM] = field(default_factory=dict)

    def get_active_vms(self, shard: int | None = None) -> Sequence[ActiveVM]:
        """One a shard."""
        return [machine for number, machine in self.active.items() if shard in (None, number)]

    async def stop_vm(self, actor_id: ActorId) -> None:
        """Forget it, when the test lets it."""
        shard = shard_of(actor_id, SHARDS)
        self.calls.append(("stop_vm", shard))
        self.stopping(shard)
        if self.gate is not None:
            await self.gate.wait()
        self.active.pop(shard, None)

    async def serve_shard(self, shard: int) -> None:
        """From now on an actor is active."""
        self.calls.append(("serve", shard))
        self.serving(shard)
        self.active[shard] = RecordedVM(actor_of(shard), shard)

    async def prepare_shard(self, shard: int) -> None:
        """Nothing changes yet."""
        self.calls.append(("prepare", shard))

    async def leave_shard(self, shard: int) -> None:
        """Nor now."""
        self.calls.append(("leave", shard))

    def abandon_shard(self, shard: int) -> None:
        """Whatever is there is gone."""
        self.calls.append(("abandon", shard))
        self.active.pop(shard, None)

    def of(self, shard: int) -> list[str]:
        """What was asked about a shard, in order."""
        return [call for call, number in self.calls if number == shard]
