"""What a shard's inbox hears of tells: it reads once after a gap, and then goes on from what it hears.

And each way in which there may be something to read leads to a read, while writing a mark does not.
"""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether.config import RuntimeConfig
from aether.core.backoff import Backoff
from aether.errors import ActorFailed, AetherError, DeadlineExceeded, Overloaded, Unavailable, UnknownActor
from aether.ports import Delivery, InboxBatch, InboxMessage
from aether.runtime import shard_inbox, tell_line
from aether.runtime.counters import Counters
from aether.runtime.inbox_reading import read_for_ever
from aether.runtime.shard_inbox import ShardInbox
from aether.system.clock import SystemClock
from aether.tells import Tell, encode_tell
from aether.wire import ErrorBody, decided, encode_error, parked

MARK = 3
TELL = encode_tell(Tell(kind="account", key="a", command="deposit"))
DONE = b'{"ok":true}'


class Stream:
    """An inbox that counts what it is asked. Of `messages` a read gives those after its cursor, once `open` is set.

    `shown` of them are known to the server that is asked.
    """

    def __init__(self, *, has_tell: bool = False) -> None:
        self.reads = 0
        self.marks: list[int] = []
        self.messages: list[InboxMessage] = []
        self.shown: int | None = None
        self.fails = 0
        self.open = asyncio.Event()
        self.open.set()
        self._has_tell = has_tell

    async def applied_mark(self, _: int) -> int:
        return MARK

    async def write_applied_mark(self, _: int, sequence: int) -> None:
        self.marks.append(sequence)

    async def tells(self, _: int, after: int) -> InboxBatch:
        self.reads += 1
        if self.fails:
            self.fails -= 1
            raise Unavailable("for a test")
        found = [one for one in self.messages[: self.shown] if one.sequence > after]
        await self.open.wait()
        return InboxBatch(found, False)

    async def next_tell(self, _: int, after: int) -> int:
        found = (one.sequence for one in self.messages[: self.shown] if one.sequence > after)
        return next(found, after + 1 if self._has_tell else 0)


class Reading:
    """A shard's inbox that is being read, and what it has handed over: to be answered by `answer`."""

    def __init__(self, stream: Stream, shards: int = 1) -> None:
        self.stream = stream
        self.may_apply = True
        self.handed: list[Delivery] = []
        self.counters = Counters()
        self.receive = self.handed.append
        self.given_up: list[tuple[int, int]] = []
        self.written: list[Callable[[], None]] = []
        self.inbox = ShardInbox(
            0, shards, cast(Any, stream), receive=self._received, clock=SystemClock(), config=RuntimeConfig(),
            counters=self.counters, dead_letters=cast(Any, self), jitter=lambda: 0.0, may_apply=lambda: self.may_apply,
        )  # fmt: skip
        self._task = asyncio.ensure_future(read_for_ever(self.inbox, lambda: 0.0))

    def _received(self, one: Delivery) -> None:
        self.receive(one)

    async def settle(self) -> int:
        """How often it has read once nothing goes on any more."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.stream.reads

    def answer(self, answer: bytes = DONE) -> None:
        """Answer what was handed over, each tell as often as it was, as its machine does."""
        while self.handed:
            handed, self.handed[:] = list(self.handed), []
            for one in sorted(handed, key=lambda one: one.told.sequence if one.told is not None else 0):
                one.respond(answer)

    def give_up(self, sequence: int, _: Tell, failures: int, __: ErrorBody, written: Callable[[], None]) -> None:
        self.given_up.append((sequence, failures))
        self.written.append(written)

    def over(self, sequence: int, *, committed: bool) -> None:
        assert (sequence, committed) == (self.given_up[0][0], True)

    async def told(self, *sequences: int) -> None:
        await self.settle()
        before = MARK
        for sequence in sequences:
            self.inbox.hear(before, sequence, InboxMessage(sequence, TELL))
            before = sequence

    def sequences(self) -> list[int]:
        return [one.told.sequence for one in self.handed if one.told is not None]

    def store(self, *sequences: int) -> None:
        self.stream.messages += [InboxMessage(one, TELL) for one in sequences]

    def stop(self) -> None:
        self._task.cancel()


async def reads_of(stream: Stream, *heard: tuple[int, int]) -> int:
    reading = Reading(stream)
    for after, until in heard:
        await reading.settle()
        reading.inbox.hear(after, until, None)
    reads = await reading.settle()
    reading.stop()
    return reads


async def test_after_a_gap_it_reads_once() -> None:
    assert await reads_of(Stream(), (10, 12), (12, 15), (15, 20)) == 1 + 1


async def test_what_a_replica_does_not_show_yet_is_read_again() -> None:
    assert await reads_of(Stream(has_tell=True), (10, 12), (12, 15), (15, 20)) == 1 + 3


async def test_what_a_replica_does_not_show_yet_is_looked_for_again() -> None:
    reading = Reading(Stream(has_tell=True))
    await reading.settle()
    reading.inbox.hear(10, 12, None)
    assert await reading.settle() == 1 + 1
    reading.inbox.look()
    assert await reading.settle() == 1 + 2
    reading.stop()


async def test_of_a_gap_in_which_no_server_has_shown_a_tell_it_does_not_go_on_from_a_later_one() -> None:
    """The server that answers was the stream's leader, and has been replaced without having heard of it."""
    reading = Reading(Stream())
    reading.stream.shown = 0
    reading.store(7)
    await reading.settle()
    reading.inbox.hear(10, 12, None)
    assert await reading.settle() == 1 + 1
    reading.store(15)
    reading.inbox.hear(12, 15, InboxMessage(15, TELL))
    assert await reading.settle() == 1 + 1 + 1
    assert reading.sequences() == []
    reading.stream.shown = None
    reading.inbox.look()
    await reading.settle()
    assert reading.sequences() == [7, 15]
    reading.inbox.hear(15, 16, InboxMessage(16, TELL))
    assert reading.sequences() == [7, 15, 16]
    reading.stop()


