"""A stand-in for the pool behind the command line, and what runs a command line over it."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from msgspec import Raw

from aether import Actor, event
from aether.cli.context import CliContext, LoadedModel
from aether.cli.execute import execute
from aether.cli.target import Target
from aether.core.cluster.overview import Overview, ShardOverview, ShardState
from aether.core.inbox_floor import InboxNeed
from aether.core.metrics.pool_metrics import PoolMetrics
from aether.correlation import Trace
from aether.dead_letters import DeadLetter
from aether.errors import AetherError, InvalidCommand
from aether.ids import ActorId, Position
from aether.inbox_needs import InboxContent
from aether.jetstream.stream_settings import SettingDifference
from aether.model.definition import ActorType
from aether.model.model import Model
from aether.ports import InboxSize, TaskBacklog
from aether.sends import SetSchedule
from aether.supervisor.options import RunOptions
from aether.task_view import FailedTask
from aether.untyped_client import Receipt
from aether.waiting_tells import WaitingTells
from aether.wire import Answer, Event, instant, new_event


@dataclass(frozen=True)
class Deposited:
    """What is stored in the stand-in's histories."""

    amount: Decimal


class Account(Actor):
    """The actor of the model that a command line names."""

    @event
    def deposited(self, e: Deposited) -> None:
        """Nothing is kept."""


DEPOSIT = ("call", "account", "alice", "deposit")

SCHEMA: dict[str, Any] = {
    "model": "bank",
    "actors": {
        "account": {
            "description": "A bank account.\nMore about it.",
            "commands": {
                "deposit": {
                    "query": False,
                    "description": "Add money.",
                    "args": {
                        "type": "object",
                        "properties": {"amount": {"type": "integer", "exclusiveMinimum": 0}},
                        "required": ["amount"],
                        "additionalProperties": False,
                    },
                    "reply": {"type": "integer"},
                },
                "statement": {"query": True, "args": {"type": "object", "properties": {}}, "reply": {"type": "null"}},
            },
            "events": {"Deposited": {"$ref": "#/$defs/Deposited"}},
            "state": {"type": "object", "properties": {"balance": {"type": "integer", "default": 0}}},
        }
    },
    "$defs": {
        "Deposited": {
            "title": "Deposited",
            "type": "object",
            "properties": {"amount": {"type": "integer"}},
            "required": ["amount"],
            "description": "Money came in.",
        }
    },
}
MEMBERS = [
    {"node": "b", "slot": 0, "pid": 12, "state": "active", "shards": 128},
    {"node": "a", "slot": 1, "pid": 11, "state": "active"},
    {"node": "a", "slot": 0, "pid": 10, "state": "draining"},
]
SHARDS = [
    ShardOverview(0, ShardState.HELD, "a-1", "a-1", 12),
    ShardOverview(1, ShardState.MOVING, "a-0", "b-0", 7),
    ShardOverview(2, ShardState.FREE, "", "b-0", 0),
]


def stored(version: int, type: str = "Deposited") -> Event:
    return new_event(version=version, source="/bank/account/alice", type=type, time=instant(0),
                     data=b'{\n "amount": 10.50 }', commandid=f"c{version}")  # fmt: skip


@dataclass
class Tasks:
    """Tasks that remember what was asked of them."""

    counts: list[TaskBacklog] = field(default_factory=list)
    notes: list[FailedTask] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def backlog(self, deadline_s: float | None = None) -> list[TaskBacklog]:
        return self.counts

    async def failed(self, deadline_s: float | None = None) -> list[FailedTask]:
        return self.notes

    async def one(self, task_id: str, deadline_s: float | None = None) -> FailedTask:
        for one in self.notes:
            if one.id == task_id:
                return one
        raise InvalidCommand(f"there is no failed task {task_id}", path="id")

    async def retry(self, task_id: str, deadline_s: float | None = None) -> FailedTask:
        self.asked.append(("retry", task_id))
        return await self.one(task_id)

    async def cancel(self, task_id: str, deadline_s: float | None = None) -> None:
        self.asked.append(("cancel", task_id))


