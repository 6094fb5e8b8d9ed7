"""A client that is used where it cannot be, and a pool that is not there: told at once where that is known."""

import asyncio
import gc
import logging
import multiprocessing
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

import aether
from aether.config import CallConfig, ConnectionConfig
from aether.connecting import connect_untyped
from aether.ids import ActorId
from tests.support import inside
from tests.support.actors import Account, model
from tests.support.jetstream import fresh_namespace, node
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool
from tests.support.proxy import Proxy

Use = Callable[[aether.Client], Awaitable[Any]]
GUARD_S = 20.0
"""Longer than any default deadline: what waits for one has failed the test in another way before."""


async def enter(client: aether.Client) -> None:
    """Subscribe."""
    async with client.subscribe():
        pass


async def first(client: aether.Client) -> None:
    """Read without entering."""
    await anext(aiter(client.subscribe()))


async def read(client: aether.Client) -> None:
    """A history to its end."""
    await client.history(Account, "a")


USES: list[Use] = [
    lambda client: client.actor(Account, "a").deposit(1),
    lambda client: client.actor("account", "a", deadline_s=60, command_id="c").deposit(1),
    lambda client: client.state(Account, "a"),
    lambda client: client.state(Account, "a", version=1),
    read,
    enter,
    first,
]


async def refused(client: aether.Client, words: str) -> None:
    """No use of this client waits for anything."""
    for use in USES:
        with pytest.raises(aether.ClientUnusable, match=words) as told:
            await asyncio.wait_for(asyncio.ensure_future(use(client)), GUARD_S)
        assert told.value.outcome_known


def refused_elsewhere(client: aether.Client) -> None:
    """In an event loop of this thread's or this process's own."""
    asyncio.run(refused(client, "belongs to the event loop"))


async def test_a_client_of_another_event_loop_thread_or_process_is_refused_at_once(
    nats_server: NatsServer, namespace: str
) -> None:
    failures: list[BaseException] = []

    def in_thread() -> None:
        try:
            refused_elsewhere(client)
        except BaseException as error:
            failures.append(error)

    async with (
        node(nats_server.url, namespace),
        aether.connect(nats_server.url, model=model, namespace=namespace) as client,
    ):
        thread = threading.Thread(target=in_thread)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert failures == []
        forked = multiprocessing.get_context("fork").Process(target=refused_elsewhere, args=(client,))
        forked.start()
        await asyncio.to_thread(forked.join)
        assert forked.exitcode == 0
        assert await client.history(Account, "a") == []


async def test_a_closed_client_is_refused_at_once(nats_server: NatsServer, namespace: str) -> None:
    async with (
        node(nats_server.url, namespace),
        aether.connect(nats_server.url, model=model, namespace=namespace) as client,
        client.subscribe() as entered,
    ):
        entering = client.subscribe()
    await refused(client, "closed")
    for stream in (entered, entering):
        with pytest.raises(aether.ClientUnusable, match="closed"):
            await asyncio.wait_for(anext(stream), GUARD_S)


async def test_a_client_that_was_never_entered_says_how(nats_server: NatsServer) -> None:
    connecting: Any = aether.connect(nats_server.url, model=model)
    with pytest.raises(AttributeError, match=r"async with aether\.connect"):
        connecting.actor(Account, "a")


async def test_a_client_is_entered_once(nats_server: NatsServer, namespace: str) -> None:
    connecting = aether.connect(nats_server.url, model=model, namespace=namespace)
    async with node(nats_server.url, namespace):
        async with connecting:
            pass
        with pytest.raises(aether.ClientUnusable, match="entered once"):
            await connecting.__aenter__()