async def test_the_mark_stands_before_the_first_tell_that_is_not_done() -> None:
    reading = Reading(Stream())
    await reading.settle()
    for sequence, target in ((5, "a"), (7, "b"), (8, "c")):
        told = encode_tell(Tell(kind="account", key=target, command="deposit"))
        reading.inbox.hear(MARK, sequence, InboxMessage(sequence, told))
    for answered in (reading.handed[2], reading.handed[0]):
        answered.respond(DONE)
        reading.inbox.look()
        await reading.settle()
    assert reading.stream.marks == [4, 6]
    reading.stop()


async def test_the_mark_does_not_pass_a_tell_that_is_parked() -> None:
    reading = Reading(Stream())
    await reading.settle()
    for sequence in (5, 6):
        reading.inbox.hear(sequence - 1 if sequence > 5 else MARK, sequence, InboxMessage(sequence, TELL))
    reading.handed[0].respond(parked(encode_error(ActorFailed("for a test"))))
    reading.handed[1].respond(DONE)
    reading.inbox.look()
    await reading.settle()
    assert (reading.stream.marks, reading.inbox.waiting) == ([4], 1)
    reading.inbox.close()
    reading.stop()


async def test_an_answer_that_comes_twice_counts_once() -> None:
    reading = Reading(Stream())
    await reading.settle()
    for sequence in (5, 6):
        reading.inbox.hear(sequence - 1 if sequence > 5 else MARK, sequence, InboxMessage(sequence, TELL))
    for _ in range(2):
        reading.handed[0].respond(DONE)
    assert (reading.counters.tells_applied, reading.inbox.waiting) == (1, 1)
    reading.handed[1].respond(DONE)
    assert (reading.counters.tells_applied, reading.inbox.waiting) == (2, 0)
    reading.stop()


@pytest.mark.parametrize(
    ("error", "failures"),
    [
        (Unavailable("for a test"), 0),
        (Overloaded("for a test"), 0),
        (DeadlineExceeded("for a test", outcome_known=False), 0),
        (DeadlineExceeded("for a test", outcome_known=True), 1),
        (ActorFailed("for a test"), 1),
    ],
)
async def test_a_failure_of_the_worker_or_of_the_time_is_none_of_the_tell(error: AetherError, failures: int) -> None:
    reading = Reading(Stream())
    await reading.settle()
    reading.inbox.hear(MARK, 5, InboxMessage(5, TELL))
    reading.handed[0].respond(encode_error(error))
    assert [one.failures for one in reading.inbox.lines()] == [failures]
    reading.stop()


