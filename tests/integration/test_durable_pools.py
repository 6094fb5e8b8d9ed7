"""A sync barrier on a real server: where it can be proved, what waits for it, and pools that use it or do not."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import aether
from aether.config import EXIT_SYNC_FAILED, CallConfig, ConnectionConfig, StorageConfig
from aether.connecting import connect_untyped
from aether.core.cluster.membership import MemberRow, encode_member
from aether.errors import Unavailable
from aether.ids import ActorId, Position
from aether.jetstream.adapters import JetStreamConnection
from aether.jetstream.api import Answered, Method, stream_info
from aether.jetstream.asked_durability import AskedDurability
from aether.jetstream.connection.nats_connection import connect
from aether.jetstream.stream_configs import stream_config
from aether.names import PROBE, Names
from aether.ports import START, Append, AppendOutcome, Committed, Conflict, StoredCommit, Unknown
from aether.table_keys import member_key
from aether.testing import local_pool
from aether.untyped_client import UntypedClient
from aether.wire import Answer, decode_commit
from aether.worker_barrier import why_no_barrier
from tests.contract.harness import Received, payload_of, publish
from tests.support.actors import Account, model
from tests.support.durable import Durable
from tests.support.jetstream import SHARDS, Sessions, node
from tests.support.members import soon
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool

ALICE = ActorId("account", "alice")
ENCRYPTED = 'jetstream { store_dir: "%s", key: "a secret of the test", cipher: aes }\n'

_create = Method("STREAM.CREATE.{}", Answered)
_delete = Method("STREAM.DELETE.{}", Answered)
_update = Method("STREAM.UPDATE.{}", Answered)


# ------------------------------------------------------------------------------------------------ the proof


async def why_not(server: NatsServer, namespace: str, store: Path | None = None) -> str:
    storage = StorageConfig(shards=SHARDS, nats_store=str(store or server.store))
    return await why_no_barrier(ConnectionConfig(url=server.url), namespace, storage)


async def test_it_is_proved_on_this_machine_by_many_at_once(nats_server: NatsServer, namespace: str) -> None:
    assert await asyncio.gather(*(why_not(nats_server, namespace) for _ in range(4))) == [""] * 4
    async with node(nats_server.url, namespace) as reading:
        events = [
            event
            async for stored in reading.event_store.read(PROBE)
            for event in decode_commit(stored.payload, PROBE, stored.position)
        ]
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    assert {event.type for event in events} == {"aether.DiskProbed"}


async def test_another_directory_proves_nothing(nats_server: NatsServer, namespace: str, tmp_path: Path) -> None:
    assert "store_dir" in await why_not(nats_server, namespace, tmp_path)
    blocks = tmp_path / "jetstream" / "$G" / "streams" / Names(namespace).stream / "msgs"
    blocks.mkdir(parents=True)
    (blocks / "1.blk").write_bytes(b"another server's")
    assert "does not stand" in await why_not(nats_server, namespace, tmp_path)


@pytest.fixture
def overlay(nats_server: NatsServer, tmp_path: Path) -> Iterator[Path]:
    """The store of the server as the lower layer of an overlay."""
    upper, work, mounted = (tmp_path / name for name in ("upper", "work", "mounted"))
    for directory in (upper, work, mounted):
        directory.mkdir()
    options = f"lowerdir={nats_server.store},upperdir={upper},workdir={work}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(mounted)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("only root may mount an overlay, and not everywhere")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


async def test_a_store_below_an_overlay_proves_nothing(nats_server: NatsServer, namespace: str, overlay: Path) -> None:
    """What the server writes is seen through the overlay, and a sync through it does nothing."""
    assert await why_not(nats_server, namespace) == ""
    assert "does not stand" in await why_not(nats_server, namespace, overlay)
    assert await why_not(nats_server, namespace) == ""


async def test_an_encrypted_store_proves_nothing(namespace: str, tmp_path: Path) -> None:
    with NatsServer(jetstream=False, config=ENCRYPTED % tmp_path) as server:
        assert "does not stand" in await why_not(server, namespace, tmp_path)


@pytest.mark.parametrize("setting", [{"compression": "s2"}, {"persist_mode": "async", "allow_atomic": False}])
async def test_a_stream_that_is_written_otherwise_proves_nothing(
    nats_server: NatsServer, namespace: str, setting: Mapping[str, Any]
) -> None:
    names = Names(namespace, SHARDS)
    async with connect(ConnectionConfig(url=nats_server.url)) as nats:
        await _create(nats, names.stream, {**stream_config(names, 1), **setting})
    if "compression" in setting:
        assert "compression" in await why_not(nats_server, namespace)
    else:  # it is refused in any case
        with pytest.raises(aether.ConfigError, match="persist_mode"):
            await why_not(nats_server, namespace)


# ------------------------------------------------------------------------------------------------ what waits


@asynccontextmanager
async def waiting_node(server: NatsServer, namespace: str) -> AsyncIterator[tuple[JetStreamConnection, Durable]]:
    """A node, and the durability that it waits for."""
    durable = Durable()
    async with node(server.url, namespace) as made:
        made.wait_for(durable, durable)
        yield made, durable


async def test_a_commit_is_stored_when_it_is_durable(nats_server: NatsServer, namespace: str) -> None:
    async with waiting_node(nats_server, namespace) as (made, durable), node(nats_server.url, namespace) as other:
        told: list[AppendOutcome] = []
        made.event_store.publish(ALICE, payload_of(ALICE, 1), START, told.append)
        last = None
        while last is None:
            last = await other.event_store.last(ALICE)
        assert told == []
        durable.reach(last.position)
        await soon(lambda: told == [Committed(last.position)])
        made.event_store.publish(ALICE, payload_of(ALICE, 1), START, told.append)
        await soon(lambda: told[1:] == [Conflict()])
        made.event_store.publish(ALICE, payload_of(ALICE, 2), last.position, told.append)
        await soon(lambda: durable.waiting == 1)
        durable.reach(0, "the disk")
        await soon(lambda: isinstance(told[-1], Unknown) and "the disk" in told[-1].reason)


async def test_a_batch_is_stored_when_it_is_durable(nats_server: NatsServer, namespace: str) -> None:
    async with waiting_node(nats_server, namespace) as (made, durable):
        assert made.event_store.together_max == 1, "a barrier has nothing to gain from batches"
        told: list[AppendOutcome] = []
        made.event_store.publish_together([Append(ALICE, payload_of(ALICE, 1), START, told.append)])
        await soon(lambda: durable.waiting == 1)
        assert told == []
        durable.reach(1)
        assert told == [Committed(Position(1))]


async def test_what_is_read_is_durable(nats_server: NatsServer, namespace: str) -> None:
    async with waiting_node(nats_server, namespace) as (made, durable), node(nats_server.url, namespace) as other:
        store = made.event_store
        assert await store.last(ALICE) is None
        first = await publish(other.event_store, ALICE, payload_of(ALICE, 1), START)
        assert isinstance(first, Committed)

        async def read() -> list[StoredCommit]:
            return [one async for one in store.read(ALICE)]

        for ask in (store.last, store.latest_version):
            asked = asyncio.ensure_future(ask(ALICE))
            await soon(lambda: durable.waiting == 1)
            assert not asked.done()
            durable.reach(0, "the disk")
            with pytest.raises(Unavailable, match="the disk"):
                await asked
        asked_all = asyncio.ensure_future(read())
        await soon(lambda: durable.waiting == 1)
        assert not asked_all.done()
        durable.reach(first.position)
        assert [one.position for one in await asked_all] == [first.position]
        position = first.position
        for version in range(2, 10):
            more = await publish(other.event_store, ALICE, payload_of(ALICE, version), position)
            assert isinstance(more, Committed)
            position = more.position
        asked_all = asyncio.ensure_future(read())
        await soon(lambda: durable.waiting == 1)
        durable.reach(position)  # once for all that came in one answer
        assert len(await asked_all) == 9


async def test_a_version_that_was_only_heard_of_is_not_told(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as made, node(nats_server.url, namespace) as other:
        following = await made.event_store.follow(made.bus)
        first = await publish(other.event_store, ALICE, payload_of(ALICE, 1), START)
        assert isinstance(first, Committed)
        await soon(lambda: made.bus.synced)
        assert await made.event_store.latest_version(ALICE) == 1
        durable = Durable()
        made.event_store.durability = durable
        asked = asyncio.ensure_future(made.event_store.latest_version(ALICE))
        await soon(lambda: durable.waiting == 1)
        durable.reach(first.position)
        assert await asked == 1
        await following.stop()


async def test_followers_of_shards_hear_of_what_is_durable(nats_server: NatsServer, namespace: str) -> None:
    async with waiting_node(nats_server, namespace) as (made, durable), node(nats_server.url, namespace) as other:
        received = Received[StoredCommit]()
        following = await made.bus.follow_shards(range(SHARDS), received.receive)
        first = await publish(other.event_store, ALICE, payload_of(ALICE, 1), START)
        assert isinstance(first, Committed)
        await soon(lambda: durable.waiting == 1)
        assert received.items == []
        durable.reach(first.position)
        assert [one.position for one in received.items] == [first.position]
        await following.stop()


async def test_a_subscriber_anywhere_hears_of_an_event_when_a_worker_says_that_it_is_durable(
    nats_server: NatsServer, namespace: str
) -> None:
    async with node(nats_server.url, namespace) as worker, node(nats_server.url, namespace) as far:
        row = MemberRow(node="a", slot=0, incarnation="a-0", durability="sync barrier, boot 1")
        await worker.table.create(member_key("a", 0), encode_member(row))
        far.bus.wait_for(AskedDurability(far.nats, far.names.durable(), far.table))
        received = Received[StoredCommit]()
        subscription = await far.bus.subscribe(received.receive)
        first = await publish(worker.event_store, ALICE, payload_of(ALICE, 1), START)
        assert isinstance(first, Committed)
        durable = Durable()
        answering = await worker.transport.answer_durable(durable, worker.names.durable())
        await soon(lambda: durable.waiting == 1)
        assert received.items == []
        durable.reach(0, "the disk")  # it asks again
        await soon(lambda: durable.waiting == 1)
        assert received.items == []
        durable.reach(first.position)
        await received.count(1)
        await answering.stop()
        await subscription.stop()


async def test_a_client_gives_what_a_worker_says_is_durable_and_nothing_before(
    nats_server: NatsServer, namespace: str
) -> None:
    async with (
        node(nats_server.url, namespace) as worker,
        connect_untyped(nats_server.url, namespace=namespace) as client,
    ):
        row = MemberRow(node="a", slot=0, incarnation="a-0", durability="sync barrier, boot 1")
        await worker.table.create(member_key("a", 0), encode_member(row))
        commits, inbox, received = Durable(), Durable(), Received[StoredCommit]()
        answering = [
            await worker.transport.answer_durable(commits, worker.names.durable()),
            await worker.transport.answer_durable(inbox, worker.names.inbox_durable()),
        ]
        subscription, _ = await client.listen(received.receive)
        assert isinstance(await publish(worker.event_store, ALICE, payload_of(ALICE, 1), START), Committed)
        asked = [
            asyncio.ensure_future(client.tell(ALICE, "deposit", b'{"amount":1}')),
            asyncio.ensure_future(client.last_position()),
        ]
        await soon(lambda: (commits.waiting, inbox.waiting) == (1, 1))
        assert not any(one.done() for one in asked)
        assert received.items == []
        commits.reach(1)
        inbox.reach(1)
        await received.count(1)
        await asyncio.gather(*asked)
        await subscription.stop()
        for one in answering:
            await one.stop()


async def test_of_what_was_stored_just_now_a_worker_is_asked_though_later_positions_are_known(
    nats_server: NatsServer, namespace: str
) -> None:
    """A stream that was made anew has the positions of the one before."""
    async with node(nats_server.url, namespace) as worker, node(nats_server.url, namespace) as far:
        row = MemberRow(node="a", slot=0, incarnation="a-0", durability="sync barrier, boot 1")
        await worker.table.create(member_key("a", 0), encode_member(row))
        asked = AskedDurability(far.nats, far.names.durable(), far.table)
        durable, told = Durable(), list[str]()
        durable.reach(5)
        answering = await worker.transport.answer_durable(durable, worker.names.durable())
        asked.after_read(Position(5), told.append)
        await soon(lambda: told == [""])
        await answering.stop()
        asked.after_write(Position(1), told.append)
        assert told == [""]
        answering = await worker.transport.answer_durable(durable, worker.names.durable())
        await soon(lambda: told == ["", ""])
        await answering.stop()


async def test_where_a_stream_begins_anew_a_subscriber_knows_of_no_position_that_it_is_durable(
    nats_server: NatsServer, namespace: str
) -> None:
    async with node(nats_server.url, namespace) as worker, node(nats_server.url, namespace, idle_scan_s=0.05) as far:
        row = MemberRow(node="a", slot=0, incarnation="a-0", durability="sync barrier, boot 1")
        await worker.table.create(member_key("a", 0), encode_member(row))
        far.bus.wait_for(AskedDurability(far.nats, far.names.durable(), far.table))
        received = Received[StoredCommit]()
        subscription = await far.bus.subscribe(received.receive)
        durable = Durable()
        durable.reach(1)
        answering = await worker.transport.answer_durable(durable, worker.names.durable())
        await publish(worker.event_store, ALICE, payload_of(ALICE, 1), START)
        await received.count(1)
        await answering.stop()
        await _delete(worker.nats, worker.names.stream)
        await _create(worker.nats, worker.names.stream, stream_config(worker.names, 1))
        await soon(lambda: far.bus._last == 0)
        await publish(worker.event_store, ALICE, payload_of(ALICE, 1), START)
        await soon(lambda: far.bus._last == 1)
        assert len(received.items) == 1
        answering = await worker.transport.answer_durable(durable, worker.names.durable())
        await received.count(2)
        await answering.stop()
        await subscription.stop()


async def test_where_workers_leave_it_to_the_server_a_subscriber_waits_for_no_worker(
    nats_server: NatsServer, namespace: str
) -> None:
    async with node(nats_server.url, namespace) as worker, node(nats_server.url, namespace) as far:
        far.bus.wait_for(AskedDurability(far.nats, far.names.durable(), far.table))
        received = Received[StoredCommit]()
        subscription = await far.bus.subscribe(received.receive)
        await publish(worker.event_store, ALICE, payload_of(ALICE, 1), START)
        await soon(lambda: far.bus._notices._held != [])
        assert received.items == []
        row = encode_member(MemberRow(node="a", slot=0, incarnation="a-0"))
        await worker.table.create(member_key("a", 0), row)
        await received.count(1)
        await subscription.stop()


async def test_after_a_power_cut_others_may_be_in_the_places_of_what_was_heard_of(
    own_server: NatsServer, namespace: str
) -> None:
    """What was not durable is gone, and what comes in its place is heard of, once."""
    async with waiting_node(own_server, namespace) as (made, durable):
        received = Received[StoredCommit]()
        subscription = await made.bus.subscribe(received.receive)
        made.event_store.durability = None
        kept = await publish(made.event_store, ALICE, payload_of(ALICE, 1), START)
        assert isinstance(kept, Committed)
        durable.reach(kept.position)
        await received.count(1)
        blocks = own_server.store / "jetstream" / "$G" / "streams" / made.names.stream / "msgs"
        size = (blocks / "1.blk").stat().st_size
        lost = await publish(made.event_store, ALICE, payload_of(ALICE, 2, data=b'"lost"'), kept.position)
        assert isinstance(lost, Committed)
        await soon(lambda: durable.waiting == 1)
        sessions = Sessions(made.nats)
        own_server.kill()
        os.truncate(blocks / "1.blk", size)
        own_server.start()
        await sessions.back()
        other = payload_of(ALICE, 2, data=b'"other"')
        outcome = await publish(made.event_store, ALICE, other, kept.position)
        assert isinstance(outcome, Committed)
        durable.reach(outcome.position)
        await soon(lambda: len(received.items) == 2)
        assert received.items[1] == StoredCommit(ALICE, outcome.position, other)
        await subscription.stop()


async def test_over_another_connection_nothing_that_was_seen_before_is_said_to_be_durable(
    own_server: NatsServer, namespace: str
) -> None:
    """A power cut may have come between, and the same places may be others'. Workers believe what they are asked."""
    async with node(own_server.url, namespace) as worker, node(own_server.url, namespace) as far:
        row = MemberRow(node="a", slot=0, incarnation="a-0", durability="sync barrier, boot 1")
        await worker.table.create(member_key("a", 0), encode_member(row))
        asked = AskedDurability(far.nats, far.names.durable(), far.table)
        told: dict[str, list[str]] = {"written": [], "read": [], "heard of": []}
        asked.after_write(Position(7), told["written"].append)
        asked.after_read(Position(8), told["read"].append)
        asked.after_notice(Position(9), told["heard of"].append)
        back = [Sessions(one.nats) for one in (worker, far)]
        own_server.kill()
        own_server.start()
        for sessions in back:
            await sessions.back()
        durable, later = Durable(), list[str]()
        durable.reach(1)
        answering = await worker.transport.answer_durable(durable, worker.names.durable())
        asked.after_read(Position(1), later.append)
        await soon(lambda: later == [""])
        assert asked.position == 1
        assert all(len(whys) == 1 and "connection was lost" in whys[0] for whys in told.values()), told
        await answering.stop()


