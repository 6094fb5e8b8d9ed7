"""The timers of schedules on JetStream: `Timers`.

The server's message schedules (ADR-51) do the waiting. A schedule is a message on a subject of its own with the
instant in its head; when that is due, the server takes it away and stores its payload on the subject of its shard's
ticks. The payload says of which commit it is, and each write expects the message that was read: so what a commit has
set only gives way to what a later one sets. A cancelled schedule leaves a message that keeps its place, for a while.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from aether.core.relay_mark import Place, decode_place
from aether.errors import Unavailable, UnreadableEvent
from aether.jetstream.api import (
    StoredMessage,
    direct_batch,
    find_stream,
    last_sequence,
    leader_last,
    leader_next,
    server_time,
    stream_info,
    stream_purge,
)
from aether.jetstream.connection.headers import (
    EXPECTED_LAST_ON_SUBJECT,
    MESSAGE_TTL,
    ROLLUP,
    ROLLUP_SUBJECT,
    SCHEDULE,
    SCHEDULE_TARGET,
    SEQUENCE,
)
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.stream_writes import write
from aether.names import Names, shard_of
from aether.ports import Clock, EndOfCommits, InboxBatch, InboxMessage, NotSent, OverdueTimers, Subscription
from aether.sends import CancelSchedule, SetSchedule, decode_schedule, encode_send

CANCELLED_TTL = "1h"
"""For so long a cancelled schedule keeps its place; an earlier setting that is armed later is ignored by its actor."""

TRIES_MAX = 20

UNSYNCED_S = 240.0
"""Twice the server's usual sync interval."""


