"""Stores what is relayed in the inbox stream. The compiled half of `aether.jetstream.inbox`: no coroutine, no task."""

import asyncio

from aether.errors import AetherError
from aether.jetstream.acknowledgements import written
from aether.jetstream.api import API_TIMEOUT_S
from aether.jetstream.connection.headers import expected_elsewhere_head
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.connection.pending_replies import Reply
from aether.jetstream.connection.session import NatsSession
from aether.names import Names


class InboxRelays:
    """The relay marks that this worker has written, and what is stored on the condition that one is still the last."""

    __slots__ = ("_claims", "_connection", "_names")

    def __init__(self, connection: NatsConnection, names: Names) -> None:
        self._connection = connection
        self._names = names
        self._claims: dict[int, tuple[int, NatsSession]] = {}

    def claimed(self, shard: int, mark: int, session: NatsSession) -> None:
        """The shard's mark is ours, at this sequence, as it was written on this session."""
        self._claims[shard] = (mark, session)

    def session_of(self, shard: int, mark: int) -> NatsSession | None:
        """The session that our mark, at this sequence, was written on, while that is the session now; else None."""
        session = self._connection.session
        if session is None or self._claims.get(shard) != (mark, session):
            return None
        return session

    def relay(self, subject: str, source: int, payload: bytes, mark: int) -> "asyncio.Future[int | None]":
        """Store it, sent at once: its sequence, or None when the source's mark is not at `mark`, or not of now.

        Whatever is raised is the future's exception.
        """
        came: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        session = self.session_of(source, mark)
        if session is None:
            came.set_result(None)
            return came

        def receive(reply: Reply) -> None:
            if came.done():  # cancelled
                return
            try:
                came.set_result(written(reply, subject))
            except AetherError as error:
                came.set_exception(error)

        head = expected_elsewhere_head(mark, self._names.relay_mark(source).encode())
        try:
            session.send(subject, payload, receive, API_TIMEOUT_S, head)
        except AetherError as error:
            came.set_exception(error)
        return came