async def test_a_subscriber_hears_of_what_was_not_known_to_be_durable_when_it_is(
    nats_server: NatsServer, namespace: str
) -> None:
    async with waiting_node(nats_server, namespace) as (made, durable), node(nats_server.url, namespace) as other:
        received = Received[StoredCommit]()
        subscription = await made.bus.subscribe(received.receive)
        first = await publish(other.event_store, ALICE, payload_of(ALICE, 1), START)
        assert isinstance(first, Committed)
        await soon(lambda: durable.waiting == 1)
        durable.reach(0, "it is not known")
        await soon(lambda: durable.waiting == 1)
        assert received.items == []
        durable.reach(first.position)
        await received.count(1)
        await subscription.stop()


async def test_a_state_that_is_followed_begins_with_what_is_durable(nats_server: NatsServer, namespace: str) -> None:
    """A commit may be stored between the worker's answer and the reading of what came after it."""
    async with local_pool(model, workers=1) as pool:
        nothing = await pool.client.untyped.state_answer(ALICE)
        await pool.client.actor(Account, "alice").deposit(5)
        ((deposit,),) = [one async for one in pool.client.untyped.stored(START, Position(1))]
    async with waiting_node(nats_server, namespace) as (made, durable), node(nats_server.url, namespace) as other:
        await publish(other.event_store, ALICE, deposit.payload, START)
        client = UntypedClient(made, CallConfig())

        async def answer(*_: object, **__: object) -> Answer:
            return nothing

        client.state_answer = answer  # type: ignore[method-assign]
        async with AsyncExitStack() as stack:
            stack.callback(client.close)
            states = client.follow(ALICE, model.actor_types["account"])
            entering = asyncio.ensure_future(stack.enter_async_context(states))
            await soon(lambda: durable.waiting == 1)
            assert not entering.done()
            durable.reach(1)
            await entering
            assert [(await anext(states)).version for _ in range(2)] == [0, 1]


