"""Everything the commands ask of the world, in one value, so that a test can stand in for the pool.

`CliContext.real` is the process as it is; what it imports is imported when it is used, so that `--help` is quick.
"""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from aether.cli.target import Target
from aether.core.cluster.overview import Overview
from aether.core.metrics.pool_metrics import PoolMetrics
from aether.correlation import Trace
from aether.dead_letters import DeadLetter
from aether.gateway.options import GatewayOptions
from aether.ids import ActorId, Position
from aether.model.definition import ActorType
from aether.ports import TaskBacklog
from aether.sends import SetSchedule
from aether.supervisor.options import RunOptions
from aether.system.environment import environment, import_from_here
from aether.task_view import FailedTask
from aether.waiting_tells import WaitingTells
from aether.wire import Answer, Event

if TYPE_CHECKING:
    from aether.inbox_needs import InboxContent
    from aether.untyped_client import Receipt

_NAMESPACE_WAIT = 0.8


class CliClient(Protocol):
    """A namespace of a running pool: `aether.untyped_client.UntypedClient`."""

    namespace: str
    server: str

    async def call(
        self,
        actor_id: ActorId,
        command: str,
        args: bytes = b"{}",
        *,
        deadline_s: float | None = None,
        command_id: str | None = None,
    ) -> Answer:
        """The answer to a command, or the typed error it carries."""
        ...

    async def state(self, actor_id: ActorId, version: int | None = None, *, deadline_s: float | None = None) -> bytes:
        """`{"id", "version", "state"}` as JSON."""
        ...

    def history(
        self, actor_id: ActorId, after_version: int = 0, *, deadline_s: float | None = None
    ) -> AsyncIterator[tuple[Event, Position]]:
        """Every stored event after a version; at most so long without one."""
        ...

    def keys(self, kind: str, *, deadline_s: float | None = None) -> AsyncIterator[str]:
        """The keys of a kind's actors that have a history."""
        ...

    def actors(self, *, deadline_s: float | None = None) -> AsyncIterator[ActorId]:
        """The actors of all kinds that have a history."""
        ...

    def tail(
        self, kind: str | None = None, key: str | None = None, *, deadline_s: float | None = None
    ) -> AsyncIterator[tuple[ActorId, Event, Position]]:
        """Every event as it is stored from now on, without end; at most so long until it begins."""
        ...

    async def trace(
        self,
        correlation_id: str,
        since: datetime | timedelta,
        *,
        limit: int,
        deadline_s: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Trace:
        """What the commands of a correlation id did since then, found in at most so many commits."""
        ...

    async def snapshot(self, actor_id: ActorId, *, deadline_s: float | None = None) -> bytes | None:
        """An actor's stored snapshot, or None, within so long."""
        ...

    async def drop_snapshots(self, kind: str, key: str | None = None, *, deadline_s: float | None = None) -> int:
        """Remove snapshots of a kind, or one actor's, within so long; how many."""
        ...

    async def schema(self) -> dict[str, Any]:
        """The running pool's `model.schema()`."""
        ...

    async def overview(self, *, deadline_s: float | None = None) -> Overview:
        """Members and shards."""
        ...

    async def metrics(self, *, deadline_s: float | None = None) -> PoolMetrics:
        """What each worker has measured."""
        ...

    async def schedules(self, kind: str = "", key: str = "", *, deadline_s: float | None = None) -> list[SetSchedule]:
        """The schedules whose next tick is waited for."""
        ...

    async def cancel_schedule(self, actor_id: ActorId, name: str, *, deadline_s: float | None = None) -> SetSchedule:
        """Have no further ticks of one of an actor's schedules; what it was."""
        ...

    def dead_letters(
        self, kind: str | None = None, key: str | None = None, *, deadline_s: float | None = None
    ) -> AsyncIterator[DeadLetter]:
        """The tells that were given up."""
        ...

    async def dead_letter(self, id: int, *, deadline_s: float | None = None) -> DeadLetter:
        """One of them."""
        ...

    async def retry_dead_letter(self, id: int, *, by: str = "", deadline_s: float | None = None) -> "Receipt":
        """Tell the same again, once."""
        ...

    async def drop_dead_letter(self, id: int, *, by: str = "", deadline_s: float | None = None) -> DeadLetter:
        """Forget it."""
        ...

    async def give_up_tells(
        self, actor_id: ActorId, until: int | None = None, *, deadline_s: float | None = None
    ) -> int:
        """Have what waits for an actor given up without another try; how many."""
        ...

    async def inbox_kept(self, *, deadline_s: float | None = None) -> "InboxContent":
        """How large the inbox is, and from where on it is needed for what."""
        ...

    async def waiting_tells(self, *, deadline_s: float | None = None) -> tuple[list[WaitingTells], int]:
        """What waits, actor by actor, and how many actors are left out."""
        ...

    @property
    def tasks(self) -> "CliTasks": ...  # noqa: D102 - a field

    async def is_deploying(self) -> bool:
        """Whether workers of several versions of the model serve, or some are about to be replaced."""
        ...

    async def repair(self, *, change: bool) -> Sequence["RepairedSetting"]:
        """What of the namespace is not as needed, changed where that can be done."""
        ...


class CliTasks(Protocol):
    """What is known of tasks, and what can be done with them: `aether.task_view.TaskView`."""

    async def backlog(self, deadline_s: float | None = None) -> list[TaskBacklog]:
        """How many of each name wait, and how many are taken."""
        ...

    async def failed(self, deadline_s: float | None = None) -> list[FailedTask]:
        """Those that have failed."""
        ...

    async def one(self, task_id: str, deadline_s: float | None = None) -> FailedTask:
        """One of them."""
        ...

    async def retry(self, task_id: str, deadline_s: float | None = None) -> FailedTask:
        """Have one tried again now."""
        ...

    async def cancel(self, task_id: str, deadline_s: float | None = None) -> None:
        """Have one stopped."""
        ...


class RepairedSetting(Protocol):
    """A setting of a stream or bucket that is not as needed: `aether.jetstream.stream_settings.SettingDifference`."""

    @property
    def stream(self) -> str: ...  # noqa: D102 - a field
    @property
    def setting(self) -> str: ...  # noqa: D102 - a field
    @property
    def found(self) -> Any: ...  # noqa: D102 - a field
    @property
    def needed(self) -> str: ...  # noqa: D102 - a field
    @property
    def can_be_changed(self) -> bool: ...  # noqa: D102 - a field


class LoadedModel(Protocol):
    """A model that was imported: `aether.model.model.Model`."""

    @property
    def name(self) -> str: ...  # noqa: D102 - a field
    @property
    def actor_types(self) -> Mapping[str, ActorType]: ...  # noqa: D102 - a field
    @property
    def task_types(self) -> Mapping[str, object]: ...  # noqa: D102 - a field

    def actor_type(self, kind: str) -> ActorType:
        """One compiled actor kind."""
        ...

    def schema(self) -> dict[str, Any]:
        """JSON Schema of every message and state."""
        ...


def run_here(options: RunOptions) -> int:
    """Supervise a pool from this process; its exit code."""
    from aether.supervisor.run import run  # noqa: PLC0415 - see above

    return run(options)


def run_gateway_here(options: GatewayOptions) -> int:
    """Serve over HTTP in this process; its exit code."""
    from aether.gateway.process import run_gateway  # noqa: PLC0415 - see above

    return run_gateway(options)


@dataclass(frozen=True, slots=True, kw_only=True)
class CliContext:
    """The world: its environment variables, whether stdout is a terminal, and the ways to a pool and to a model."""

    variables: Mapping[str, str]
    terminal: bool
    open_client: Callable[[Target], AbstractAsyncContextManager[CliClient]]
    load_model: Callable[[str], LoadedModel]
    run: Callable[[RunOptions], int]
    run_gateway: Callable[[GatewayOptions], int] = run_gateway_here

    @classmethod
    def real(cls) -> "CliContext":
        """This process."""
        return cls(
            variables=environment(),
            terminal=sys.stdout.isatty(),
            open_client=_open_client,
            load_model=_load_model,
            run=run_here,
        )


def _open_client(target: Target) -> AbstractAsyncContextManager[CliClient]:
    from aether.connecting import connect_untyped  # noqa: PLC0415 - see above

    # The wait for a namespace knows why it is not there, and must say so before the command's own time is up.
    wait_s = target.timeout_s * _NAMESPACE_WAIT
    return connect_untyped(namespace=target.namespace, calls=target.calls, connection=target.connection, wait_s=wait_s)


def _load_model(reference: str) -> LoadedModel:
    from aether.model.address import load_model  # noqa: PLC0415 - see above

    import_from_here()
    with contextlib.redirect_stdout(sys.stderr):  # what a module prints when imported is not the answer
        return load_model(reference)
