"""What a server that stores nothing says, kind by kind: every append that it refuses is known not to be stored."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from aether.ids import ActorId
from aether.jetstream.adapters import JetStreamConnection
from aether.jetstream.api import Answered, Method, last_sequence, stream_info
from aether.ports import START, Append, AppendOutcome, Committed, NotStored, Refused
from tests.contract.harness import Received, payload_of, publish
from tests.support.jetstream import node
from tests.support.nats_server import NatsServer

ALICE = ActorId("account", "alice")
ACTORS = [ActorId("account", f"a{number}") for number in range(10)]

_create = Method("STREAM.CREATE.{}", Answered)
_update = Method("STREAM.UPDATE.{}", Answered)
_delete = Method("STREAM.DELETE.{}", Answered)
_purge = Method("STREAM.PURGE.{}", Answered)

LIMITED = "jetstream { max_file_store: 4MB }\n"
ACCOUNT = """
accounts { app { jetstream { max_store: 4MB, max_mem: 0 }, users: [ { user: app, password: app } ] } }
no_auth_user: app
"""
DENIED = """
authorization { users: [ { user: app, password: app, permissions: { publish: { deny: ["aether.*.evt.>"] } } } ] }
no_auth_user: app
"""


async def change(one: JetStreamConnection, **settings: Any) -> None:
    """Change the stream of commits, as an operator would."""
    config = (await stream_info(one.nats, one.names.stream)).config or {}
    await _update(one.nats, one.names.stream, {**config, **settings})


async def fill(one: JetStreamConnection) -> None:
    """Store foreign messages until the server takes no more."""
    await _create(one.nats, "FILL", {"name": "FILL", "subjects": ["fill.>"], "storage": "file"})
    while b"error" not in (await one.nats.request("fill.x", b"x" * 60_000, 5)).data:
        pass


async def empty(one: JetStreamConnection) -> None:
    """Make room again."""
    await _purge(one.nats, "FILL")


@dataclass(frozen=True, slots=True)
class Trouble:
    """A way for appends to be refused, and back."""

    config: str
    begin: Callable[[JetStreamConnection], Coroutine[Any, Any, None]]
    end: Callable[[JetStreamConnection], Coroutine[Any, Any, None]]
    says: str


async def _nothing(one: JetStreamConnection) -> None:
    pass


async def _delete_stream(one: JetStreamConnection) -> None:
    await _delete(one.nats, one.names.stream)


async def _restore(one: JetStreamConnection) -> None:
    assert await one.restore() == [one.names.stream]


TROUBLES = {
    "server": Trouble(LIMITED, fill, empty, "insufficient resources (10023)"),
    "account": Trouble(ACCOUNT, fill, empty, "resource limits exceeded for account (10002)"),
    "deleted": Trouble("", _delete_stream, _restore, "the stream or bucket was deleted"),
}


@asynccontextmanager
async def troubled(trouble: Trouble, namespace: str) -> AsyncIterator[JetStreamConnection]:
    with NatsServer(config=trouble.config) as server:
        async with node(server.url, namespace) as one:
            yield one


@pytest.mark.parametrize("kind", TROUBLES)
async def test_a_refused_append_is_known_not_stored_and_asking_stores_nothing(kind: str, namespace: str) -> None:
    trouble = TROUBLES[kind]
    async with troubled(trouble, namespace) as one:
        assert await one.event_store.appends_refused() == ""
        before = await last_sequence(one.nats, one.names.stream)
        await trouble.begin(one)
        outcome = await publish(one.event_store, ALICE, payload_of(ALICE, 1, data=b'"%b"' % (b"x" * 60_000)), START)
        assert isinstance(outcome, Refused)
        assert trouble.says in outcome.reason
        assert trouble.says in await one.event_store.appends_refused()
        together = Received[AppendOutcome]()
        big = b'"%b"' % (b"x" * 60_000)
        one.event_store.publish_together(
            [Append(actor_id, payload_of(actor_id, 1, data=big), START, together.receive) for actor_id in ACTORS]
        )
        assert {type(each) for each in await together.count(len(ACTORS))} == {Refused}
        await trouble.end(one)
        assert await one.event_store.appends_refused() == ""
        assert await last_sequence(one.nats, one.names.stream) == before
        assert isinstance(await publish(one.event_store, ALICE, payload_of(ALICE, 1), START), Committed)


async def test_rows_and_snapshots_that_are_refused_say_so(namespace: str) -> None:
    async with troubled(TROUBLES["server"], namespace) as one:
        revision = await one.table.create("member.a", b"{}", 60)
        assert revision is not None
        await fill(one)
        with pytest.raises(NotStored, match="10023"):
            await one.table.create("member.b", b"x" * 60_000, 60)
        with pytest.raises(NotStored, match="10023"):
            await one.table.update("member.a", b"x" * 60_000, revision, 60)
        with pytest.raises(NotStored, match="10023"):
            await one.snapshots.save(ALICE, b"x" * 60_000)
        await empty(one)
        assert await one.table.update("member.a", b"{}", revision, 60) is not None


async def test_a_sealed_stream_refuses_by_name(own_server: NatsServer, namespace: str) -> None:
    async with node(own_server.url, namespace) as one:
        await change(one, sealed=True)
        outcome = await publish(one.event_store, ALICE, payload_of(ALICE, 1), START)
        assert outcome == Refused("invalid operation on sealed stream (10109)")


async def test_a_server_that_forbids_to_publish_is_heard_at_once(namespace: str) -> None:
    async with troubled(Trouble(DENIED, _nothing, _nothing, ""), namespace) as one:
        outcomes = Received[AppendOutcome]()
        for actor_id in ACTORS:
            one.event_store.publish(actor_id, payload_of(actor_id, 1), START, outcomes.receive)
        await outcomes.count(len(ACTORS))
        assert {type(each) for each in outcomes.items} == {Refused}
        assert "does not permit" in await one.event_store.appends_refused()


async def test_deleted_buckets_refuse_and_are_made_anew(own_server: NatsServer, namespace: str) -> None:
    async with node(own_server.url, namespace) as one:
        for bucket in (one.names.table, one.names.snapshots):
            await _delete(one.nats, f"KV_{bucket}")
        with pytest.raises(NotStored, match="deleted"):
            await one.table.create("member.a", b"{}", 60)
        with pytest.raises(NotStored, match="deleted"):
            await one.snapshots.save(ALICE, b"{}")
        assert set(await one.restore()) == {f"KV_{one.names.table}", f"KV_{one.names.snapshots}"}
        assert await one.table.create("member.a", b"{}", 60) == 1
        await one.snapshots.save(ALICE, b"{}")
        assert await one.restore() == []


async def test_a_stream_of_tells_made_anew_goes_on_beyond_the_lost_one(own_server: NatsServer, namespace: str) -> None:
    """Actors skip what is not beyond the last tell that they have applied."""
    async with node(own_server.url, namespace) as one:
        inbox = one.names.inbox
        assert await one.inbox.send(0, b"{}", "before any commit") == 1
        await publish(one.event_store, ALICE, payload_of(ALICE, 1), START)
        last = 1
        for number in range(2):
            await _delete(one.nats, inbox)
            assert await one.restore() == [inbox]
            assert await one.restore() == []
            begins, last = last, await one.inbox.send(0, b"{}", f"tell {number}")
            assert begins + 1_000 < last < 2**53
        assert await one.inbox.next_tell(0, 1) == last
        await _update(one.nats, inbox, {**((await stream_info(one.nats, inbox)).config or {}), "max_msgs": 9})
        assert [found.setting for found in await one.repair(change=True)] == ["max_msgs"]
        assert await one.repair(change=False) == []
