"""One ordered watch over a bucket, which is begun again whenever it may have missed something.

Each attempt is a consumer of its own: every key's last message, then every change, with heartbeats. A hole in the
consumer's numbering, missing heartbeats or a new connection end the attempt; the next one reads everything anew and its
rows replace the view: what changed is delivered, and what vanished is delivered as gone. The bucket keeps one message
per key, so a change that is overwritten before the server has sent it is skipped; the last one never is. With replicas
a consumer may be at one that lags: rows of before what was delivered are not taken until that has lasted. Receivers
are synchronous; one task.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex

from msgspec import Struct

from aether.aio import first_of
from aether.background import Background
from aether.core.backoff import Backoff
from aether.core.sustained import Sustained
from aether.errors import ConfigError, Unavailable
from aether.jetstream.api import Answered, Method
from aether.jetstream.connection.headers import LAST_CONSUMER, STATUS, STATUS_HEARTBEAT, is_marker
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection, StandingSubscription
from aether.jetstream.replicas import stale_s
from aether.log_lines import Repeated, words
from aether.ports import Row

RETRY = Backoff(first_s=0.05, cap_s=1.0)
HEARTBEATS_MISSED_MAX = 2.5

_NANOSECONDS = 1_000_000_000
log = logging.getLogger("aether.jetstream")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchConfig:
    """A watch notices after two and a half heartbeats that it receives nothing; the server allows none below 0.1 s."""

    heartbeat_s: float = 1.0

    def __post_init__(self) -> None:
        if self.heartbeat_s < 0.1:
            raise ConfigError(f"heartbeat_s must be at least 0.1, not {self.heartbeat_s}", setting="heartbeat_s")


class _Delivered(Struct, frozen=True):
    consumer_seq: int = 0


class _Created(Answered):
    delivered: _Delivered = _Delivered()
    num_pending: int = 0


_consumer_create = Method("CONSUMER.CREATE.{}", _Created)
_consumer_delete: Method[Answered] = Method("CONSUMER.DELETE.{}", Answered)


class Attempt:
    """What one consumer has delivered so far: the rows of the beginning until they are `complete`, then changes.

    Rows that are missing would look like rows that are gone, so it is complete only when the server says twice that
    all has been sent: by the count at the consumer's creation and by the last message, or by an idle heartbeat.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.complete = False
        self._expected: int | None = None
        self._delivered = 0
        self._pending = 0

    def opened(self, rows: int) -> None:
        """The server says how many rows the beginning has."""
        self._expected = rows
        self._check()

    def message(self, consumer_sequence: int, pending: int, row: Row) -> bool:
        """A row arrived and `pending` ones follow; False when one before it did not arrive."""
        if consumer_sequence != self._delivered + 1:
            return False
        self._delivered = consumer_sequence
        self._pending = pending
        self.rows.append(row)
        self._check()
        return True

    def heartbeat(self, last_consumer_sequence: int) -> bool:
        """The server is idle after a message; False when that one did not arrive."""
        self.complete = self.complete or self._delivered >= last_consumer_sequence
        return self._delivered >= last_consumer_sequence

    def _check(self) -> None:
        all_sent = self._expected is not None and self._delivered >= self._expected and self._pending == 0
        self.complete = self.complete or all_sent


class View:
    """The rows as the receiver has them."""

    def __init__(self, receive: Callable[[Row], None]) -> None:
        self._receive = receive
        self._rows: dict[str, Row] = {}
        self._revision = 0

    def replace(self, rows: list[Row]) -> None:
        """Deliver the difference to what was delivered: what vanished first, then what changed, in revision order."""
        present = {row.key for row in rows}
        for key in [key for key in self._rows if key not in present]:
            self.change(Row(key, None, self._revision))
        for row in sorted(rows, key=lambda row: row.revision):
            if self._is_news(row):
                self.change(row)

    def is_beyond(self, rows: list[Row]) -> bool:
        """Whether what was delivered is of after these rows: what is new has a later revision than all before it."""
        return any(self._is_news(row) and row.revision <= self._revision for row in rows)

    def _is_news(self, row: Row) -> bool:
        known = self._rows.get(row.key)
        return row.value is not None if known is None else known.revision != row.revision

    def change(self, row: Row) -> None:
        """Deliver one change, and before it the end of a row that was overwritten before its end could be delivered."""
        self._revision = max(self._revision, row.revision)
        if row.value is not None:
            self._rows[row.key] = row
        else:
            self._rows.pop(row.key, None)
        try:
            self._receive(row)
        except Exception:
            log.exception("a receiver of table rows raised", extra={"key": row.key})


