"""A commit of a shard that is followed comes to a worker once, as a notice or by the consumer of commits.

On a real server. What ends a consumer must lose no commit that was stored before or after, and leave no machine behind.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aether import ActorId, Runtime, Unavailable
from aether.ids import Position
from aether.jetstream import shard_feed
from aether.jetstream.adapters import JetStreamConnection
from aether.jetstream.api import Answered, Method
from aether.jetstream.connection.headers import SEQUENCE
from aether.jetstream.connection.message import Message
from aether.jetstream.inbox import JetStreamInbox
from aether.names import shard_of
from aether.ports import START, StoredCommit, Subscription
from tests.contract.harness import Received, commit
from tests.support.durable import Durable
from tests.support.jetstream import SHARDS, Sessions, node
from tests.support.members import soon
from tests.support.nats_server import NatsServer
from tests.support.nodes import QUIET, append_from_outside
from tests.support.transfers import Opened, Till
from tests.support.transfers import model as transfers

NOTICE, CONSUMER = "notice", "consumer"

delete_consumer: Method[Answered] = Method("CONSUMER.DELETE.{}", Answered)


@pytest.fixture(autouse=True)
def quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_feed, "HEARTBEAT_S", 0.2)


def actor_of(shard: int) -> ActorId:
    found = (ActorId("account", f"k{n}") for n in range(1_000))
    return next(one for one in found if shard_of(one, SHARDS) == shard)


class Arrivals:
    """Which commits reached a connection, and how; those by the consumer can be lost on the way."""

    def __init__(self) -> None:
        self.came: list[tuple[str, int]] = []
        self.lost: list[int] = []
        self.lose_next = False
        self.for_ever = False
        """Whether what was lost is lost again each time."""

    def loses(self, message: Message) -> bool:
        if message.subject.startswith("stored."):
            self.came.append((NOTICE, message.integer(SEQUENCE)))
        elif ".evt." in message.subject and message.reply:
            position = int(message.reply.rsplit(".", 4)[1])
            if self.lose_next or (self.for_ever and position in self.lost):
                self.lose_next = False
                self.lost.append(position)
                return True
            self.came.append((CONSUMER, position))
        return False


class Follower:
    """A worker's connection on which all shards are followed, and another one that writes."""

    def __init__(self, one: JetStreamConnection, other: JetStreamConnection, arrivals: Arrivals) -> None:
        self.one = one
        self.arrivals = arrivals
        self.handed_on = Received[StoredCommit]()
        self.stored: list[StoredCommit] = []
        self._other = other
        self._last: dict[int, tuple[int, Position]] = {}

    async def follow(self, *shards: int) -> Subscription:
        return await self.one.bus.follow_shards(shards, self.handed_on.receive)

    async def follow_commits(self, *shards: int) -> list[Subscription]:
        """Return when the consumer delivers these shards' commits, and the server sends no notices of them."""
        inbox = self.one.inbox
        following = [await inbox.follow_commits(shard, lambda *_: None, lambda: None) for shard in shards]
        await self.rests(*shards)
        return following

    async def rests(self, *shards: int) -> None:
        await soon(lambda: resting(self.one) >= set(shards))
        for shard in shards:
            for standing in self.one.bus.shard_notices._followed[shard]:
                assert standing._ending is not None
                await standing._ending

    async def commit(self, *shards: int) -> list[StoredCommit]:
        new = []
        for shard in shards:
            version, position = self._last.get(shard, (0, START))
            new.append(await commit(self._other.event_store, actor_of(shard), version + 1, position))
            self._last[shard] = (version + 1, new[-1].position)
        self.stored += new
        return new

    async def has(self, commits: list[StoredCommit]) -> None:
        """Return when these were handed on."""
        await self.handed_on.until(lambda got: all(one in got for one in commits))

    async def came_once(self, way: str, *shards: int) -> None:
        """New commits of these shards come in this way and in no other, and are handed on once."""
        new = await self.commit(*shards)
        await self.has(new)
        assert self.one.nats.session is not None
        await self.one.nats.session.barrier()
        for one in new:
            assert [how for how, position in self.arrivals.came if position == one.position] == [way]
            assert self.handed_on.items.count(one) == 1


