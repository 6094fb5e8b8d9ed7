"""What a shard's inbox does not do: hand over what it may not, or more than it may, and forget or repeat a mark."""

import pytest

from aether.config import RuntimeConfig
from aether.core.backoff import Backoff
from aether.errors import ActorFailed, Rejected, Unavailable
from aether.ids import ActorId
from aether.names import shard_of
from aether.ports import Delivery, InboxMessage
from aether.runtime import shard_inbox, tell_delivery
from aether.runtime.tell_delivery import WINDOW
from aether.tells import Tell, encode_tell
from aether.wire import decided, encode_error
from tests.unit.test_shard_inbox_hearing import MARK, TELL, Reading, Stream

OK = b'{"ok":true}'
ACTOR = ActorId("account", "a")
UNTRIED = "an operator had it given up before it was tried"
FAILED = encode_error(ActorFailed("for a test"))


class FailingMarks(Stream):
    """A mark cannot be written so often."""

    failing = 0

    async def write_applied_mark(self, _: int, sequence: int) -> None:
        if self.failing:
            self.failing -= 1
            raise Unavailable("for a test")
        await super().write_applied_mark(_, sequence)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aether.runtime.inbox_reading.AGAIN", Backoff(first_s=0.0, cap_s=0.0))


async def test_after_its_end_nothing_is_taken_or_handed_over() -> None:
    reading = Reading(Stream())
    await reading.told(5)
    reading.inbox.close()
    reading.inbox.hear(5, 6, InboxMessage(6, TELL))
    assert (reading.sequences(), reading.inbox.waiting) == ([5], 1)
    reading.answer()
    assert reading.inbox.waiting == 1, "an answer is not heard any more"
    reading.inbox.connected()
    assert reading.sequences() == []
    reading.stop()


async def test_before_every_member_knows_tells_none_that_is_heard_is_handed_over() -> None:
    reading = Reading(Stream())
    await reading.settle()
    reading.may_apply = False
    reading.inbox.hear(MARK, 5, InboxMessage(5, TELL))
    assert await reading.settle() == 1
    assert reading.sequences() == []
    reading.stop()


async def test_no_mark_is_written_before_the_last_one_was_read() -> None:
    stream = Stream()
    reading = Reading(stream)
    await reading.inbox.write_mark()
    await reading.settle()
    await reading.inbox.write_mark()
    assert stream.marks == []
    reading.stop()


async def test_a_mark_that_could_not_be_written_is_written_later() -> None:
    stream = FailingMarks()
    reading = Reading(stream)
    await reading.told(5)
    reading.answer()
    stream.failing = 1
    for _ in range(2):
        reading.inbox.look()
        await reading.settle()
    assert stream.marks == [5]
    reading.inbox.look()
    await reading.settle()
    assert stream.marks == [5]
    reading.stop()


async def test_what_is_no_tell_of_the_shard_is_passed() -> None:
    reading = Reading(Stream(), shards=2)
    key = next(key for key in "abcdefgh" if shard_of(Tell(kind="account", key=key, command="deposit").target, 2) == 1)
    mine = next(key for key in "abcdefgh" if shard_of(Tell(kind="account", key=key, command="deposit").target, 2) == 0)
    await reading.settle()
    reading.inbox.hear(MARK, 5, InboxMessage(5, encode_tell(Tell(kind="account", key=key, command="deposit"))))
    reading.inbox.hear(5, 6, InboxMessage(6, b"no tell"))
    reading.inbox.hear(6, 7, InboxMessage(7, encode_tell(Tell(kind="account", key=mine, command="deposit"))))
    assert reading.sequences() == [7]
    assert reading.inbox.applied == 6
    reading.stop()


async def test_so_many_tells_of_one_actor_are_handed_over_at_once() -> None:
    reading = Reading(Stream())
    await reading.told(*range(5, 5 + WINDOW + 10))
    assert len(reading.handed) == WINDOW
    assert reading.handed[0].told is not None
    reading.handed[0].respond(OK)
    assert len(reading.handed) == WINDOW + 1
    reading.stop()


async def test_while_one_that_has_failed_waits_none_behind_it_is_handed_over() -> None:
    reading = Reading(Stream())
    await reading.told(5)
    reading.answer(FAILED)
    reading.inbox.hear(5, 6, InboxMessage(6, TELL))
    assert reading.sequences() == []
    reading.inbox.close()
    reading.stop()


async def test_one_that_is_given_up_is_not_handed_over_before_that_is_written_down() -> None:
    reading = Reading(Stream())
    await reading.told(5)
    for _ in range(RuntimeConfig().tell_attempts_max):
        reading.answer(FAILED)
        reading.inbox.connected()
    assert len(reading.written) == 1
    reading.inbox.hear(5, 6, InboxMessage(6, TELL))
    reading.inbox.connected()
    assert reading.sequences() == []
    reading.written[0]()
    assert reading.sequences() == [5, 6]
    reading.inbox.close()
    reading.stop()