@dataclass
class Pool:
    """A pool that remembers what it was asked, and answers or raises as it was told."""

    error: AetherError | None = None
    refusal: AetherError | None = None
    reply: bytes = b"10"
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    differences: list[SettingDifference] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    measured: list[PoolMetrics | BaseException] = field(default_factory=lambda: [PoolMetrics((), (), 3)])
    """One after the other; the last again and again."""
    deploying: bool = False
    traced: Trace | None = None
    snapshots: dict[str, bytes] = field(default_factory=dict[str, bytes])
    schemas: list[dict[str, Any]] = field(default_factory=list)
    """Of the workers that are asked one after the other; none: all have the same."""

    dead: list[DeadLetter] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    waiting: list[WaitingTells] = field(default_factory=list)
    left_out: int = 0
    kept: InboxContent = field(
        default_factory=lambda: InboxContent(InboxSize(0, 0, 0, 0), [InboxNeed(0, "the end of the stream")])
    )
    tasks: Tasks = field(default_factory=Tasks)
    set_schedules: list[SetSchedule] = field(default_factory=list[SetSchedule])

    namespace = "bank"
    server = "nats://h:1"

    async def call(
        self,
        actor_id: ActorId,
        command: str,
        args: bytes = b"{}",
        *,
        deadline_s: float | None = None,
        command_id: str | None = None,
    ) -> Answer:
        self.asked.append((str(actor_id), command, json.loads(args), command_id))
        assert deadline_s is not None
        assert 0 < deadline_s <= 60
        if self.error is not None:
            raise self.error
        return Answer(ok=True, value=Raw(self.reply), version=1, position=1)

    async def state(self, actor_id: ActorId, version: int | None = None, *, deadline_s: float | None = None) -> bytes:
        assert deadline_s is not None
        assert 0 < deadline_s <= 60
        self.asked.append((str(actor_id), version))
        if self.error is not None:
            raise self.error
        return b'{"id": {"kind": "account", "key": "alice"}, "version": 1, "state": {"balance": 10.50}}'

    async def history(
        self, actor_id: ActorId, after_version: int = 0, *, deadline_s: float | None = None
    ) -> AsyncIterator[tuple[Event, Position]]:
        assert deadline_s is not None
        assert 0 < deadline_s <= 60
        for version in range(after_version + 1, 4):
            yield stored(version), Position(version)
        if self.error is not None:
            raise self.error

    async def keys(self, kind: str, *, deadline_s: float | None = None) -> AsyncIterator[str]:
        self.asked.append(("keys", kind))
        for key in self.listed:
            yield key
        if self.error is not None:
            raise self.error

    async def actors(self, *, deadline_s: float | None = None) -> AsyncIterator[ActorId]:
        assert deadline_s is not None
        for key in self.listed:
            yield ActorId("account", key)
        if self.error is not None:
            raise self.error

    async def tail(
        self, kind: str | None = None, key: str | None = None, *, deadline_s: float | None = None
    ) -> AsyncIterator[tuple[ActorId, Event, Position]]:
        self.asked.append(("tail", kind, key))
        for version in range(1, 4):
            yield ActorId("account", "alice"), stored(version), Position(version)
        yield ActorId("account", "alice"), stored(4, "Withdrawn"), Position(4)
        raise self.error or KeyboardInterrupt

    async def trace(
        self,
        correlation_id: str,
        since: datetime | timedelta,
        *,
        limit: int,
        deadline_s: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Trace:
        assert deadline_s is not None
        assert 0 < deadline_s <= 60
        self.asked.append(("trace", correlation_id, since, limit, progress))
        if self.error is not None:
            raise self.error
        assert self.traced is not None
        return self.traced

    async def snapshot(self, actor_id: ActorId, *, deadline_s: float | None = None) -> bytes | None:
        assert deadline_s is not None
        assert 0 < deadline_s <= 60
        self.asked.append(("snapshot", actor_id.kind, actor_id.key))
        return self.snapshots.get(actor_id.key)

    async def drop_snapshots(self, kind: str, key: str | None = None, *, deadline_s: float | None = None) -> int:
        assert deadline_s is not None
        assert 0 < deadline_s <= 60
        self.asked.append((kind, key))
        if self.error is not None:
            raise self.error
        return 2

    async def schema(self) -> dict[str, Any]:
        return self.schemas.pop(0) if self.schemas else SCHEMA

    async def metrics(self, *, deadline_s: float | None = None) -> PoolMetrics:
        assert deadline_s is not None
        assert 0 < deadline_s <= 60
        found = self.measured.pop(0) if len(self.measured) > 1 else self.measured[0]
        if isinstance(found, BaseException):
            raise found
        return found

    async def schedules(self, kind: str = "", key: str = "", *, deadline_s: float | None = None) -> list[SetSchedule]:
        self.asked.append(("schedules", kind, key))
        return self.set_schedules

    async def cancel_schedule(self, actor_id: ActorId, name: str, *, deadline_s: float | None = None) -> SetSchedule:
        assert deadline_s is not None
        self.asked.append(("cancel schedule", str(actor_id), name))
        if self.error is not None:
            raise self.error
        for one in self.set_schedules:
            if (one.source, one.name) == (str(actor_id), name):
                return one
        raise InvalidCommand(f"{actor_id} has no schedule {name!r}", path="name")

    async def dead_letters(
        self, kind: str | None = None, key: str | None = None, *, deadline_s: float | None = None
    ) -> AsyncIterator[DeadLetter]:
        assert deadline_s is not None
        self.asked.append(("dead letters", kind, key))
        for letter in self.dead:
            yield letter
        if self.error is not None:
            raise self.error

    async def dead_letter(self, id: int, *, deadline_s: float | None = None) -> DeadLetter:
        found = [one for one in self.dead if one.id == id]
        if not found:
            raise InvalidCommand(f"there is no dead letter {id}", path="id")
        return found[0]

    async def retry_dead_letter(self, id: int, *, by: str = "", deadline_s: float | None = None) -> Receipt:
        assert deadline_s is not None
        assert deadline_s > 1, "it has the command's time, and no rest of it"
        self.asked.append(("retry", id, by))
        if id in self.gone:
            raise InvalidCommand(f"there is no dead letter {id} any more", path="id", state="retried")
        if id in self.lost:
            raise InvalidCommand(f"the arguments of {id} were too large to be kept beside its error", path="id")
        letter = await self.dead_letter(id)
        return Receipt(letter.actor_id, f"retry:{id}", id + 100)

    async def drop_dead_letter(self, id: int, *, by: str = "", deadline_s: float | None = None) -> DeadLetter:
        self.asked.append(("drop", id, by))
        return await self.dead_letter(id)

    async def give_up_tells(
        self, actor_id: ActorId, until: int | None = None, *, deadline_s: float | None = None
    ) -> int:
        assert deadline_s is not None
        self.asked.append(("give up", str(actor_id), until))
        return sum(one.count for one in self.waiting if one.actor == str(actor_id))

    async def inbox_kept(self, *, deadline_s: float | None = None) -> InboxContent:
        return self.kept

    async def waiting_tells(self, *, deadline_s: float | None = None) -> tuple[list[WaitingTells], int]:
        return list(self.waiting), self.left_out

    async def is_deploying(self) -> bool:
        return self.deploying

    async def repair(self, *, change: bool) -> list[SettingDifference]:
        self.asked.append(("repair", change))
        return list(self.differences)

    async def overview(self, *, deadline_s: float | None = None) -> Overview:
        return Overview(list(MEMBERS), list(SHARDS))


class Declared:
    """A model that was imported."""

    name = "shop"
    actor_types: ClassVar[Mapping[str, ActorType]] = Model("shop", actors=[Account]).actor_types
    task_types: ClassVar[Mapping[str, object]] = {}

    def actor_type(self, kind: str) -> Any:
        raise InvalidCommand("checked against the model", path=kind)

    def schema(self) -> dict[str, Any]:
        return {**SCHEMA, "model": "shop"}


@dataclass
class Ran:
    """How a command line went."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def runner(capfd: pytest.CaptureFixture[str]) -> Run:
    """What runs a command line in this process, over a pool of the test."""

    def run(
        *arguments: str,
        pool: Pool | None = None,
        variables: Mapping[str, str] | None = None,
        terminal: bool = False,
        load_model: Callable[[str], LoadedModel] | None = None,
        run_pool: Callable[[RunOptions], int] = lambda _: 0,
    ) -> Ran:
        used = pool or Pool()

        @asynccontextmanager
        async def open_client(target: Target) -> AsyncIterator[Pool]:
            used.targets.append(target)
            if used.refusal is not None:
                raise used.refusal
            yield used

        outside = CliContext(
            variables=variables or {},
            terminal=terminal,
            open_client=open_client,
            load_model=load_model or (lambda _: Declared()),
            run=run_pool,
        )
        code = execute(arguments, outside)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run