class Watch:
    """A `Subscription` to all rows of a bucket; `start` it once."""

    def __init__(
        self,
        connection: NatsConnection,
        stream: str,
        prefix: str,
        receive: Callable[[Row], None],
        completed: Callable[[], None],
        config: WatchConfig,
        replicas: int = 1,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._prefix = prefix
        self._config = config
        self._view = View(receive)
        self._tell_completed = completed
        self._attempt = Attempt()
        self._synced = False
        self._consumer = ""
        self._standing: StandingSubscription | None = None
        self._heard_s = 0.0
        self._failed = asyncio.Event()
        self._complete = asyncio.Event()
        self._background = Background()
        self._task: asyncio.Task[None] | None = None
        self._unlisten: Callable[[], None] | None = None
        self._stopping = asyncio.Lock()
        self._behind = Sustained(stale_s(replicas))
        self._missed = Repeated(log, logging.INFO, "the table cannot be watched yet")

    async def start(self) -> None:
        """Return when every live row has been delivered. Raises `Unavailable`."""
        try:
            await self._attempt_anew()
        except BaseException:
            await self._end_attempt()
            raise
        self._unlisten = self._connection.listen(lambda _: self._failed.set())
        self._task = self._background.forever("aether table watch", self._watch)

    async def stop(self) -> None:
        """Hand on what the server has sent, then nothing more. Idempotent."""
        async with self._stopping:
            if self._unlisten is not None:
                self._unlisten()
            task, self._task = self._task, None
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
            await self._end_attempt()

    async def _watch(self) -> None:
        failures = 0
        if not self._synced:
            self._failed.set()
        while True:
            if not self._failed.is_set():
                try:
                    async with asyncio.timeout(self._patience_s()):
                        await self._failed.wait()
                except TimeoutError:
                    if self._patience_s() > 0:
                        continue
                    log.warning("the table's watch receives nothing", extra={"stream": self._stream})
            await self._end_attempt()
            try:
                await self._connection.ready()
                await self._attempt_anew()
                failures = 0
                self._missed.over()
            except Unavailable as error:
                self._missed.again(error=words(error))
                self._failed.set()
                # Spreads the retries of many workers; nothing depends on the value.
                await asyncio.sleep(RETRY.delay_s(failures, random.random()))  # noqa: S311 - no secret
                failures += 1

    def _patience_s(self) -> float:
        quiet_s = asyncio.get_running_loop().time() - self._heard_s
        return HEARTBEATS_MISSED_MAX * self._config.heartbeat_s - quiet_s

    async def _attempt_anew(self) -> None:
        self._failed.clear()
        self._complete.clear()
        self._synced = False
        attempt = self._attempt = Attempt()
        self._consumer = f"watch_{token_hex(8)}"
        deliver_to = f"_INBOX.{self._consumer}"
        self._standing = await self._connection.subscribe(deliver_to, lambda _, message: self._hear(attempt, message))
        config = {
            "name": self._consumer,
            "deliver_subject": deliver_to,
            "deliver_policy": "last_per_subject",
            "filter_subject": f"{self._prefix}>",
            "ack_policy": "none",
            "replay_policy": "instant",
            "max_deliver": 1,
            "idle_heartbeat": int(self._config.heartbeat_s * _NANOSECONDS),
            "inactive_threshold": int(10 * self._config.heartbeat_s * _NANOSECONDS),
            "mem_storage": True,
            "num_replicas": 1,
        }
        created = await _consumer_create(
            self._connection,
            f"{self._stream}.{self._consumer}.{self._prefix}>",
            {"stream_name": self._stream, "config": config, "action": "create"},
        )
        self._heard_s = asyncio.get_running_loop().time()
        attempt.opened(created.delivered.consumer_seq + created.num_pending)
        self._advance(attempt)
        await self._completed()

    async def _completed(self) -> None:
        """Return when all rows are there, however many: as long as some come, they are waited for."""
        while not self._synced and not self._failed.is_set() and (patience_s := self._patience_s()) > 0:
            await first_of(self._complete.wait(), self._failed.wait(), timeout_s=patience_s)
        if not self._synced:
            raise Unavailable(f"the rows of {self._stream} did not arrive")

    def _hear(self, attempt: Attempt, message: Message) -> None:
        if attempt is not self._attempt:
            return
        self._heard_s = asyncio.get_running_loop().time()
        try:
            arrived = self._arrived(attempt, message)
        except (ValueError, IndexError) as error:
            log.warning("what the table's watch received cannot be read", extra={"error": repr(error)})
            arrived = False
        if arrived:
            self._advance(attempt)
        else:
            self._failed.set()

    def _arrived(self, attempt: Attempt, message: Message) -> bool:
        headers = message.headers or {}
        if STATUS in headers:
            return headers[STATUS] != STATUS_HEARTBEAT or attempt.heartbeat(int(headers.get(LAST_CONSUMER, "0")))
        sequence, consumer_sequence, pending = delivered_sequences(message.reply)
        value = None if is_marker(headers) else message.data
        row = Row(message.subject.removeprefix(self._prefix), value, sequence)
        return attempt.message(consumer_sequence, pending, row)

    def _advance(self, attempt: Attempt) -> None:
        if not attempt.complete:
            return
        rows, attempt.rows = attempt.rows, []
        if self._synced:
            for row in rows:
                self._view.change(row)
        elif self._view.is_beyond(rows) and not self._behind.observed(asyncio.get_running_loop().time()):
            self._attempt = Attempt()
            self._failed.set()
        else:
            self._behind.over()
            self._view.replace(rows)
            self._synced = True
            self._complete.set()
            self._tell_completed()

    async def _end_attempt(self) -> None:
        standing, self._standing = self._standing, None
        if standing is not None:
            await standing.stop()
        self._attempt = Attempt()
        if self._consumer and self._connection.session is not None:
            try:
                await _consumer_delete(self._connection, f"{self._stream}.{self._consumer}")
            except Unavailable as error:
                # The server removes an unused consumer itself, only later.
                log.debug("a watch's consumer was not removed", extra={"error": words(error)})
        self._consumer = ""


def delivered_sequences(reply: str) -> tuple[int, int, int]:
    """Sequence in the stream, in the consumer, and how many follow, from a delivery's reply subject.

    `$JS.ACK.<stream>.<consumer>.<n>.<sequence>.<consumer sequence>.<time>.<pending>`; with a domain two tokens more
    before the stream and one after the end.
    """
    tokens = reply.split(".")
    first = 5 if len(tokens) < 12 else 7
    return int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 3])