async def test_an_attempt_that_was_handed_over_several_times_fails_once() -> None:
    """Its handler takes so long that the machine was asked again; all who ask have the one answer."""
    reading = Reading(Stream())
    await reading.told(5, 6, 7)
    for _ in range(3):
        reading.inbox.connected()
    reading.answer(encode_error(ActorFailed("for a test")))
    assert [(one.failures, one.count) for one in reading.inbox.lines()] == [(1, 3)]
    reading.stop()


async def test_what_is_refused_at_once_is_handed_over_later() -> None:
    """As a runtime does that is about to end."""
    reading = Reading(Stream())

    def refuse(one: Delivery) -> None:
        reading.handed.append(one)
        assert len(reading.handed) == 1
        one.respond(encode_error(Unavailable("for a test")))

    reading.receive = refuse
    await reading.told(5, 6)
    assert reading.sequences() == [5]
    reading.inbox.close()
    reading.stop()


async def test_an_attempt_that_was_handed_over_several_times_is_parked_once() -> None:
    reading = Reading(Stream())
    await reading.told(5, 6)
    reading.inbox.connected()
    reading.answer(parked(encode_error(ActorFailed("for a test"))))
    assert [(one.first, one.failures, one.count) for one in reading.inbox.lines()] == [(5, 1, 1), (6, 1, 1)]
    reading.inbox.close()
    reading.stop()


async def test_what_was_given_up_is_written_down_although_those_behind_it_are_handed_over_again() -> None:
    """It has failed for the last time, and those behind it have no answer yet when the connection is lost."""
    reading = Reading(Stream())
    await reading.told(5, 6)
    for _ in range(RuntimeConfig().tell_attempts_max - 1):
        reading.handed[0].respond(encode_error(ActorFailed("for a test")))
        reading.handed.clear()
        reading.inbox.connected()
    head, behind = reading.handed
    head.respond(encode_error(ActorFailed("for a test")))
    reading.inbox.connected()
    behind.respond(encode_error(Unavailable("for a test")))
    reading.inbox.connected()
    assert reading.given_up == [(5, 10)]
    reading.handed.clear()
    reading.written[0]()
    reading.answer(decided(encode_error(ActorFailed("for a test"))))
    assert reading.inbox.waiting == 0
    reading.stop()


async def test_a_tell_that_comes_twice_is_taken_once() -> None:
    reading = Reading(Stream())
    await reading.settle()
    for _ in range(2):
        reading.inbox.hear(MARK, 5, InboxMessage(5, TELL))
    assert reading.sequences() == [5]
    reading.stop()


