"""Sees to it that a stream of tells that went back gives out no sequence for the second time.

A power cut without syncs, or an older copy that is put back, takes the last messages of the stream, and the server
would go on with their sequences. Actors skip tells up to the last one that they have applied, which their commits say,
so new tells would be skipped in silence. Therefore, once for each connection and before anything is stored over it, the
end of the stream is compared with what the last commits have applied. Where it is behind, a record is stored of which
commits are of before (`WentBack`), and then messages without content until the stream is beyond all that was ever read.

Commits that are earlier than the last relay mark, or than the last message, have applied nothing that is later: only
those after it are read, and of those the last ones. An owner that was away meanwhile may store nothing before it has
looked, too.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder, Encoder

from aether.background import Background
from aether.core.relay_mark import decode_mark
from aether.errors import AetherError, Unavailable, UnreadableEvent
from aether.ids import Position
from aether.jetstream.api import (
    API_TIMEOUT_S,
    ApiRefused,
    StreamState,
    last_sequence,
    leader_last,
    leader_since,
    stream_state,
)
from aether.jetstream.connection.headers import ERROR_STREAM_NOT_FOUND, expected_head
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.connection.session import NatsSession
from aether.jetstream.history_reader import EVERY_SUBJECT, search_batches
from aether.jetstream.stream_writes import write
from aether.names import Names
from aether.ports import StoredCommit, WentBack
from aether.wire import decode_commit

BEYOND = 65_536
"""So many sequences are passed beyond the last one that is known: others may have read more than was applied."""

PASSED_MAX = 20_000_000
"""A stream that is further behind is not filled: it is a copy from before it was made anew, perhaps."""

AT_ONCE = 1_000
"""So many messages without content are under way at once."""

COMMITS_MAX = 100_000
"""So many commits are read at most, a second or two. It leaves unseen that a tell is lost which was applied before all
of them, while none was applied since: a power cut leaves no such streams, an older copy of one of them may."""

BEFORE_S = 2.0
"""Commits are read from so long before the last message on: the server's clock may have been set."""

INBOXSEQ = b'"inboxseq":"'

log = logging.getLogger("aether.inbox")

_sequences = re.compile(rb'"inboxseq":"(\d{1,19})"')


class _Record(Struct, frozen=True):
    """What is stored of a stream that went back: see `WentBack`, and the sequence up to which it is filled."""

    after: int
    until: int
    beyond: int


_encode = Encoder().encode
_decoder = Decoder(_Record)


