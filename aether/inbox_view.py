"""What a client sees of the inbox and does with dead letters: `aether.dead_letters` says why that is safe.

It belongs to an `UntypedClient`, whose connection and patience it uses. It keeps nothing.
"""

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from aether.client_node import ClientNode
from aether.dead_letters import (
    APPLIED,
    DEAD,
    DROPPED,
    DYING,
    OVER,
    RETRIED,
    RETRYING,
    DeadLetter,
    DeadLetterRow,
    dead_letter_of,
    decode_row,
    note_what_came,
    sent_again,
    shorter,
)
from aether.errors import InvalidCommand, Unavailable, UnreadableEvent
from aether.ids import ActorId
from aether.inbox_needs import InboxContent, kept
from aether.names import shard_of
from aether.ports import START, InboxMessage
from aether.retried_request import RetriedRequest
from aether.tells import encode_tell
from aether.waiting_tells import RunningTask, WaitingTells, ask_running, ask_waiting
from aether.wire import decode_commit, instant

TRIES_MAX = 8
"""How often a decision is tried again because another caller has written the row meanwhile."""

BY_CHARS_MAX = 200

log = logging.getLogger("aether.inbox")

Patience = Callable[[str, float | None, str], RetriedRequest]


class _Found(NamedTuple):
    """A row, and where it stands."""

    at: int
    row: DeadLetterRow


