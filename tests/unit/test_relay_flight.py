"""What is on its way into the inbox, without a task: nothing counts as stored that may not be."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest
from msgspec.structs import replace

from aether.core.relay import Relay
from aether.core.relay_mark import Mark
from aether.errors import Unavailable
from aether.ids import ActorId, Position
from aether.ports import InboxMessage, StoredCommit
from aether.runtime.counters import Counters
from aether.runtime.relay_flight import RelayFlight
from aether.runtime.relaying import ShardRelayer
from aether.sends import CancelTask, Send
from aether.tells import Tell

FENCE = 5


class Stream:
    """Takes tells; what comes of each is said by the test."""

    relays_at_once = 3
    scan_again_s = 0.0

    def __init__(self) -> None:
        self.sent: list[asyncio.Future[int | None]] = []
        self.broken = False

    def relay(self, _: int, __: int, ___: bytes, mark: int) -> Awaitable[int | None]:
        assert mark == FENCE
        if self.broken:
            raise KeyError("no such thing")
        self.sent.append(asyncio.get_running_loop().create_future())
        return self.sent[-1]


class Flown:
    """A flight of tells to so many actors, and how often there was more to do after it."""

    def __init__(self, targets: int) -> None:
        self.stream, self.relay, self.counters, self.rests = Stream(), Relay(), Counters(), 0
        self.relay.claimed(FENCE, Mark(10, 0), [])
        self.relay.scanned([], 10)
        tells = [tell(n) for n in range(targets)]
        self.relay.committed(Position(11), tells, Position(0))
        self.flight = RelayFlight(0, 1, cast(Any, self.stream), self.relay, self.counters, self._rest)

    def _rest(self) -> None:
        self.rests += 1


def tell(number: int) -> Tell:
    return Tell(kind="account", key=f"b{number}", command="deposit", source="account/a", position=11, number=number)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def landed(flown: Flown, outcomes: Sequence[int | Exception | asyncio.CancelledError | None]) -> None:
    """Begin, and have this come of what was sent, the last one first."""
    assert flown.flight.begin()
    for sent, outcome in reversed([*zip(flown.stream.sent, outcomes, strict=True)]):
        if isinstance(outcome, asyncio.CancelledError):
            sent.cancel()
        elif isinstance(outcome, Exception):
            sent.set_exception(outcome)
        else:
            sent.set_result(outcome)
    await settle()


async def test_what_is_stored_is_relayed_and_then_the_rest_is_due() -> None:
    flown = Flown(4)
    await landed(flown, [6, 7, 8])
    assert (flown.relay.waiting, flown.counters.tells_relayed, flown.rests) == (1, 3, 1)
    assert flown.flight.failure is None
    assert flown.relay.fence == FENCE


def between(source: str, target: str, number: int) -> Tell:
    return replace(tell(number), source=f"account/{source}", key=target)


def test_of_one_actor_to_another_one_is_on_its_way_and_those_of_others_pass_the_next_one() -> None:
    relay = Relay()
    relay.claimed(FENCE, Mark(10, 0), [])
    relay.scanned([], 10)
    pairs = ["ax", "ax", "ay", "bx", "ax", "bx", "cx"]
    tells = [between(pair[0], pair[1], number) for number, pair in enumerate(pairs)]
    assert relay.committed(Position(11), tells, Position(0))
    order: list[list[int]] = []
    while heads := relay.heads(6):
        order.append([one.number for one in heads])
        for sequence, one in enumerate(heads, 100):
            relay.stored(one, sequence)
    assert order == [[0, 2, 3], [1, 5, 6], [4]], "the last one is the seventh"
    assert relay.waiting == 0


def test_what_goes_elsewhere_is_not_passed() -> None:
    relay = Relay()
    relay.claimed(FENCE, Mark(10, 0), [])
    relay.scanned([], 10)
    cancel = CancelTask(id="t", source="account/a", position=11, number=2)
    sends: list[Send] = [between("a", "x", 0), between("a", "x", 1), cancel, between("a", "y", 3)]
    assert relay.committed(Position(11), sends, Position(0))
    assert relay.heads(9) == sends[:1]
    relay.stored(sends[0], 100)
    assert relay.heads(9) == sends[1:2]
    relay.stored(sends[1], 101)
    assert (relay.heads(9), relay.head) == ([], cancel)


async def test_when_nothing_waits_there_is_no_rest() -> None:
    flown = Flown(2)
    await landed(flown, [6, 7])
    assert (flown.relay.waiting, flown.rests) == (0, 0)
    assert not flown.flight.begin()


@pytest.mark.parametrize("outcome", [None, Unavailable("for a test"), KeyError("a fault"), asyncio.CancelledError()])
async def test_behind_one_that_may_not_be_stored_nothing_counts(
    outcome: Exception | asyncio.CancelledError | None,
) -> None:
    flown = Flown(3)
    await landed(flown, [6, outcome, 8])
    assert (flown.relay.waiting, flown.counters.tells_relayed, flown.rests) == (2, 1, 1)
    assert flown.relay.fence == 0
    assert flown.flight.failure is outcome if isinstance(outcome, Exception) else flown.flight.failure is not None
    assert not flown.flight.begin()


async def test_what_was_stored_under_a_fence_that_is_lost_does_not_count() -> None:
    flown = Flown(1)
    assert flown.flight.begin()
    flown.relay.lost()
    flown.stream.sent[0].set_result(6)
    await settle()
    assert flown.relay.waiting == 1
    assert isinstance(flown.flight.failure, Unavailable)


async def test_a_stream_that_raises_is_a_failure_of_the_flight_and_not_of_the_commit() -> None:
    flown = Flown(1)
    flown.stream.broken = True
    assert flown.flight.begin()
    await settle()
    assert isinstance(flown.flight.failure, KeyError)
    assert (flown.relay.fence, flown.rests) == (0, 1)


async def test_a_flight_under_way_is_not_begun_again() -> None:
    flown = Flown(4)
    assert flown.flight.begin()
    assert flown.flight.begin()
    assert len(flown.stream.sent) == 3


async def test_who_waits_for_its_end_goes_on_itself() -> None:
    flown = Flown(4)
    assert flown.flight.over() is None
    assert flown.flight.begin()
    over = flown.flight.over()
    assert over is not None
    for number, sent in enumerate(flown.stream.sent):
        assert not over.done()
        sent.set_result(6 + number)
        await settle()
    assert over.done()
    assert flown.rests == 0


async def test_what_goes_elsewhere_is_left_to_the_task() -> None:
    flown = Flown(0)
    sends: list[Send] = [CancelTask(id="t", source="account/a", position=12), tell(1)]
    flown.relay.committed(Position(12), sends, Position(0))
    assert not flown.flight.begin()
    assert flown.stream.sent == []


class Marked(Stream):
    """A stream with the mark of a shard; a move of it takes until `go_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.moving = False
        self.moved: int | None = FENCE
        self.end = Position(10)
        self.mark: InboxMessage | None = None
        self.claims: list[int] = []
        self.refused = self.scans = self.fails = 0
        self.read: Callable[[], None] = lambda: None

    async def relay_mark(self, _: int) -> InboxMessage | None:
        return self.mark

    async def went_back(self) -> None:
        return None

    async def end_of_commits(self) -> Position:
        if self.fails:
            self.fails -= 1
            raise Unavailable("for a test")
        return self.end

    async def claim_relay(self, _: int, payload: bytes, expected: int) -> int | None:
        self.claims.append(expected)
        if len(self.claims) <= self.refused:
            return None
        self.mark = InboxMessage(FENCE, payload)
        return FENCE

    async def move_relay_mark(self, _: int, __: bytes, ___: int) -> int | None:
        self.moving = True
        await self.go_on.wait()
        return self.moved

    async def relayed(self, _: int, __: int, mark: int) -> list[Any]:
        assert mark == FENCE
        self.read()
        return []

    async def commits_that_send(self, _: int, __: Position, ___: Position) -> list[Any]:
        self.scans += 1
        return []

    async def follow_commits(self, _: int, __: Any, ___: Any) -> None:
        return None


class CancelledTasks:
    """Takes what is cancelled."""

    async def cancel(self, _: str, __: str) -> None:
        return None

    async def row(self, _: str) -> bytes | None:
        return None


class Relaying:
    """A relayer over a stream, until `stop`. Between its attempts no time passes."""

    def __init__(self, stream: Marked, owns: Callable[[], bool] = lambda: True) -> None:
        self.relayer = ShardRelayer(
            0, 1, cast(Any, stream), owns, lambda: 0.0, lambda _: asyncio.sleep(0), tasks=cast(Any, CancelledTasks())
        )
        self.running = asyncio.ensure_future(self.relayer.run())
        self.ready = asyncio.ensure_future(self.relayer.ready())

    async def stop(self) -> None:
        assert not self.running.done()
        self.running.cancel()
        self.ready.cancel()
        await settle()


async def test_a_mark_that_another_one_has_written_is_no_fence() -> None:
    stream = Marked()
    stream.refused = 2
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    assert stream.claims == [0, 0, 0]
    await relaying.stop()


async def test_a_mark_counts_on_the_connection_on_which_it_was_written() -> None:
    stream = Marked()
    relaying = Relaying(stream)

    def lose_connection() -> None:
        stream.read = lambda: None
        relaying.relayer.connected()

    stream.read = lose_connection
    await asyncio.wait_for(relaying.ready, 5)
    assert stream.claims == [0, FENCE]
    await relaying.stop()


async def test_a_shard_of_another_worker_is_not_claimed() -> None:
    stream, owned = Marked(), False
    relaying = Relaying(stream, lambda: owned)
    await settle()
    assert stream.claims == []
    owned = True
    await asyncio.wait_for(relaying.ready, 5)
    assert stream.claims == [0]
    await relaying.stop()


async def test_while_the_stream_of_commits_is_shorter_than_it_was_nothing_is_relayed() -> None:
    stream = Marked()
    stream.scan_again_s = 3600.0
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    stream.end = Position(9)
    relaying.relayer.look()
    await settle()
    relaying.relayer.committed(Position(11), [tell(0)], Position(0))
    await settle()
    assert stream.sent == []
    await relaying.stop()


async def test_what_a_scan_has_to_take_in_is_scanned_though_something_is_on_its_way() -> None:
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    relaying.relayer.committed(Position(11), [tell(0)], Position(0))
    stream.end = Position(13)
    relaying.relayer.committed(Position(13), [tell(1)], Position(12))
    scans = stream.scans
    stream.sent[0].set_result(6)
    await settle()
    assert stream.scans == scans + 1
    await relaying.stop()


async def test_a_scan_that_failed_is_begun_again() -> None:
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    scans, stream.fails = stream.scans, 1
    relaying.relayer.look()
    await settle()
    assert stream.scans == scans + 1
    await relaying.stop()


@pytest.mark.parametrize("unreadable", [False, True])
async def test_what_is_heard_and_says_not_all_is_scanned_for(unreadable: bool) -> None:
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    scans, stream.end = stream.scans, Position(20)
    if unreadable:
        commit = StoredCommit(ActorId("account", "a"), Position(11), b"no commit")
        relaying.relayer.hear(Position(10), Position(11), [commit])
    else:
        relaying.relayer.hear(Position(15), Position(20), [])
    await settle()
    assert stream.scans == scans + 1
    await relaying.stop()


async def test_what_the_task_has_sent_and_is_refused_is_found_out_at_once() -> None:
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    sends: list[Send] = [CancelTask(id="t", source="account/a", position=11), tell(1)]
    relaying.relayer.committed(Position(11), sends, Position(0))
    await settle()
    assert stream.claims == [0]
    stream.sent[0].set_result(None)
    await settle()
    assert stream.claims == [0, FENCE]
    await relaying.stop()


@pytest.mark.parametrize("lost", ["the mark", "the connection"])
async def test_a_relayer_that_could_not_write_its_mark_anew_begins_anew(lost: str) -> None:
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    relaying.relayer.hear(Position(10), Position(20_000), [])
    await settle()
    assert stream.moving
    stream.end = Position(20_000)
    if lost == "the mark":
        stream.moved = None
    else:
        relaying.relayer.connected()
    stream.go_on.set()
    await settle()
    assert stream.claims[:2] == [0, FENCE]
    await relaying.stop()


async def test_a_commit_is_relayed_at_once_but_not_while_a_mark_is_written() -> None:
    stream = Marked()
    relayer = ShardRelayer(0, 1, cast(Any, stream), lambda: True, lambda: 0.0)
    running = asyncio.ensure_future(relayer.run())
    await relayer.ready()
    await settle()
    relayer.committed(Position(11), [tell(0)], Position(0))
    assert len(stream.sent) == 1
    stream.sent[0].set_result(6)
    await settle()
    relayer.hear(Position(10), Position(20_000), [])
    await settle()
    assert stream.moving
    relayer.committed(Position(20_001), [tell(1)], Position(0))
    await settle()
    assert len(stream.sent) == 1
    stream.go_on.set()
    await settle()
    assert len(stream.sent) == 2
    running.cancel()


async def test_what_is_committed_after_the_end_is_left_to_the_next_owner() -> None:
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    await relaying.stop()
    relaying.relayer.committed(Position(11), [tell(0)], Position(0))
    await settle()
    assert stream.sent == []