@pytest.mark.parametrize("frozen", [False, True])
async def test_calls_that_are_open_when_their_client_is_left_end_then_and_say_what_is_known(
    own_server: NatsServer, namespace: str, frozen: bool
) -> None:
    taken = asyncio.Event()
    calls = CallConfig(in_flight_max=3, deadline_s=60, attempt_timeout_s=60)
    async with node(own_server.url, namespace) as worker:
        for shard in range(worker.shards):
            if shard != aether_shard("nobody", worker.shards):
                await worker.transport.serve(shard, lambda _: taken.set())
        async with aether.connect(own_server.url, model=model, namespace=namespace, calls=calls) as client:
            sent = asyncio.ensure_future(client.actor(Account, "a").deposit(1))
            await asyncio.wait_for(taken.wait(), GUARD_S)
            pausing = asyncio.ensure_future(client.actor(Account, "nobody").deposit(1))
            reading = asyncio.ensure_future(client.subscribe().__anext__())
            await asyncio.sleep(0)
            third = asyncio.ensure_future(client.actor(Account, "a").deposit(2))
            in_line = asyncio.ensure_future(client.actor(Account, "a").deposit(3))
            assert await client.history(Account, "a") == []
            if frozen:
                own_server.freeze()
        tasks = (sent, pausing, third, in_line, reading)
        done, _ = await asyncio.wait(tasks, timeout=GUARD_S)
        own_server.thaw()
        assert done == set(tasks)
    told = [task.exception() for task in tasks]
    assert [type(error) for error in told] == [aether.ClientUnusable] * 5
    assert [error.outcome_known for error in told if isinstance(error, aether.ClientUnusable)] == [
        False, True, False, True, True,
    ]  # fmt: skip


def aether_shard(key: str, shards: int) -> int:
    """The shard of an account."""
    return aether.names.shard_of(ActorId("account", key), shards)


async def test_a_client_without_a_name_is_open_as_long_as_its_block(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace):
        own = asyncio.all_tasks()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            async with aether.connect(nats_server.url, model=model, namespace=namespace):
                gc.collect()
                await asyncio.sleep(0)
                assert asyncio.all_tasks() > own
            assert asyncio.all_tasks() <= own
        assert [str(one.message) for one in caught if "dropped" in str(one.message)] == []


async def test_a_client_that_is_dropped_closes_its_connection(nats_server: NatsServer, namespace: str) -> None:
    before = asyncio.all_tasks()
    async with node(nats_server.url, namespace):
        own = asyncio.all_tasks()
        client = await aether.connect(nats_server.url, model=model, namespace=namespace).__aenter__()
        gc.collect()
        assert await client.history(Account, "a") == [], "what was entered by hand lasts as long as its client"
        assert asyncio.all_tasks() > own
        kept = [client]
        del client
        with pytest.warns(ResourceWarning, match="dropped while it was open"):
            kept.clear()
        async with asyncio.timeout(GUARD_S):
            while not asyncio.all_tasks() <= own:  # noqa: ASYNC110 - tasks end without a word
                await asyncio.sleep(0.01)
    assert asyncio.all_tasks() <= before


def test_a_client_that_is_left_open_when_its_event_loop_ends_is_closed_without_noise(
    nats_server: NatsServer, namespace: str
) -> None:
    program = f"""
import asyncio, aether
from tests.support.actors import Account, model

async def left_open():
    global client
    client = await aether.connect({nats_server.url!r}, model=model, namespace={namespace!r}).__aenter__()
    assert await client.history(Account, "a") == []

async def later():
    try:
        await client.history(Account, "a")
    except aether.ClientUnusable as error:
        print(error.message)

asyncio.run(left_open())
asyncio.run(later())
"""

    async def run() -> tuple[bytes, bytes]:
        async with node(nats_server.url, namespace):
            ran = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            return await ran.communicate()

    assert asyncio.run(run()) == (b"this client is closed; nothing was sent\n", b"")


async def test_a_namespace_that_is_not_there_is_told_while_it_is_waited_for_and_named_at_the_end(
    own_server: NatsServer, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with node(own_server.url, namespace):
        with pytest.raises(aether.Unavailable, match="nowhere") as told:
            async with connect_untyped(own_server.url, namespace="nowhere", wait_s=4):
                raise AssertionError("there is no such namespace")
    assert own_server.url in told.value.message
    assert namespace in told.value.message, "what there is instead"
    assert told.value.details == {"namespace": "nowhere", "server": own_server.url}
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "nowhere" in line
    assert own_server.url in line


async def test_a_server_without_jetstream_is_told() -> None:
    with NatsServer(jetstream=False) as server, pytest.raises(aether.Unavailable, match="without JetStream"):
        async with connect_untyped(server.url, namespace="any", wait_s=0.05):
            raise AssertionError("there is no JetStream")


async def test_a_pool_that_is_down_is_told_while_it_is_waited_for_and_named_at_the_end(
    nats_server: NatsServer, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        node(nats_server.url, namespace),
        aether.connect(nats_server.url, model=model, namespace=namespace) as client,
    ):
        calls = [client.actor(Account, str(n), deadline_s=2.5).deposit(1) for n in range(20)]
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, aether.Unavailable)
            assert "could not be sent to a worker" in error.message
            assert f"namespace {namespace} at {nats_server.url}" in error.message
            assert error.details == {"namespace": namespace, "server": nats_server.url}
    lines = [record.getMessage() for record in caplog.records if record.name == "aether.calls"]
    assert len(lines) == 1, "one line, and not one for each call"
    assert f"namespace {namespace} at {nats_server.url}" in lines[0]


