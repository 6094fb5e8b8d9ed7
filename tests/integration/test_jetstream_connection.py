"""Connecting, and what a namespace is made of: every refusal names what is wrong."""

import asyncio
from pathlib import Path

import pytest

import aether.jetstream.connection.nats_connection as connection_room
from aether.config import ConnectionConfig, StorageConfig
from aether.errors import ConfigError, Unavailable
from aether.ids import ActorId
from aether.jetstream.adapters import JetStreamConnection
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import connect
from aether.jetstream.connection.session import NatsSession
from aether.jetstream.provisioning import create_layout, namespaces, open_layout
from aether.names import shard_of
from aether.ports import NotSent
from tests.support.jetstream import SHARDS, fresh_namespace, node
from tests.support.nats_server import NatsServer, free_port

STORAGE = StorageConfig(shards=SHARDS)
ALICE = ActorId("account", "alice")
SHARD = shard_of(ALICE, SHARDS)


async def refused(config: ConnectionConfig) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        async with connect(config):
            pass
    return raised.value


async def test_no_server_names_the_url_without_its_password() -> None:
    port = free_port()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as raised:
        async with connect(ConnectionConfig(url=f"nats://me:secret@127.0.0.1:{port}")):
            pass
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1", "nats://", "nats://host:port", "nats://host:0", "nats://[::1"])
async def test_a_bad_url_is_a_setting(url: str) -> None:
    assert (await refused(ConnectionConfig(url=url))).setting == "url"


async def test_the_first_server_that_answers_is_taken(nats_server: NatsServer) -> None:
    dead = f"nats://127.0.0.1:{free_port()}"
    async with connect(ConnectionConfig(url=f"{dead}, {nats_server.url}")) as connection:
        assert connection.session is not None
        assert connection.payload_bytes_max == 1 << 20


async def test_wrong_credentials_name_their_setting() -> None:
    with NatsServer(options=("--user", "me", "--pass", "right")) as server:
        wrong = await refused(ConnectionConfig(url=server.url, user="me", password="wrong"))
        assert wrong.setting == "user"
        assert (await refused(ConnectionConfig(url=server.url))).setting == "user"
        assert (await refused(ConnectionConfig(url=server.url, token="wrong"))).setting == "token"
        async with connect(ConnectionConfig(url=server.url, user="me", password="right")):
            pass


async def test_files_that_are_not_there_name_their_setting(nats_server: NatsServer, tmp_path: Path) -> None:
    missing, garbage = str(tmp_path / "missing"), tmp_path / "garbage"
    garbage.write_text("garbage")
    for setting in ("credentials_file", "tls_ca_file", "tls_cert_file"):
        for path in (missing, str(garbage)):
            config = ConnectionConfig(url=nats_server.url, **{setting: path})  # type: ignore[arg-type]  # all are str
            assert (await refused(config)).setting == setting


async def test_an_old_server_is_refused_with_both_versions(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(ConnectionConfig(url=nats_server.url)) as connection:
        assert connection.session is not None
        found = connection.session.server_version
    newer = (found[0], found[1], found[2] + 1)
    monkeypatch.setattr(connection_room, "SERVER_VERSION_MIN", newer)
    error = await refused(ConnectionConfig(url=nats_server.url))
    for version in (found, newer):
        assert ".".join(map(str, version)) in error.message
    monkeypatch.setattr(connection_room, "SERVER_VERSION_MIN", found)
    async with connect(ConnectionConfig(url=nats_server.url)):
        pass


async def test_a_server_without_jetstream_is_refused() -> None:
    with NatsServer(jetstream=False) as server:
        async with connect(ConnectionConfig(url=server.url)) as connection:
            with pytest.raises(ConfigError, match="without JetStream"):
                await create_layout(connection, fresh_namespace(), STORAGE)


async def test_the_create_decides(nats_server: NatsServer, namespace: str) -> None:
    async with connect(ConnectionConfig(url=nats_server.url)) as connection:
        layouts = await asyncio.gather(*(create_layout(connection, namespace, STORAGE) for _ in range(4)))
        assert {layout.names.shards for layout in layouts} == {SHARDS}
        with pytest.raises(ConfigError, match="8 shards, not 16") as raised:
            await create_layout(connection, namespace, StorageConfig(shards=16))
        assert raised.value.setting == "shards"
        assert (await open_layout(connection, namespace, 5)).names.shards == SHARDS
        assert namespace in await namespaces(connection)


async def test_replicas_that_one_server_cannot_have(nats_server: NatsServer, namespace: str) -> None:
    async with connect(ConnectionConfig(url=nats_server.url)) as connection:
        with pytest.raises(ConfigError) as raised:
            await create_layout(connection, namespace, StorageConfig(shards=SHARDS, replicas=3))
        assert raised.value.setting == "replicas"


async def test_a_client_waits_for_its_namespace(nats_server: NatsServer, namespace: str) -> None:
    async with connect(ConnectionConfig(url=nats_server.url)) as connection:
        with pytest.raises(Unavailable, match="no worker has started"):
            await open_layout(connection, namespace, 0)
        waiting = asyncio.create_task(open_layout(connection, namespace, 20))
        await create_layout(connection, namespace, STORAGE)
        assert (await waiting).names.shards == SHARDS


async def test_a_subscription_that_was_given_up_takes_no_messages(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as owner, node(nats_server.url, namespace) as client:
        subject = owner.names.commands_of_shard(SHARD)
        for steps in range(4):
            subscribing = asyncio.create_task(owner.nats.subscribe(subject, unexpected))
            for _ in range(steps):
                await asyncio.sleep(0)
            subscribing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await subscribing
        await settled(owner)
        with pytest.raises(NotSent, match="no worker listens"):
            await client.transport.request(ALICE, b"x", 10)


async def test_unsubscribing_goes_on_when_its_caller_is_gone(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as owner, node(nats_server.url, namespace) as client:
        for steps in range(6):
            serving = await owner.transport.serve(SHARD, lambda delivery: delivery.respond(b"here"))
            assert await client.transport.request(ALICE, b"x", 10) == b"here"
            stopping = asyncio.ensure_future(serving.stop())
            for _ in range(steps):
                await asyncio.sleep(0)
            stopping.cancel()
            await asyncio.wait((stopping,))
            await serving.stop()
            with pytest.raises(NotSent, match="no worker listens"):
                await client.transport.request(ALICE, b"x", 10)


def unexpected(session: NatsSession, message: Message) -> None:
    raise AssertionError("nobody has this subscription")


async def settled(one: JetStreamConnection) -> None:
    """Return when the server has done all that was sent, by two round trips: the first lets what goes on begin."""
    assert one.nats.session is not None
    for _ in range(2):
        await one.nats.session.barrier()