class InboxEnd:
    """The end of the inbox stream of one namespace, as it is seen over one connection after the other."""

    def __init__(self, connection: NatsConnection, names: Names, reached: Callable[[], int]) -> None:
        """`reached` says up to which sequence this process has heard of the stream."""
        self.epoch = 0
        """Another number when what was read of the stream may be gone."""
        self._connection = connection
        self._names = names
        self._checked: NatsSession | None = None
        self._found: WentBack | None = None
        self._seen = 0
        self._is_doubted = False
        self._server = connection.session.server_id if connection.session is not None else ""
        self._reached = reached
        self._background = Background()
        self._checking: asyncio.Task[AetherError | None] | None = None
        connection.listen(self._connected)

    def _connected(self, session: NatsSession | None) -> None:
        self._seen = max(self._seen, self._reached())
        if session is not None and session.server_id != self._server:
            self._server = session.server_id
            self.epoch += 1

    @property
    def is_passed(self) -> bool:
        """Whether what is stored over the connection that there is now gets a new sequence for sure."""
        return self._checked is not None and self._checked is self._connection.session

    def read(self, sequence: int) -> None:
        """This was read."""
        self._seen = max(self._seen, sequence)

    @property
    def seen(self) -> int:
        """The last sequence that is known to have been there."""
        return self._seen

    def saw(self, end: int, seen: int) -> None:
        """The stream ended here, when `seen` was known before. If it has been longer, it is looked at before more is
        stored. What was read while the answer was on its way is later, and says nothing.
        """
        if end < seen:
            self._checked, self._is_doubted = None, True
        else:
            self._seen = max(self._seen, end)

    async def passed(self) -> WentBack | None:
        """Return once the stream is beyond all that was read of it; what it lost last. Raises `Unavailable`.

        What is sent before anything else is awaited goes over the connection that was looked at.
        """
        while True:
            session = self._connection.session or await self._connection.ready(API_TIMEOUT_S)
            if session is self._checked:
                return self._found
            if self._checking is None or self._checking.done():  # it goes on when who asked gives up
                self._checking = self._background.once("aether inbox end", self._outcome(session))
            error = await asyncio.shield(self._checking)
            if error is not None:
                raise error

    async def _outcome(self, session: NatsSession) -> AetherError | None:
        try:
            await self._check(session)
        except AetherError as error:
            return error
        return None

    async def _check(self, session: NatsSession) -> None:
        try:
            # In this order: what was read, and what a commit has applied, was in the stream before.
            seen = self._seen
            commits = Position(await last_sequence(self._connection, self._names.stream))
            state = await self._state()
            found = await self._compared(session, commits, state, seen)
        except ApiRefused as refused:
            if refused.err_code != ERROR_STREAM_NOT_FOUND:
                raise
            found = None  # what is made anew begins beyond, and what is stored now is refused
        if self._connection.session is not session:
            raise Unavailable("the connection was lost meanwhile")
        if found != self._found and self._is_doubted:
            self.epoch += 1
        self._checked, self._found, self._is_doubted = session, found, False

    async def _compared(
        self, session: NatsSession, commits: Position, state: StreamState, seen: int
    ) -> WentBack | None:
        """What the stream has lost, once it is beyond that; `seen` was in it before the others were asked for."""
        record, place = await self._record()
        if record is not None and record.beyond > state.last_seq:  # who began to fill it may be gone
            await self._fill(session, record.beyond)
            return await self._compared(session, commits, await self._state(), seen)
        after = await self._after(state, commits)
        known = max(await self._applied(after, commits, state.last_seq), seen)
        if known > state.last_seq:
            lost = _Record(after, commits, known + BEYOND)
            record = await self._went_back(lost, record, place, state.last_seq)
            if record is None:  # another process was first
                return await self._compared(session, commits, await self._state(), seen)
            await self._fill(session, record.beyond)
            self._seen = 0
        return None if record is None or not record.beyond else WentBack(Position(record.after), Position(record.until))

    async def _state(self) -> StreamState:
        return await stream_state(self._connection, self._names.inbox)

    async def _record(self) -> tuple[_Record | None, int]:
        """The last record, and where it stands."""
        last = await leader_last(self._connection, self._names.inbox, self._names.inbox_passed())
        if last is None:
            return None, 0
        try:
            return _decoder.decode(last.payload), last.sequence
        except (ValidationError, DecodeError):
            return None, last.sequence

    async def _after(self, state: StreamState, commits: Position) -> Position:
        """A position up to which no commit has applied anything later than the stream as it is; see `COMMITS_MAX`."""
        after = max(0, commits - COMMITS_MAX)
        mark = await leader_last(self._connection, self._names.inbox, self._names.relay_marks())
        if mark is not None:
            with suppress(UnreadableEvent):
                after = max(after, decode_mark(mark.payload).relayed)
        if state.last_ts is not None and state.last_ts.year > 1:
            since = state.last_ts - timedelta(seconds=BEFORE_S)
            first = await leader_since(self._connection, self._names.stream, EVERY_SUBJECT, since)
            after = max(after, first.sequence - 1 if first is not None else commits)
        return Position(min(after, commits))

    async def _applied(self, after: Position, until: Position, end: int) -> int:
        """The last tell that a commit between two positions has applied, if it is later than the stream's end."""
        found = 0
        async for _, commits in search_batches(self._connection, self._names, after, until, INBOXSEQ):
            for commit in commits:
                if any(int(one) > end for one in _sequences.findall(commit.payload)):
                    found = max(found, _applied_by(commit))
        return found

    async def _went_back(self, record: _Record, before: _Record | None, place: int, end: int) -> _Record | None:
        """Store a record in place of the one `before`; None if that is another one by now.

        If it stands beyond what is known, a leader that was replaced has said where the end is, and nothing is lost:
        then the one before is stored again, or one that says nothing.
        """
        passed, extra = self._names.inbox_passed(), {"stream": self._names.inbox, "end": end, "beyond": record.beyond}
        if record.beyond - end > PASSED_MAX:
            log.error("the stream of tells went back too far", extra=extra)
            text = f"the stream {self._names.inbox} is an older copy: it ends at {end}, and actors have had later tells"
            raise Unavailable(f"{text}; delete it, and it is made anew")
        sequence = await write(self._connection, passed, _encode(record), expected_head(place))
        if sequence is None:
            return None
        if sequence > record.beyond - BEYOND:
            record = before or _Record(record.until, record.until, 0)
            sequence = await write(self._connection, passed, _encode(record), expected_head(sequence))
            return None if sequence is None else record
        log.error("the stream of tells went back: what clients told last is lost, if it was not applied", extra=extra)
        return record

    async def _fill(self, session: NatsSession, beyond: int) -> None:
        """Store messages without content until the stream has come so far. Several may do it at once."""
        filler, sequence = self._names.inbox_filler(), 0
        while sequence < beyond:
            sequence = await write(self._connection, filler, b"") or 0
            for _ in range(min(AT_ONCE, beyond - sequence - 1)):
                session.publish(filler, b"")


def _applied_by(commit: StoredCommit) -> int:
    try:
        events = decode_commit(commit.payload, commit.actor_id, commit.position)
    except AetherError:  # its actor says so
        return 0
    return max((int(event.inboxseq) for event in events if event.inboxseq.isdecimal()), default=0)
