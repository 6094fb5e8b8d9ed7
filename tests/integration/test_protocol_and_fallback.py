"""A connection's traffic, on our own protocol and on the fallback through nats-py: the same to see on a real server."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

import aether.jetstream.connection.session as session_room
from aether.config import ConnectionConfig
from aether.errors import ConfigError, InvalidCommand, Unavailable
from aether.jetstream.connection.fallback import NatsPyFallback
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection, connect
from aether.jetstream.connection.pending_replies import Reply
from aether.jetstream.connection.protocol import NatsProtocol
from aether.jetstream.connection.session import NatsSession
from aether.ports import NotSent
from aether.system.environment import is_compiled
from tests.contract.harness import GUARD_S, Received
from tests.support.credentials import operator_config_and_user, self_signed
from tests.support.jetstream import PING_INTERVAL_S
from tests.support.nats_server import NatsServer

FLOOD = 20_000
BUSY_PING_INTERVAL_S = 3.0
"""For floods: a machine that is busy with them and other work must not be taken for a dead server."""


@pytest.fixture(params=["protocol", "fallback"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[NatsProtocol | NatsPyFallback]:
    """Which of the two carries the traffic."""
    if request.param == "protocol":
        return NatsProtocol
    if is_compiled():
        pytest.skip("what is compiled cannot be replaced")
    monkeypatch.setattr(session_room, "adopt_transport", lambda client: None)
    return NatsPyFallback


def config(server: NatsServer, ping_interval_s: float = PING_INTERVAL_S, **settings: str) -> ConnectionConfig:
    return ConnectionConfig(url=server.url, ping_interval_s=ping_interval_s, **settings)  # type: ignore[arg-type]  # all str


def of(connection: NatsConnection) -> NatsSession:
    assert connection.session is not None
    return connection.session


async def test_requests_and_their_answers(nats_server: NatsServer, way: type, namespace: str) -> None:
    async with connect(config(nats_server)) as connection:
        session = of(connection)
        assert type(session._protocol) is way

        def answer(message: Message) -> None:
            session.publish(message.reply, message.data * 2, headers=message.headers)

        session.subscribe(f"{namespace}.twice", answer)
        head = {"Name": "v\u00e4lue", "Other": "x"}
        reply = await session.request(f"{namespace}.twice", b"ab", 5, head)
        assert (reply.data, reply.headers) == (b"abab", head)
        assert (await session.request(f"{namespace}.twice", b"", 5)).data == b""
        with pytest.raises(NotSent):
            await session.request(f"{namespace}.nobody", b"", 5)
        with pytest.raises(InvalidCommand):
            session.publish(namespace, b"x" * (session.payload_bytes_max + 1))
        largest = b"x" * (session.payload_bytes_max // 2)
        assert (await session.request(f"{namespace}.twice", largest, 5)).data == largest * 2


async def test_a_queue_shares_its_messages(nats_server: NatsServer, way: type, namespace: str) -> None:
    async with connect(config(nats_server)) as connection:
        session, received = of(connection), Received[tuple[int, bytes]]()
        session.subscribe(namespace, lambda message: received.receive((1, message.data)), "queue")
        session.subscribe(namespace, lambda message: received.receive((2, message.data)), "queue")
        for number in range(200):
            session.publish(namespace, b"%d" % number)
        items = await received.count(200)
        assert {member for member, _ in items} == {1, 2}
        assert len({data for _, data in items}) == 200


async def test_draining_loses_nothing_that_was_delivered(nats_server: NatsServer, way: type, namespace: str) -> None:
    async with connect(config(nats_server)) as one, connect(config(nats_server)) as other:
        received: list[bytes] = []
        subscription = of(one).subscribe(namespace, lambda message: received.append(message.data))
        await of(one).barrier()
        for number in range(FLOOD):
            of(other).publish(namespace, b"%d" % number)
        await of(other).barrier()
        await of(one).drain(subscription)
        count = len(received)
        assert received == [b"%d" % number for number in range(count)]
        of(other).publish(namespace, b"late")
        await of(other).barrier()
        await of(one).barrier()
        assert len(received) == count == FLOOD


async def test_a_receiver_that_raises_harms_no_other(nats_server: NatsServer, way: type, namespace: str) -> None:
    async with connect(config(nats_server)) as connection:
        received = Received[bytes]()

        def receive(message: Message) -> None:
            received.receive(message.data)
            raise ZeroDivisionError

        of(connection).subscribe(namespace, receive)
        for data in (b"1", b"2"):
            of(connection).publish(namespace, data)
        assert await received.count(2) == [b"1", b"2"]


async def test_closing_sends_what_is_queued_and_nothing_later(
    nats_server: NatsServer, way: type, namespace: str
) -> None:
    async with connect(config(nats_server)) as other:
        received = Received[bytes]()
        of(other).subscribe(namespace, lambda message: received.receive(message.data))
        await of(other).barrier()
        async with connect(config(nats_server, BUSY_PING_INTERVAL_S)) as one:
            session = of(one)
            sent = [b"%d" % number + b"x" * 1000 for number in range(5_000)]
            for data in sent:
                session.publish(namespace, data)
        assert await received.count(len(sent)) == sent
        with pytest.raises(NotSent):
            session.publish(namespace, b"late")
        with pytest.raises(Unavailable):
            session.subscribe(namespace, lambda message: None)
        await session.close()


async def test_a_frozen_server_takes_nothing_later(way: type, namespace: str) -> None:
    with NatsServer() as server:
        async with connect(config(server)) as connection:
            session = of(connection)
            asyncio.get_running_loop().call_soon(server.freeze)
            begun_s = asyncio.get_running_loop().time()
            reason = await asyncio.wait_for(asyncio.shield(session.ended), GUARD_S)
            assert asyncio.get_running_loop().time() - begun_s > 2 * PING_INTERVAL_S, reason
            with pytest.raises(NotSent):
                session.publish(namespace, b"late")
            server.thaw()


async def test_a_forbidden_subject_is_reported_and_the_rest_goes_on(
    way: type, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    permissions = 'permissions: { publish: { deny: "no.>" }, subscribe: { deny: "no.>" } }'
    users = f'authorization {{ users: [ {{ user: "me", password: "right", {permissions} }} ] }}'
    with NatsServer(config=users) as server:
        async with connect(config(server, user="me", password="right")) as connection:
            of(connection).publish("no.way", b"")
            of(connection).subscribe("no.*", lambda message: None)
            await of(connection).barrier()
            await of(connection).barrier()
            assert of(connection).alive
    assert "reports an error" in caplog.text
    assert "ermissions" in str([record.__dict__ for record in caplog.records])


@pytest.mark.parametrize("denied", ["publish", "subscribe"])
async def test_a_user_who_may_not_hear_replies_is_told_so(denied: str) -> None:
    permissions = f'permissions: {{ {denied}: {{ deny: "_INBOX.>" }} }}'
    users = f'authorization {{ users: [ {{ user: "me", password: "right", {permissions} }} ] }}'
    with NatsServer(config=users, jetstream=False) as server:
        with pytest.raises(
            ConfigError, match=r"does not permit this user to publish and subscribe to _INBOX\.>"
        ) as raised:
            async with connect(config(server, user="me", password="right")):
                pass
        assert raised.value.setting == "user"


async def test_what_the_server_does_not_understand_ends_the_generation(nats_server: NatsServer, way: type) -> None:
    async with connect(config(nats_server)) as connection:
        session = of(connection)
        session.publish("a b c d", b"")
        await asyncio.wait_for(asyncio.shield(session.ended), GUARD_S)
        assert await connection.ready() is not session


@pytest.mark.parametrize("wrong", [False, True])
async def test_a_token(way: type, wrong: bool) -> None:
    with NatsServer(options=("--auth", "right")) as server:
        if wrong:
            with pytest.raises(ConfigError):
                async with connect(config(server, token="wrong")):
                    pass
        else:
            async with connect(config(server, token="right")) as connection:
                await of(connection).barrier()


async def test_a_user_with_signed_tokens(way: type, tmp_path: Path) -> None:
    credentials = tmp_path / "user.creds"
    with NatsServer(config=operator_config_and_user(credentials), jetstream=False) as server:
        async with connect(config(server, credentials_file=str(credentials))) as connection:
            assert type(of(connection)._protocol) is way
            await of(connection).barrier()
        operator_config_and_user(credentials)
        with pytest.raises(ConfigError) as raised:
            async with connect(config(server, credentials_file=str(credentials))):
                pass
        assert raised.value.setting == "credentials_file"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_tls(way: type, namespace: str, tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    certificate, key = self_signed(tmp_path)
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}'

    async def flood() -> None:
        async with connect(config(server, BUSY_PING_INTERVAL_S, tls_ca_file=str(certificate))) as connection:
            session, received = of(connection), Received[bytes]()
            assert type(session._protocol) is way
            session.subscribe(namespace, lambda message: received.receive(message.data))
            sent = [b"%d" % number + b"x" * 500 for number in range(FLOOD)]
            for data in sent:
                session.publish(namespace, data)
            assert await received.count(len(sent)) == sent
            server.kill()
            await asyncio.wait_for(asyncio.shield(session.ended), GUARD_S)

    with NatsServer(config=tls) as server:
        run(flood())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_large_message_in_many_pieces(
    way: type, namespace: str, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def exchange() -> None:
        async with connect(config(server, BUSY_PING_INTERVAL_S)) as connection:
            session, received = of(connection), Received[bytes]()
            assert session.payload_bytes_max == 8 << 20
            session.subscribe(namespace, lambda message: received.receive(message.data))
            sent = [bytes([number]) * (session.payload_bytes_max - number) for number in range(6)]
            for data in sent:
                session.publish(namespace, data)
            assert await received.count(len(sent)) == sent

    with NatsServer(config="max_payload: 8388608\nmax_pending: 134217728") as server:
        run(exchange())


async def test_traffic_leaves_nothing_behind(nats_server: NatsServer, way: type, namespace: str) -> None:
    async with connect(config(nats_server)) as connection:
        session = of(connection)
        session.subscribe(f"{namespace}.echo", lambda message: session.publish(message.reply, message.data))
        await requests(session, f"{namespace}.echo", 1_000)
        before = held(session)
        await requests(session, f"{namespace}.echo", 100_000)
        assert held(session) == before
        assert len(session._pending) == 0


async def requests(session: NatsSession, subject: str, count: int) -> None:
    """Make so many requests, 100 at once."""
    sent = answered = 0
    done = asyncio.get_running_loop().create_future()

    def send() -> None:
        nonlocal sent
        sent += 1
        session.send(subject, b"x", receive, 60)

    def receive(reply: Reply) -> None:
        nonlocal answered
        assert isinstance(reply, Message)
        answered += 1
        if sent < count:
            send()
        elif answered == count:
            done.set_result(None)

    for _ in range(100):
        send()
    await asyncio.wait_for(done, 10 * GUARD_S)


def held(session: NatsSession) -> int:
    """How many things the containers of a session and its line hold."""
    found = 0
    for part in (session, session._protocol, session._pending):
        values = (getattr(part, name) for name in dir(part) if not name.startswith("__"))
        found += sum(len(value) for value in values if isinstance(value, dict | list | set))
    return found