# ------------------------------------------------------------------------------------------------ pools


PROMISE = re.compile(r"aether: namespace .*")
FAILED = re.compile(r"aether: .*the disk has failed a sync")
FAILS_ONCE = """
import os, errno
_fdatasync = os.fdatasync
def fdatasync(fd):
    try:
        os.unlink({flag!r})
    except OSError:
        return _fdatasync(fd)
    raise OSError(errno.EIO, "Input/output error")
os.fdatasync = fdatasync
"""
FORGETS = """
_fadvise = os.posix_fadvise
def posix_fadvise(fd, offset, length, advice):
    with open({to!r}, "a") as told:
        told.write(os.readlink("/proc/self/fd/%d" % fd) + "\\n")
    _fadvise(fd, offset, length, advice)
os.posix_fadvise = posix_fadvise
"""


def promise_of(pool: Pool) -> str:
    return pool.wait_for(PROMISE)[0][0]


def configuration_of(pool: Pool) -> str:
    return (pool.data / "nats-server.conf").read_text()


async def deposits(url: str, namespace: str) -> None:
    async with aether.connect(url, model=model, namespace=namespace) as client:
        account = client.actor(Account, "alice")
        before = (await client.state(Account, "alice")).version
        assert [await account.deposit(1) for _ in range(3)] == [before + 1, before + 2, before + 3]


