"""The stream of tells goes back, as after a power cut without syncs: what is told from then on is applied, once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

import aether
from aether.errors import Unavailable
from aether.ids import ActorId, Position
from aether.jetstream import inbox, inbox_end
from aether.jetstream.adapters import JetStreamConnection
from aether.jetstream.api import last_sequence, leader_last, stream_state
from aether.jetstream.inbox_end import _encode, _Record
from aether.jetstream.stream_writes import write
from aether.names import Names
from aether.ports import START, Committed, WentBack
from aether.wire import encode_commit
from tests.contract.harness import events_of, publish
from tests.support.jetstream import Sessions, node
from tests.support.nats_server import NatsServer
from tests.support.older_copy import OlderCopy
from tests.support.pool import Pool
from tests.support.raw_history import raw_events
from tests.support.transfers import Till, model

ALICE = ActorId("account", "alice")
GUARD_S = 60.0
MODEL = "tests.support.settled_transfers:model"
SAID = "the stream of tells went back"


@pytest.fixture
def copy(own_server: NatsServer, namespace: str) -> Iterator[OlderCopy]:
    found = OlderCopy(own_server, Names(namespace).inbox)
    yield found
    found.close()


async def told(made: JetStreamConnection, count: int) -> int:
    """Tell so often; the last sequence."""
    return [await made.inbox.send(3, b"%d" % n, "") for n in range(count)][-1]


async def applied(made: JetStreamConnection, sequence: int) -> None:
    """An actor commits that it has applied a tell."""
    (event,) = events_of(ALICE, 1)
    payload = encode_commit([replace(event, inboxseq=str(sequence))])
    assert isinstance(await publish(made.event_store, ALICE, payload, START), Committed)


async def lost_ten_of_twenty(own_server: NatsServer, namespace: str, copy: OlderCopy) -> None:
    """Have a stream of ten tells, of which the twentieth was applied."""
    async with node(own_server.url, namespace) as made:
        assert await told(made, 10) == 10
    await asyncio.to_thread(copy.take)
    async with node(own_server.url, namespace) as made:
        assert await told(made, 10) == 20
        await applied(made, 20)
    await asyncio.to_thread(copy.put_back)


async def test_no_sequence_that_was_applied_comes_again(
    own_server: NatsServer, namespace: str, copy: OlderCopy
) -> None:
    await lost_ten_of_twenty(own_server, namespace, copy)
    async with node(own_server.url, namespace) as made, node(own_server.url, namespace) as other:
        new = await asyncio.gather(*(one.inbox.send(3, b"new", "") for one in (made, other)))
        assert min(new) > 20
        assert await made.inbox.went_back() == WentBack(START, Position(1))
        found = (await made.inbox.tells(3, 0)).messages
        assert [one.payload for one in found] == [*(b"%d" % n for n in range(10)), b"new", b"new"]
    async with node(own_server.url, namespace) as later:
        end = await later.inbox.end_of_tells()
        assert await told(later, 1) == end + 1, "it is passed once"


async def test_marks_and_rows_do_not_hide_that_it_went_back(
    own_server: NatsServer, namespace: str, copy: OlderCopy
) -> None:
    await lost_ten_of_twenty(own_server, namespace, copy)
    async with node(own_server.url, namespace) as made:
        await made.inbox.write_applied_mark(3, 10)
        assert await told(made, 1) > 20


async def test_a_worker_that_lives_stores_nothing_at_what_it_has_read(
    own_server: NatsServer, namespace: str, copy: OlderCopy
) -> None:
    async with node(own_server.url, namespace) as made:
        await told(made, 10)
        sessions = Sessions(made.nats)
        await asyncio.to_thread(copy.take)
        await sessions.back()
        end = await told(made, 10)
        assert await made.inbox.end_of_tells() == end == 20
        sessions = Sessions(made.nats)
        await asyncio.to_thread(copy.put_back)
        await sessions.back()
        assert await told(made, 1) > 20


async def test_nothing_is_stored_at_what_a_worker_has_only_heard_to_be_passed(
    own_server: NatsServer, namespace: str, copy: OlderCopy
) -> None:
    """What is lost are marks: no commit knows of them, but the worker would not read again so far back."""
    async with node(own_server.url, namespace) as made:
        await told(made, 10)
        sessions = Sessions(made.nats)
        await asyncio.to_thread(copy.take)
        await sessions.back()
        begun, passed = asyncio.Event(), asyncio.Event()
        for shard in range(made.shards):  # by one filter for all
            await made.inbox.follow(shard, lambda _, until, __: passed.set() if until == 30 else None, begun.set)
        await asyncio.wait_for(begun.wait(), GUARD_S)
        await told(made, 1)
        for n in range(12, 31):
            assert await write(made.nats, made.names.inbox_filler(), b"") == n
        await asyncio.wait_for(passed.wait(), GUARD_S)
        epoch, sessions = made.inbox.epoch, Sessions(made.nats)
        await asyncio.to_thread(copy.put_back)
        await sessions.back()
        assert await told(made, 1) > 30
        assert made.inbox.epoch > epoch


async def test_only_a_server_that_was_started_again_may_have_lost_what_was_read(
    own_server: NatsServer, namespace: str
) -> None:
    async with node(own_server.url, namespace) as made:
        sessions = Sessions(made.nats)
        assert made.nats.session is not None
        await made.nats.session.close()
        await sessions.back()
        assert made.inbox.epoch == 0
        sessions = Sessions(made.nats)
        await asyncio.to_thread(own_server.kill)
        await asyncio.to_thread(own_server.start)
        await sessions.back()
        assert made.inbox.epoch == 1


async def test_who_finds_it_half_passed_goes_on(own_server: NatsServer, namespace: str, copy: OlderCopy) -> None:
    await lost_ten_of_twenty(own_server, namespace, copy)
    names = Names(namespace)
    async with node(own_server.url, namespace) as made:
        await write(made.nats, names.inbox_passed(), _encode(_Record(0, 1, 500)))
        assert await told(made, 1) > 500
        assert await made.inbox.went_back() == WentBack(START, Position(1))


async def test_a_copy_from_long_ago_takes_no_tells(
    own_server: NatsServer, namespace: str, copy: OlderCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lost_ten_of_twenty(own_server, namespace, copy)
    monkeypatch.setattr(inbox_end, "PASSED_MAX", 1_000)
    async with node(own_server.url, namespace) as made:
        with pytest.raises(Unavailable, match="is an older copy: it ends at 10"):
            await told(made, 1)
        assert await made.inbox.end_of_tells() == 10


async def test_only_the_last_commits_are_read(
    own_server: NatsServer, namespace: str, copy: OlderCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lost_ten_of_twenty(own_server, namespace, copy)
    async with node(own_server.url, namespace) as made:
        await store_others(made, 3)
    monkeypatch.setattr(inbox_end, "COMMITS_MAX", 3)
    async with node(own_server.url, namespace) as made:
        assert await made.inbox.went_back() is None
    monkeypatch.setattr(inbox_end, "COMMITS_MAX", 4)
    async with node(own_server.url, namespace) as made:
        assert await made.inbox.went_back() == WentBack(START, Position(4))


async def store_others(made: JetStreamConnection, count: int) -> None:
    """Commits of other actors, which apply no tells."""
    for number in range(count):
        other = ActorId("account", f"other{number}")
        assert isinstance(await publish(made.event_store, other, encode_commit(events_of(other, 1)), START), Committed)


async def test_a_stream_that_did_not_go_back_is_left_alone(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as made:
        await told(made, 20)
        await applied(made, 20)
        for text in (b'{"inboxseq":"99"}', b'{"text":"\\"inboxseq\\":\\"99\\""}'):  # of users
            other = ActorId("account", text.hex())
            payload = encode_commit(events_of(other, 1, data=text))
            assert isinstance(await publish(made.event_store, other, payload, START), Committed)
    async with node(nats_server.url, namespace) as made:
        assert await told(made, 1) == 21
        assert await made.inbox.went_back() is None


async def test_what_is_read_while_it_is_looked_at_is_not_lost(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = leader_last
    async with node(nats_server.url, namespace) as made, node(nats_server.url, namespace) as other:

        async def meanwhile(*what: Any) -> Any:
            assert await other.inbox.went_back() is None
            end = await other.inbox.send(3, b"later", "")
            assert (await made.inbox.tells(3, 0)).messages[-1].sequence == end
            return await asked(*what)

        await told(other, 20)
        monkeypatch.setattr(inbox_end, "leader_last", meanwhile)
        assert await made.inbox.went_back() is None
        assert await asked(made.nats, made.names.inbox, made.names.inbox_passed()) is None


async def test_what_is_read_while_the_end_is_asked_for_is_no_doubt(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = last_sequence
    async with node(nats_server.url, namespace) as made:

        async def meanwhile(*what: Any) -> int:
            end = await asked(*what)
            await told(made, 1)
            await made.inbox.tells(3, 0)
            return end

        assert await told(made, 1) == 1
        monkeypatch.setattr(inbox, "last_sequence", meanwhile)
        assert await made.inbox.end_of_tells() == 1
        assert made.inbox.end.is_passed


async def test_a_record_of_a_loss_that_was_none_delays_nothing_and_hides_no_earlier_one(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a leader that was replaced had said that the stream ends earlier."""

    async def earlier(*what: Any) -> Any:
        monkeypatch.setattr(inbox_end, "stream_state", state)
        return replace(await state(*what), last_seq=8)

    async def doubted() -> WentBack | None:
        monkeypatch.setattr(inbox_end, "stream_state", earlier)
        await made.inbox.tells(3, 0)
        made.inbox.end.saw(8, 10)
        return await made.inbox.went_back()

    async def record() -> _Record:
        stored = await leader_last(made.nats, made.names.inbox, made.names.inbox_passed())
        assert stored is not None
        return inbox_end._decoder.decode(stored.payload)

    monkeypatch.setattr(inbox_end, "BEYOND", 1)
    state = stream_state
    async with node(nats_server.url, namespace) as made:
        await told(made, 10)
        assert (await doubted(), await record()) == (None, _Record(0, 0, 0))
        await write(made.nats, made.names.inbox_passed(), _encode(_Record(3, 7, 5)))
        assert (await doubted(), await record()) == (WentBack(Position(3), Position(7)), _Record(3, 7, 5))