async def test_what_is_done_is_not_handed_over_again_and_an_answer_at_once_passes_it() -> None:
    reading = Reading(Stream())
    await reading.told(5, 6, 7, 8)
    reading.handed[1].respond(OK)
    reading.handed.clear()

    def had_it(one: Delivery) -> None:
        reading.handed.append(one)
        one.respond(OK)

    reading.receive = had_it
    reading.inbox.connected()
    assert reading.sequences() == [5, 7, 8]
    assert (reading.inbox.waiting, reading.counters.tells_applied) == (0, 4)
    reading.stop()


async def test_a_mark_is_written_after_so_many_tells_without_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_inbox, "MARK_TELLS", 2)
    reading = Reading(Stream())
    await reading.told(5, 6, 7)
    for answered in reading.handed:
        answered.respond(OK)
    await reading.settle()
    assert reading.stream.marks == [7]
    reading.stop()


async def test_one_that_is_given_up_fails_no_more_while_its_actor_cannot_commit_that() -> None:
    reading = Reading(Stream())
    await reading.told(5)
    for _ in range(RuntimeConfig().tell_attempts_max):
        reading.answer(FAILED)
        reading.inbox.connected()
    reading.written[0]()
    failures = reading.counters.tells_failed
    reading.answer(FAILED)
    assert reading.counters.tells_failed == failures == RuntimeConfig().tell_attempts_max
    assert len(reading.given_up) == 1
    reading.inbox.close()
    reading.stop()


async def test_that_one_is_given_up_is_written_down_at_once() -> None:
    reading = Reading(Stream())
    await reading.told(5)
    for attempt in range(RuntimeConfig().tell_attempts_max):
        if attempt:
            reading.inbox.connected()
        reading.answer(FAILED)
    assert len(reading.given_up) == 1
    reading.inbox.close()
    reading.stop()


async def test_what_has_no_answer_for_too_long_is_handed_over_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(Stream())
    await reading.told(5)
    reading.inbox.look()
    assert reading.sequences() == [5]
    monkeypatch.setattr(tell_delivery, "UNANSWERED_S", -1.0)
    reading.inbox.look()
    assert reading.sequences() == [5, 5]
    reading.answer()
    assert reading.inbox.waiting == 0
    reading.stop()


async def test_one_that_is_handed_over_again_before_its_time_is_not_once_more_then() -> None:
    reading = Reading(Stream())
    reading.inbox._delivery._retry = Backoff(first_s=0.0, cap_s=0.0)
    await reading.told(5)
    reading.answer(FAILED)
    reading.inbox.connected()
    await reading.settle()
    assert reading.sequences() == [5]
    reading.stop()


async def test_of_those_that_are_handed_over_again_what_is_done_is_left_out() -> None:
    reading = Reading(Stream())
    await reading.told(5, 6, 7)
    reading.handed[1].respond(OK)
    reading.handed.clear()
    reading.inbox.connected()
    assert reading.sequences() == [5, 7]
    reading.answer()
    assert (reading.inbox.waiting, reading.counters.tells_applied) == (0, 3)
    reading.stop()


async def test_what_waits_is_given_up_in_the_order_in_which_it_is_written_down() -> None:
    reading = Reading(Stream())
    await reading.told(5, 6, 7)
    reading.answer(FAILED)
    assert reading.inbox.give_up(ACTOR, 6) == 2
    assert reading.inbox.give_up(ACTOR, 6) == 2
    assert reading.given_up == [(5, 1), (6, 0)], "each once"
    reading.written[1]()
    assert reading.sequences() == [], "the one before it is not written down"
    reading.written[0]()
    assert [one.told is not None and bool(one.told.given_up) for one in reading.handed] == [True, True, False]
    assert reading.sequences() == [5, 6, 7]
    reading.inbox.close()
    reading.stop()


async def test_what_is_with_its_actor_when_it_is_given_up_is_written_down_when_it_has_failed() -> None:
    reading = Reading(Stream())
    await reading.told(5, 6)
    assert reading.inbox.give_up(ACTOR, None) == 2
    assert reading.given_up == []
    reading.answer(FAILED)
    assert reading.given_up == [(5, 0)]
    reading.written[0]()
    assert (reading.sequences(), reading.given_up) == ([5], [(5, 0), (6, 0)])
    reading.written[1]()
    reading.handed.pop().respond(decided(encode_error(ActorFailed(UNTRIED, actor=str(ACTOR)))))
    assert reading.sequences() == [6]
    reading.inbox.close()
    reading.stop()


@pytest.mark.parametrize("answer", [OK, decided(encode_error(Rejected("no")))])
async def test_one_that_was_given_up_and_is_done_after_all_is_not_said_to_be_dead(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[bool] = []

    class Listening(Reading):
        def over(self, sequence: int, *, committed: bool) -> None:
            said.append(committed)

    reading = Listening(Stream())
    await reading.told(5)
    reading.inbox.give_up(ACTOR, None)
    monkeypatch.setattr(tell_delivery, "UNANSWERED_S", -1.0)
    reading.inbox.look()
    reading.written[0]()
    reading.answer(answer)
    assert said == [False]
    assert reading.inbox.waiting == 0
    reading.stop()
