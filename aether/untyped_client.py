"""A connection to one namespace without a model: names and JSON in, JSON out. Tools use it, and the typed client.

To what a `ReadingClient` reads from the store it adds what needs workers or changes something: calls, tells, states,
the questions that tools have about a pool, dead letters, snapshots, repairs.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from msgspec import Raw
from msgspec.structs import replace

from aether.aio import Room
from aether.client_node import ClientNode
from aether.config import CallConfig
from aether.core.cluster.deployment import is_under_way
from aether.core.cluster.membership import decode_member
from aether.core.cluster.overview import Overview, ask_members, overview
from aether.core.metrics.pool_metrics import PoolMetrics, ask_workers
from aether.dead_letters import DeadLetter
from aether.errors import (
    AetherError,
    ClientUnusable,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    Unavailable,
    asked_at,
    nothing_stored,
)
from aether.ids import ActorId, Position, check_kind, checked_command_id
from aether.inbox_needs import InboxContent
from aether.inbox_view import InboxView
from aether.jetstream.stream_settings import SettingDifference
from aether.model.definition import ActorType
from aether.model.schedules import checked_name
from aether.names import encode_token, shard_of
from aether.ports import NotSent, NotStored, StoredCommit
from aether.reading_client import ReadingClient
from aether.runtime.giving_up import decode_count, encode_until
from aether.sends import SetSchedule, decode_schedule
from aether.state_stream import StateStream
from aether.table_keys import MEMBER_PREFIX, member_of_row_key
from aether.task_view import TaskView
from aether.tells import Tell, checked_args, encode_tell
from aether.tracing.configured import configured_tracing
from aether.tracing.spans import SpanKind, attributes_of, ended
from aether.waiting_tells import RunningTask, WaitingTells
from aether.wire import (
    GIVE_UP_COMMAND,
    STATE_COMMAND,
    UNSCHEDULE_COMMAND,
    Answer,
    answer_error,
    decode_answer,
)

VERSION_MAX = 2**63 - 1

STATUS_WAIT_S = 1.0
"""How long workers may take to say how they are before they count as silent."""

TELLS_BYTES_MAX = 8 * 1024 * 1024
"""So many bytes of tells of a client are on their way at once; further ones wait for room. Else all of many would be
late, sent again and again, and hold up the server."""

TELL_BYTES = 2048
"""What a tell counts beside its message, so that the bound is one of their number, too."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A command that was told is on the disk: for `actor_id`, as `command_id`, at `sequence` in the inbox stream."""

    actor_id: ActorId
    command_id: str
    sequence: int