async def test_an_error_about_a_kind_or_a_command_names_who_was_asked(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with Pool("tests.support.actors:model", "--workers", "1", "--nats", nats_server.url, "--namespace", namespace):
        async with connect_untyped(nats_server.url, namespace=namespace) as untyped:
            for actor_id, name, kind in (
                (ActorId("nothing", "a"), "deposit", aether.UnknownActor),
                (ActorId("account", "a"), "nothing", aether.UnknownCommand),
            ):
                with pytest.raises(kind, match=f"asked: namespace {namespace} at {nats_server.url}") as told:
                    await untyped.call(actor_id, name)
                assert told.value.details["namespace"] == namespace
                assert told.value.details["server"] == nats_server.url


async def test_a_handler_and_its_children_are_clients_of_their_own_pool(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with Pool("tests.support.inside:model", "--workers", "1", "--nats", nats_server.url, "--namespace", namespace):
        async with aether.connect(nats_server.url, model=inside.model, namespace=namespace) as client:
            asker = client.actor(inside.Asker, "a")
            assert await asker.add_to("c") == f"{namespace} 1"
            assert await asker.add_in_a_child("c") == f"{namespace} 2"
            assert await asker.of_another_model() == "other"


async def test_a_client_finds_the_namespace_of_its_environment(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AETHER_NAMESPACE", namespace)
    async with node(nats_server.url, namespace), aether.connect(nats_server.url, model=model) as client:
        assert client.namespace == namespace


# ------------------------------------------------------------------------------------------------ who answers there


async def greeting(text: bytes) -> tuple[asyncio.Server, str]:
    """A server that says this to who connects and leaves the connection open, and its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()  # a writer that nothing holds closes by itself, since Python 3.13

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(("says", "told"), [(b"", "no answer within"), (b"220 mail\r\n", "does not greet as a NATS")])
async def test_what_is_no_nats_server_is_called_so(says: bytes, told: str) -> None:
    server, url = await greeting(says)
    async with server:
        with pytest.raises(aether.Unavailable, match=told) as error:
            async with aether.connect(connection=ConnectionConfig(url=url, connect_timeout_s=0.2), model=model):
                raise AssertionError("nobody is there")
        assert url in error.value.message


@pytest.mark.parametrize("by_url", [True, False])
async def test_tls_that_was_asked_for_is_not_done_without(nats_server: NatsServer, by_url: bool, tmp_path: Any) -> None:
    (tmp_path / "ca.pem").write_text("")
    url = nats_server.url.replace("nats:", "tls:") if by_url else nats_server.url
    config = ConnectionConfig(url=url, tls_ca_file="" if by_url else "/etc/ssl/certs/ca-certificates.crt")
    async with Proxy(nats_server.port) as proxy:
        through = ConnectionConfig(**{**fields(config), "url": url.replace(str(nats_server.port), proxy_port(proxy))})
        with pytest.raises(aether.ConfigError, match="does not offer it"):
            async with aether.connect(connection=through, model=model):
                raise AssertionError("it was not encrypted")
        assert b"CONNECT" not in proxy.sent, "who we are is not said in the clear"


def fields(config: ConnectionConfig) -> dict[str, Any]:
    """The settings by name."""
    return {name: getattr(config, name) for name in ConnectionConfig.__dataclass_fields__}


def proxy_port(proxy: Proxy) -> str:
    """As text."""
    return proxy.url.rpartition(":")[2]
