"""Requests to the JetStream API and messages read from a stream, decoded and no more.

An unexpected refusal is `ApiRefused`, an `Unavailable` with the server's words. Direct gets are answered by any
replica and may be stale; `leader_last` and `leader_next` are answered by the stream's leader. Stateless.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec import DecodeError, Struct
from msgspec.json import Decoder, Encoder

from aether.aio import set_once
from aether.errors import Unavailable
from aether.jetstream.connection.headers import (
    ERROR_JETSTREAM_NOT_ENABLED,
    ERROR_JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
    ERROR_MESSAGE_NOT_FOUND,
    ERROR_STREAM_NOT_FOUND,
    ERROR_STREAM_OFFLINE,
    ERROR_STREAM_OFFLINE_REASON,
    KV_OPERATION,
    MARKER_REASON,
    PENDING,
    SEQUENCE,
    STATUS,
    STATUS_END_OF_BATCH,
    STATUS_NOT_FOUND,
    SUBJECT,
    is_marker,
)
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.connection.pending_replies import NoReply, Reply
from aether.ports import NotSent

API = "$JS.API."
API_TIMEOUT_S = 5.0

FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
"""The first and the last time that the server knows."""

BATCH_MESSAGES = 256
BATCH_BYTES = 1024 * 1024
"""What one batched direct get asks for: several may be in flight at once."""


class Refusal(Struct):
    """The `error` of a JetStream answer."""

    code: int
    err_code: int = 0
    description: str = ""


class Answered(Struct):
    """What every JetStream answer has."""

    error: Refusal | None = None


class Acknowledgement(Answered):
    """What the server answers to a publish: the sequence of the last message, and of how many in an atomic batch.

    `duplicate`: the message's id came before, and it is that one's sequence; this one is not stored.
    """

    seq: int = 0
    count: int = 0
    duplicate: bool = False


decode_acknowledgement = Decoder(Acknowledgement).decode
"""Raises `DecodeError` for bytes that are none."""


GONE = frozenset(
    {
        ERROR_JETSTREAM_NOT_ENABLED,
        ERROR_JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
        ERROR_STREAM_NOT_FOUND,
        ERROR_STREAM_OFFLINE,
        ERROR_STREAM_OFFLINE_REASON,
    }
)
"""What is asked for is not there, and is not only late."""


class ApiRefused(Unavailable):
    """JetStream refused; `err_code` is the server's number for why, the detail `gone` says that the stream is gone."""

    def __init__(self, refusal: Refusal, subject: str) -> None:
        gone = {"gone": True} if refusal.err_code in GONE else {}
        super().__init__(f"JetStream refuses {subject}: {refusal.description}", err_code=refusal.err_code, **gone)
        self.err_code = refusal.err_code


class UnreadableReply(Unavailable):
    """The answer is none that a NATS server gives: another program may answer in its place."""

    def __init__(self, subject: str, error: Exception) -> None:
        super().__init__(f"the reply to {subject} cannot be read: {error}")


class StreamState(Struct):
    """How far a stream has come; `last_ts` is when its last message was stored, in the year 1 for none."""

    first_seq: int = 0
    last_seq: int = 0
    messages: int = 0
    bytes: int = 0
    subjects: dict[str, int] | None = None
    last_ts: datetime | None = None


class ReplicaGroup(Struct):
    """The servers that have a stream; `leader` is "" while the one that answers knows of none."""

    leader: str = ""


class StreamInfo(Answered):
    """The answer to STREAM.INFO and STREAM.CREATE.

    `created` is when it was made and `ts` when this was said, both by the server's clock. `cluster` is None where
    there is one server.
    """

    config: dict[str, Any] | None = None
    state: StreamState | None = None
    created: datetime | None = None
    ts: datetime | None = None
    total: int = 0
    cluster: ReplicaGroup | None = None


class Purged(Answered):
    """The answer to STREAM.PURGE: how many messages are gone."""

    purged: int = 0


