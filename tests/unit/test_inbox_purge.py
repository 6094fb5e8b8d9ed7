"""What the purger keeps: dead letters, starts of tasks, tells that are not applied, and what shards have relayed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from msgspec import Raw
from msgspec.structs import replace

from aether.core.inbox_floor import InboxNeed
from aether.core.relay_mark import Mark, encode_mark
from aether.dead_letters import DEAD, DROPPED, DYING, RETRIED, RETRYING, DeadLetterRow, decode_row, encode_row
from aether.errors import Unavailable, UnreadableEvent
from aether.inbox_needs import kept
from aether.memory.connection import InMemoryConnection
from aether.memory.server import GONE
from aether.ports import InboxBatch
from aether.runtime import inbox_purge
from aether.runtime.inbox_purge import InboxPurge
from aether.tells import Tell, encode_tell
from aether.wire import ErrorBody

SHARDS = 4
TELL = Tell(kind="account", key="bob", command="deposit", args=Raw(b'{"amount":1}'))
ROW = DeadLetterRow(
    state=DEAD, sequence=1, tell=TELL, failures=3, error=ErrorBody("no", "no"), at=datetime(2026, 1, 1, tzinfo=UTC)
)


class Inbox:
    """A namespace in memory, and its purger."""

    def __init__(self) -> None:
        self.connection = InMemoryConnection(shards=SHARDS)
        self.inbox = self.connection.inbox
        self.tasks = self.connection.tasks
        self.purger = InboxPurge(self.inbox, self.tasks, SHARDS)

    async def purge(self) -> InboxNeed:
        """Remove at once what is not needed."""
        found = await self.purger.look(0)
        await self.purger.remove(found)
        return found.need

    @property
    def left(self) -> list[int]:
        """The sequences that are still there."""
        return [sequence for sequence, one in enumerate(self.inbox._space.tells, 1) if one is not GONE]

    async def fill(self, count: int) -> int:
        """Tells to shard 3, all applied; the last one's sequence."""
        last = 0
        for _ in range(count):
            last = await self.inbox.send(3, encode_tell(TELL), f"{len(self.inbox._space.tells)}")
        await self.inbox.write_applied_mark(3, last)
        return last


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox()


async def test_what_is_applied_goes(inbox: Inbox) -> None:
    await inbox.fill(5)
    assert (await inbox.purge()).what == "the end of the stream"
    assert inbox.left == [6]


async def test_an_empty_inbox_stays_as_it_is(inbox: Inbox) -> None:
    assert (await inbox.purge()).sequence == 0


async def test_a_tell_that_is_not_applied_stays_and_all_after_it(inbox: Inbox) -> None:
    await inbox.fill(2)
    waiting = await inbox.inbox.send(1, encode_tell(TELL), "waits")
    await inbox.fill(5)
    assert await inbox.purge() == (waiting, "a tell to shard 1")
    assert inbox.left[0] == waiting


async def test_what_a_mark_says_is_needed_stays(inbox: Inbox) -> None:
    last = await inbox.fill(5)
    await inbox.inbox.claim_relay(2, encode_mark(Mark(9, last - 2)), 0)
    await inbox.fill(5)
    assert await inbox.purge() == (last - 1, "the relay mark of shard 2")
    assert inbox.left[0] == last - 1
    assert await inbox.inbox.relay_mark(2) is not None


async def test_a_mark_that_cannot_be_read_keeps_everything(inbox: Inbox) -> None:
    await inbox.fill(5)
    await inbox.inbox.claim_relay(2, b"?", 0)
    with pytest.raises(UnreadableEvent, match="mark"):
        await inbox.purge()
    assert inbox.left[0] == 1