class JetStreamTimers:
    """`Timers` of one namespace."""

    def __init__(self, connection: NatsConnection, names: Names, clock: Clock) -> None:
        self.unsynced_s = 0.0
        """See `Timers`: of a server that synchronises its files now and then."""
        self._connection = connection
        self._names = names
        self._clock = clock
        self._heard: dict[int, int] = {}
        """By shard: the sequence of the last tick that the server has told of, until it is read."""

    async def arm(self, send: SetSchedule | CancelSchedule, end: EndOfCommits | None = None) -> bool:
        """Have its next tick given out, or have none; False when what is there is later. Raises `Unavailable`."""
        if isinstance(send, SetSchedule) and await self._is_behind(send):
            await write(self._connection, self._fired_of(send), encode_send(send))
            return True
        actor_id = send.actor_id
        subject, place = self._names.timer(actor_id, send.name), Place(send.position, send.number)
        payload, head, last = encode_send(send), self._head(send), 0
        for _ in range(TRIES_MAX):  # mostly nothing is there: the last tick was given out
            expected = {EXPECTED_LAST_ON_SUBJECT: str(last)}
            if await write(self._connection, subject, payload, {**head, **expected}) is not None:
                return True
            there = await leader_last(self._connection, self._names.timers, subject)
            if there is not None and there.payload == payload:
                return True
            found = decode_place(there.payload) if there is not None else Place()
            if found > place and (end is None or found.position <= await end()):
                return False
            last = there.sequence if there is not None else 0
        raise Unavailable(f"the schedule {send.name} of {actor_id} changes too often")

    async def armed(self, kind: str = "", key: str = "") -> list[SetSchedule]:
        """The schedules whose next tick is waited for. Raises `Unavailable`."""
        try:
            return await self._armed(kind, key)
        except NotSent:  # a namespace of an earlier version has no timers until a worker starts
            if await find_stream(self._connection, self._names.timers) is None:
                return []
            raise

    async def _armed(self, kind: str, key: str) -> list[SetSchedule]:
        found: dict[str, SetSchedule | CancelSchedule] = {}  # a server that has crashed may have an earlier one again
        after, more = 0, True
        while more:
            batch = await direct_batch(
                self._connection, self._names.timers, self._names.timers_of(kind, key), after + 1
            )
            found |= {message.subject: decode_schedule(message.payload) for message in batch.messages}
            after, more = batch.last, batch.more
        return [one for one in found.values() if isinstance(one, SetSchedule)]

    async def fired(self, shard: int, after: int) -> InboxBatch:
        """Some of the ticks of a shard's actors that are due. Raises `Unavailable`."""
        subject = self._names.fired(shard)
        batch = await direct_batch(self._connection, self._names.timers, subject, after + 1)
        found = batch.messages
        heard, last = self._heard.get(shard, 0), found[-1].sequence if found else after
        if batch.more or heard <= last:
            return InboxBatch([_message(message) for message in found], batch.more)
        missed = await leader_next(self._connection, self._names.timers, subject, last + 1)  # the replica lags, perhaps
        if missed is None and self._heard.get(shard) == heard:  # it was removed meanwhile
            del self._heard[shard]
        found = found if missed is None else [*found, missed]
        return InboxBatch([_message(message) for message in found], missed is not None)

    async def remove_fired(self, shard: int, until: int) -> None:
        """Forget the ticks of a shard up to a sequence. Raises `Unavailable`."""
        await stream_purge(self._connection, self._names.timers, {"filter": self._names.fired(shard), "seq": until + 1})

    async def overdue(self, after: int, late_s: float) -> OverdueTimers:
        """Those of some timers whose tick was due long ago. Raises `Unavailable`."""
        now = await self.now()
        batch = await direct_batch(self._connection, self._names.timers, self._names.timers_of("", ""), after + 1)
        found, before = list[tuple[int, SetSchedule]](), now - timedelta(seconds=late_s)
        for message in batch.messages:
            with suppress(UnreadableEvent):  # a later version may read it
                one = decode_schedule(message.payload)
                if isinstance(one, SetSchedule) and one.at < before:
                    found.append((message.sequence, one))
        return OverdueTimers(found, batch.last, batch.more)

    async def remove_overdue(self, tick: SetSchedule, sequence: int) -> None:
        """Forget a timer, and no later setting. Raises `Unavailable`."""
        subject = self._names.timer(tick.actor_id, tick.name)
        await stream_purge(self._connection, self._names.timers, {"filter": subject, "seq": sequence + 1})

    async def now(self) -> datetime:
        """What the server's clock shows. Raises `Unavailable`."""
        now = (await stream_info(self._connection, self._names.timers)).ts
        if now is None:
            raise Unavailable("the server does not say what time it is")
        return now

    async def end(self) -> int:
        """The last sequence of the stream, by its leader. Raises `Unavailable`."""
        return await last_sequence(self._connection, self._names.timers)

    async def follow(self, shard: int, rung: Callable[[], None]) -> Subscription:
        """Call back when the server repeats a tick of the shard. Raises `Unavailable`."""
        subject = self._names.told(self._names.fired(shard))

        def hear(_: object, message: Message) -> None:
            with suppress(ValueError):  # it is not the server that says so
                self._heard[shard] = max(self._heard.get(shard, 0), message.integer(SEQUENCE))
            rung()

        return await self._connection.subscribe(subject, hear)

    def _head(self, send: SetSchedule | CancelSchedule) -> dict[str, str]:
        if isinstance(send, CancelSchedule):
            return {ROLLUP: ROLLUP_SUBJECT, MESSAGE_TTL: CANCELLED_TTL}
        return {SCHEDULE: f"@at {_rfc3339(send.at)}", SCHEDULE_TARGET: self._fired_of(send)}

    def _fired_of(self, send: SetSchedule) -> str:
        return self._names.fired(shard_of(send.actor_id, self._names.shards))

    async def _is_behind(self, send: SetSchedule) -> bool:
        """Whether a schedule that makes up for all ticks is behind with this one, by the server's clock, too.

        Such a tick is given out here: the server would take a quarter of a second for each. The timer is empty then,
        because the tick before this one was given out, or what it holds ends in the actor's agenda.
        """
        late = send.catch_up == "all" and send.at.timestamp() <= self._clock.wall_s()
        return late and send.at <= await self.now()


def _message(stored: StoredMessage) -> InboxMessage:
    return InboxMessage(stored.sequence, stored.payload)


def _rfc3339(at: datetime) -> str:
    return server_time(at).astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
