"""The background tasks of a connection on a real server: an unexpected error, once, and each goes on."""

import asyncio
from typing import Any

import pytest

import aether.jetstream.bus as bus_room
import aether.jetstream.watch as watch_room
from aether import background
from aether.core.backoff import Backoff
from aether.ids import ActorId
from aether.jetstream.api import Batch, UnreadableReply, direct_last, stream_info
from aether.jetstream.connection.dialer import Dialer
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.session import NatsSession
from aether.ports import START, Row, StoredCommit
from tests.contract.harness import Received, commit
from tests.support.jetstream import Sessions, node
from tests.support.nats_server import NatsServer
from tests.support.proxy import Proxy

ALICE = ActorId("account", "alice")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long before a task is started again."""
    monkeypatch.setattr(background, "AGAIN", Backoff(first_s=0.01, cap_s=0.01))


class Once:
    """Raises the first time that it is called, and is the original from then on."""

    def __init__(self, owner: Any, name: str, error: BaseException, patch: pytest.MonkeyPatch) -> None:
        self.raised = asyncio.Event()
        original = getattr(owner, name)

        def called(*args: Any, **options: Any) -> Any:
            if not self.raised.is_set():
                self.raised.set()
                raise error
            return original(*args, **options)

        patch.setattr(owner, name, called)


ERRORS = [LookupError("a bug"), asyncio.CancelledError(), SystemExit(1)]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("place", [(Dialer, "open"), (NatsSession, "open"), (NatsSession, "barrier")])
async def test_the_keeper_connects_again(
    own_server: NatsServer,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[Any, str],
    error: BaseException,
) -> None:
    async with Proxy(own_server.port) as proxy, node(proxy.url, namespace) as one:
        sessions = Sessions(one.nats)
        once = Once(*place, error, monkeypatch)
        proxy.cut()
        await sessions.lost()
        proxy.mend()
        await asyncio.wait_for(once.raised.wait(), 10)
        await asyncio.wait_for(sessions.back(), 10)
        await commit(one.event_store, ALICE, 1, START)


async def test_a_listener_that_raises_is_in_no_others_way(own_server: NatsServer, namespace: str) -> None:
    def raises(_: object) -> None:
        raise LookupError("a bug")

    async with Proxy(own_server.port) as proxy, node(proxy.url, namespace) as one:
        one.nats.listen(raises)
        for _ in range(2):
            sessions = Sessions(one.nats)
            proxy.cut()
            await sessions.lost()
            proxy.mend()
            await asyncio.wait_for(sessions.back(), 10)
        await commit(one.event_store, ALICE, 1, START)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", ["_attempt_anew", "_end_attempt"])
async def test_the_watch_goes_on(
    own_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException
) -> None:
    async with (
        Proxy(own_server.port) as proxy,
        node(proxy.url, namespace) as one,
        node(own_server.url, namespace) as other,
    ):
        rows = Received[Row]()
        watch = await one.table.watch(rows.receive)
        await other.table.create("lease.1", b"first")
        assert [row.value for row in await rows.count(1)] == [b"first"]
        once = Once(watch_room.Watch, name, error, monkeypatch)
        proxy.cut()
        await other.table.create("lease.2", b"second")
        proxy.mend()
        assert [row.value for row in await rows.count(2)] == [b"first", b"second"]
        assert once.raised.is_set()
        await asyncio.wait_for(watch.stop(), 10)


async def read_by_a_replica_that_lags(*_: Any, **__: Any) -> Batch:
    """It has no messages yet, so the leader is asked."""
    return Batch([], more=False)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", ["direct_batch", "leader_next", "last_sequence"])
async def test_the_bus_goes_on(
    own_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException
) -> None:
    async with (
        Proxy(own_server.port) as proxy,
        node(proxy.url, namespace) as one,
        node(own_server.url, namespace) as other,
    ):
        received = Received[StoredCommit]()
        await one.bus.subscribe(received.receive)
        sessions = Sessions(one.nats)
        first = await commit(other.event_store, ALICE, 1, START)
        assert await received.count(1) == [first]
        if name == "leader_next":
            monkeypatch.setattr(bus_room, "direct_batch", read_by_a_replica_that_lags)
        once = Once(bus_room, name, error, monkeypatch)
        proxy.cut()
        await sessions.lost()
        second = await commit(other.event_store, ALICE, 2, first.position)
        proxy.mend()
        assert await received.count(2) == [first, second]
        assert once.raised.is_set()


class Garbled:
    """A connection whose server says nothing that anybody understands."""

    session = None

    async def request(self, subject: str, payload: bytes, timeout_s: float, headers: object = None) -> Message:
        """Garbage."""
        return Message("_INBOX.1", "", self.reply, None, {"Nats-Subject": "x", "Nats-Sequence": "many"})

    def __init__(self, reply: bytes) -> None:
        self.reply = reply


@pytest.mark.parametrize("reply", [b"", b"{", b"\xff\xfe", b"[]", b'{"error": 3}', b'{"state": {"last_seq": "x"}}'])
async def test_a_reply_that_cannot_be_read_is_a_typed_error(reply: bytes) -> None:
    connection: Any = Garbled(reply)
    with pytest.raises(UnreadableReply):
        await stream_info(connection, "S")
    with pytest.raises(UnreadableReply):
        await direct_last(connection, "S", "x")