def embedded(*options: str, variables: Mapping[str, str] | None = None) -> Pool:
    given = None if variables is None else {**os.environ, **variables}
    return Pool("tests.support.actors:model", "--workers", "2", "--nats", "embedded", *options, variables=given)


def url_of(pool: Pool) -> str:
    return (pool.data / "nats.url").read_text().strip()


async def test_the_embedded_server_leaves_syncing_to_the_workers_and_the_pool_says_so(namespace: str) -> None:
    with embedded("--namespace", namespace) as pool:
        assert "sync barrier" in promise_of(pool)
        assert "always" not in configuration_of(pool)
        await deposits(url_of(pool), namespace)


async def test_a_store_of_no_server_that_is_named_is_left_out_and_the_pool_says_so(
    namespace: str, tmp_path: Path
) -> None:
    with embedded("--namespace", namespace, variables={"AETHER_NATS_STORE": str(tmp_path)}) as pool:
        pool.wait_for(re.compile("aether: AETHER_NATS_STORE is left out"))
        assert str(pool.data) in promise_of(pool)


async def test_another_supervisor_joins_an_embedded_server_as_the_refusal_of_its_directory_says(namespace: str) -> None:
    with embedded("--namespace", namespace) as pool:
        joining = {**os.environ, "AETHER_NATS_STORE": str(pool.data)}
        with Pool("tests.support.actors:model", "--workers", "1", "--nats", url_of(pool), "--namespace", namespace,
                  "--node", "other", variables=joining) as other:  # fmt: skip
            assert "sync barrier" in promise_of(other)
            await deposits(url_of(pool), namespace)