class _StoredStruct(Struct):
    subject: str
    seq: int
    data: bytes = b""
    hdrs: bytes = b""


class _MessageAnswer(Answered):
    message: _StoredStruct | None = None


class StoredMessage(NamedTuple):
    """A message of a stream; `marker` says that a KV key has no value any more."""

    subject: str
    sequence: int
    payload: bytes
    marker: bool


class Batch(NamedTuple):
    """Some messages in stream order, whether the replica has more that match, and the last sequence that was read.

    The last one is 0 without any; it may be that of a message that was left out.
    """

    messages: list[StoredMessage]
    more: bool
    last: int = 0


AnswerT = TypeVar("AnswerT", bound=Answered)


class Method(Generic[AnswerT]):
    """One API subject (`STREAM.INFO.{}` and the like) and the type of its answer."""

    def __init__(self, subject: str, answer: type[AnswerT]) -> None:
        self._subject = API + subject
        self._decoder = Decoder(answer)

    async def __call__(
        self,
        connection: NatsConnection,
        name: str = "",
        body: dict[str, Any] | None = None,
        *,
        timeout_s: float = API_TIMEOUT_S,
    ) -> AnswerT:
        """The answer. Raises `ApiRefused`, `NotSent` when JetStream is not there, `Unavailable`."""
        subject = self._subject.format(name)
        message = await connection.request(subject, encode(body) if body else b"", timeout_s)
        answer = self._decoded(message.data, subject)
        if answer.error is not None:
            raise ApiRefused(answer.error, subject)
        return answer

    def _decoded(self, reply: bytes, subject: str) -> AnswerT:
        try:
            return self._decoder.decode(reply)
        except (DecodeError, ValueError) as error:
            raise UnreadableReply(subject, error) from None


encode = Encoder().encode

stream_info = Method("STREAM.INFO.{}", StreamInfo)
stream_purge = Method("STREAM.PURGE.{}", Purged)
_message_get = Method("STREAM.MSG.GET.{}", _MessageAnswer)


async def stream_state(connection: NatsConnection, stream: str) -> StreamState:
    """How far a stream has come, by its leader. Raises `Unavailable`.

    Asked for the state, a replica that knows of no leader gives its own, which may be old.
    """
    info = await stream_info(connection, stream)
    if info.cluster is not None and not info.cluster.leader:
        raise Unavailable(f"the stream {stream} has no leader now")
    return info.state or StreamState()


async def find_stream(connection: NatsConnection, stream: str, timeout_s: float = API_TIMEOUT_S) -> StreamInfo | None:
    """What the server says of a stream; None when it has none of that name, and says so. Raises `Unavailable`."""
    try:
        return await stream_info(connection, stream, timeout_s=timeout_s)
    except ApiRefused as refused:
        if refused.err_code != ERROR_STREAM_NOT_FOUND:
            raise
        return None


async def last_sequence(connection: NatsConnection, stream: str) -> int:
    """The stream's last sequence, by its leader. Raises `Unavailable`."""
    return (await stream_state(connection, stream)).last_seq


async def leader_last(connection: NatsConnection, stream: str, subject: str) -> StoredMessage | None:
    """The last message of a subject, by the stream's leader. Raises `Unavailable`."""
    return await _leader_get(connection, stream, {"last_by_subj": subject})


async def leader_next(
    connection: NatsConnection, stream: str, subject_filter: str, sequence: int
) -> StoredMessage | None:
    """The first message of a filter at or after a sequence, by the stream's leader. Raises `Unavailable`."""
    return await _leader_get(connection, stream, {"seq": sequence, "next_by_subj": subject_filter})


def server_time(time: datetime) -> datetime:
    """The nearest time that the server knows: it counts nanoseconds in 64 bits, so the year 9999 is past for it."""
    return min(max(time, FIRST), LAST)