class UntypedClient(ReadingClient):
    """A connection to one namespace; made by `aether.connecting.connect_untyped`."""

    def __init__(self, node: ClientNode, calls: CallConfig) -> None:
        super().__init__(node, calls)
        self._inbox = InboxView(node, self._patience)
        self.tasks = TaskView(node, self._patience)
        self._tracing = configured_tracing()
        self._tells = Room(TELLS_BYTES_MAX)

    async def schedules(self, kind: str = "", key: str = "", *, deadline_s: float | None = None) -> list[SetSchedule]:
        """The schedules whose next tick is waited for, the next one first: of an actor, of a kind, or all.

        Raises `InvalidCommand` for what can be no kind or key, and what `history` raises.
        """
        if kind:
            check_kind(kind)
        if key:
            ActorId(kind, key)
        patience = self._patience("the schedules", deadline_s, "read")
        found = await patience.ask(partial(self._node.timers.armed, kind, key))
        return sorted(found, key=lambda one: (one.at, one.source, one.name))

    async def cancel_schedule(self, actor_id: ActorId, name: str, *, deadline_s: float | None = None) -> SetSchedule:
        """Have no further ticks of a schedule of an actor, whose kind may be gone; what it was, without arguments.

        The actor itself ends it, so it needs a worker; it is on the disk when this returns. A tick that is due and not
        run yet is not run. Raises `InvalidCommand` with the path `name` for what the actor has not set, else as `call`.
        """
        args = orjson.dumps({"name": checked_name(name)})
        answer = await self.call(actor_id, UNSCHEDULE_COMMAND, args, deadline_s=deadline_s)
        setting = decode_schedule(bytes(answer.value))
        assert isinstance(setting, SetSchedule)
        return setting

    def call(
        self,
        actor_id: ActorId,
        command: str,
        args: bytes = b"{}",
        *,
        deadline_s: float | None = None,
        command_id: str | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """The answer to a command whose arguments are a JSON object by name. Raises what `Caller.call` raises."""
        return self.caller.call(actor_id, command, args, deadline_s=deadline_s, command_id=command_id)

    async def tell(
        self,
        actor_id: ActorId,
        command: str,
        args: bytes = b"{}",
        *,
        deadline_s: float | None = None,
        command_id: str | None = None,
        caller: str = "",
        correlation_id: str = "",
        traceparent: str = "",
    ) -> Receipt:
        """Store a command that some worker runs once it can; returns when it is on the disk.

        An id that comes again within two minutes is stored once. Raises `InvalidCommand` for one that is too large, and
        for arguments that are no JSON object; `Overloaded` when until its deadline there was no room for it beside
        what the client has told at once; `Unavailable` when it is not stored by then, and
        `DeadlineExceeded(outcome_known=False)` when that is not known, with `command_id` in its details;
        `ClientUnusable`.
        """
        if command_id is not None:
            checked_command_id(command_id, "command_id")
        chosen, tracing = command_id or self._new_id(), self._tracing
        tell = Tell(
            kind=actor_id.kind, key=actor_id.key, command=command, args=Raw(checked_args(args)), id=chosen,
            correlationid=correlation_id or chosen, caller=caller, traceparent=traceparent,
        )  # fmt: skip
        if tracing is None:
            return await self._tell(actor_id, tell, deadline_s)
        attributes = attributes_of(str(actor_id), command, chosen)
        name = f"send {actor_id.kind}.{command}"
        with ended(span := tracing.span(name, SpanKind.PRODUCER, attributes, parent=traceparent)):
            return await self._tell(actor_id, replace(tell, traceparent=span.traceparent), deadline_s)

    async def _tell(self, actor_id: ActorId, tell: Tell, deadline_s: float | None) -> Receipt:
        inbox = self._node.inbox
        payload = encode_tell(tell)
        message_id = f"{encode_token(str(actor_id))}.{encode_token(tell.id)}"
        shard = shard_of(actor_id, self._node.shards)
        patience = self._patience(f"the tell to {actor_id}", deadline_s, "stored")
        maybe_stored = in_line = False
        size = len(payload) + TELL_BYTES

        async def send() -> int:
            nonlocal maybe_stored, in_line
            in_line = True
            await self._tells.take(size)
            in_line, connected = False, not self.trouble
            try:
                return await inbox.send(shard, payload, message_id)
            except (NotSent, NotStored):
                raise
            except Unavailable:
                maybe_stored = True
                raise
            except asyncio.CancelledError:  # at the deadline; without a connection it has waited for one
                maybe_stored = maybe_stored or connected or not self.trouble
                raise
            finally:
                self._tells.give_back(size)

        try:
            return Receipt(actor_id, tell.id, await patience.ask(send))
        except (Unavailable, DeadlineExceeded, ClientUnusable) as error:
            if in_line and not maybe_stored and isinstance(error, DeadlineExceeded):
                text = f"{TELLS_BYTES_MAX} bytes of tells were on their way until the deadline of that to {actor_id}"
                raise Overloaded(text, limit="tells_bytes_max") from None
            raise _not_told(error, tell.id, maybe_stored=maybe_stored) from None

    async def state(self, actor_id: ActorId, version: int | None = None, *, deadline_s: float | None = None) -> bytes:
        """`{"id", "version", "state"}` as JSON, now or at an earlier version. Raises what `state_answer` raises."""
        return bytes((await self.state_answer(actor_id, version, deadline_s=deadline_s)).value)

    async def state_answer(
        self, actor_id: ActorId, version: int | None = None, *, deadline_s: float | None = None
    ) -> Answer:
        """The answer whose value `state` is, with the position of the last commit that is in the state.

        Raises `InvalidCommand` with the path `version` for one that cannot be, and for one that is not there yet: then
        its details are `asked` and `latest`.
        """
        if version is not None and (type(version) is not int or not 0 <= version <= VERSION_MAX):
            raise InvalidCommand(f"a version is a whole number from 0, not {version!r:.40}", path="version")
        args = orjson.dumps({} if version is None else {"version": version})
        try:
            return await self.call(actor_id, STATE_COMMAND, args, deadline_s=deadline_s)
        except DeadlineExceeded as late:
            raise nothing_stored(late) from None

    async def snapshot(self, actor_id: ActorId, *, deadline_s: float | None = None) -> bytes | None:
        """The actor's snapshot as it is stored, or None. Raises what `history` raises."""
        patience = self._patience(f"the snapshot of {actor_id}", deadline_s)
        return await patience.ask(lambda: self._node.snapshots.load(actor_id))

    async def drop_snapshots(self, kind: str, key: str | None = None, *, deadline_s: float | None = None) -> int:
        """Remove the snapshot of one actor, or those of all actors of a kind; how many there were.

        An actor that a worker has in memory keeps its state, and the worker snapshots it again, at the latest when it
        drains: drop while no worker runs. After a lost connection it removes again what is left, and counts that.
        Raises `Unavailable`, `DeadlineExceeded(outcome_known=False)`, `ClientUnusable`.
        """
        snapshots = self._node.snapshots

        async def drop() -> int:
            if key is None:
                return await snapshots.delete_kind(kind)
            actor_id = ActorId(kind, key)
            known = await snapshots.load(actor_id) is not None
            await snapshots.delete(actor_id)
            return int(known)

        what = f"the snapshots of {kind}" if key is None else f"the snapshot of {kind}/{key}"
        return await self._patience(what, deadline_s, "removed").ask(drop)

    async def schema(self) -> dict[str, Any]:
        """The running pool's `model.schema()`. Raises `Unavailable` when no worker answers."""
        self.check()
        try:
            raw = await self._node.transport.ask_info()
        except NotSent:
            raise asked_at(Unavailable(self.trouble or "no worker answers"), self.namespace, self.server) from None
        found = orjson.loads(raw)
        if isinstance(found, dict) and "actors" in found:
            return found
        refusal = decode_answer(raw).error
        raise answer_error(refusal) if refusal is not None else Unavailable("the pool's answer is no schema")

    async def overview(self, *, deadline_s: float | None = None) -> Overview:
        """Members and shards as the table has them now: who is there, who holds what, what is on its way.

        Raises what `history` raises.
        """
        patience = self._patience("the table of members", deadline_s)
        rows = await patience.ask(self._node.table.rows)
        names = {name for row in rows if (name := member_of_row_key(row.key)) is not None}
        told = await ask_members(self._node.transport.ask_status, names, STATUS_WAIT_S)
        return overview(rows, self._node.shards, told)

    async def metrics(self, *, deadline_s: float | None = None) -> PoolMetrics:
        """What each worker has measured, and which workers did not answer within `STATUS_WAIT_S`.

        Raises what `history` raises.
        """
        patience = self._patience("the table of members", deadline_s)
        rows = await patience.ask(partial(self._node.table.rows, MEMBER_PREFIX))
        members = [(member_of_row_key(row.key), decode_member(row.value)) for row in rows]
        expected = {(name, row.incarnation) for name, row in members if name is not None and row is not None}
        return await ask_workers(self._node.transport.ask_metrics, expected, self._node.shards, STATUS_WAIT_S)

    async def dead_letters(
        self, kind: str | None = None, key: str | None = None, *, deadline_s: float | None = None
    ) -> AsyncIterator[DeadLetter]:
        """The tells that were given up, the oldest first: all, those to a kind's actors, or those to one actor.

        Raises what `history` raises.
        """
        if kind is not None:
            check_kind(kind)
        async for letter in self._inbox.dead_letters(kind, key, deadline_s):
            yield letter

    async def dead_letter(self, id: int, *, deadline_s: float | None = None) -> DeadLetter:
        """One of them. Raises `InvalidCommand` with the path `id` when it is none any more, what `history` raises."""
        return await self._inbox.dead_letter(id, deadline_s)

    async def retry_dead_letter(self, id: int, *, by: str = "", deadline_s: float | None = None) -> Receipt:
        """Tell the same actor the same again, once however many ask for it at a time; the dead letter is over then.

        The new tell is known as `retry:<id>`. `by` says in the log who has done it. Returns when it is on the disk.
        Raises `InvalidCommand` with the path `id` for what is no dead letter any more, `Unavailable`,
        `DeadlineExceeded`, `ClientUnusable`; to ask again is safe.
        """
        letter, command_id, sequence = await self._inbox.retry(id, by, deadline_s)
        return Receipt(letter.actor_id, command_id, sequence)

    async def drop_dead_letter(self, id: int, *, by: str = "", deadline_s: float | None = None) -> DeadLetter:
        """Take it out of the list for good; its actor's history keeps it. What it was.

        Raises what `retry_dead_letter` raises.
        """
        return await self._inbox.drop(id, by, deadline_s)

    async def inbox_kept(self, *, deadline_s: float | None = None) -> InboxContent:
        """How large the inbox stream is, and from where on it is needed for what. Raises what `history` raises."""
        return await self._inbox.kept(deadline_s)

    async def waiting_tells(self, *, deadline_s: float | None = None) -> tuple[list[WaitingTells], int]:
        """What waits, actor by actor, as the owners know it, and of how many more actors none tells.

        Workers that do not answer within `STATUS_WAIT_S` are left out. Raises what `history` raises.
        """
        return await self._inbox.waiting(await self._member_names(deadline_s), STATUS_WAIT_S)

    async def give_up_tells(
        self, actor_id: ActorId, until: int | None = None, *, deadline_s: float | None = None
    ) -> int:
        """Have what waits for an actor given up without another try, up to this id or all of it; how many that are.

        They are dead letters then, within a moment: to be sent again, or dropped. What the actor has in hand may yet be
        applied, and an owner that ends meanwhile leaves the rest as it was: to ask again is safe. Raises as `call`.
        """
        answer = await self.call(actor_id, GIVE_UP_COMMAND, encode_until(until), deadline_s=deadline_s)
        return decode_count(bytes(answer.value))

    async def running_tasks(self, *, deadline_s: float | None = None) -> tuple[list[RunningTask], int]:
        """The tasks that run, what runs longest first, and how many more there are. Else as `waiting_tells`."""
        return await self._inbox.running(await self._member_names(deadline_s), STATUS_WAIT_S)

    async def _member_names(self, deadline_s: float | None) -> frozenset[str]:
        patience = self._patience("the table of members", deadline_s)
        rows = await patience.ask(partial(self._node.table.rows, MEMBER_PREFIX))
        return frozenset(name for row in rows if (name := member_of_row_key(row.key)) is not None)

    async def is_deploying(self) -> bool:
        """Whether workers of several versions of the model serve, or some are about to be replaced.

        Raises `Unavailable`, `ClientUnusable`.
        """
        self.check()
        rows = [decode_member(row.value) for row in await self._node.table.rows(MEMBER_PREFIX)]
        return is_under_way(row for row in rows if row is not None)

    async def repair(self, *, change: bool) -> list[SettingDifference]:
        """Set what of the namespace's streams and buckets is not as needed, where it can be; all that was not so.

        Without `change` nothing is touched. Raises `ConfigError`, `Unavailable`, `ClientUnusable`.
        """
        self.check()
        return await self._node.repair(change=change)

    def follow(self, actor_id: ActorId, actor_type: ActorType, *, deadline_s: float | None = None) -> StateStream[Any]:
        """The actor's state now and after each commit, folded by `actor_type`, from when it is entered."""
        stream: StateStream[Any] = StateStream(
            actor_id,
            actor_type,
            begin=lambda receive: self._subscribe(receive, deadline_s, actor_id.kind, actor_id.key),
            ask=lambda: self.state_answer(actor_id, deadline_s=deadline_s),
            read=lambda position: self._on_disk(actor_id, position, deadline_s),
        )
        self._streams.add(stream)
        return stream

    async def _on_disk(
        self, actor_id: ActorId, after: Position, deadline_s: float | None
    ) -> AsyncIterator[list[StoredCommit]]:
        """The actor's commits after a position that are there now, and on the disk: none of them is taken back."""
        if await anext(self._commits(actor_id, after, deadline_s), None) is None:
            return  # mostly, and to know that is cheap
        until = await self.last_position(deadline_s=deadline_s)
        async for commits in self.stored(after, until, actor_id.kind, actor_id.key, deadline_s=deadline_s):
            yield commits


def _not_told(
    error: Unavailable | DeadlineExceeded | ClientUnusable, command_id: str, *, maybe_stored: bool
) -> AetherError:
    """What a caller hears whose tell was not acknowledged. With the command's id it can be told again, and found."""
    if isinstance(error, DeadlineExceeded):
        error.details["command_id"] = command_id
        return error
    if not maybe_stored:
        return error
    if isinstance(error, ClientUnusable):
        text = "the client was closed before a tell was acknowledged; it may be stored"
        return ClientUnusable(text, outcome_known=False)
    return DeadlineExceeded(f"{error.message}; it may be stored", outcome_known=False, command_id=command_id)