def resting(one: JetStreamConnection) -> set[int]:
    """The shards without a subscription to notices on this session."""
    followed = one.bus.shard_notices._followed
    return {shard for shard, standing in followed.items() if all(each._on is None for each in standing)}


async def drop_consumer(one: JetStreamConnection) -> None:
    """As a server may that was too busy."""
    consumer = one.inbox._commits._consumer
    assert consumer is not None
    await delete_consumer(one.nats, f"{one.names.stream}.{consumer.name}")


@asynccontextmanager
async def followed(server: NatsServer, namespace: str) -> AsyncIterator[Follower]:
    arrivals = Arrivals()
    async with (
        node(server.url, namespace, loses=arrivals.loses) as one,
        node(server.url, namespace) as other,
    ):
        yield Follower(one, other, arrivals)


async def test_a_commit_comes_once_with_the_consumer_and_without(nats_server: NatsServer, namespace: str) -> None:
    async with followed(nats_server, namespace) as worker:
        notices = await worker.follow(*range(SHARDS))
        await worker.came_once(NOTICE, *range(SHARDS))
        following = await worker.follow_commits(1, 2)
        assert resting(worker.one) == {1, 2}
        for _ in range(3):
            await worker.came_once(CONSUMER, 1, 2)
            await worker.came_once(NOTICE, 0, 3, 7)
        following += await worker.follow_commits(3)
        await worker.rests(1, 2, 3)
        await worker.came_once(CONSUMER, 1, 2, 3)
        await worker.came_once(NOTICE, 0, 7)
        for one in following:
            await one.stop()
        await soon(lambda: not resting(worker.one))
        await worker.came_once(NOTICE, *range(SHARDS))
        await notices.stop()
        assert not worker.one.bus.shard_notices._followed


async def test_no_commit_falls_between_while_the_consumer_begins(nats_server: NatsServer, namespace: str) -> None:
    async with followed(nats_server, namespace) as worker:
        await worker.follow(1, 2, 3)
        for shard in (1, 2, 3):
            beginning = asyncio.ensure_future(worker.follow_commits(shard))
            while not beginning.done():
                await worker.commit(1, 2, 3)
            await beginning
        await worker.has(worker.stored)


async def test_a_shard_that_is_followed_while_it_is_covered_comes_once(nats_server: NatsServer, namespace: str) -> None:
    async with followed(nats_server, namespace) as worker:
        following = await worker.one.inbox.follow_commits(1, lambda *_: None, lambda: None)
        await soon(lambda: worker.one.inbox._commits._consumer is not None)
        notices = await worker.follow(1)
        await worker.rests(1)
        await worker.came_once(CONSUMER, 1)
        await notices.stop()
        await worker.commit(1)
        notices = await worker.follow(1)
        await worker.rests(1)
        await worker.came_once(CONSUMER, 1)
        await following.stop()


async def test_one_consumer_for_all_shards_hands_on_only_those_that_are_followed(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_feed, "FILTERS_MAX", 1)
    async with followed(nats_server, namespace) as worker:
        await worker.follow(1, 2, 3)
        await worker.follow_commits(1, 2)
        stored = await worker.commit(5, 3, 3, 1)
        await worker.has(stored[1:])
        await soon(lambda: (CONSUMER, stored[3].position) in worker.arrivals.came)
        assert (CONSUMER, stored[0].position) in worker.arrivals.came
        assert len(worker.handed_on.items) == 3
        assert resting(worker.one) == {1, 2}


async def test_commits_of_a_consumer_that_is_gone_are_handed_on(nats_server: NatsServer, namespace: str) -> None:
    async with followed(nats_server, namespace) as worker:
        await worker.follow(1, 2)
        await worker.follow_commits(1, 2)
        await drop_consumer(worker.one)
        unseen = await worker.commit(1, 2, 1)
        assert resting(worker.one) == {1, 2}
        await worker.has(unseen)
        await worker.rests(1, 2)
        await worker.came_once(CONSUMER, 1, 2)


async def test_commits_that_a_consumer_has_skipped_are_handed_on(nats_server: NatsServer, namespace: str) -> None:
    async with followed(nats_server, namespace) as worker:
        await worker.follow(1, 2)
        await worker.follow_commits(1, 2)
        await worker.came_once(CONSUMER, 1)
        worker.arrivals.lose_next = True
        skipped = await worker.commit(1, 2)
        await worker.has(skipped)
        assert worker.arrivals.lost == [skipped[0].position]
        await worker.rests(1, 2)
        await worker.came_once(CONSUMER, 1, 2)