async def test_an_embedded_server_whose_stream_is_written_otherwise_is_started_again_and_syncs(
    namespace: str, tmp_path: Path
) -> None:
    options = ("--workers", "1", "--nats", "embedded", "--namespace", namespace, "--shards", str(SHARDS))
    with Pool("tests.support.actors:model", *options, data=tmp_path) as pool:
        async with node((tmp_path / "nats.url").read_text().strip(), namespace) as by_hand:
            config = (await stream_info(by_hand.nats, by_hand.names.stream)).config
            await _update(by_hand.nats, by_hand.names.stream, {**(config or {}), "compression": "s2"})
        assert pool.drain() == 0
    refused = Pool("tests.support.actors:model", *options, "--sync", "barrier", data=tmp_path)
    refused.wait_for(re.compile("aether: workers cannot make commits durable here: compression of"))
    assert refused.process.wait(60) == 4
    refused.close()
    with Pool("tests.support.actors:model", *options, data=tmp_path) as pool:
        assert "sync_interval always" in promise_of(pool)
        pool.wait_for(re.compile("aether: commits are not made durable by a sync of the workers: compression of"))
        assert "sync_interval: always" in (tmp_path / "nats-server.conf").read_text()
        await deposits((tmp_path / "nats.url").read_text().strip(), namespace)