async def test_a_start_stays_until_it_is_done_with_a_worker_that_takes_it_or_without(inbox: Inbox) -> None:
    mark = await inbox.inbox.claim_relay(2, encode_mark(Mark(9, 1_000)), 0)
    assert mark is not None
    start = await inbox.inbox.relay_task("mail", 2, b"{}", mark)
    last = await inbox.fill(3)
    await inbox.inbox.claim_relay(2, encode_mark(Mark(9, last)), mark)
    assert await inbox.purge() == (start, "the start of a task"), "no worker knows the task yet"
    await inbox.tasks.open("mail", 30)
    assert (await inbox.purge()).sequence == start, "it is not taken"
    (claim,) = await inbox.tasks.take("mail", 1, 0)
    assert (await inbox.purge()).sequence == start, "it is taken"
    inbox.tasks.done(claim)
    assert (await inbox.purge()).sequence == last + 1


@pytest.mark.parametrize("state", [DYING, DEAD, DROPPED, RETRIED])
async def test_the_row_of_a_dead_letter_is_written_anew_and_the_subject_is_never_empty(
    inbox: Inbox, state: str
) -> None:
    place = await inbox.inbox.write_dead_letter(1, encode_row(replace(ROW, state=state)), 0)
    last = await inbox.fill(5)
    await inbox.purge()
    assert inbox.left[0] == last + 1
    found = await inbox.inbox.dead_letter(1)
    assert found is not None
    assert found.sequence > last
    row = decode_row(found.payload)
    assert row is not None
    assert row.state == state
    assert row.args_left_out == (state in (DROPPED, RETRIED)), "only what may be sent again needs them"
    late = encode_row(replace(ROW, state=DYING))
    assert await inbox.inbox.write_dead_letter(1, late, 0) is None, "an owner that was frozen before it wrote the row"
    assert place is not None
    assert await inbox.inbox.write_dead_letter(1, late, place) is None, "one that has read the row before"


async def test_a_row_is_written_anew_once_and_not_again_while_it_is_above(inbox: Inbox) -> None:
    first = await inbox.inbox.write_dead_letter(1, encode_row(replace(ROW, state=DYING)), 0)
    await inbox.inbox.write_dead_letter(1, encode_row(ROW), first or 0)
    await inbox.fill(5)
    await inbox.purge()
    moved = await inbox.inbox.dead_letter(1)
    await inbox.purge()
    assert await inbox.inbox.dead_letter(1) == moved
    assert moved is not None


async def test_what_is_being_sent_again_stays_with_the_tell_that_it_became(inbox: Inbox) -> None:
    await inbox.fill(2)
    first = await inbox.inbox.write_dead_letter(1, encode_row(ROW), 0)
    await inbox.fill(2)
    again = await inbox.inbox.write_dead_letter(1, encode_row(replace(ROW, state=RETRYING)), first or 0)
    sent = await inbox.inbox.send_again(3, encode_tell(TELL), 1, again or 0)
    assert sent is not None
    await inbox.fill(2)
    assert await inbox.purge() == (first, "the dead letter 1")
    assert await inbox.inbox.send_again(3, encode_tell(TELL), 1, again or 0) == sent
    assert await inbox.inbox.write_dead_letter(1, encode_row(replace(ROW, state=RETRIED)), again or 0) is not None
    assert (await inbox.purge()).sequence > sent
    late = await inbox.inbox.send_again(3, encode_tell(TELL), 1, again or 0)
    assert late is None, "one that was frozen before it stored the tell"


async def test_a_row_that_cannot_be_read_stays(inbox: Inbox) -> None:
    await inbox.fill(2)
    place = await inbox.inbox.write_dead_letter(1, b"?", 0)
    await inbox.fill(2)
    assert (await inbox.purge()).sequence == place