class InboxView:
    """The inbox of one namespace."""

    def __init__(self, node: ClientNode, patience: Patience) -> None:
        self._node = node
        self._patience = patience

    async def dead_letters(
        self, kind: str | None, key: str | None, deadline_s: float | None
    ) -> AsyncIterator[DeadLetter]:
        """The dead letters, the oldest first, as some replica knows them. Raises what `history` raises."""
        patience, last, more = self._patience("the dead letters", deadline_s, "read"), 0, True
        rows: dict[int, DeadLetterRow] = {}
        while more:
            after = last
            batch = await patience.ask(lambda after=after: self._node.inbox.dead_letters(after))  # type: ignore[misc]
            for message in batch.messages:
                last = message.sequence
                row = decode_row(message.payload)
                if row is not None:
                    rows[row.sequence] = row
            more = batch.more
            patience.start_again()
        wanted = [rows[id] for id in sorted(rows) if _is_wanted(rows[id], kind, key)]
        dying = _by_actor(row for row in wanted if row.state == DYING)
        came: dict[int, str] = {}
        for row in wanted:
            target = row.tell.target
            if row.state == DYING and target in dying:
                came |= await patience.ask(partial(self._came_of, target, dying.pop(target)))
            if row.state != DYING or came.get(row.sequence) == DEAD:
                yield dead_letter_of(row)
                patience.start_again()

    async def dead_letter(self, id: int, deadline_s: float | None) -> DeadLetter:
        """One of them. Raises `InvalidCommand` with the path `id` when it is none (any more)."""
        patience = self._patience(f"the dead letter {id}", deadline_s, "read")
        return dead_letter_of((await patience.ask(lambda: self._found(id))).row)

    async def retry(self, id: int, by: str, deadline_s: float | None) -> tuple[DeadLetter, str, int]:
        """Send it again; the dead letter, the new command id, and its sequence. See `UntypedClient`."""
        patience = self._patience(f"the dead letter {id}", deadline_s, "sent again")
        decided, command_id, sequence = await patience.ask(lambda: self._send_again(id, by))
        row = decided.row
        await patience.ask(lambda: self._write(replace(row, state=RETRIED), decided.at))
        log.info("a dead letter was sent again", extra=_said(row, row.by))
        return dead_letter_of(row), command_id, sequence

    async def drop(self, id: int, by: str, deadline_s: float | None) -> DeadLetter:
        """Forget it; what it was. See `UntypedClient`."""
        patience = self._patience(f"the dead letter {id}", deadline_s, "dropped")
        written: list[DeadLetterRow] = []
        return await patience.ask(lambda: self._drop(id, by, written))

    async def kept(self, deadline_s: float | None) -> InboxContent:
        """What of the stream is needed, and what for. Raises what `history` raises."""
        patience = self._patience("the inbox", deadline_s, "read")
        return await patience.ask(lambda: kept(self._node.inbox, self._node.tasks, self._node.shards))

    async def waiting(self, members: frozenset[str], timeout_s: float) -> tuple[list[WaitingTells], int]:
        """What waits at the workers that answer in time, and how many actors are left out."""
        return await ask_waiting(self._node.transport.ask_waiting, members, timeout_s)

    async def running(self, members: frozenset[str], timeout_s: float) -> tuple[list[RunningTask], int]:
        """The tasks that the workers run that answer in time, and how many are left out."""
        return await ask_running(self._node.transport.ask_waiting, members, timeout_s)

    async def _send_again(self, id: int, by: str) -> tuple[_Found, str, int]:
        """Its row once that says that it is being sent again, the new command id, and where the tell stands now."""
        decided = await self._decided(id, RETRYING, by, [])
        tell = sent_again(decided.row)
        target = shard_of(tell.target, self._node.shards)
        sequence = await self._node.inbox.send_again(target, encode_tell(tell), id, decided.at)
        if sequence is None:
            raise Unavailable(f"another caller sends the dead letter {id} again")
        return decided, tell.command_id, sequence

    async def _drop(self, id: int, by: str, written: list[DeadLetterRow]) -> DeadLetter:
        """`written` are rows of the same request that were sent before, of which it is not known whether they stand."""
        row = await self._standing(id, written) or (await self._decided(id, DROPPED, by, written)).row
        log.info("a dead letter was dropped", extra=_said(row, by))
        return dead_letter_of(row)

    async def _standing(self, id: int, written: list[DeadLetterRow]) -> DeadLetterRow | None:
        """Which of them is the row by now."""
        found = await self._node.inbox.dead_letter(id) if written else None
        row = decode_row(found.payload) if found is not None else None
        return next((one for one in written if row is not None and _decision(one) == _decision(row)), None)

    async def _decided(self, id: int, state: str, by: str, written: list[DeadLetterRow]) -> _Found:
        """The row once we have written it in this state, or, to be sent again, as a caller before had decided it.

        Each row that is sent is noted in `written`.
        """
        if len(by) > BY_CHARS_MAX:
            raise InvalidCommand(
                f"the name of the operator is at most {BY_CHARS_MAX} characters, this is {len(by)}", path="by"
            )
        for _ in range(TRIES_MAX):
            found = await self._found(id)
            if found.row.state == RETRYING and state != RETRYING:
                raise InvalidCommand(f"the dead letter {id} is being sent again", path="id")
            if state == RETRYING and found.row.args_left_out:
                raise InvalidCommand(f"the arguments of {id} were too large to be kept beside its error", path="id")
            now = instant(self._node.clock.wall_s())
            row = replace(found.row, state=state, by=by, at=now) if found.row.state != state else found.row
            written.append(row)
            at = await self._write(row, found.at)
            if at is not None:
                return _Found(at, row)
        raise Unavailable(f"the dead letter {id} changes faster than it can be written")

    async def _write(self, row: DeadLetterRow, expected: int) -> int | None:
        """Write the row, with less of its error where the operator's name leaves no room for all of it."""
        refused: InvalidCommand | None = None
        for payload in shorter(row, keep_args=row.state == RETRYING):
            try:
                return await self._node.inbox.write_dead_letter(row.sequence, payload, expected)
            except InvalidCommand as error:
                refused = error
        assert refused is not None
        raise refused

    async def _found(self, id: int) -> _Found:
        """The row of a dead letter, by the leader. Raises `InvalidCommand` where there is none, or it is over."""
        if type(id) is not int or id < 1:
            raise InvalidCommand(f"the id of a dead letter is a whole number from 1, not {id!r:.40}", path="id")
        message: InboxMessage | None = await self._node.inbox.dead_letter(id)
        row = None if message is None else decode_row(message.payload)
        if message is None or row is None:
            raise InvalidCommand(f"there is no dead letter {id}", path="id")
        state = row.state
        if state == DYING:
            state = (await self._came_of(row.tell.target, {row.sequence})).get(row.sequence, DYING)
        if state in OVER:
            what = {RETRIED: "was sent again", DROPPED: "was dropped", APPLIED: "was applied after all"}[state]
            raise InvalidCommand(f"there is no dead letter {id} any more: it {what}", path="id", state=state)
        if state == DYING:
            raise InvalidCommand(f"the tell {id} is not given up yet", path="id", state=state)
        return _Found(message.sequence, row)

    async def _came_of(self, target: ActorId, sequences: Collection[int]) -> dict[int, str]:
        """What the history of an actor says of tells whose owner may have died before it could.

        A commit that cannot be read says nothing: its actor takes no tells, and all others have dead letters, too.
        """
        wanted, came = {str(sequence): sequence for sequence in sequences}, dict[int, str]()
        async for commits in self._node.event_store.read_batches(target, START):
            for commit in commits:
                with suppress(UnreadableEvent):
                    note_what_came(decode_commit(commit.payload, target, commit.position), wanted, came)
            if len(came) == len(wanted):
                break
        return came


def _is_wanted(row: DeadLetterRow, kind: str | None, key: str | None) -> bool:
    target = row.tell.target
    return row.state not in OVER and kind in (None, target.kind) and key in (None, target.key)


def _by_actor(rows: Iterable[DeadLetterRow]) -> dict[ActorId, set[int]]:
    found: dict[ActorId, set[int]] = {}
    for row in rows:
        found.setdefault(row.tell.target, set()).add(row.sequence)
    return found


def _decision(row: DeadLetterRow) -> tuple[str, str, datetime]:
    return row.state, row.by, row.at


def _said(row: DeadLetterRow, by: str) -> dict[str, object]:
    return {"sequence": row.sequence, "actor": str(row.tell.target), "command": row.tell.command, "by": by}
