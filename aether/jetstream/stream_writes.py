"""Messages that are published to a stream and awaited until they are acknowledged. Stateless."""

import asyncio

from msgspec import DecodeError

from aether.aio import set_once
from aether.errors import Unavailable
from aether.jetstream.acknowledgements import acknowledged, written
from aether.jetstream.api import API_TIMEOUT_S, decode_acknowledgement
from aether.jetstream.connection.headers import BATCH_ID, BATCH_SEQUENCE, MESSAGE_ID
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.connection.pending_replies import NoReply, Reply
from aether.jetstream.connection.publisher import Headers
from aether.jetstream.refusals import UNANSWERED, shown


async def batch_refused(connection: NatsConnection, subject: str, batch_id: str, payload_bytes: int) -> str:
    """Why the server refuses a message that begins a batch, or "" when it waits for the rest. Raises `Unavailable`."""
    session = connection.session or await connection.ready(API_TIMEOUT_S)
    arrived: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    head = {BATCH_ID: batch_id, BATCH_SEQUENCE: "1"}
    reply_to = session.send(subject, b" " * payload_bytes, lambda reply: set_once(arrived, reply), API_TIMEOUT_S, head)
    try:
        reply = await arrived
    finally:
        session.forget(reply_to)
    if isinstance(reply, NoReply):
        if reply in UNANSWERED:
            return UNANSWERED[reply]
        raise Unavailable(f"{reply.value}: {subject}")
    if not reply.data:
        return ""
    try:
        refusal = decode_acknowledgement(reply.data).error
    except DecodeError as error:
        raise Unavailable(f"the answer to a batch cannot be read: {error}") from None
    return "" if refusal is None else shown(refusal)


async def write(connection: NatsConnection, subject: str, value: bytes, headers: Headers = None) -> int | None:
    """Publish to a stream and await its acknowledgement: the message's sequence, None when the expected one was
    another.

    Raises `NotStored` when the server says why it stores nothing, `NotSent` without a connection, `Unavailable` when
    what came of it is not known.
    """
    return written(await _published(connection, subject, value, headers), subject)


async def write_once(connection: NatsConnection, subject: str, value: bytes, message_id: str) -> tuple[int, bool]:
    """Publish to a stream what is stored once: the sequence, and whether a message with this id was there already.

    Raises as `write`.
    """
    reply = await _published(connection, subject, value, {MESSAGE_ID: message_id})
    found = acknowledged(reply, subject)
    assert found is not None, "nothing was expected"
    return found.seq, found.duplicate


async def _published(connection: NatsConnection, subject: str, value: bytes, headers: Headers) -> Reply:
    session = connection.session or await connection.ready(API_TIMEOUT_S)
    arrived: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    reply_to = session.send(subject, value, lambda reply: set_once(arrived, reply), API_TIMEOUT_S, headers)
    try:
        return await arrived
    finally:
        session.forget(reply_to)
