"""Publishes commits: one commit is one message, stored if its subject's last sequence is the expected one.

The hot path (see `docs/hot-path.md`): a plain publish whose acknowledgement comes to the connection's own inbox. The
server's answer is mapped to an outcome in one place, by its error code; everything that is not certain is `Unknown`.
"""

import logging
from collections.abc import Callable, Sequence
from secrets import token_hex

from msgspec import DecodeError

from aether.errors import AetherError
from aether.ids import ActorId, Position
from aether.jetstream.api import Acknowledgement, decode_acknowledgement
from aether.jetstream.connection.headers import ERROR_WRONG_LAST_SEQUENCE, batch_head, expected_head
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.connection.pending_replies import NoReply, Reply
from aether.jetstream.refusals import UNANSWERED, proves_not_stored, shown
from aether.jetstream.version_cache import VersionCache
from aether.names import Names
from aether.ports import Append, AppendOutcome, Committed, Conflict, Durability, Fenced, Refused, Unknown

log = logging.getLogger("aether.jetstream")

COMMIT_HEADERS_BYTES = 1024
"""Room in a message for the header that every commit carries and those the server adds when it repeats it."""

TOGETHER_MAX = 500
"""Commits of one atomic batch; the server takes 1,000."""


class CommitPublisher:
    """The writing part of a `JetStreamEventStore`.

    With a `durability` the server's acknowledgement does not decide: a commit counts as stored once it is on the disk.
    While `versions` is set, it learns what was stored. `refused_bytes` is the largest payload that was refused of late.
    """

    def __init__(self, connection: NatsConnection, names: Names, append_timeout_s: float) -> None:
        self._connection = connection
        self._names = names
        self.durability: Durability | None = None
        self.versions: VersionCache | None = None
        self.refused_bytes = 0
        self.batch_prefix = f"{token_hex(8)}."
        self._append_timeout_s = append_timeout_s
        self._batches = 0

    @property
    def commit_bytes_max(self) -> int:
        """Largest payload of one commit, in bytes: it must also fit when the server repeats it with its headers."""
        return self._connection.payload_bytes_max - COMMIT_HEADERS_BYTES

    def publish(
        self, actor_id: ActorId, payload: bytes, expected: Position, done: Callable[[AppendOutcome], None]
    ) -> None:
        """Append a commit; `done` gets the outcome from the event loop, or at once when nothing can be sent."""
        session = self._connection.session
        if session is None:
            return done(Unknown("there is no connection"))
        if len(payload) > self.commit_bytes_max:
            return done(Unknown(f"{len(payload)} bytes are more than a commit holds"))
        try:
            session.send(
                self._names.event(actor_id),
                payload,
                _Publishing(self, actor_id, len(payload), done),
                self._append_timeout_s,
                headers=expected_head(expected),
            )
        except AetherError as error:
            done(Unknown(error.message))
        return None

    @property
    def together_max(self) -> int:
        """Commits of one atomic batch (ADR-50), which only saves syncs of the server's."""
        return TOGETHER_MAX if self.durability is None else 1

    def publish_together(self, appends: Sequence[Append]) -> None:
        """Append commits of different actors as one atomic batch: one sync of the disk for all of them, by the server.

        A refused batch has stored nothing and names no culprit, so its commits are then published one by one.
        """
        session = self._connection.session
        if session is None:
            for append in appends:
                append.done(Unknown("there is no connection"))
            return
        self._batches += 1
        batch_id = f"{self.batch_prefix}{self._batches}".encode()
        try:
            for number, append in enumerate(appends, 1):
                subject, last = self._names.event(append.actor_id), number == len(appends)
                head = batch_head(batch_id, number, append.expected, last=last)
                if last:
                    session.send(subject, append.payload, lambda reply: self._batch_settled(appends, reply),
                                    self._append_timeout_s, headers=head)  # fmt: skip
                else:
                    session.publish(subject, append.payload, headers=head)
        except AetherError as error:
            for append in appends:
                append.done(Unknown(error.message))

    def _batch_settled(self, appends: Sequence[Append], reply: Reply) -> None:
        try:
            self._tell_batch(appends, reply)
        except Exception as error:  # a fault of ours: callers that have an outcome ignore a second one
            log.exception("the outcome of a batch could not be reported")
            for append in appends:
                append.done(Unknown(f"its acknowledgement could not be read: {error!r}"))

    def _tell_batch(self, appends: Sequence[Append], reply: Reply) -> None:
        acknowledgement = _acknowledged(reply)
        refused = isinstance(acknowledgement, Acknowledgement) and acknowledgement.error is not None
        # A message of a batch that reached no stream has stored nothing, and a batch that lacks one is not stored.
        if refused or (isinstance(reply, NoReply) and reply in UNANSWERED):
            for append in appends:
                if append.may_send():
                    self.publish(append.actor_id, append.payload, append.expected, append.done)
                else:
                    append.done(Fenced())
            return
        whole = isinstance(acknowledgement, Acknowledgement) and acknowledgement.count == len(appends)
        first = acknowledgement.seq - len(appends) + 1 if isinstance(acknowledgement, Acknowledgement) else 0
        why = acknowledgement if isinstance(acknowledgement, str) else "a part of the batch was acknowledged"
        for place, append in enumerate(appends):
            self.report(self._stored(append.actor_id, Position(first + place)) if whole else Unknown(why), append.done)

    def outcome(self, actor_id: ActorId, reply: Reply, payload_bytes: int = 0) -> AppendOutcome:
        """The one table of outcomes: stored, refused for the position or for a reason of the server's, or not known."""
        if isinstance(reply, NoReply):
            refused = UNANSWERED.get(reply)
            silent = Unknown(reply.value, unanswered=reply is NoReply.TIMED_OUT)
            return silent if refused is None else self._refused(refused, payload_bytes)
        acknowledgement = _acknowledged(reply)
        if isinstance(acknowledgement, str):
            return Unknown(acknowledgement)
        refusal = acknowledgement.error
        if refusal is None:
            if acknowledgement.seq > 0:
                return self._stored(actor_id, Position(acknowledgement.seq))
            return Unknown("no sequence was acknowledged")
        if refusal.err_code == ERROR_WRONG_LAST_SEQUENCE:
            return Conflict()
        if proves_not_stored(refusal.err_code, refusal.description):
            return self._refused(shown(refusal), payload_bytes)
        return Unknown(shown(refusal))

    def report(self, outcome: AppendOutcome, done: Callable[[AppendOutcome], None]) -> None:
        """Report an outcome; that a commit is stored, when it is durable."""
        if self.durability is not None and isinstance(outcome, Committed):
            self.durability.after_write(outcome.position, _Durable(outcome, done))
        else:
            done(outcome)

    def _refused(self, reason: str, payload_bytes: int) -> Refused:
        self.refused_bytes = max(self.refused_bytes, payload_bytes)
        return Refused(reason)

    def _stored(self, actor_id: ActorId, position: Position) -> Committed:
        if self.versions is not None:
            self.versions.update(actor_id, position, None)
        return Committed(position)


