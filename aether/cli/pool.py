"""What the commands do with a running pool: each a coroutine over a client, bounded by the command's time-out.

Opens one client, asks, and gives values back; it prints nothing. Raises the typed errors of `aether.errors`.
"""

import asyncio
import logging
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from aether.cli.board import Board
from aether.cli.context import CliClient, CliContext, LoadedModel, RepairedSetting
from aether.cli.target import Target
from aether.core.backoff import Backoff
from aether.core.cluster.overview import Overview
from aether.correlation import Trace
from aether.errors import DeadlineExceeded, Unavailable, UnknownActor, UnknownCommand, nothing_stored
from aether.history_check import CheckedHistories, check_histories
from aether.ids import ActorId
from aether.model.schema_arguments import GivenArguments, encode_arguments
from aether.model.schema_reading import Schema
from aether.runtime.snapshots import describe_snapshot
from aether.sends import SetSchedule
from aether.wire import Event

if TYPE_CHECKING:
    pass

log = logging.getLogger("aether.cli")

_SAY_AFTER_S = 1.0
_LEFT_MIN_S = 0.001
_ASK_AGAIN = Backoff(first_s=0.05, cap_s=0.5)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Reached:
    """An open client, the command's time limit, and the model where the user named one.

    `whole_s`: how long the command may take, in seconds; of one that does many things, each of them.
    """

    client: CliClient
    limit: asyncio.Timeout
    model: LoadedModel | None
    whole_s: float
    ends_s: float

    async def board(self, *, wait: bool = True) -> Board:
        """The model, as named by the user or as the pool has it; a pool that is only starting is waited for.

        Raises the last `Unavailable` when the time is nearly up.
        """
        if self.model is not None:
            return Board(self.model.schema())
        attempt, begun_s, said = 0, asyncio.get_running_loop().time(), False
        while True:
            try:
                source = f" (asked: namespace {self.client.namespace} at {self.client.server})"
                return Board(await self.client.schema(), source)
            except Unavailable as error:
                delay_s, now_s = _ASK_AGAIN.delay_s(attempt, jitter=0.5), asyncio.get_running_loop().time()
                if not wait or self.ends_s - now_s <= delay_s:
                    raise
                if now_s - begun_s > _SAY_AFTER_S and not said:
                    said = True
                    log.warning("still waiting for the pool: %s", error)
            await asyncio.sleep(delay_s)
            attempt += 1

    def ends_within(self, seconds: float) -> bool:
        """Whether the command's time is up in so many seconds."""
        return self.ends_s - asyncio.get_running_loop().time() <= seconds

    def left_s(self) -> float:
        """Seconds until the command's time is up; from now on the caller bounds itself."""
        self.limit.reschedule(None)
        return max(self.ends_s - asyncio.get_running_loop().time(), _LEFT_MIN_S)


def in_pool(
    outside: CliContext, target: Target, model: LoadedModel | None, use: Callable[[Reached], Awaitable[Value]]
) -> Value:
    """Open a client, use it, close it. Raises `Unavailable` when the time is up."""

    async def whole() -> Value:
        async with _reach(outside, target, model) as reached:
            return await use(reached)

    return asyncio.run(whole())


@asynccontextmanager
async def _reach(outside: CliContext, target: Target, model: LoadedModel | None) -> AsyncIterator[Reached]:
    try:
        async with asyncio.timeout(target.timeout_s) as limit, AsyncExitStack() as stack:
            ends_s = asyncio.get_running_loop().time() + target.timeout_s
            yield Reached(await _opened(outside, target, stack), limit, model, target.timeout_s, ends_s)
    except TimeoutError:
        text = f"no answer from the pool at {target.connection.shown_url} within {target.timeout_s:g} s"
        raise Unavailable(text, namespace=target.namespace) from None


async def _opened(outside: CliContext, target: Target, stack: AsyncExitStack) -> CliClient:
    try:
        return await stack.enter_async_context(outside.open_client(target))
    except Unavailable as error:
        raise Unavailable(f"{error.message}{target.unreachable_hint}", **error.details) from None


async def call(
    reached: Reached, actor_id: ActorId, command: str, given: GivenArguments, command_id: str | None
) -> bytes:
    """The reply as JSON. When the outcome is unknown the error says how to find it out."""
    board, declared = await _declared(reached, actor_id.kind, command)
    args = encode_arguments(given, command, declared.get("args", {}), board.document)
    if reached.model is not None:
        reached.model.actor_type(actor_id.kind).commands[command].decode_args(args)
    try:
        answer = await reached.client.call(actor_id, command, args, deadline_s=reached.left_s(), command_id=command_id)
    except DeadlineExceeded as error:
        if error.outcome_known:
            raise
        if declared.get("query"):
            raise nothing_stored(error) from None
        named = command_id or error.details.get("command_id", "")
        text = f"{error.message}; whether command id {named} was committed, {_history_command(actor_id)} shows"
        raise DeadlineExceeded(text, outcome_known=False) from None
    return bytes(answer.value)


def _history_command(actor_id: ActorId) -> str:
    """What to type to see an actor's history."""
    if not actor_id.key.isprintable():
        return "the actor's history"
    values = ["--"] if actor_id.key.startswith("-") else []
    return f"`{shlex.join(['aether', 'history', *values, actor_id.kind, actor_id.key])}`"


