"""Requests on a real server: the owner answers, or there is none, and what was delivered is received."""

import asyncio

import pytest

from aether.connecting import connect_untyped
from aether.errors import AetherError, InvalidCommand, Unavailable
from aether.ids import ActorId
from aether.names import shard_of
from aether.ports import Delivery, NotSent
from aether.wire import decode_answer
from tests.contract.harness import Received
from tests.support.jetstream import SHARDS, Sessions, node
from tests.support.nats_server import NatsServer
from tests.support.proxy import Proxy

ALICE = ActorId("account", "alice \u2603")
SHARD = shard_of(ALICE, SHARDS)


def echo(delivery: Delivery) -> None:
    delivery.respond(delivery.payload)


async def test_the_owner_answers_and_without_one_no_worker_does(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one, node(nats_server.url, namespace) as other:
        with pytest.raises(NotSent, match="no worker listens"):
            await other.transport.request(ALICE, b"x", 5)
        serving = await one.transport.serve(SHARD, echo)
        assert await other.transport.request(ALICE, b"hello", 5) == b"hello"
        await serving.stop()
        await serving.stop()
        with pytest.raises(NotSent, match="no worker listens"):
            await other.transport.request(ALICE, b"x", 5)


async def test_a_time_out_is_not_not_sent(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        received = Received[Delivery]()
        await one.transport.serve(SHARD, received.receive)
        with pytest.raises(Unavailable, match="no answer in time") as raised:
            await one.transport.request(ALICE, b"x", 0.1)
        assert not isinstance(raised.value, NotSent)
        assert len(received.items) == 1


async def test_what_was_delivered_before_stop_is_received(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one, node(nats_server.url, namespace) as other:
        received = Received[Delivery]()
        serving = await one.transport.serve(SHARD, received.receive)
        session = other.nats.session
        assert session is not None
        for number in range(500):
            session.publish(other.names.command(ALICE), b"%d" % number)
        await session.barrier()
        await serving.stop()
        assert [delivery.payload for delivery in received.items] == [b"%d" % number for number in range(500)]


async def test_whether_all_was_received_is_asked_after_unsubscribing(nats_server: NatsServer, namespace: str) -> None:
    async with Proxy(nats_server.port) as proxy, node(proxy.url, namespace) as one:
        serving = await one.transport.serve(SHARD, echo)
        proxy.sent.clear()
        await serving.stop()
        assert 0 <= proxy.sent.find(b"UNSUB ") < proxy.sent.rfind(b"PUB _INBOX.")


async def test_a_command_of_no_actor_is_answered_here(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        received = Received[Delivery]()
        await one.transport.serve(SHARD, received.receive)
        session = one.nats.session
        assert session is not None
        other_shard = (SHARD + 1) % SHARDS
        await one.transport.serve(other_shard, received.receive)
        wrong_shard = one.names.command(ALICE).replace(f".cmd.{SHARD}.", f".cmd.{other_shard}.")
        for subject in (one.names.commands_of_shard(SHARD)[:-1] + "x", wrong_shard):
            answer = decode_answer((await session.request(subject, b"{}", 5)).data)
            assert answer.error is not None
            assert answer.error.code == "invalid_command"
        assert received.items == []


async def test_sizes_at_the_bound(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        transport, session = one.transport, one.nats.session
        await transport.serve(SHARD, lambda delivery: delivery.respond(b"x" * (1 << 21)))
        answer = decode_answer(await transport.request(ALICE, b"x" * transport.request_bytes_max, 5))
        assert answer.error is not None
        assert "cannot be sent" in answer.error.message
        with pytest.raises(InvalidCommand, match="at most"):
            await transport.request(ALICE, b"x" * (1 << 20) + b"x", 5)
        assert one.nats.session is session


async def test_any_worker_informs(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one, node(nats_server.url, namespace) as other:
        with pytest.raises(NotSent):
            await other.transport.ask_info()
        serving = [await worker.transport.info(lambda: b"{}") for worker in (one, other)]
        assert await other.transport.ask_info() == b"{}"
        await asyncio.gather(*(subscription.stop() for subscription in serving))


async def test_information_too_large_to_be_sent_is_an_error_and_no_schema(
    nats_server: NatsServer, namespace: str
) -> None:
    async with (
        node(nats_server.url, namespace) as one,
        connect_untyped(nats_server.url, namespace=namespace) as untyped,
    ):
        await one.transport.info(lambda: b'{"model": "m", "actors": {"%b": {}}}' % (b"x" * (1 << 21)))
        with pytest.raises(AetherError, match="cannot be sent"):
            await untyped.schema()


async def test_serving_goes_on_after_a_restart_and_old_answers_are_dropped(
    own_server: NatsServer, namespace: str
) -> None:
    async with node(own_server.url, namespace) as one, node(own_server.url, namespace) as other:
        received = Received[Delivery]()
        await one.transport.serve(SHARD, received.receive)
        asked = asyncio.ensure_future(other.transport.request(ALICE, b"first", 60))
        (first,) = await received.count(1)
        sessions = [Sessions(worker.nats) for worker in (one, other)]
        own_server.kill()
        with pytest.raises(Unavailable, match="lost"):
            await asked
        for session in sessions:
            await session.lost()
        first.respond(b"nobody hears this")
        own_server.start()
        for session in sessions:
            await session.back()
        asked = asyncio.ensure_future(other.transport.request(ALICE, b"second", 60))
        (_, second) = await received.count(2)
        first.respond(b"nor this")
        second.respond(b"answer")
        assert await asked == b"answer"


async def test_without_a_connection_nothing_is_announced_and_nothing_raises(
    own_server: NatsServer, namespace: str
) -> None:
    async with (
        Proxy(own_server.port) as proxy,
        node(proxy.url, namespace) as cut,
        node(own_server.url, namespace) as client,
    ):
        for worker in (cut, client):
            await worker.transport.follow_owners()
        sessions = Sessions(cut.nats)
        since_s = asyncio.get_running_loop().time()
        proxy.cut()
        cut.transport.announce([SHARD])
        await sessions.lost()
        cut.transport.announce([SHARD])
        waiting = asyncio.ensure_future(client.transport.owner_announced(ALICE, since_s, 60))
        proxy.mend()
        await sessions.back()
        assert not waiting.done()
        # Announcements are heard again, by the cut one too.
        deaf = asyncio.ensure_future(cut.transport.owner_announced(ALICE, since_s, 60))
        cut.transport.announce([SHARD])
        async with asyncio.timeout(10):
            await asyncio.gather(waiting, deaf)


async def test_an_announcement_that_cannot_be_read_interrupts_no_caller(
    nats_server: NatsServer, namespace: str
) -> None:
    async with node(nats_server.url, namespace) as one, node(nats_server.url, namespace) as other:
        received = Received[Delivery]()
        await one.transport.follow_owners()
        await other.transport.serve(SHARD, received.receive)
        asked = asyncio.ensure_future(one.transport.request(ALICE, b"x", 60))
        (delivery,) = await received.count(1)
        assert other.nats.session is not None
        since_s = asyncio.get_running_loop().time()
        for garbage in (b"", b"{}", b"[true]", b'["1"]', b"[1.5]", b"\xff"):
            other.nats.session.publish(one.names.owners(), garbage)
        other.transport.announce([(SHARD + 1) % SHARDS])
        beside = next(
            each for each in (ActorId("account", f"k{n}") for n in range(1_000))
            if shard_of(each, SHARDS) == (SHARD + 1) % SHARDS
        )  # fmt: skip
        async with asyncio.timeout(10):
            await one.transport.owner_announced(beside, since_s, 60)
        assert not asked.done()
        delivery.respond(b"answer")
        assert await asked == b"answer"
