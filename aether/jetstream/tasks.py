"""Starts of tasks on JetStream: `Tasks`.

Each task of a model has one durable pull consumer on the inbox stream, with a filter on its starts: the server hands
each start to one worker, remembers who is at it, and hands it out again when the worker is silent for the consumer's
ack wait. A pull asks for what is there at once (`no_wait`), and only if there is nothing waits for a single start; so a
worker reserves nothing that another one could run meanwhile. Read out of nats-server's source (2.15, `consumer.go`):
an acknowledgement counts for a sequence, from any sender; `-NAK` with a delay moves the time at which the ack wait
ends, and a later one without delay ends it at once; a stream that lost its end in a power cut takes its consumers back
with it (`reconcileStateWithStream`), so that a start that is relayed anew is handed out anew.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import Any

from msgspec import Struct

from aether.aio import set_once
from aether.errors import AetherError, Unavailable
from aether.jetstream.api import (
    API,
    Answered,
    ApiRefused,
    Method,
    direct_batch,
    encode,
    leader_last,
    leader_next,
    stream_info,
)
from aether.jetstream.connection.headers import (
    ERROR_STREAM_NOT_FOUND,
    KV_DELETE,
    KV_OPERATION,
    MESSAGE_TTL,
    STATUS,
    STATUS_NO_RESPONDERS,
    STATUS_NOT_FOUND,
    STATUS_TIMEOUT,
)
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection, StandingSubscription
from aether.jetstream.connection.session import NatsSession
from aether.jetstream.stream_configs import MARKER_TTL_S
from aether.jetstream.stream_writes import write
from aether.jetstream.watch import Watch, WatchConfig
from aether.names import Names, decode_token, encode_token, task_consumer, task_of_consumer
from aether.ports import Row, Subscription, TaskBacklog, TaskClaim, TaskRow
from aether.sends import is_start_of

PULL_MAX = 64
"""So many starts one request asks for."""

ANSWER_TIMEOUT_S = 2.0
"""How long a request for what is there may take; one that waits for a start takes so much longer than it says."""

SETTLE_S = 1.0
"""How long, at the end, a request for what is there may take that was left without its answer."""

ROWS_KEPT_S = 7 * 24 * 3600
"""How long it is remembered that a task has failed or was cancelled."""

CANCELLED_KEPT_S = 10 * 60
"""How long it is remembered that a task was cancelled once it is over: a worker that was frozen may still run it."""

UNSENT_MAX = 10_000
"""So many acknowledgements wait for a connection; the starts of further ones are handed out again."""

_NANOSECONDS = 1_000_000_000
_ACK, _NAK, _PROGRESS = b"+ACK", b"-NAK", b"+WPI"
_ACK_PREFIX = "$JS.ACK."
_FAILED, _CANCELLED = "failed.", "cancelled."


class _Floor(Struct):
    stream_seq: int = 0


class _Consumer(Answered):
    name: str = ""
    ack_floor: _Floor | None = None
    num_pending: int = 0
    num_ack_pending: int = 0


class _Consumers(Answered):
    total: int = 0
    consumers: list[_Consumer] | None = None


_consumer_create = Method("CONSUMER.CREATE.{}", _Consumer)
_consumer_list = Method("CONSUMER.LIST.{}", _Consumers)


class _Taking:
    """The starts of one task that have arrived, and the request that is under way for more."""

    def __init__(self, request_subject: str, inbox: str) -> None:
        self.subject = request_subject
        self.inbox = inbox
        self.arrived: deque[TaskClaim] = deque()
        self.standing: StandingSubscription | None = None
        self._wanted = 0
        self._answered: asyncio.Future[str] | None = None

    async def ask(self, session: NatsSession, request: dict[str, Any], timeout_s: float) -> str:
        """Ask for starts; return when all have come, or the status with which the server ends the request."""
        self._wanted = request["batch"]
        answered = self._answered = asyncio.get_running_loop().create_future()
        is_left = False
        try:
            session.publish(self.subject, encode(request), self.inbox)
            await asyncio.wait((answered, session.ended), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            is_left = "no_wait" in request
            raise
        finally:
            if not is_left:
                self._answered = None
        if not session.alive:
            raise Unavailable("the connection was lost")
        return answered.result() if answered.done() else ""

    async def settle(self, session: NatsSession) -> None:
        """Wait for the answer to a request for what is there that was left without it.

        What the server sends to an inbox that is gone was handed out, and no worker had it. A request that waits for a
        start is left: none may come.
        """
        if self._answered is not None:
            await asyncio.wait((self._answered, session.ended), timeout=SETTLE_S, return_when=asyncio.FIRST_COMPLETED)

    def hear(self, _session: NatsSession, message: Message) -> None:
        """A start, or a status."""
        if message.reply.startswith(_ACK_PREFIX):
            self.arrived.append(_claim(message))
            self._wanted -= 1
            if self._wanted <= 0:
                self._end("")
        else:
            self._end((message.headers or {}).get(STATUS, ""))

    def _end(self, status: str) -> None:
        if self._answered is not None:
            set_once(self._answered, status)


class JetStreamTasks:
    """`Tasks` of one namespace."""

    def __init__(self, connection: NatsConnection, names: Names, watch: WatchConfig | None = None) -> None:
        self._connection = connection
        self._names = names
        self._watch_config = watch or WatchConfig()
        self._stream = f"KV_{names.tasks}"
        self._prefix = f"$KV.{names.tasks}."
        self._taking: dict[str, _Taking] = {}
        self._unsent: dict[str, bytes] = {}
        connection.listen(self._connected)

    # ---------------------------------------------------------------------------------------- starts

    async def open(self, task: str, ttl_s: float) -> None:
        """Make the task's consumer, if there is none, and listen. Raises `Unavailable`."""
        names, consumer = self._names, task_consumer(task)
        config = {
            "name": consumer,
            "durable_name": consumer,
            "filter_subject": names.task_starts(task),
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(ttl_s * _NANOSECONDS),
            "max_deliver": -1,
            "max_ack_pending": -1,
            "replay_policy": "instant",
        }
        body = {"stream_name": names.inbox, "config": config, "action": ""}
        await _consumer_create(self._connection, f"{names.inbox}.{consumer}.{names.task_starts(task)}", body)
        if task not in self._taking:
            request = f"{API}CONSUMER.MSG.NEXT.{names.inbox}.{consumer}"
            taking = _Taking(request, f"_INBOX.tasks_{token_hex(11)}")
            taking.standing = await self._connection.subscribe(taking.inbox, taking.hear)
            self._taking[task] = taking

    async def take(self, task: str, most: int, wait_s: float) -> list[TaskClaim]:
        """What is there; when there is nothing, the first that comes within `wait_s`. Raises `Unavailable`."""
        taking = self._taking[task]
        if not taking.arrived and (most > 1 or wait_s <= 0):
            await self._ask(taking, {"batch": min(most, PULL_MAX), "no_wait": True}, ANSWER_TIMEOUT_S)
        if not taking.arrived and wait_s > 0:
            request = {"batch": 1, "expires": int(wait_s * _NANOSECONDS)}
            await self._ask(taking, request, wait_s + ANSWER_TIMEOUT_S)
        return [taking.arrived.popleft() for _ in range(min(most, len(taking.arrived)))]

    async def _ask(self, taking: _Taking, request: dict[str, Any], timeout_s: float) -> None:
        session = self._connection.session or await self._connection.ready()
        status = await taking.ask(session, request, timeout_s)
        if status not in ("", STATUS_NOT_FOUND, STATUS_TIMEOUT):
            what = "there is no such consumer" if status == STATUS_NO_RESPONDERS else f"status {status}"
            raise Unavailable(f"no starts of a task can be taken: {what}")

    async def leave(self, task: str) -> list[TaskClaim]:
        """Listen no more; what has arrived meanwhile."""
        taking = self._taking.pop(task, None)
        if taking is None:
            return []
        session, standing = self._connection.session, taking.standing
        try:
            if session is not None:
                await taking.settle(session)
        finally:
            if standing is not None:
                await standing.stop()
        return list(taking.arrived)

    def keep(self, claim: TaskClaim) -> None:
        """Have the server begin its ack wait anew."""
        session = self._connection.session
        if session is not None:
            with suppress(AetherError):
                session.publish(claim.token, _PROGRESS)

    def done(self, claim: TaskClaim) -> None:
        """Acknowledge it, now or with the next connection."""
        self._say(claim.token, _ACK)

    def again(self, claim: TaskClaim, delay_s: float) -> None:
        """Have it delivered again after a while; from the next connection on, if there is none."""
        nanoseconds = int(delay_s * _NANOSECONDS)
        self._say(claim.token, b'%b {"delay": %d}' % (_NAK, nanoseconds) if nanoseconds > 0 else _NAK)

    def hurry(self, token: str) -> None:
        """Have it delivered again now."""
        self._say(token, _NAK)

    def _say(self, token: str, word: bytes) -> None:
        session = self._connection.session
        if session is not None:
            with suppress(AetherError):
                session.publish(token, word)
                return
        if len(self._unsent) < UNSENT_MAX:
            self._unsent[token] = word

    def _connected(self, session: NatsSession | None) -> None:
        if session is not None:
            unsent, self._unsent = self._unsent, {}
            for token, word in unsent.items():
                self._say(token, word)

    # ---------------------------------------------------------------------------------------- rows

    async def row(self, task_id: str) -> bytes | None:
        """What is written down of a failed task, by the leader. Raises `Unavailable`."""
        last = await leader_last(self._connection, self._stream, self._subject(_FAILED, task_id))
        return None if last is None or last.marker else last.payload

    async def write_row(self, task_id: str, payload: bytes) -> None:
        """Write down that a task has failed. Raises `Unavailable`."""
        await self._put(_FAILED, task_id, payload)

    async def drop_row(self, task_id: str) -> None:
        """Remove what is written down of it. Raises `Unavailable`."""
        headers = {KV_OPERATION: KV_DELETE, MESSAGE_TTL: f"{MARKER_TTL_S}s"}
        await write(self._connection, self._subject(_FAILED, task_id), b"", headers)

    async def rows(self) -> list[TaskRow]:
        """All failed tasks, as some replica knows them, the last one to fail last. Raises `Unavailable`."""
        found: list[TaskRow] = []
        after, more, prefix = 0, True, f"{self._prefix}{_FAILED}"
        while more:
            batch = await direct_batch(self._connection, self._stream, f"{prefix}>", after + 1)
            after, more = batch.last, batch.more and batch.last > after
            rows = [one for one in batch.messages if not one.marker]
            found += [TaskRow(decode_token(one.subject.removeprefix(prefix)), one.payload) for one in rows]
        return found

    async def cancel(self, task_id: str, reason: str) -> None:
        """Write that a task is cancelled. Raises `Unavailable`."""
        await self._put(_CANCELLED, task_id, reason.encode())

    async def end_cancelled(self, task_id: str, reason: str) -> None:
        """Write it once more, for a shorter time. Raises `Unavailable`."""
        await self._put(_CANCELLED, task_id, reason.encode(), CANCELLED_KEPT_S)

    async def follow_cancelled(self, receive: Callable[[str, str], None]) -> Subscription:
        """Watch what is cancelled. Raises `Unavailable` when it cannot begin."""
        hear = partial(_hear_cancelled, receive)
        prefix = f"{self._prefix}{_CANCELLED}"
        watch = Watch(self._connection, self._stream, prefix, hear, lambda: None, self._watch_config)
        await watch.start()
        return watch

    async def backlog(self) -> list[TaskBacklog]:
        """What the consumers of tasks say. Raises `Unavailable`."""
        return sorted(TaskBacklog(task, one.num_pending, one.num_ack_pending) for task, one in await self._consumers())

    async def stored(self, task: str) -> list[bytes]:
        """The payloads of the starts of a task that the stream has, as some replica knows it. Raises `Unavailable`."""
        found: list[bytes] = []
        after, more, subject = 0, True, self._names.task_starts(task)
        while more:
            batch = await direct_batch(self._connection, self._names.inbox, subject, after + 1)
            found += [one.payload for one in batch.messages]
            after, more = batch.last, batch.more and batch.last > after
        return found

    async def has_start(self, task_id: str) -> bool:
        """Whether the stream has the start of a task, as some replica knows it. Raises `Unavailable`."""
        stream, having = self._names.inbox, b'"id":' + encode(task_id)
        for task in await self._started():
            after, more, subject = 0, True, self._names.task_starts(task)
            while more:
                batch = await direct_batch(self._connection, stream, subject, after + 1, having=having)
                if any(is_start_of(one.payload, task_id) for one in batch.messages):
                    return True
                after, more = batch.last, batch.more and batch.last > after
        return False

    async def first_open(self) -> int:
        """The first start that is not acknowledged, of a task with a consumer or without. Raises `Unavailable`."""
        done = {task: one.ack_floor.stream_seq if one.ack_floor else 0 for task, one in await self._consumers()}
        found: list[int] = []
        for task in await self._started():
            first = await leader_next(
                self._connection, self._names.inbox, self._names.task_starts(task), done.get(task, 0) + 1
            )
            if first is not None:
                found.append(first.sequence)
        return min(found, default=0)

    async def _started(self) -> set[str]:
        """The tasks that the stream has starts of. Raises `Unavailable`."""
        found: set[str] = set()
        seen, total = 0, 1
        while seen < total:
            body = {"subjects_filter": self._names.tells_and_starts(), "offset": seen}
            info = await stream_info(self._connection, self._names.inbox, body)
            subjects = (info.state.subjects if info.state is not None else None) or {}
            found |= {task for task in map(self._names.task_of_start, subjects) if task is not None}
            seen, total = seen + len(subjects), info.total
            if not subjects and seen < total:
                raise Unavailable(f"the subjects of {self._names.inbox} cannot be listed")
        return found

    async def _consumers(self) -> list[tuple[str, _Consumer]]:
        found: list[tuple[str, _Consumer]] = []
        seen, total = 0, 1
        while seen < total:
            try:
                page = await _consumer_list(self._connection, self._names.inbox, {"offset": seen})
            except ApiRefused as refused:
                if refused.err_code == ERROR_STREAM_NOT_FOUND:
                    break
                raise
            consumers, total = page.consumers or [], page.total
            for one in consumers:
                task = task_of_consumer(one.name)
                if task is not None:
                    found.append((task, one))
            seen += len(consumers)
            if not consumers:
                break
        return found

    def _subject(self, prefix: str, task_id: str) -> str:
        return f"{self._prefix}{prefix}{encode_token(task_id)}"

    async def _put(self, prefix: str, task_id: str, payload: bytes, kept_s: int = ROWS_KEPT_S) -> None:
        await write(self._connection, self._subject(prefix, task_id), payload, {MESSAGE_TTL: f"{kept_s}s"})


def _hear_cancelled(receive: Callable[[str, str], None], row: Row) -> None:
    receive(decode_token(row.key), (row.value or b"").decode())


def _claim(message: Message) -> TaskClaim:
    """A delivery; its reply subject is `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>. ...`, or with a domain."""
    tokens = message.reply.split(".")
    first = 4 if len(tokens) < 12 else 6
    return TaskClaim(int(tokens[first + 1]), message.data, int(tokens[first]), message.reply)
