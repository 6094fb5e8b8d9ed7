"""Commands that wait for an answer, as requests on core NATS: only a shard's owner listens to its subjects.

`deliveries` hands them over and sends the answers. Nothing is kept between calls.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

from msgspec import DecodeError, ValidationError
from msgspec.json import Decoder, Encoder

from aether.announcements import Announcements
from aether.errors import AetherError, InvalidCommand
from aether.ids import ActorId, Position
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.connection.pending_replies import NoReply, Reply
from aether.jetstream.connection.session import NatsSession
from aether.jetstream.deliveries import Deliver, Respond
from aether.names import Names, shard_of
from aether.ports import Delivery, Durability, Subscription

HEADERS_BYTES = 1024
"""Room that a request leaves below the server's largest message."""

INFO_GROUP = "workers"
INFO_TIMEOUT_S = 2.0

Inform: TypeAlias = Callable[[], bytes]

_encode_shards = Encoder().encode
_decode_shards = Decoder(list[int]).decode

log = logging.getLogger("aether.jetstream")


class NatsTransport:
    """`Transport` of one namespace."""

    def __init__(self, connection: NatsConnection, names: Names) -> None:
        self._connection = connection
        self._names = names
        self._announcements = Announcements()

    @property
    def request_bytes_max(self) -> int:
        """Largest command, in bytes."""
        return self._connection.payload_bytes_max - HEADERS_BYTES

    async def serve(self, shard: int, receive: Callable[[Delivery], None]) -> Subscription:
        """Receive the commands of a shard; the server knows of it when this returns. Raises `Unavailable`."""
        deliver = Deliver(self._names, shard, receive)
        return await self._connection.subscribe(self._names.commands_of_shard(shard), deliver)

    def request(self, actor_id: ActorId, payload: bytes, timeout_s: float) -> Awaitable[bytes]:
        """The owner's answer. Raises `NotSent` for no owner or no connection, `Unavailable` for loss or a time-out.

        Raises `InvalidCommand` for a payload over `request_bytes_max`. What it raises may come when it is awaited.
        """
        if len(payload) > self.request_bytes_max:
            text = f"a command is at most {self.request_bytes_max} bytes, this is {len(payload)}"
            raise InvalidCommand(text)
        session = self._connection.session
        if session is None:
            return self._request_when_ready(actor_id, payload, timeout_s)
        return session.ask(self._names.command(actor_id), payload, timeout_s)

    async def _request_when_ready(self, actor_id: ActorId, payload: bytes, timeout_s: float) -> bytes:
        session = await self._connection.ready(timeout_s)
        return await session.ask(self._names.command(actor_id), payload, timeout_s)

    def announce(self, shards: Sequence[int]) -> None:
        """Tell waiting callers that these shards are served from here now; without a connection it is not sent."""
        session = self._connection.session
        if session is not None and shards:
            with suppress(AetherError):
                session.publish(self._names.owners(), _encode_shards(list(shards)))

    async def follow_owners(self) -> Subscription:
        """Receive announcements, for the requests of this connection. Raises `Unavailable`."""
        return await self._connection.subscribe(self._names.owners(), self._receive_announcement)

    async def owner_announced(self, actor_id: ActorId, since_s: float, timeout_s: float) -> None:
        """Return when an owner of the actor's shard was announced after `since_s`, or in time."""
        await self._announcements.wait(shard_of(actor_id, self._names.shards), since_s, timeout_s)

    def _receive_announcement(self, session: NatsSession, message: Message) -> None:
        try:
            shards = _decode_shards(message.data)
        except (DecodeError, ValidationError):
            log.warning("an announcement of owners cannot be read")
            return
        self._announcements.announced(shards)
        session.interrupt([self._names.commands_of_shard(shard).removesuffix(">") for shard in shards])

    def hang_up(self) -> None:
        """End the requests in flight with `Unavailable`, and the waits for owners: nothing more will be asked."""
        self._announcements.end()
        session = self._connection.session
        if session is not None:
            session.interrupt([self._names.commands_prefix, self._names.info()])

    async def answer_status(self, inform: Inform) -> Subscription:
        """Answer status requests for this worker. Raises `Unavailable`."""
        return await self._tell(self._names.status(), inform)

    async def ask_status(self, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        """Ask all workers how they are: `enough` gets each answer, until it is or the time is up. Never raises."""
        await self._ask_all(self._names.status(), enough, timeout_s)

    async def answer_metrics(self, inform: Inform) -> Subscription:
        """Answer each question about what the workers have measured, each for itself. Raises `Unavailable`."""
        return await self._tell(self._names.metrics(), inform)

    async def ask_metrics(self, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        """Ask all workers what they have measured: `enough` gets each answer, as in `ask_status`. Never raises."""
        await self._ask_all(self._names.metrics(), enough, timeout_s)

    async def answer_waiting(self, inform: Inform) -> Subscription:
        """Answer each question about the tells that wait at this worker, each for itself. Raises `Unavailable`."""
        return await self._tell(self._names.waiting_tells(), inform)

    async def ask_waiting(self, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        """Ask all workers which tells wait at them: `enough` gets each answer, as in `ask_status`. Never raises."""
        await self._ask_all(self._names.waiting_tells(), enough, timeout_s)

    async def _tell(self, subject: str, inform: Inform, group: str = "") -> Subscription:
        def received(session: NatsSession, message: Message) -> None:
            Respond(session, message.reply)(inform())

        return await self._connection.subscribe(subject, received, group)

    async def _ask_all(self, subject: str, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        session = self._connection.session
        if session is None:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def receive(reply: Reply) -> None:
            if not done.done() and (isinstance(reply, NoReply) or enough(reply.data)):
                done.set_result(None)

        try:
            reply_to = session.send(subject, b"", receive, timeout_s, many=True)
        except AetherError:
            return
        try:
            await done
        finally:
            session.forget(reply_to)

    async def info(self, inform: Inform) -> Subscription:
        """Answer questions about the pool; one of the workers that do so answers each. Raises `Unavailable`."""
        return await self._tell(self._names.info(), inform, INFO_GROUP)

    async def answer_durable(self, durability: Durability, subject: str) -> Subscription:
        """Answer whether a stream is on the disk up to a position; one worker answers each. Raises `Unavailable`."""

        def received(session: NatsSession, message: Message) -> None:
            if message.data.isdigit():
                asked, respond = int(message.data), Respond(session, message.reply)
                durability.after_question(
                    Position(asked), lambda why: respond(b"" if why else b"%d" % max(asked, durability.position))
                )

        return await self._connection.subscribe(subject, received, INFO_GROUP)

    async def ask_info(self, timeout_s: float = INFO_TIMEOUT_S) -> bytes:
        """What some worker of the pool says of it. Raises `NotSent` when there is none, `Unavailable`."""
        return (await self._connection.request(self._names.info(), b"", timeout_s)).data
