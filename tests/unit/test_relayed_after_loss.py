"""What a relayer does when a stream has gone back: nothing new is taken for old, and nothing old is relayed twice."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from aether.core.relay_mark import Mark, Place, decode_mark, encode_mark
from aether.ids import ActorId, Position
from aether.ports import InboxMessage, StoredCommit, WentBack
from aether.runtime.done_before import done_before
from aether.sends import StartTask
from aether.tells import Tell
from tests.unit.test_relay_doubts import commit_at
from tests.unit.test_relay_flight import FENCE, Marked, Relaying, settle, tell
from tests.unit.test_relaying_steps import Together, schedule


class WentAway(Marked):
    """Has `commits`, and tells of `stands` stand in its inbox; what actors have done is in `done`."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: Sequence[StoredCommit] = ()
        self.stands: list[int] = []
        self.lost: WentBack | None = None
        self.done: set[str] = set()
        self.asked: list[tuple[str, set[str], int]] = []
        self.moves: list[Mark] = []

    async def went_back(self) -> Any:
        return self.lost

    async def relayed(self, _: int, __: int, mark: int) -> list[Any]:
        return [(n, Place(position, 0)) for n, position in enumerate(self.stands, 1)]

    async def commits_that_send(self, _: int, after: Position, until: Position) -> list[Any]:
        return [one for one in self.commits if after < one.position <= until]

    async def commands_done(self, actor_id: ActorId, command_ids: set[str], after: Position) -> set[str]:
        self.asked.append((str(actor_id), command_ids, after))
        return command_ids & self.done

    async def move_relay_mark(self, _: int, payload: bytes, ___: int) -> int | None:
        self.moves.append(decode_mark(payload))
        return FENCE


async def relayed(stream: WentAway, count: int) -> list[int]:
    """Relay until so many tells are sent; have each stored. How many were sent each time."""
    relaying = Relaying(stream)
    for number in range(count):
        await settle()
        await settle()
        stream.sent[number].set_result(FENCE + 1 + number)
    await settle()
    await settle()
    await relaying.stop()
    return [len(stream.sent)]


async def test_what_was_applied_before_the_inbox_went_back_is_not_relayed_again() -> None:
    stream = WentAway()
    stream.mark = InboxMessage(2, encode_mark(Mark(10, 0)))
    stream.end, stream.lost = Position(14), WentBack(Position(10), Position(13))
    stream.commits = [commit_at(one) for one in (11, 12, 13, 14)]
    stream.stands, stream.done = [11], {"tell:12.0"}
    assert await relayed(stream, 2) == [2]
    assert stream.asked == [("account/b0", {"tell:12.0", "tell:13.0"}, 12)]
    assert stream.moves[-1].relayed == 14, "so that it is not looked again"


async def test_schedules_do_not_wait_for_what_is_lost() -> None:
    stream, timers = WentAway(), Together(1)
    stream.mark = InboxMessage(2, encode_mark(Mark(10, 0)))
    stream.end, stream.lost = Position(11), WentBack(Position(10), Position(11))
    stream.commits = [commit_at(11, [schedule("a", 0)])]
    slept: list[float] = []

    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)

    relaying = Relaying(stream)
    relaying.relayer._elsewhere._timers, relaying.relayer._sleep = cast(Any, timers), sleep
    await settle()
    await settle()
    assert (timers.armed, slept, stream.asked) == (["a0"], [], [])
    await relaying.stop()


async def test_without_a_loss_no_history_is_read() -> None:
    stream = WentAway()
    stream.mark = InboxMessage(2, encode_mark(Mark(10, 0)))
    stream.end, stream.commits = Position(12), [commit_at(one) for one in (11, 12)]
    assert await relayed(stream, 2) == [2]
    assert stream.asked == []


async def test_a_shard_whose_first_mark_is_lost_relays_from_where_the_inbox_was() -> None:
    stream = WentAway()
    stream.end, stream.lost = Position(14), WentBack(Position(11), Position(14))
    stream.commits = [commit_at(one) for one in (11, 12, 13)]
    assert await relayed(stream, 2) == [2]
    assert stream.asked == [("account/b0", {"tell:12.0", "tell:13.0"}, 12)]


async def test_what_a_lost_commit_has_sent_does_not_stand_for_what_the_next_one_at_its_position_sends() -> None:
    stream = WentAway()
    stream.mark = InboxMessage(4, encode_mark(Mark(9, 0)))
    stream.end, stream.commits, stream.stands = Position(10), [commit_at(10)], [10, 11, 12]
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    assert stream.sent == []
    relaying.relayer.committed(Position(11), [tell(0)], Position(0))
    await settle()
    assert len(stream.sent) == 1
    assert stream.moves == [Mark(10, FENCE)], "the next claim does not find them"
    stream.sent[0].set_result(FENCE + 1)
    await relaying.stop()


async def test_what_is_done_is_found_in_the_histories_of_those_it_was_for() -> None:
    asked: list[tuple[str, set[str], int]] = []

    class Histories:
        async def commands_done(self, actor_id: ActorId, command_ids: set[str], after: Position) -> set[str]:
            asked.append((str(actor_id), command_ids, after))
            return {"tell:5.1", "task:t"} & command_ids

    start = StartTask(id="t", task="mail", source="account/a", position=6)
    tells = [Tell(kind="account", key="b", command="deposit", source="account/a", position=5, number=n) for n in (0, 1)]
    histories: Any = Histories()
    assert await done_before(histories, [*tells, start]) == [tells[1], start]
    assert asked == [("account/b", {"tell:5.0", "tell:5.1"}, 5), ("account/a", {"task:t"}, 6)]