@pytest.mark.parametrize("by", ["option", "variable"])
async def test_the_server_syncs_when_that_is_asked_for(namespace: str, by: str) -> None:
    options = ["--namespace", namespace, *(["--sync", "server"] if by == "option" else [])]
    with embedded(*options, variables={"AETHER_SYNC": "server"} if by == "variable" else None) as pool:
        assert "sync_interval always" in promise_of(pool)
        assert "sync_interval: always" in configuration_of(pool)
        await deposits(url_of(pool), namespace)


def on(server: NatsServer, namespace: str, *options: str, variables: Mapping[str, str]) -> Pool:
    return Pool("tests.support.actors:model", "--workers", "1", "--nats", server.url, "--namespace", namespace,
                "--shards", "8", *options, variables={**os.environ, **variables})  # fmt: skip


async def test_a_server_of_ones_own_is_used_as_its_store_allows(
    own_server: NatsServer, namespace: str, tmp_path: Path
) -> None:
    with on(own_server, namespace, variables={"AETHER_NATS_STORE": str(own_server.store)}) as pool:
        assert "sync barrier" in promise_of(pool)
        await deposits(own_server.url, namespace)
        other = on(own_server, namespace, "--node", "other", variables={"AETHER_MEMBER_TTL_S": "1"})
        other.wait_for(re.compile("all workers of a namespace must do the same"))
        assert other.process.wait(60) == 4
    with on(own_server, namespace, variables={"AETHER_NATS_STORE": str(tmp_path)}) as pool:
        assert "what the server acknowledges" in promise_of(pool)
        pool.wait_for(re.compile(r"aether: commits are not made durable by a sync of the workers: .*store_dir"))
        await deposits(own_server.url, namespace)