async def test_a_row_that_another_caller_writes_meanwhile_stays_where_it_is(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await inbox.inbox.write_dead_letter(1, encode_row(ROW), 0)
    await inbox.fill(5)

    async def refused(tell: int, payload: bytes, expected: int) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(inbox.inbox, "write_dead_letter", refused)
    assert (await inbox.purge()).sequence == place


async def test_what_was_found_over_another_connection_is_not_removed(inbox: Inbox) -> None:
    """After a power cut the server may have lost what was read; or it is an older copy."""
    await inbox.fill(5)
    found = await inbox.purger.look(0)
    inbox.connection.disconnect()
    inbox.connection.reconnect()
    with pytest.raises(Unavailable):
        await inbox.purger.remove(found)
    assert inbox.left[0] == 1
    await inbox.purge()
    assert inbox.left == [6]


async def test_what_is_not_needed_stays_for_four_minutes(inbox: Inbox) -> None:
    await inbox.fill(5)
    assert await inbox.purger.go_on(inbox_purge.LOOK_TELLS - 1, 0) == 0
    assert await inbox.purger.go_on(inbox_purge.LOOK_TELLS, 1_000) == 0
    await inbox.fill(5)
    assert await inbox.purger.go_on(inbox_purge.LOOK_TELLS, 1_239) == 0
    assert inbox.left[0] == 1
    assert await inbox.purger.go_on(inbox_purge.LOOK_TELLS, 1_240) == 5
    assert inbox.left[0] == 6
    assert await inbox.purger.go_on(inbox_purge.LOOK_TELLS, 2_000) == 0
    assert await inbox.purger.go_on(inbox_purge.LOOK_TELLS, 3_000) == 0, "it has not grown by so much since"


@pytest.mark.parametrize("missed", ["next_tell", "relay_mark", "dead_letters"])
async def test_what_a_replica_did_not_know_when_it_was_looked_stays(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, missed: str
) -> None:
    """One that takes itself for the leader, while another one says where the stream ends."""
    needed: dict[str, Callable[[], Awaitable[int | None]]] = {
        "next_tell": lambda: inbox.inbox.send(1, encode_tell(TELL), "waits"),
        "relay_mark": lambda: inbox.inbox.claim_relay(2, encode_mark(Mark(9, 100)), 0),
        "dead_letters": lambda: inbox.inbox.write_dead_letter(1, encode_row(ROW), 0),
    }
    sequence = await needed[missed]()
    await inbox.fill(5)

    async def unknown(*_: object) -> object:
        await asyncio.sleep(0)
        return {"next_tell": 0, "relay_mark": None, "dead_letters": InboxBatch([], more=False)}[missed]

    with monkeypatch.context() as patch:
        patch.setattr(inbox.inbox, missed, unknown)
        found = await inbox.purger.look(0)
    assert found.need.what == "the end of the stream"
    await inbox.purger.remove(found)
    assert inbox.left[0] == sequence


async def test_a_purge_that_comes_late_removes_what_is_gone_already(inbox: Inbox) -> None:
    await inbox.fill(5)
    early = await inbox.purger.look(0)
    await inbox.fill(5)
    await inbox.purge()
    left = inbox.left
    await inbox.purger.remove(early)
    assert inbox.left == left


async def test_what_is_needed_is_told_and_nothing_is_written(inbox: Inbox) -> None:
    await inbox.fill(2)
    first = await inbox.inbox.write_dead_letter(1, encode_row(ROW), 0)
    dead = await inbox.inbox.write_dead_letter(2, encode_row(replace(ROW, sequence=2)), 0)
    await inbox.inbox.write_dead_letter(1, encode_row(replace(ROW, state=RETRYING)), first or 0)
    unreadable = await inbox.inbox.write_dead_letter(3, b"?", 0)
    waiting = await inbox.inbox.send(1, encode_tell(TELL), "waits")
    before = list(inbox.inbox._space.tells)
    size, needs = await kept(inbox.inbox, inbox.tasks, SHARDS)
    assert size[:3] == (1, len(before), len(before))
    assert needs == [
        (first, "the dead letter 1"),
        (unreadable, "the dead letter 0"),
        (waiting, "a tell to shard 1"),
        (len(before), "the end of the stream"),
    ]
    assert dead is not None, "it is only dead: its row is written anew"
    assert inbox.inbox._space.tells == before
    assert (await inbox.purge()).sequence == first
    assert (await kept(inbox.inbox, inbox.tasks, SHARDS)).size.first == first