async def _declared(reached: Reached, kind: str, command: str) -> tuple[Board, Schema]:
    """The model and the command in it. While a deployment is under way another worker is asked for its model.

    Raises `UnknownActor`, `UnknownCommand` when there is none, or no time is left.
    """
    attempt = 0
    while True:
        board = await reached.board()
        try:
            return board, board.command(kind, command)
        except (UnknownActor, UnknownCommand):
            delay_s = _ASK_AGAIN.delay_s(attempt, jitter=0.5)
            if reached.model is not None or reached.ends_within(delay_s) or not await reached.client.is_deploying():
                raise
        await asyncio.sleep(delay_s)
        attempt += 1


async def state(reached: Reached, actor_id: ActorId, version: int | None) -> bytes:
    """`{"id", "version", "state"}` as JSON. Raises `UnknownActor` for a kind that the model has not."""
    (await reached.board()).actor(actor_id.kind)
    return await reached.client.state(actor_id, version, deadline_s=reached.left_s())


async def history(reached: Reached, actor_id: ActorId, after_version: int, receive: Callable[[Event], None]) -> None:
    """Hand each event on as it is read. Raises `UnknownActor` for a kind that the model has not."""
    (await reached.board()).actor(actor_id.kind)
    async for event, _position in reached.client.history(actor_id, after_version, deadline_s=reached.left_s()):
        receive(event)


async def keys(reached: Reached, kind: str, receive: Callable[[str], None]) -> None:
    """Hand each key on as it is read. Raises `UnknownActor` when there is none and the model has no such kind."""
    found = False
    async for key in reached.client.keys(kind, deadline_s=reached.left_s()):
        found = True
        receive(key)
    if not found:
        (await reached.board()).actor(kind)


async def tail(
    reached: Reached,
    kind: str | None,
    key: str | None,
    types: Collection[str],
    receive: Callable[[ActorId, Event], None],
) -> None:
    """Hand each event of these types, or of all, on as it is stored, without end."""
    async for actor_id, event, _position in reached.client.tail(kind, key, deadline_s=reached.left_s()):
        if not types or event.type in types:
            receive(actor_id, event)


async def trace(
    reached: Reached,
    correlation_id: str,
    since: datetime | timedelta,
    limit: int,
    progress: Callable[[int, int], None] | None,
) -> Trace:
    """What the commands of a correlation id did since then; `progress` hears how many commits of how many were read."""
    left_s = reached.left_s()
    return await reached.client.trace(correlation_id, since, limit=limit, deadline_s=left_s, progress=progress)


async def snapshot(reached: Reached, actor_id: ActorId) -> dict[str, Any]:
    """What the actor's snapshot is: {} when it has none; whether the model that was loaded can use it."""
    raw = await reached.client.snapshot(actor_id, deadline_s=reached.left_s())
    if raw is None:
        return {}
    actor_type = None if reached.model is None else reached.model.actor_type(actor_id.kind)
    return describe_snapshot(raw, actor_type)


async def drop_snapshots(reached: Reached, kind: str, key: str | None) -> int:
    """How many snapshots of a kind, or of one actor, were removed. The kind may be one that no model has any more."""
    return await reached.client.drop_snapshots(kind, key, deadline_s=reached.left_s())


async def schedules(reached: Reached, kind: str | None, key: str | None) -> list[SetSchedule]:
    """The schedules whose next tick is waited for. Raises `UnknownActor` when there is none, and no such kind."""
    found = await reached.client.schedules(kind or "", key or "", deadline_s=reached.left_s())
    if kind is not None and not found:
        await check_known(reached, kind)
    return found


async def cancel_schedule(reached: Reached, actor_id: ActorId, name: str) -> SetSchedule:
    """The schedule that was cancelled. When that is not known the error says how to find it out."""
    try:
        return await reached.client.cancel_schedule(actor_id, name, deadline_s=reached.left_s())
    except DeadlineExceeded as error:
        if error.outcome_known:
            raise
        text = f"{error.message}; ask again: if it was cancelled, there is no such schedule then"
        raise DeadlineExceeded(text, outcome_known=False) from None


async def check_known(reached: Reached, kind: str) -> None:
    """Raise `UnknownActor` for a kind that the running pool does not have; without a pool nothing is known."""
    with suppress(Unavailable, DeadlineExceeded):
        (await reached.board(wait=False)).actor(kind)


async def overview(reached: Reached) -> tuple[str, Overview]:
    """The namespace, and its members in order of node and slot with its shards."""
    found = await reached.client.overview(deadline_s=reached.left_s())
    members = sorted(found.members, key=lambda row: (str(row.get("node")), row.get("slot") or 0))
    return reached.client.namespace, found._replace(members=members)


async def repair(reached: Reached, change: bool) -> list[RepairedSetting]:
    """What of the namespace's streams and buckets is not as needed; with `change`, set where it can be."""
    return list(await reached.client.repair(change=change))


async def check(reached: Reached, sample: int | None, without: frozenset[str]) -> CheckedHistories:
    """What the named model makes of the histories of some actors of each kind, or of all of them."""
    assert reached.model is not None
    model, choose = reached.model, Random()  # noqa: S311 - no secret
    return await check_histories(
        reached.client,
        model.actor_types,
        model.task_types,
        sample=sample,
        choose=choose,
        without=without,
        deadline_s=reached.left_s(),
    )


async def schema(reached: Reached) -> Board:
    """The model of the running pool."""
    return await reached.board()