def test_a_barrier_that_must_be_and_cannot_is_an_error_of_the_configuration(
    nats_server: NatsServer, namespace: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-P", "-m", "aether.supervisor", "tests.support.actors:model", "--nats", nats_server.url,
               "--namespace", namespace, "--data-dir", str(tmp_path), "--sync", "barrier"]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 4
    assert "AETHER_NATS_STORE" in ended.stderr


async def test_after_a_failed_sync_the_pool_ends_and_the_next_one_has_what_was_acknowledged(
    namespace: str, tmp_path: Path
) -> None:
    flag = tmp_path / "fails"
    (tmp_path / "sitecustomize.py").write_text(FAILS_ONCE.format(flag=str(flag)))
    variables, data = {**os.environ, "PYTHONPATH": str(tmp_path)}, str(tmp_path / "data")
    given = ("tests.support.actors:model", "--workers", "2", "--nats", "embedded", "--namespace", namespace,
             "--data-dir", data)  # fmt: skip
    with Pool(*given, variables=variables) as pool:
        url = (tmp_path / "data" / "nats.url").read_text().strip()
        await deposits(url, namespace)
        flag.touch()
        async with aether.connect(url, model=model, namespace=namespace) as client:
            with pytest.raises(aether.AetherError):
                await client.actor(Account, "alice", deadline_s=3).deposit(1)
        pool.wait_for(FAILED)
        assert pool.process.wait(60) == EXIT_SYNC_FAILED
    with Pool(*given, variables=variables) as pool:
        async with aether.connect(url, model=model, namespace=namespace) as client:
            assert (await client.state(Account, "alice")).version >= 3
        await deposits((tmp_path / "data" / "nats.url").read_text().strip(), namespace)


async def test_a_server_of_ones_own_that_is_started_after_a_failed_sync_reads_what_the_disk_has(
    own_server: NatsServer, namespace: str, tmp_path: Path
) -> None:
    flag, forgotten = tmp_path / "fails", tmp_path / "forgotten"
    (tmp_path / "sitecustomize.py").write_text(FAILS_ONCE.format(flag=str(flag)) + FORGETS.format(to=str(forgotten)))
    variables = {"AETHER_NATS_STORE": str(own_server.store), "PYTHONPATH": str(tmp_path)}
    with on(own_server, namespace, variables=variables) as pool:
        await deposits(own_server.url, namespace)
        assert not forgotten.exists()
        flag.touch()
        async with aether.connect(own_server.url, model=model, namespace=namespace) as client:
            with suppress(aether.AetherError):
                await client.actor(Account, "alice", deadline_s=3).deposit(1)
        assert pool.process.wait(60) == EXIT_SYNC_FAILED
    blocks = own_server.store.glob("jetstream/*/streams/*/msgs/*.blk")
    assert {str(block.resolve()) for block in blocks} == set(forgotten.read_text().splitlines())


@pytest.mark.parametrize("sync", ["auto", "barrier"])
def test_a_disk_that_fails_the_first_sync_is_no_reason_to_have_the_server_sync(
    namespace: str, tmp_path: Path, sync: str
) -> None:
    """The kernel tells of it once: what is synced next succeeds."""
    flag = tmp_path / "fails"
    flag.touch()
    (tmp_path / "sitecustomize.py").write_text(FAILS_ONCE.format(flag=str(flag)))
    command = [sys.executable, "-P", "-m", "aether.supervisor", "tests.support.actors:model", "--nats", "embedded",
               "--namespace", namespace, "--data-dir", str(tmp_path / "data"), "--sync", sync]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False,
                           env={**os.environ, "PYTHONPATH": str(tmp_path)})  # fmt: skip
    assert ended.returncode == EXIT_SYNC_FAILED
    assert "the disk with the files of the server fails: " in ended.stderr