async def seen(seed: int) -> tuple[list[int], list[int]]:
    """The tells of a stream, and what was handed over: of three replicas any may answer, and two lag behind.

    A consumer ends now and then, and the next one begins at the end that the leader of that moment tells of.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    reading = Reading(Stream())
    end = said = MARK
    broken = False
    for _ in range(40):
        match chance.choices(["tell", "other", "say", "begin", "look", "answer", "connect"], [6, 4, 4, 2, 2, 1, 1])[0]:
            case "tell":
                end += 1
                reading.store(end)
                if not broken and chance.random() < 0.8:
                    reading.inbox.hear(said, end, InboxMessage(end, TELL))
                    said = end
                else:
                    broken = True
            case "other":
                end += 1
            case "say" if not broken and said < end:
                reading.inbox.hear(said, end, None)
                said = end
            case "begin":
                said, broken = end, False
                reading.inbox.ring()
            case "look":
                reading.inbox.look()
            case "answer":
                for one in list(reading.handed):
                    one.respond(DONE)
            case "connect":
                reading.inbox.connected()
        reading.stream.shown = chance.choice([None, chance.randint(0, len(reading.stream.messages))])
        for _ in range(chance.randint(0, 5)):
            await asyncio.sleep(0)
    reading.stream.shown = None
    reading.inbox.ring()
    await reading.settle()
    reading.stop()
    return [one.sequence for one in reading.stream.messages], list(dict.fromkeys(reading.sequences()))


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_whichever_replica_answers_each_tell_is_handed_over_in_order(seed: int) -> None:
    stored, handed = asyncio.run(seen(seed))
    assert handed == stored


async def test_what_was_heard_over_another_connection_is_not_waited_for() -> None:
    """After a power cut it may be gone."""
    reading = Reading(Stream())
    await reading.settle()
    reading.inbox.hear(10, 12, InboxMessage(12, TELL))
    await reading.settle()
    reading.inbox.connected()
    reads = await reading.settle()
    reading.inbox.look()
    assert await reading.settle() == reads
    reading.stop()


async def test_a_mark_is_written_without_a_read() -> None:
    reading = Reading(Stream())
    await reading.settle()
    reading.inbox.hear(MARK, 5, InboxMessage(5, TELL))
    reading.answer()
    reading.inbox.look()
    assert await reading.settle() == 1
    assert reading.stream.marks == [5]
    reading.stop()


NEWS: dict[str, Callable[[ShardInbox], None]] = {
    "a ring": lambda inbox: inbox.ring(),
    "a new connection": lambda inbox: inbox.connected(),
    "a tell after a gap": lambda inbox: inbox.hear(8, 9, InboxMessage(9, TELL)),
    "a statement after a gap": lambda inbox: inbox.hear(8, 9, None),
}


@pytest.mark.parametrize("news", NEWS.values(), ids=NEWS)
async def test_what_may_be_there_is_read(news: Callable[[ShardInbox], None]) -> None:
    reading = Reading(Stream())
    await reading.settle()
    reading.store(7, 9)
    news(reading.inbox)
    await reading.settle()
    assert reading.sequences() == [7, 9]
    reading.stop()


@pytest.mark.parametrize("news", NEWS.values(), ids=NEWS)
async def test_what_may_be_there_is_read_although_a_read_is_under_way(news: Callable[[ShardInbox], None]) -> None:
    reading = Reading(Stream())
    reading.stream.open.clear()
    assert await reading.settle() == 1
    reading.store(7, 9)
    news(reading.inbox)
    reading.stream.open.set()
    await reading.settle()
    assert reading.sequences() == [7, 9]
    reading.stop()


async def test_a_read_that_failed_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aether.runtime.inbox_reading.AGAIN", Backoff(first_s=0.0, cap_s=0.0))
    stream = Stream()
    stream.fails, stream.messages = 2, [InboxMessage(7, TELL)]
    reading = Reading(stream)
    assert await reading.settle() == 3
    assert reading.sequences() == [7]
    reading.stop()


async def test_what_could_not_be_applied_when_it_was_due_is_read_once_it_can() -> None:
    reading = Reading(Stream())
    reading.may_apply = False
    await reading.settle()
    reading.store(7)
    reading.inbox.hear(MARK, 7, InboxMessage(7, TELL))
    assert await reading.settle() == 0
    reading.may_apply = True
    reading.inbox.look()
    await reading.settle()
    assert reading.sequences() == [7]
    reading.stop()


@pytest.mark.parametrize("by", ["count", "bytes"])
async def test_beyond_a_bound_it_is_read_on_when_some_are_done(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "count":
        monkeypatch.setattr(shard_inbox, "OPEN_MAX", 2)
    else:
        monkeypatch.setattr(tell_line, "ROOM_BYTES_MAX", 2 * (len(TELL) + tell_line.TELL_BYTES))
        monkeypatch.setattr(tell_line, "SHARD_BYTES_MIN", 0)
    reading = Reading(Stream())
    await reading.settle()
    for sequence in (5, 6, 7, 8):
        reading.store(sequence)
        reading.inbox.hear(sequence - 1 if sequence > 5 else MARK, sequence, InboxMessage(sequence, TELL))
    await reading.settle()
    assert reading.sequences() == [5, 6]
    reading.answer()
    await reading.settle()
    assert reading.sequences() == [7, 8]
    reading.stop()


def test_the_shards_of_a_worker_have_one_room_and_each_has_some_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell_line, "ROOM_BYTES_MAX", 100)
    monkeypatch.setattr(tell_line, "SHARD_BYTES_MIN", 10)
    monkeypatch.setattr(tell_line, "TELL_BYTES", 0)
    room = tell_line.TellRoom()
    large, small = tell_line.OpenTells(room), tell_line.OpenTells(room)
    for sequence in (1, 2):
        large.add(sequence, 50)
    assert (large.is_full(9), small.is_full(9)) == (True, False)
    small.add(3, 10)
    assert (small.is_full(9), small.first, len(small)) == (True, 3, 1)
    assert not small.remove(4, 9)
    assert not large.remove(1, 1), "there is one left"
    assert large.remove(2, 1)
    assert (small.is_full(9), room.bytes) == (False, 10)
    small.release()
    assert (room.bytes, len(small), small.first) == (0, 1, 3), "what is open is not applied"


def test_small_tells_count_with_what_they_take_in_memory() -> None:
    room = tell_line.TellRoom()
    tells = tell_line.OpenTells(room)
    while not tells.is_full(1_000_000):
        tells.add(len(tells) + 1, 200)
    assert 100_000 < len(tells) < 130_000, "of two kilobytes each, not of 200 bytes"
    while tells:
        tells.remove(len(tells), 1_000_000)
    assert room.bytes == 0


async def test_an_actor_that_holds_up_its_whole_shard_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shard_inbox, "OPEN_MAX", 3)
    reading = Reading(Stream())
    reading.store(5, 6, 7, 8)
    await reading.settle()
    reading.inbox.hear(8, 9, InboxMessage(9, TELL))
    await reading.settle()
    assert "too many tells" not in caplog.text, "none has failed"
    reading.handed[0].respond(encode_error(UnknownActor("for a test")))
    reading.inbox.look()
    await reading.settle()
    (said,) = [one for one in caplog.records if "too many tells" in one.message]
    assert (said.actor, said.of_actor) == ("account/a", 4)  # type: ignore[attr-defined]
    reading.inbox.close()
    reading.stop()


def tells_to(first: int, keys: str) -> list[InboxMessage]:
    """A tell to each of these accounts, from a sequence on."""
    payloads = (encode_tell(Tell(kind="account", key=key, command="deposit")) for key in keys)
    return [InboxMessage(first + number, payload) for number, payload in enumerate(payloads)]


async def test_of_a_backlog_each_actor_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell_line, "IN_HAND_MAX", 4)
    reading = Reading(Stream())
    reading.stream.messages = tells_to(5, "aaabcdeab")
    await reading.settle()
    assert reading.sequences() == [5, 6, 8, 9], "half of the room is for who has tells, the other one for each in turn"
    reading.handed.pop(0).respond(DONE)
    await reading.settle()
    assert reading.sequences()[3:] == [10]
    order = list[int]()
    while reading.handed:
        order += reading.sequences()
        reading.answer()
        await reading.settle()
    assert sorted(order) == [*range(6, 14)]
    assert (reading.inbox.waiting, reading.inbox._room.in_hand) == (0, 0)
    reading.stop()


async def test_what_is_handed_over_again_or_left_is_in_hand_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell_line, "IN_HAND_MAX", 4)
    reading = Reading(Stream())
    room = reading.inbox._room
    reading.stream.messages = tells_to(5, "aabcde")
    await reading.settle()
    first = list(reading.handed)
    reading.inbox.connected()
    await reading.settle()
    assert room.in_hand == 4
    for one in first:
        one.respond(DONE)
    assert room.in_hand == 4, "they were handed over again"
    reading.inbox.close()
    reading.inbox.close()
    await reading.settle()
    assert room.in_hand == 0
    reading.stop()


async def test_a_turn_of_the_event_loop_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell_line, "IN_HAND_MAX", 100)
    monkeypatch.setattr(tell_line, "IN_TURN_AT_ONCE", 2)
    room, turns = tell_line.TellRoom(), list[int]()
    room.in_hand = 60
    for number in range(5):
        room.wait(partial(turns.append, number))
    counts = list[int]()
    for _ in range(4):
        await asyncio.sleep(0)
        counts.append(len(turns))
    assert (counts, turns) == ([2, 4, 5, 5], [0, 1, 2, 3, 4])