async def _received(client: aether.Client, amount: int) -> None:
    async with asyncio.timeout(GUARD_S):
        while await client.actor(Till, "payee", deadline_s=GUARD_S).read() != amount:  # noqa: ASYNC110 - it progresses
            await asyncio.sleep(0.05)


class Payments:
    """Payments to one account, by another one and by a client; each has the next number."""

    def __init__(self, client: aether.Client, count: int = 0) -> None:
        self.count = count
        self._client = client
        self._payer = client.actor(Till, "payer", deadline_s=GUARD_S)

    async def by_actor(self, count: int) -> None:
        if not self.count:
            await self._payer.open(1_000)
        for _ in range(count):
            await self._payer.send(str(self.count), "payee", 1)
            self.count += 1
        await _received(self._client, self.count)

    async def by_client(self, count: int) -> None:
        for _ in range(count):
            await self._client.tell(Till.take, "payee", str(self.count), 1)
            self.count += 1
        await _received(self._client, self.count)


async def _numbers(server: NatsServer, namespace: str) -> list[str]:
    stored = await raw_events(server.url, namespace)
    return [str(one.data["number"]) for events in stored.values() for one in events if one.type == "Received"]


@pytest.mark.parametrize("lives", [True, False], ids=["the workers live", "others begin"])
async def test_what_actors_and_clients_tell_after_it_went_back_is_applied_once(
    own_server: NatsServer, namespace: str, copy: OlderCopy, lives: bool, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--workers", "2", "--nats", own_server.url, "--namespace", namespace]
    with Pool(MODEL, *options) as pool:
        async with aether.connect(own_server.url, model=model, namespace=namespace) as client:
            payments = Payments(client)
            await payments.by_actor(10)
            await asyncio.to_thread(copy.take)
            await payments.by_actor(10)
            await payments.by_client(30)
            if lives:
                await asyncio.to_thread(copy.put_back)
                await payments.by_client(10)
                await payments.by_actor(10)
    if not lives:
        await asyncio.to_thread(copy.put_back)
        with Pool(MODEL, *options) as pool:
            async with aether.connect(own_server.url, model=model, namespace=namespace) as client:
                payments = Payments(client, payments.count)
                await payments.by_client(10)
                await payments.by_actor(10)
    assert SAID in "".join([*pool.lines, caplog.text]), "a worker says so, or the client, if it looks first"
    assert await _numbers(own_server, namespace) == [*map(str, range(payments.count))]
