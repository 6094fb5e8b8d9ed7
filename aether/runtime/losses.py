"""What the workers before this one were running when they died of it: told to those actors before they are served.

A command that has ended two workers is refused from then on, by every owner, because its history says so
(`aether.WorkerLost`, an event without a change). An actor whose replay has ended a worker has no turn to refuse: it
gets a row in the table with a time to live, and is not activated until that is over. One object a runtime, on its loop.
"""

import logging
from collections.abc import Sequence

import orjson
from msgspec import Raw

from aether.errors import AetherError, Unavailable
from aether.ids import ActorId, Position, Version
from aether.log_lines import words
from aether.names import event_source, shard_of
from aether.ports import START, Committed, Refused
from aether.runtime.surroundings import Surroundings
from aether.wire import (
    DEADLINE_AHEAD_MAX_S,
    SYSTEM_EVENTS_FORMAT,
    WORKER_LOST_EVENT,
    Event,
    StoredEvent,
    decode_commit,
    instant,
)
from aether.worker_protocol import Loss

log = logging.getLogger("aether.losses")


class Losses:
    """The losses that are still to be told."""

    def __init__(self, losses: Sequence[Loss], around: Surroundings) -> None:
        self._pending = list(losses)
        self._around = around

    async def tell(self, shard: int | None = None) -> None:
        """Tell the losses of a shard, or all that are left. Raises `Unavailable`; what is not told stays to be told."""
        for loss in [*self._pending]:
            actor_id = ActorId(loss.handler.kind, loss.handler.key)
            if shard is None or shard_of(actor_id, self._around.connection.shards) == shard:
                await self._tell(actor_id, loss)
                if loss in self._pending:
                    self._pending.remove(loss)

    async def _tell(self, actor_id: ActorId, loss: Loss) -> None:
        handler = loss.handler
        log.warning(
            "a handler has ended a worker",
            extra={"actor": str(actor_id), "command": handler.command or "(replay)", "id": handler.command_id,
                   "cause": loss.cause},
        )  # fmt: skip
        if handler.command:
            await self._append(actor_id, loss)
        elif self._around.halts is not None:
            await self._around.halts.halt(actor_id, f"its replay has ended a worker by {loss.cause}")
            self._around.counters.actors_halted += 1

    async def _append(self, actor_id: ActorId, loss: Loss) -> None:
        if self._around.lease.stored_format < SYSTEM_EVENTS_FORMAT:
            log.warning("a lost worker is not stored while older workers are members", extra={"actor": str(actor_id)})
            return
        data = orjson.dumps({"command": loss.handler.command, "cause": loss.cause, "worker": loss.incarnation})
        while True:
            last = await self._around.event_store.last(actor_id)
            version, position = Version(0), START
            if last is not None:
                try:
                    event = decode_commit(last.payload, actor_id, last.position)[-1]
                except AetherError as error:  # nothing of it can be served either
                    log.error("a lost worker cannot be stored", extra={"actor": str(actor_id), "error": words(error)})
                    return
                version, position = event.version, last.position
                if event.type == WORKER_LOST_EVENT and bytes(event.data) == data:
                    break  # by an append whose outcome was unknown
            event = self._event(actor_id, loss, data, Version(version + 1))
            outcome = await self._around.event_store.append(actor_id, [event], Position(position))
            if isinstance(outcome, Committed):
                break
            if isinstance(outcome, Refused):  # the owner of the shard asks again, and not at once
                raise Unavailable(f"a lost worker cannot be stored yet: {outcome.reason}")
        self._around.counters.workers_lost += 1

    def _event(self, actor_id: ActorId, loss: Loss, data: bytes, version: Version) -> Event:
        now_s, handler, config = self._around.clock.wall_s(), loss.handler, self._around.config
        until_s = now_s + max(config.command_window_s, DEADLINE_AHEAD_MAX_S + config.command_log_margin_s)
        return StoredEvent(
            specversion="1.0",
            id=str(version),
            source=event_source(self._around.connection.namespace, actor_id),
            type=WORKER_LOST_EVENT,
            time=instant(now_s),
            data=Raw(data),
            commandid=handler.command_id,
            correlationid=handler.correlation_id or handler.command_id,
            causationid=handler.command_id,
            idexpires=instant(until_s),
        )