async def test_after_a_failed_sync_of_one_worker_no_other_answers(namespace: str, tmp_path: Path) -> None:
    """The kernel may tell one process of it, and the next sync of another one succeeds."""
    flag = tmp_path / "fails"
    (tmp_path / "sitecustomize.py").write_text(FAILS_ONCE.format(flag=str(flag)))
    with embedded("--namespace", namespace, variables={"PYTHONPATH": str(tmp_path)}) as pool:
        async with aether.connect(url_of(pool), model=model, namespace=namespace) as client:

            async def deposit(number: int) -> bool:
                try:
                    await client.actor(Account, str(number), deadline_s=2).deposit(1)
                except aether.AetherError:
                    return False
                return True

            assert all([await deposit(number) for number in range(20)])
            flag.touch()
            first = asyncio.gather(*(deposit(number) for number in range(20)))
            await asyncio.to_thread(pool.wait_for, re.compile("could not be synced to the disk"))
            assert not any(await asyncio.gather(*(deposit(number) for number in range(20))))
            await first
        assert pool.process.wait(60) == EXIT_SYNC_FAILED


def mark_of(pid: int) -> set[int]:
    """Which memory a worker shares to say that a sync has failed."""
    fds = Path(f"/proc/{pid}/fd").iterdir()
    return {fd.stat().st_ino for fd in fds if "aether-sync-failure" in str(fd.readlink())}


async def test_workers_of_before_and_after_a_reload_share_the_mark_of_a_failed_sync(namespace: str) -> None:
    with embedded("--namespace", namespace) as pool:
        before = {mark for pid in pool.worker_pids(2).values() for mark in mark_of(pid)}
        pool.reload()
        after = {mark for pid in pool.worker_pids(4).values() for mark in mark_of(pid)}
        assert len(before) == 1
        assert after == before


async def test_workers_that_start_under_load_prove_it_all_the_same(namespace: str) -> None:
    """Others write megabytes between a message of the proof and its acknowledgement."""
    with embedded("--namespace", namespace) as pool:
        async with aether.connect(url_of(pool), model=model, namespace=namespace) as client:
            going = True

            async def load(number: int) -> None:
                while going:
                    await client.actor(Account, f"{number}" + "x" * 180).deposit(1)

            loads = [asyncio.ensure_future(load(number)) for number in range(200)]
            for count in range(2):
                os.kill(pool.worker_pids(2 + count)[1], signal.SIGKILL)
                await asyncio.to_thread(pool.worker_pids, 3 + count)
            going = False
            await asyncio.gather(*loads)


async def test_a_stream_that_is_set_otherwise_by_hand_is_noticed(own_server: NatsServer, namespace: str) -> None:
    """The connection stays, and what the server acknowledges means something else."""
    with on(own_server, namespace, variables={"AETHER_NATS_STORE": str(own_server.store)}) as pool:
        await deposits(own_server.url, namespace)
        async with node(own_server.url, namespace) as by_hand:
            for stream in (by_hand.names.stream, by_hand.names.inbox):
                config = (await stream_info(by_hand.nats, stream)).config
                await _update(by_hand.nats, stream, {**(config or {}), "description": "by hand"})
            await deposits(own_server.url, namespace)
            config = (await stream_info(by_hand.nats, by_hand.names.inbox)).config
            await _update(by_hand.nats, by_hand.names.inbox, {**(config or {}), "compression": "s2"})
        told = re.compile("it is set otherwise: compression of .*INBOX is 's2', not 'none'")
        async with aether.connect(own_server.url, model=model, namespace=namespace) as client:
            with suppress(aether.AetherError):
                await client.tell(Account.deposit, "alice", 1)
        await asyncio.to_thread(pool.wait_for, told)
        assert pool.process.wait(60) == EXIT_SYNC_FAILED


async def test_another_store_in_the_place_of_the_first_is_noticed(
    own_server: NatsServer, namespace: str, tmp_path: Path
) -> None:
    """The operator has moved the store, and the workers live on."""
    with on(own_server, namespace, variables={"AETHER_NATS_STORE": str(own_server.store)}) as pool:
        await deposits(own_server.url, namespace)
        own_server.kill()
        shutil.copytree(own_server.store / "jetstream", tmp_path / "jetstream")
        own_server.move(tmp_path)
        own_server.start()
        pool.wait_for(re.compile("another server is in its place"))
        assert pool.process.wait(60) == EXIT_SYNC_FAILED