async def leader_since(
    connection: NatsConnection, stream: str, subject_filter: str, time: datetime
) -> StoredMessage | None:
    """The first message of a filter that was stored at a time or later, by the stream's leader.

    Raises `Unavailable`.
    """
    return await _leader_get(connection, stream, {"start_time": server_time(time), "next_by_subj": subject_filter})


async def direct_last(connection: NatsConnection, stream: str, subject: str) -> StoredMessage | None:
    """The last message of a subject, by any replica. Raises `Unavailable`."""
    message = await connection.request(f"{API}DIRECT.GET.{stream}.{subject}", b"", API_TIMEOUT_S)
    headers = message.headers or {}
    if STATUS not in headers:
        return _stored(message, headers)
    if headers[STATUS] == STATUS_NOT_FOUND:
        return None
    raise Unavailable(f"the read of {subject} was refused with status {headers[STATUS]}")


async def direct_batch(
    connection: NatsConnection,
    stream: str,
    subject_filter: str,
    sequence: int,
    *,
    most: int = BATCH_MESSAGES,
    having: bytes = b"",
) -> Batch:
    """Messages of a filter at or after a sequence, in order, by any replica. Raises `Unavailable`.

    At most `most`, at most `BATCH_MESSAGES` and about `BATCH_BYTES`, at least one when there is one; of these, those
    `having` these bytes. To leave one out costs a fifth of reading it.
    """
    session = connection.session or await connection.ready()
    found: list[StoredMessage] = []
    last = 0
    ended: asyncio.Future[bool | Unavailable] = asyncio.get_running_loop().create_future()

    def receive(reply: Reply) -> None:
        try:
            take(reply)
        except (UnreadableReply, ValueError) as error:
            set_once(ended, error if isinstance(error, UnreadableReply) else UnreadableReply("a read", error))

    def take(reply: Reply) -> None:
        if isinstance(reply, NoReply):
            error = NotSent if reply in (NoReply.NO_RESPONDERS, NoReply.FORBIDDEN) else Unavailable
            set_once(ended, error(f"{reply.value}: a read of {stream}"))
            return
        nonlocal last
        if having and reply.data and having not in reply.data:
            last = int(reply.header(SEQUENCE))
            return
        headers = reply.headers or {}
        status = headers.get(STATUS)
        if status is None:
            found.append(_stored(reply, headers))
            last = found[-1].sequence
        elif status == STATUS_END_OF_BATCH:
            set_once(ended, int(headers.get(PENDING, "0")) > 0)
        elif status == STATUS_NOT_FOUND:
            set_once(ended, False)
        else:
            set_once(ended, Unavailable(f"the read of {stream} was refused with status {status}"))

    body = {
        "seq": sequence,
        "next_by_subj": subject_filter,
        "batch": min(most, BATCH_MESSAGES),
        "max_bytes": BATCH_BYTES,
    }
    reply_to = session.send(f"{API}DIRECT.GET.{stream}", encode(body), receive, API_TIMEOUT_S, many=True)
    try:
        more = await ended
    finally:
        session.forget(reply_to)
    if isinstance(more, Unavailable):
        raise more
    return Batch(found, more, last)


def _stored(message: Message, headers: Mapping[str, str]) -> StoredMessage:
    """Raises `UnreadableReply`."""
    try:
        return StoredMessage(headers[SUBJECT], int(headers[SEQUENCE]), message.data, is_marker(headers))
    except (KeyError, ValueError) as error:
        raise UnreadableReply("a read", error) from None


_MARKER_NAMES = (f"{KV_OPERATION}:".encode(), f"{MARKER_REASON}:".encode())


async def _leader_get(connection: NatsConnection, stream: str, body: dict[str, Any]) -> StoredMessage | None:
    try:
        message = (await _message_get(connection, stream, body)).message
    except ApiRefused as refused:
        if refused.err_code == ERROR_MESSAGE_NOT_FOUND:
            return None
        raise
    if message is None:
        return None
    marker = any(name in message.hdrs for name in _MARKER_NAMES) if message.hdrs else False
    return StoredMessage(message.subject, message.seq, message.data, marker)