def _acknowledged(reply: Reply) -> Acknowledgement | str:
    """What the server answered to a publish, or why that is not known."""
    if isinstance(reply, NoReply):
        return reply.value
    try:
        return decode_acknowledgement(reply.data)
    except DecodeError as error:
        return f"the acknowledgement cannot be read: {error}"


class _Publishing:
    """One commit on its way: called with the acknowledgement. A class, as a closure is two objects more."""

    __slots__ = ("_actor_id", "_bytes", "_done", "_publisher")

    def __init__(
        self, publisher: CommitPublisher, actor_id: ActorId, bytes_: int, done: Callable[[AppendOutcome], None]
    ) -> None:
        self._publisher = publisher
        self._actor_id = actor_id
        self._bytes = bytes_
        self._done = done

    def __call__(self, reply: Reply) -> None:
        try:
            outcome = self._publisher.outcome(self._actor_id, reply, self._bytes)
        except Exception as error:  # a fault of ours
            outcome = Unknown(f"its acknowledgement could not be read: {error!r}")
        self._publisher.report(outcome, self._done)


class _Durable:
    """A commit that is acknowledged: called when it is on the disk, or when that will not be known."""

    __slots__ = ("_committed", "_done")

    def __init__(self, committed: Committed, done: Callable[[AppendOutcome], None]) -> None:
        self._committed = committed
        self._done = done

    def __call__(self, why_not: str) -> None:
        self._done(Unknown(why_not) if why_not else self._committed)
