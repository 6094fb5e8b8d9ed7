"""The consumer that follows a worker's shards, on a real server: what ends it, and what is heard after that."""

from collections.abc import Callable

import pytest

from aether.ids import Position
from aether.jetstream import shard_feed
from aether.jetstream.api import Answered, Method
from aether.jetstream.connection.message import Message
from aether.jetstream.inbox import JetStreamInbox
from aether.jetstream.shard_feed import ShardFeed
from aether.ports import InboxMessage, Subscription
from tests.contract.harness import Received
from tests.support.jetstream import SHARDS, node
from tests.support.nats_server import NatsServer

delete_consumer: Method[Answered] = Method("CONSUMER.DELETE.{}", Answered)


class Ear:
    """What a follower was told: `(after, until, tell)`, and None when it was rung for."""

    def __init__(self, inbox: JetStreamInbox, shard: int) -> None:
        self.told = Received[tuple[int, int, InboxMessage | None] | None]()
        self._inbox = inbox
        self._shard = shard

    async def follow(self) -> Subscription:
        """Return when the consumer is there: it has rung."""
        following = await self._inbox.follow(
            self._shard,
            lambda after, until, message: self.told.receive((after, until, message)),
            lambda: self.told.receive(None),
        )
        await self.told.count(1)
        return following

    @property
    def rings(self) -> int:
        return self.told.items.count(None)

    async def rung(self, times: int) -> None:
        await self.told.until(lambda told: told.count(None) >= times)

    async def hears(self, sequence: int) -> tuple[int, int, InboxMessage | None]:
        told = await self.told.until(lambda told: any(one is not None and one[1] == sequence for one in told))
        return next(one for one in told if one is not None and one[1] == sequence)


def feed_of(inbox: JetStreamInbox) -> ShardFeed:
    return inbox._tells


async def test_a_shard_that_is_added_costs_the_others_nothing(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        inbox = one.inbox
        ear, another = Ear(inbox, 5), Ear(inbox, 6)
        following = [await ear.follow()]
        first = await inbox.send(5, b"a", "a")
        await ear.hears(first)
        consumer = feed_of(inbox)._consumer
        following.append(await another.follow())
        assert feed_of(inbox)._consumer is not consumer
        second = await inbox.send(5, b"b", "b")
        after, _, message = await ear.hears(second)
        assert message == InboxMessage(second, b"b")
        assert first <= after < second
        assert ear.rings == 1
        elsewhere = await inbox.send(6, b"c", "c")
        assert (await another.hears(elsewhere))[2] == InboxMessage(elsewhere, b"c")
        for subscription in following:
            await subscription.stop()


@pytest.mark.parametrize("others", [1, SHARDS // 2])
async def test_a_worker_of_most_shards_has_one_filter_and_hears_of_no_other_shard(
    nats_server: NatsServer, namespace: str, others: int
) -> None:
    async with node(nats_server.url, namespace) as one:
        ears = [Ear(one.inbox, shard) for shard in range(others, SHARDS)]
        following = [await ear.follow() for ear in ears]
        consumer = feed_of(one.inbox)._consumer
        assert consumer is not None
        await one.inbox.send(0, b"another's", "a")
        own = await one.inbox.send(SHARDS - 1, b"b", "b")
        assert (await ears[-1].hears(own))[2] == InboxMessage(own, b"b")
        assert consumer._delivered == (2 if others == 1 else 1)
        heard = [told[2] for ear in ears for told in ear.told.items if told is not None and told[2] is not None]
        assert heard == [InboxMessage(own, b"b")]
        for subscription in following:
            await subscription.stop()


async def test_a_tell_that_did_not_arrive_is_rung_for(nats_server: NatsServer, namespace: str) -> None:
    lost: list[bytes] = []

    def loses(message: Message) -> bool:
        if message.data == b"lost" and not lost:
            lost.append(message.data)
            return True
        return False

    async with node(nats_server.url, namespace, loses=loses) as one:
        ear = Ear(one.inbox, 5)
        following = await ear.follow()
        await ear.hears(await one.inbox.send(5, b"a", "a"))
        gone = await one.inbox.send(5, b"lost", "b")
        behind = await one.inbox.send(5, b"c", "c")
        await ear.rung(2)
        assert not [told for told in ear.told.items if told is not None and told[0] < gone <= told[1]]
        last = await one.inbox.send(5, b"d", "d")
        assert behind <= (await ear.hears(last))[0] < last
        await following.stop()


async def test_the_last_tell_that_did_not_arrive_is_rung_for_after_a_heartbeat(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_feed, "HEARTBEAT_S", 0.2)
    async with node(nats_server.url, namespace, loses=lambda message: message.data == b"lost") as one:
        ear = Ear(one.inbox, 5)
        following = await ear.follow()
        gone = await one.inbox.send(5, b"lost", "b")
        await ear.rung(2)
        assert not [told for told in ear.told.items if told is not None and told[0] < gone <= told[1]]
        await following.stop()


async def test_a_consumer_that_is_gone_is_replaced(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_feed, "HEARTBEAT_S", 0.2)
    async with node(nats_server.url, namespace) as one:
        ear = Ear(one.inbox, 5)
        following = await ear.follow()
        consumer = feed_of(one.inbox)._consumer
        assert consumer is not None
        await delete_consumer(one.nats, f"AETHER_{namespace}_INBOX.{consumer.name}")
        unheard = await one.inbox.send(5, b"unheard", "a")
        await ear.rung(2)
        last = await one.inbox.send(5, b"b", "b")
        assert unheard <= (await ear.hears(last))[0]
        await following.stop()


class Later:
    """A `Durability` that says that what was written is on the disk, and of what was read when it is asked to."""

    def __init__(self) -> None:
        self.position = Position(0)
        self.waiting = Received[Callable[[str], None]]()

    def after_write(self, position: Position, done: Callable[[str], None]) -> None:
        done("")

    def after_read(self, position: Position, done: Callable[[str], None]) -> None:
        self.waiting.receive(done)

    after_notice = after_question = after_read

    def forget(self) -> None:
        self.position = Position(0)


async def test_what_is_on_the_disk_of_another_connection_is_rung_for(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        one.inbox.durability = later = Later()
        ear = Ear(one.inbox, 5)
        following = await ear.follow()
        await one.inbox.send(5, b"a", "a")
        await later.waiting.count(1)
        later.waiting.items[0]("")
        assert [told for told in ear.told.items if told is not None]
        await one.inbox.send(5, b"b", "b")
        await later.waiting.count(2)
        heard, rings = len(ear.told.items), ear.rings
        session = one.nats.session
        assert session is not None
        await session.close()
        later.waiting.items[1]("")
        assert ear.told.items[heard:] == [None]
        assert ear.rings == rings + 1
        await following.stop()


async def test_an_idle_consumer_says_how_far_it_has_come(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_feed, "HEARTBEAT_S", 0.2)
    async with node(nats_server.url, namespace) as one:
        ear, another = Ear(one.inbox, 5), Ear(one.inbox, 6)
        following = [await ear.follow(), await another.follow()]
        end = await one.inbox.send(6, b"a", "a")
        after, _, message = await ear.hears(end)
        assert message is None
        assert after < end
        task = feed_of(one.inbox)._task
        assert task is not None
        for subscription in following:
            await subscription.stop()
        await task
        assert feed_of(one.inbox)._consumer is None
        ear = Ear(one.inbox, 5)
        await (await ear.follow()).stop()