async def test_a_message_that_never_arrives_is_passed_over(nats_server: NatsServer, namespace: str) -> None:
    async with followed(nats_server, namespace) as worker:
        await worker.follow(1, 2)
        await worker.follow_commits(1, 2)
        await worker.came_once(CONSUMER, 1)
        worker.arrivals.lose_next = worker.arrivals.for_ever = True
        await worker.commit(1)
        await soon(lambda: len(worker.arrivals.lost) == 2)
        await soon(lambda: not resting(worker.one))
        await worker.rests(1, 2)
        await worker.came_once(CONSUMER, 1, 2)


async def test_notices_come_while_no_consumer_can_be_made(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Unavailable("no consumer can be made now")

    async with followed(nats_server, namespace) as worker:
        await worker.follow(1, 2)
        await worker.follow_commits(1, 2)
        with monkeypatch.context() as patched:
            patched.setattr(shard_feed, "_consumer_create", refuse)
            worker.one.inbox._commits._break()
            assert worker.one.nats.session is not None
            await worker.one.nats.session.barrier()
            await worker.has(await worker.commit(1, 2))
        await worker.rests(1, 2)
        await worker.came_once(CONSUMER, 1, 2)


async def test_on_a_new_connection_notices_come_until_there_is_a_consumer(
    nats_server: NatsServer, namespace: str
) -> None:
    async with followed(nats_server, namespace) as worker:
        await worker.follow(1, 2)
        await worker.follow_commits(1, 2)
        sessions = Sessions(worker.one.nats)
        assert worker.one.nats.session is not None
        await worker.one.nats.session.close()
        await sessions.back()
        assert not resting(worker.one)
        await worker.has(await worker.commit(1, 2))
        await worker.rests(1, 2)
        await worker.came_once(CONSUMER, 1, 2)


async def test_what_the_consumer_delivers_is_handed_on_once_it_is_durable(
    nats_server: NatsServer, namespace: str
) -> None:
    async with followed(nats_server, namespace) as worker:
        durable = Durable()
        worker.one.bus.wait_for(durable)
        await worker.follow(1)
        await worker.follow_commits(1)
        first, second = await worker.commit(1, 1)
        await soon(lambda: (CONSUMER, second.position) in worker.arrivals.came)
        assert worker.handed_on.items == []
        durable.reach(first.position)
        assert worker.handed_on.items == [first]
        durable.reach(second.position)
        assert worker.handed_on.items == [first, second]


async def test_of_a_replicated_stream_notices_are_followed_always(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        inbox = JetStreamInbox(one.nats, one.names, 3, one.bus.shard_notices)
        assert inbox._commits._notices is None


@pytest.mark.parametrize("tells", [False, True])
async def test_an_idle_actor_hears_of_another_writer(nats_server: NatsServer, namespace: str, tells: bool) -> None:
    async with node(nats_server.url, namespace) as one, node(nats_server.url, namespace) as other:
        outside = Runtime(other, other.event_store, QUIET)
        runtime = Runtime(one, one.event_store, QUIET, inbox=one.inbox)
        runtime.load_model(transfers)
        async with runtime:
            alice = ActorId("till", "alice")
            shard = shard_of(alice, SHARDS)
            await runtime.actor(Till, "alice").open(10)
            if tells:
                await runtime.actor(Till, "alice").send("1", "alice", 5)
                await soon(lambda: shard in resting(one))
            (machine,) = runtime.get_active_vms(shard)
            version = 3 if tells else 1  # it has paid itself

            async def hears(version: int) -> None:
                await append_from_outside(outside, alice, transfers.actor_type("till"), Opened(1))
                await soon(lambda: machine.version == version)

            await soon(lambda: machine.version == version)
            await hears(version + 1)
            assert (shard in resting(one)) is tells
            if tells:
                await drop_consumer(one)
            await hears(version + 2)
            await soon(lambda: (shard in resting(one)) is tells)
            await hears(version + 3)
            assert runtime.counters.events_followed == 3
