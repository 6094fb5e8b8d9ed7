"""A worker's part in the cluster: its row, what it knows of the others, and the leases of its shards.

It reads the table through one watch, feeds every row to `aether.core.cluster.ownership`, and has `EffectRunner` and
`Heartbeat` do what follows. All steps are synchronous and on the event loop, so what `valid` says is true in the very
step in which an answer is sent. It knows shards and actors' names, not what actors do: that is the VM provider's.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from aether.aio import first_of
from aether.background import Background
from aether.cluster.effect_runner import EffectRunner
from aether.cluster.heartbeat import Heartbeat
from aether.config import ROW_LEFTOVER_S, ClusterConfig
from aether.core.cluster.handoff import ShardTrigger
from aether.core.cluster.membership import MemberRow, decode_lease, decode_member
from aether.core.cluster.ownership import Moves, Ownership
from aether.core.cluster.session import MemberSession, RowChange
from aether.core.health import Health
from aether.errors import AetherError, ConfigError, Unavailable
from aether.ids import ActorId
from aether.log_lines import words
from aether.ports import Connection, Row, Subscription, VMProvider
from aether.table_keys import actor_of_halted_key, halted_key, member_of_row_key, shard_of_lease_key

log = logging.getLogger("aether.cluster")

REMOVE_TIMEOUT_S = 2.0
LOOK_AGAIN_S = 0.1
REMOVED_AFTER_S = 1.0
"""Seconds after which a row that is overdue has been removed."""

HALT_S = 60.0
"""How long no worker activates an actor whose replay has ended a worker."""


class Cluster:
    """One member. `me` is its row; `replaces` is the incarnation in its place that is known to be dead.

    It is the `Lease` that its runtime asks before every answer. `siblings` are the members of the same supervisor;
    `about` may be set to give what else the row says for people; `health` is set while the row is not renewed. Give it
    a VM provider, then enter it; `leave` hands everything over.
    """

    def __init__(
        self,
        connection: Connection,
        me: MemberRow,
        config: ClusterConfig | None = None,
        *,
        replaces: str | None = None,
        siblings: Sequence[str] = (),
        health: Health | None = None,
    ) -> None:
        self.about: Callable[[], dict[str, Any]] = dict
        self.config = config or ClusterConfig()
        self._connection = connection
        self._own = MemberSession(me, replaces=replaces, answers_for_s=self.config.answers_for_s)
        self.valid = self._own.holding.valid
        self._core = Ownership(self._own, connection.shards, self.config, siblings)
        self._heartbeat = Heartbeat(
            connection.table,
            connection.clock,
            self._own,
            self.config,
            active=lambda: not self._core.leaving,
            about=self._about,
            health=health or Health(),
            withdraw=self._withdraw,
        )
        self._provider: VMProvider | None = None
        self._effects: EffectRunner | None = None
        self._watch: Subscription | None = None
        self._background = Background(self._fail)
        self._beating: asyncio.Task[None] | None = None
        self._deciding = False
        self._wake: asyncio.TimerHandle | None = None
        self._balanced = asyncio.Event()
        self._empty = asyncio.Event()
        self._ended = False
        self._revision = 0
        self._halted: dict[ActorId, tuple[str, float]] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def set_vm_provider(self, provider: VMProvider) -> None:
        """Take the runtime whose shards are opened and closed, and whose active VMs are stopped. Before `start`."""
        self._provider = provider

    @property
    def stored_format(self) -> int:
        """The newest format of stored events that every member reads."""
        return self._core.stored_format

    def halted(self, actor_id: ActorId) -> str | None:
        """Why the actor is not to be activated now; None when it may be."""
        if actor_id not in self._halted:
            return None
        why, until_s = self._halted[actor_id]
        return why if self._connection.clock.boot_s() < until_s else None

    async def halt(self, actor_id: ActorId, why: str) -> None:
        """Have no member activate the actor for `HALT_S`. Raises `Unavailable`."""
        key, value, table = halted_key(actor_id), why.encode(), self._connection.table
        self._halt_here(actor_id, why)
        if await table.create(key, value, HALT_S) is None and (row := await table.get(key)) is not None:
            await table.update(key, value, row.revision, HALT_S)

    def _halt_here(self, actor_id: ActorId, why: str) -> None:
        """Halt the actor here until its row is gone, also where the server has forgotten when the row ends."""
        self._halted[actor_id] = why, self._connection.clock.boot_s() + HALT_S + ROW_LEFTOVER_S

    @property
    def name(self) -> str:
        """This member's name."""
        return self._own.name

    def members(self) -> list[tuple[str, MemberRow]]:
        """The members that are there, by name, with their rows."""
        return self._core.members()

    def say_again(self) -> None:
        """Write the row as soon as possible: what it says for people has changed."""
        self._heartbeat.soon()

    def moves(self) -> Moves:
        """How many shards are held, being taken and being given."""
        return self._core.moves()

    def _withdraw(self) -> None:
        if self._core.withdraw():
            log.warning("no more commands are taken until the member's row is renewed", extra={"member": self.name})
            self._schedule()

    def _about(self) -> dict[str, Any]:
        moves = self._core.moves()
        return {**self.about(), "moving": moves.taking + moves.giving}

    # ------------------------------------------------------------------------------------------ start and stop

    async def start(self) -> None:
        """Read the table, join it, and begin to take what the ring wants here.

        Raises `ConfigError` without a VM provider, `Unavailable` when the table cannot be read.
        """
        if self._provider is None:
            raise ConfigError("a cluster needs a VM provider: call set_vm_provider first", setting="vm_provider")
        connection = self._connection
        self._effects = EffectRunner(
            connection.table, connection.transport, self._provider, self.config, self._report, self._fail
        )
        self._core.expect_siblings(connection.clock.boot_s())
        self._watch = await connection.table.watch(
            lambda row: self._whole(lambda: self._row_changed(row)), lambda: self._whole(self._completed)
        )
        await self._until_alike()
        self._beating = self._background.vital("aether heartbeat", self._heartbeat.run())

    async def _until_alike(self) -> None:
        """Wait until all members make commits durable as we do. Raises `ConfigError` when they do not in time."""
        loop = asyncio.get_running_loop()  # every live row has been delivered by now
        give_up_s = loop.time() + self.config.overdue_s + REMOVED_AFTER_S
        while member := self._core.differing():
            if loop.time() > give_up_s:
                raise self._unlike(member)
            await asyncio.sleep(LOOK_AGAIN_S)

    def _unlike(self, member: str) -> ConfigError:
        ours = self._own.me.durability or "as the server acknowledges them"
        theirs = next((row.durability for name, row in self._core.members() if name == member), "")
        text = (f"commits become durable here by {ours!r}, and by {theirs or 'as the server acknowledges them'!r} with "
                f"the member {member!r}: all workers of a namespace must do the same "
                "(AETHER_SYNC, AETHER_NATS_STORE)")  # fmt: skip
        return ConfigError(text, setting="sync")

    async def wait_balanced(self, timeout_s: float) -> bool:
        """Wait until this member holds what it should; whether it did within the time. Raises what `failed` has."""
        return await self._until(self._balanced, timeout_s)

    async def leave(self) -> bool:
        """Hand every shard over, then remove the row; False when the row is left to expire. The caller bounds it."""
        self._core.leave()
        self._heartbeat.soon()
        self._schedule()
        await self._until(self._empty, None)
        await self._finish_beating()
        try:
            async with asyncio.timeout(REMOVE_TIMEOUT_S):
                await self._heartbeat.remove()
        except (TimeoutError, AetherError) as error:
            log.info("the member's row was not removed; it expires", extra={"error": words(error)})
            return False
        return True

    async def stop(self) -> None:
        """End at once: nothing more is answered, and what is held is left to expire. Idempotent."""
        self._ended = True
        self._own.holding.end()
        if self._wake is not None:
            self._wake.cancel()
        await self._stop_beating()
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.stop()
        if self._effects is not None:
            await self._effects.cancel()
        if self.failed.done() and not self.failed.cancelled():
            self.failed.exception()  # marks the exception as read

    async def __aenter__(self) -> "Cluster":
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _finish_beating(self) -> None:
        if self._beating is not None:
            self._heartbeat.finish()
            await asyncio.wait((self._beating,))

    async def _stop_beating(self) -> None:
        beating, self._beating = self._beating, None
        if beating is not None:
            beating.cancel()
            await asyncio.wait((beating,))

    async def _until(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        await first_of(event.wait(), self.failed, timeout_s=timeout_s)
        if self.failed.done():
            self.failed.result()
        return event.is_set()

    # ------------------------------------------------------------------------------- what the table says

    def _row_changed(self, row: Row) -> None:
        now_s = self._connection.clock.boot_s()
        if row.value is not None:
            self._read(row.revision)
        member = member_of_row_key(row.key)
        if member is not None:
            self._heed(self._core.member_observed(member, row.revision, decode_member(row.value), now_s))
            if self._own.session is not None and (other := self._core.differing()):
                self._fail(self._unlike(other))
        elif (actor_id := actor_of_halted_key(row.key)) is not None:
            if row.value is None:
                self._halted.pop(actor_id, None)
            else:
                self._halt_here(actor_id, row.value.decode(errors="replace"))
        else:
            shard = shard_of_lease_key(row.key)
            if shard is not None and shard < self._connection.shards:
                self._core.lease_observed(shard, row.revision, decode_lease(row.value))
        self._schedule()

    def _read(self, revision: int) -> None:
        """Revisions only grow. In a table that was lost or restored, sessions and epochs mean nothing any more."""
        if revision <= self._revision:
            text = f"the table went backwards, from revision {self._revision} to {revision}: it was lost or restored"
            self._fail(Unavailable(text))
        self._revision = max(self._revision, revision)

    def _completed(self) -> None:
        self._core.completed(self._connection.clock.boot_s())
        self._schedule()

    def _heed(self, change: RowChange) -> None:
        match change:
            case RowChange.NOTHING:
                return
            case RowChange.JOINED:
                log.info("joined", extra={"member": self.name, "session": self._own.session})
            case RowChange.EXPIRED if self._core.leaving:
                return
            case RowChange.EXPIRED:
                log.warning(
                    "the member's row has expired: the server was away, or this process stood still",
                    extra={"member": self.name},
                )
            case RowChange.REPLACED:
                self._fail(Unavailable(f"another process has taken the place of {self.name}"))
            case RowChange.ALIVE_ELSEWHERE:
                node = self._own.me.node
                text = f"the node name {node!r} is alive elsewhere: give this supervisor another --node"
                self._fail(ConfigError(text, setting="node"))
        self._heartbeat.soon()

    def _whole(self, step: Callable[[], None]) -> None:
        """Take a step as a whole. One that fails halfway leaves a wrong picture of the table, so the member fails."""
        try:
            step()
        except Exception as error:
            log.exception("this member cannot go on")
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._ended = True
        self._own.holding.end()
        if not self.failed.done():
            self.failed.set_exception(error)

    def _report(self, shard: int, serial: int, outcome: ShardTrigger, revision: int) -> None:
        self._core.done(shard, serial, outcome, self._connection.clock.boot_s(), revision)
        self._schedule()

    # ------------------------------------------------------------------------------------------ what follows

    def _schedule(self) -> None:
        """Decide in the next iteration of the event loop, so that rows that arrive together are decided on together."""
        if not self._deciding and not self._ended:
            self._deciding = True
            asyncio.get_running_loop().call_soon(self._whole, self._decide)

    def _decide(self) -> None:
        self._deciding = False
        if self._ended:
            return
        assert self._effects is not None
        now_s = self._connection.clock.boot_s()
        for effect in self._core.decide(now_s):
            self._effects.perform(effect)
        _mark(self._balanced, self._core.balanced)
        _mark(self._empty, self._core.leaving and self._core.empty)
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        wake_s = self._core.next_wake_s()
        if wake_s < float("inf"):
            self._wake = asyncio.get_running_loop().call_later(max(0.0, wake_s - now_s), self._schedule)


def _mark(event: asyncio.Event, reached: bool) -> None:
    if reached:
        event.set()
    else:
        event.clear()
