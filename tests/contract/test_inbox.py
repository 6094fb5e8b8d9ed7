"""The laws of `Inbox`: tells stand in the order they were stored in, and a relay mark shuts earlier relayers out."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec import Raw
from msgspec.structs import replace

from aether.core.relay_mark import Place
from aether.errors import InvalidCommand, Unavailable
from aether.ids import ActorId, Position
from aether.names import shard_of
from aether.ports import (
    SENDING_BYTES_MAX,
    START,
    Committed,
    EventStore,
    Inbox,
    InboxMessage,
    StoredCommit,
    Subscription,
)
from aether.sends import encode_sends
from aether.tells import Tell, encode_tell
from aether.wire import encode_commit
from tests.contract.harness import SHARDS, Received, World, events_of, publish

HOME = ActorId("account", "alice")
SHARD = shard_of(HOME, SHARDS)
PLACE = b'{"position":7,"number":%d}'


def an_actor_of(shard: int) -> ActorId:
    return next(one for n in range(1000) if shard_of(one := ActorId("account", f"a{n}"), SHARDS) == shard)


async def claimed(inbox: Inbox, shard: int, payload: bytes, expected: int) -> int:
    sequence = await inbox.claim_relay(shard, payload, expected)
    assert sequence is not None
    return sequence


async def all_tells(inbox: Inbox, target: int, after: int = 0) -> list[InboxMessage]:
    found: list[InboxMessage] = []
    while True:
        batch = await inbox.tells(target, found[-1].sequence if found else after)
        found += batch.messages
        if not batch.more:
            return found


async def test_a_shard_has_no_mark_until_one_is_written(world: World) -> None:
    inbox = (await world.node()).inbox
    assert await inbox.relay_mark(SHARD) is None
    sequence = await claimed(inbox, SHARD, b"first", 0)
    assert await inbox.relay_mark(SHARD) == InboxMessage(sequence, b"first")
    assert await inbox.relay_mark(SHARD + 1) is None


async def test_a_mark_is_written_over_the_one_that_was_read_only(world: World) -> None:
    inbox, other = (await world.node()).inbox, (await world.node()).inbox
    first = await claimed(inbox, SHARD, b"first", 0)
    assert await other.claim_relay(SHARD, b"second", 0) is None
    second = await claimed(other, SHARD, b"second", first)
    assert second > first
    assert await inbox.claim_relay(SHARD, b"late", first) is None
    assert await inbox.move_relay_mark(SHARD, b"late", first) is None
    assert await other.relay_mark(SHARD) == InboxMessage(second, b"second")


async def test_tells_to_a_shard_come_in_the_order_in_which_they_were_stored(world: World) -> None:
    inbox, reader = (await world.node()).inbox, (await world.node()).inbox
    mark, other = await claimed(inbox, 1, b"", 0), await claimed(inbox, 2, b"", 0)
    stored = [
        await inbox.relay(5, 1, b"a", mark),
        await inbox.relay(5, 2, b"b", other),
        await reader.send(5, b"c", "c"),
        await inbox.relay(5, 1, b"d", mark),
    ]
    await inbox.relay(6, 1, b"elsewhere", mark)
    assert [(one.sequence, one.payload) for one in await all_tells(reader, 5)] == [
        *zip(stored, [b"a", b"b", b"c", b"d"], strict=True)
    ]
    assert stored[1] is not None
    assert [one.payload for one in await all_tells(reader, 5, stored[1])] == [b"c", b"d"]
    assert await all_tells(reader, 7) == []
    assert await reader.next_tell(7, 0) == 0
    assert await reader.next_tell(5, (stored[3] or 0) - 1) == stored[3]
    assert await reader.next_tell(5, stored[3] or 0) == 0
    assert await reader.end_of_tells() > (stored[-1] or 0)


async def test_more_tells_than_one_answer_holds_come_without_a_gap(world: World) -> None:
    inbox = (await world.node()).inbox
    sent = [await inbox.send(3, b"%d" % n, str(n)) for n in range(600)]
    assert [one.sequence for one in await all_tells(inbox, 3)] == sent


async def test_a_tell_is_stored_while_the_mark_is_the_relayers_own(world: World) -> None:
    inbox, other = (await world.node()).inbox, (await world.node()).inbox
    first = await claimed(inbox, 1, b"", 0)
    assert await inbox.relay(5, 1, b"mine", first) is not None
    second = await claimed(other, 1, b"", first)
    assert await inbox.relay(5, 1, b"stale", first) is None
    assert await inbox.relay(5, 1, b"not mine", second) is None
    assert await other.relay(5, 1, b"theirs", second) is not None
    assert [one.payload for one in await all_tells(inbox, 5)] == [b"mine", b"theirs"]


async def test_so_many_tells_may_be_on_their_way_at_once(world: World) -> None:
    inbox, other = (await world.node()).inbox, (await world.node()).inbox
    mark = await claimed(inbox, 1, b"", 0)
    assert inbox.relays_at_once > 1
    numbers = range(inbox.relays_at_once)
    stored = await asyncio.gather(*(inbox.relay(n % 3, 1, PLACE % n, mark) for n in numbers))
    assert None not in stored
    second = await claimed(other, 1, b"", mark)
    assert set(await asyncio.gather(*(inbox.relay(n % 3, 1, b"late", mark) for n in numbers))) == {None}
    found = await other.relayed(1, 0, second)
    assert sorted(found) == sorted((sequence or 0, Place(7, n)) for n, sequence in enumerate(stored))


async def test_a_mark_that_was_moved_counts_and_the_one_before_does_not(world: World) -> None:
    inbox = (await world.node()).inbox
    first = await claimed(inbox, 1, b"", 0)
    moved = await inbox.move_relay_mark(1, b"moved", first)
    assert moved is not None
    assert await inbox.relay(5, 1, b"late", first) is None
    assert await inbox.relay(5, 1, b"now", moved) is not None


async def test_a_mark_counts_on_the_connection_that_it_was_written_on(world: World) -> None:
    node = await world.node()
    told = Received[bool]()
    end = node.inbox.on_connected(lambda: told.receive(True))
    mark = await claimed(node.inbox, 1, b"", 0)
    await node.restart()
    await told.count(1)
    assert await node.inbox.relay(5, 1, b"late", mark) is None
    assert await node.inbox.move_relay_mark(1, b"", mark) is None
    again = await claimed(node.inbox, 1, b"", mark)
    assert await node.inbox.relay(5, 1, b"now", again) is not None
    end()


async def test_what_was_relayed_before_a_mark_is_found_and_nothing_else(world: World) -> None:
    inbox, other = (await world.node()).inbox, (await world.node()).inbox
    mark, foreign = await claimed(inbox, 1, b"", 0), await claimed(inbox, 2, b"", 0)
    relayed = [await inbox.relay(n % SHARDS, 1, PLACE % n, mark) for n in range(300)]
    await inbox.relay(3, 2, b"another's", foreign)
    await other.send(3, b"a client's", "x")
    await other.write_applied_mark(1, 4)
    fence = await claimed(other, 1, b"", mark)
    found = await other.relayed(1, 0, fence)
    assert found == [(at, Place(7, n)) for n, at in enumerate(relayed)]
    assert relayed[150] is not None
    assert await other.relayed(1, relayed[150], fence) == found[151:]


async def test_a_client_tells_an_id_once(world: World) -> None:
    inbox, other = (await world.node()).inbox, (await world.node()).inbox
    first = await inbox.send(4, b"deposit", "one")
    assert await other.send(4, b"deposit", "one") == first
    assert await other.send(4, b"deposit", "two") > first
    assert len(await all_tells(inbox, 4)) == 2


async def test_an_id_that_came_with_another_tell_is_refused(world: World) -> None:
    inbox = (await world.node()).inbox

    def told(command: str, args: bytes, traceparent: str = "") -> bytes:
        tell = Tell(kind="account", key="a", command=command, args=Raw(args), id="mine", traceparent=traceparent)
        return encode_tell(tell)

    first = await inbox.send(4, told("deposit", b'{"amount":1,"note":"a"}'), "one")
    assert await inbox.send(4, told("deposit", b'{"note": "a", "amount": 1}', traceparent="later"), "one") == first
    for other in (told("deposit", b'{"amount":2,"note":"a"}'), told("withdraw", b'{"amount":1,"note":"a"}'), b"none"):
        with pytest.raises(InvalidCommand) as refused:
            await inbox.send(4, other, "one")
        assert refused.value.path == "id"
    assert len(await all_tells(inbox, 4)) == 1


async def test_a_tell_that_is_too_large_is_refused(world: World) -> None:
    inbox = (await world.node()).inbox
    with pytest.raises(InvalidCommand) as refused:
        await inbox.send(4, b"x" * (inbox.tell_bytes_max + 1), "one")
    assert refused.value.path == "args"
    assert await inbox.send(4, b"x" * inbox.tell_bytes_max, "two") > 0


async def test_what_is_applied_is_written_down(world: World) -> None:
    inbox, other = (await world.node()).inbox, (await world.node()).inbox
    assert await inbox.applied_mark(3) == 0
    await inbox.write_applied_mark(3, 17)
    assert await other.applied_mark(3) == 17
    assert await other.applied_mark(4) == 0


class Ear:
    """What who follows a shard was told: `(after, until, tell)`, and None when it was rung for."""

    def __init__(self, inbox: Inbox, shard: int) -> None:
        self.told = Received[tuple[int, int, InboxMessage | None] | None]()
        self._inbox = inbox
        self._shard = shard

    async def follow(self) -> Subscription:
        """Begin."""
        return await self._inbox.follow(
            self._shard,
            lambda after, until, message: self.told.receive((after, until, message)),
            lambda: self.told.receive(None),
        )

    async def heard(self, sender: Inbox, name: str) -> None:
        """Send until a tell is heard: to begin with it is only rung."""
        sent, known = 0, len(self.told.items)
        while not any(self.told.items[known:]):
            came = len(self.told.items)
            await sender.send(self._shard, b"hello", f"{name}{sent}")
            sent += 1
            await self.told.count(came + 1)

    async def until(self, sequence: int) -> None:
        """Return when a tell was heard."""
        await self.told.until(lambda told: any(one is not None and one[1] >= sequence for one in told))


async def test_who_follows_a_shard_hears_each_tell_and_up_to_where_there_is_none(world: World) -> None:
    inbox, other = (await world.node()).inbox, (await world.node()).inbox
    ear, elsewhere = Ear(inbox, 5), Ear(inbox, 6)
    following = [await ear.follow(), await elsewhere.follow()]
    await ear.heard(other, "five")
    await elsewhere.heard(other, "six")
    known = len(ear.told.items)
    sent = [await other.send(shard, b"%d" % n, str(n)) for n, shard in enumerate([5, 6, 5, 6, 6, 5])]
    await ear.until(sent[5])
    told = [one for one in ear.told.items if one is not None]
    heard = {until: (after, message.payload) for after, until, message in told if message is not None}
    assert [heard[sequence][1] for sequence in (sent[0], sent[2], sent[5])] == [b"0", b"2", b"5"]
    assert sent[0] <= heard[sent[2]][0] < sent[2]
    assert sent[2] <= heard[sent[5]][0] < sent[5]
    assert None not in ear.told.items[known:]
    stored = {message.sequence for message in await all_tells(other, 5)}
    for after, until, message in told:
        between = {sequence for sequence in stored if after < sequence <= until}
        assert between == (set() if message is None else {message.sequence})
    for one in following:
        await one.stop()


async def test_who_follows_no_more_hears_nothing(world: World) -> None:
    inbox, other = (await world.node()).inbox, (await world.node()).inbox
    ear, elsewhere = Ear(inbox, 5), Ear(inbox, 6)
    following, another = await ear.follow(), await elsewhere.follow()
    await ear.heard(other, "five")
    await following.stop()
    told = len(ear.told.items)
    await other.send(5, b"late", "late")
    await elsewhere.heard(other, "six")
    assert len(ear.told.items) == told
    await another.stop()


async def test_on_a_new_connection_it_is_rung_before_a_tell_is_heard(world: World) -> None:
    node, other = await world.node(), (await world.node()).inbox
    ear = Ear(node.inbox, 5)
    following = await ear.follow()
    await ear.heard(other, "before")
    known = len(ear.told.items)
    await node.restart()
    await ear.heard(other, "after")
    assert ear.told.items[known] is None
    await following.stop()


async def test_who_follows_the_commits_of_a_shard_hears_those_that_send(world: World) -> None:
    node, other = await world.node(), await world.node()
    told = Received[tuple[int, int, Sequence[StoredCommit]] | None]()
    following = await node.inbox.follow_commits(
        1, lambda after, until, commits: told.receive((after, until, commits)), lambda: told.receive(None)
    )
    sends = encode_sends([Tell(kind="account", key="bob", command="deposit")])
    actors, last = [an_actor_of(shard) for shard in range(3)], dict[ActorId, Position]()
    stored: list[StoredCommit] = []
    for n in range(24):
        actor = actors[n % 3]
        one = await append(other.store, actor, n // 3 + 1, last.get(actor, START), sends if n % 2 else "")
        last[actor] = one.position
        stored.append(one)
        if n == 4:
            await told.count(1)  # from here on it hears
    end = last[actors[1]]
    await told.until(lambda told: any(one is not None and one[1] >= end for one in told))
    sending = [one for n, one in enumerate(stored) if n % 3 == 1 and n % 2]
    for after, until, commits in (one for one in told.items if one is not None):
        assert list(commits) == [one for one in sending if after < one.position <= until]
    assert sum(len(one[2]) for one in told.items if one is not None) >= 2
    await following.stop()


async def append(store: EventStore, actor_id: ActorId, version: int, last: Position, sends: str) -> StoredCommit:
    (event,) = events_of(actor_id, version)
    payload = encode_commit([replace(event, sends=sends)])
    outcome = await publish(store, actor_id, payload, last)
    assert isinstance(outcome, Committed)
    return StoredCommit(actor_id, outcome.position, payload)


async def test_the_commits_of_a_shard_that_send_something_are_found_in_a_range(world: World) -> None:
    node = await world.node()
    sends = encode_sends([Tell(kind="account", key="bob", command="deposit")])
    stored: list[StoredCommit] = []
    last: dict[ActorId, Position] = {}
    actors = [an_actor_of(shard) for shard in range(3)]
    for n in range(30):
        actor = actors[n % 3]
        one = await append(node.store, actor, n // 3 + 1, last.get(actor, START), sends if n % 2 else "")
        last[actor] = one.position
        stored.append(one)
    end = await node.inbox.end_of_commits()
    assert end == stored[-1].position

    async def found(after: int, until: int) -> Sequence[StoredCommit]:
        commits = await node.inbox.commits_that_send(1, Position(after), Position(until))
        return [one for one in commits if b'"sends":"' in one.payload]

    own = [one for n, one in enumerate(stored) if one.actor_id == actors[1] and n % 2]
    assert await found(0, end) == own
    assert await found(own[0].position, own[2].position) == own[1:3]
    assert await found(end, end) == []


async def test_of_many_large_commits_that_send_something_a_part_is_found(world: World) -> None:
    node, actor, last = await world.node(), an_actor_of(1), START
    large = Raw(b'{"text":"%s"}' % (b"x" * (SENDING_BYTES_MAX // 2)))
    sends = encode_sends([Tell(kind="account", key="bob", command="deposit", args=large)])
    positions: list[Position] = []
    for n in range(3):
        last = (await append(node.store, actor, n + 1, last, sends)).position
        positions.append(last)

    async def found(after: Position) -> list[Position]:
        return [one.position for one in await node.inbox.commits_that_send(1, after, positions[-1])]

    assert await found(START) == positions[:2]
    assert await found(positions[1]) == positions[2:]


async def rows_of(inbox: Inbox, after: int = 0) -> list[InboxMessage]:
    found: list[InboxMessage] = []
    while True:
        batch = await inbox.dead_letters(found[-1].sequence if found else after)
        found += batch.messages
        if not batch.more:
            return found


async def test_the_row_of_a_dead_letter_is_written_over_the_one_that_was_read_only(world: World) -> None:
    inbox, other = (await world.node()).inbox, (await world.node()).inbox
    assert await inbox.dead_letter(7) is None
    first = await inbox.write_dead_letter(7, b"dying", 0)
    assert first is not None
    assert await other.write_dead_letter(7, b"again", 0) is None
    second = await other.write_dead_letter(7, b"dead", first)
    assert second is not None
    assert second > first
    assert await inbox.write_dead_letter(7, b"late", first) is None
    assert await inbox.dead_letter(7) == InboxMessage(second, b"dead")
    third = await inbox.write_dead_letter(8, b"another", 0)
    assert third is not None
    assert [one.payload for one in await rows_of(other)] == [b"dying", b"dead", b"another"]
    assert await rows_of(other, second) == [InboxMessage(third, b"another")]


async def test_rows_are_no_tells(world: World) -> None:
    inbox = (await world.node()).inbox
    mark = await claimed(inbox, 7, b"", 0)
    await inbox.write_dead_letter(7, b"row", 0)
    again = await claimed(inbox, 7, b"", mark)
    assert await inbox.relayed(7, 0, again) == []
    for shard in range(SHARDS):
        assert await all_tells(inbox, shard) == []


async def row_of(inbox: Inbox, tell: int, expected: int = 0) -> int:
    place = await inbox.write_dead_letter(tell, b"row", expected)
    assert place is not None
    return place


async def test_what_is_sent_again_is_stored_once(world: World) -> None:
    inbox, other = (await world.node()).inbox, (await world.node()).inbox
    row = await row_of(inbox, 7)
    sequence = await inbox.send_again(5, b"once more", 7, row)
    assert await other.send_again(5, b"once more", 7, await row_of(other, 7, row)) == sequence
    another = await other.send_again(5, b"another", 8, await row_of(other, 8))
    assert sequence is not None
    assert another is not None
    assert await all_tells(inbox, 5) == [InboxMessage(sequence, b"once more"), InboxMessage(another, b"another")]


async def test_nothing_is_sent_again_by_who_does_not_have_the_row_any_more(world: World) -> None:
    inbox, other = (await world.node()).inbox, (await world.node()).inbox
    row = await row_of(inbox, 7)
    await row_of(other, 7, row)
    assert await inbox.send_again(5, b"once more", 7, row) is None
    assert await inbox.send_again(5, b"once more", 7, 0) is None
    assert await all_tells(inbox, 5) == []


async def test_the_next_tell_to_a_shard_is_the_first_one_after_a_sequence(world: World) -> None:
    inbox = (await world.node()).inbox
    sent = [await inbox.send(n % 2, b"tell", str(n)) for n in range(4)]
    assert [await inbox.next_tell(1, after) for after in (0, sent[1] - 1, sent[1], sent[3])] == [
        sent[1], sent[1], sent[3], 0,
    ]  # fmt: skip
    assert await inbox.next_tell(2, 0) == 0


async def test_the_beginning_is_removed_and_how_much_is_left_is_told(world: World) -> None:
    inbox = (await world.node()).inbox
    empty = await inbox.size()
    assert (empty.last, empty.messages, empty.bytes) == (0, 0, 0)
    for n in range(4):
        await inbox.send(n % 2, b"tell", str(n))
    size = await inbox.size()
    assert (size.first, size.last, size.messages) == (1, 4, 4)
    assert size.bytes >= 16
    assert await inbox.purge(0, await inbox.made()) == 0
    assert await inbox.size() == size


async def test_nothing_is_removed_over_another_connection(world: World) -> None:
    node = await world.node()
    await node.inbox.send(0, b"tell", "1")
    made = await node.inbox.made()
    told = Received[bool]()
    end = node.inbox.on_connected(lambda: told.receive(True))
    await node.restart()
    await told.count(1)
    end()
    with pytest.raises(Unavailable):
        await node.inbox.purge(1, made)
    assert (await node.inbox.size()).messages == 1
