"""Messages that are published to a stream and acknowledged: what an acknowledgement, or its absence, means.

Three outcomes: stored, not stored and the server says why (`NotStored`, or None for another last sequence), and not
known (`Unavailable`). Stateless.
"""

import asyncio

from msgspec import DecodeError

from aether.aio import set_once
from aether.errors import Unavailable
from aether.jetstream.api import API_TIMEOUT_S, Acknowledgement, ApiRefused, decode_acknowledgement
from aether.jetstream.connection.headers import BATCH_ID, BATCH_SEQUENCE, ERROR_WRONG_LAST_SEQUENCE, MESSAGE_ID
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.connection.pending_replies import NoReply, Reply
from aether.jetstream.connection.publisher import Headers
from aether.jetstream.refusals import UNANSWERED, proves_not_stored, shown
from aether.ports import NotStored


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
    found = _acknowledged(reply, subject)
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


def written(reply: Reply, subject: str) -> int | None:
    """What an acknowledgement says. Raises as `write`."""
    found = _acknowledged(reply, subject)
    return None if found is None else found.seq


def _acknowledged(reply: Reply, subject: str) -> Acknowledgement | None:
    if isinstance(reply, NoReply):
        if reply in UNANSWERED:
            raise NotStored(f"{UNANSWERED[reply]}: {subject}")
        raise Unavailable(f"{reply.value}: {subject}")
    try:
        answer = decode_acknowledgement(reply.data)
    except DecodeError as error:
        raise Unavailable(f"the acknowledgement of {subject} cannot be read: {error}") from None
    refusal = answer.error
    if refusal is None:
        if answer.seq <= 0:
            raise Unavailable(f"no sequence was acknowledged: {subject}")
        return answer
    if refusal.err_code == ERROR_WRONG_LAST_SEQUENCE:
        return None
    if proves_not_stored(refusal.err_code, refusal.description):
        raise NotStored(f"{shown(refusal)}: {subject}", err_code=refusal.err_code)
    raise ApiRefused(refusal, subject)
