"""Durability for programs that cannot sync the server's files: they ask a worker that can.

One question is under way at a time, for the highest position of a notice; so a stream of events costs one question
per round trip, and nothing where no worker listens. Workers whose server syncs by itself do not answer: what their rows
say is believed for a while. Where no worker is there, what the last ones have said holds.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from aether.background import Background
from aether.core.backoff import Backoff
from aether.core.cluster.membership import decode_member
from aether.errors import Unavailable
from aether.ids import Position
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.table import JetStreamTable
from aether.log_lines import Repeated, words
from aether.ports import NotSent
from aether.table_keys import MEMBER_PREFIX, SYNCED_BY_KEY, SYNCED_BY_SERVER

ANSWER_TIMEOUT_S = 2.0
BELIEVED_S = 2.0
"""How long it is believed that the workers leave syncing to the server."""

FORGOTTEN = "the connection was lost meanwhile, or the stream went backwards"

RETRY = Backoff(first_s=0.02, cap_s=1.0)

log = logging.getLogger("aether.jetstream")


class AskedDurability:
    """`Durability` of a stream, by question on the subject where workers answer for it.

    Who waits is told when it is known, however long that takes, or that it will not be known, where what was seen may
    be gone: over another connection, or after the stream went backwards.
    """

    def __init__(self, connection: NatsConnection, subject: str, table: JetStreamTable) -> None:
        self.position = Position(0)
        self._connection = connection
        self._subject = subject
        self._table = table
        self._waiting: list[tuple[Position, Callable[[str], None]]] = []
        self._written: list[tuple[Position, Callable[[str], None]]] = []
        self._background = Background()
        self._asking: asyncio.Task[None] | None = None
        self._left_to_server_until_s = 0.0
        self._missed = Repeated(log, logging.INFO, "whether events are durable is not known yet")
        self._epoch = 0
        connection.listen(lambda _: self.forget())

    def after_write(self, position: Position, done: Callable[[str], None]) -> None:
        """See `ports.Durability`. It takes a question of its own time: in a stream made anew, positions begin anew."""
        self._written.append((position, done))
        self._hurry()

    def after_read(self, position: Position, done: Callable[[str], None]) -> None:
        """See `ports.Durability`."""
        self.after_notice(position, done)

    def after_notice(self, position: Position, done: Callable[[str], None]) -> None:
        """See `ports.Durability`."""
        if position <= self.position:
            done("")
            return
        self._waiting.append((position, done))
        self._hurry()

    def _hurry(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = self._background.once("aether durable position", self._ask_while_wanted())

    def after_question(self, position: Position, done: Callable[[str], None]) -> None:
        """See `ports.Durability`."""
        self.after_notice(position, done)

    def forget(self) -> None:
        """See `ports.Durability`. Also for another connection: after a power cut others may be in the same places.

        A worker believes what it is asked, so it is never asked for a position of before.
        """
        self.position = Position(0)
        self._epoch += 1
        self._left_to_server_until_s = 0.0
        waiting, self._waiting, self._written = [*self._written, *self._waiting], [], []
        for _, done in waiting:
            done(FORGOTTEN)

    async def _ask_while_wanted(self) -> None:
        attempt = 0
        while (self._waiting or self._written) and not self._connection.closed:
            epoch, written = self._epoch, list(self._written)
            try:
                known = await self._ask(max(position for position, _ in (*self._waiting, *written)))
            except Unavailable as error:
                self._missed.again(error=words(error))
                # Spreads the questions of many clients; nothing depends on the value.
                await asyncio.sleep(RETRY.delay_s(attempt, random.random()))  # noqa: S311 - no secret
                attempt += 1
                continue
            attempt = 0
            self._missed.over()
            if epoch == self._epoch and self._connection.session is not None:
                self.position = Position(max(self.position, known))
                self._answer_known(written)

    async def _ask(self, position: Position) -> int:
        """Up to where all is durable, at least up to `position`. Raises `Unavailable`."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._left_to_server_until_s:
            return position
        try:
            answer = (await self._connection.request(self._subject, b"%d" % position, ANSWER_TIMEOUT_S)).data
        except NotSent:
            if not await self._is_left_to_server():
                raise
            self._left_to_server_until_s = now_s + BELIEVED_S
            return position
        if not answer.isdigit():
            raise Unavailable("a worker could not make it durable")
        return int(answer)

    async def _is_left_to_server(self) -> bool:
        """What the workers say that are there, or, where none is, what the last ones have said."""
        rows = [decode_member(row.value) for row in await self._table.rows(MEMBER_PREFIX)]
        members = [row for row in rows if row is not None]
        if members:
            return not any(row.durability for row in members)
        said = await self._table.get(SYNCED_BY_KEY)
        return said is not None and said.value == SYNCED_BY_SERVER

    def _answer_known(self, written: Sequence[tuple[Position, Callable[[str], None]]]) -> None:
        """`written`: what was stored before the question was asked."""
        waiting, self._waiting = self._waiting, []
        self._written = self._written[len(written) :]
        for position, done in (*written, *waiting):
            if position <= self.position:
                done("")
            else:
                self._waiting.append((position, done))
