"""Event streams: what was stored, once and in order, from any place; slow readers, drains, filters."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from aether.errors import InvalidCommand
from aether.gateway.config import GatewayConfig, ServerConfig
from aether.gateway.feed import StreamPlace, place_of
from aether.ids import ActorId, Position
from aether.ports import StoredCommit
from tests.support.gateway import Served, running, served
from tests.support.nodes import until


@dataclass
class Said:
    """One server-sent event as its reader has it."""

    id: str
    event: str
    data: Any


@dataclass
class Reader:
    """Reads a stream as the standard says: an id counts from when its block is whole, with data or without."""

    lines: AsyncIterator[str]
    last_id: str = ""
    got: list[Said] = field(default_factory=list)

    async def __anext__(self) -> Said:
        """The next event; a block without data only moves the last id."""
        event, data = "message", []
        async for line in self.lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                self.last_id = value
            elif name == "event":
                event = value
            elif name == "data":
                data.append(value)
            elif not line and data:
                return Said(self.last_id, event, json.loads("\n".join(data)))
        raise StopAsyncIteration

    def __aiter__(self) -> "Reader":
        return self

    async def take(self, count: int) -> list[Said]:
        return [await anext(self) for _ in range(count)]

    async def begun(self) -> None:
        """Return when the stream has said where it begins."""
        async for line in self.lines:
            if line.startswith("id: "):
                self.last_id = line.removeprefix("id: ")
                return


@asynccontextmanager
async def reading(one: Served, query: str = "", last_id: str | None = None) -> AsyncIterator[Reader]:
    headers = {"Last-Event-ID": last_id} if last_id is not None else {}
    async with one.http.stream("GET", f"/events{query}", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        reader = Reader(response.aiter_lines())
        await reader.begun()
        yield reader


async def deposit(one: Served, key: str, *amounts: int) -> None:
    for amount in amounts:
        await one.pool.client.actor("account", key).deposit(amount)


def amounts(found: list[Said]) -> list[int]:
    return [one.data["data"]["amount"] for one in found]


async def test_a_stream_has_what_is_stored_from_when_it_began() -> None:
    async with served() as one:
        await deposit(one, "alice", 1)
        async with reading(one) as reader:
            await deposit(one, "alice", 2)
            await deposit(one, "bob", 3)
            found = await reader.take(2)
        assert [(said.id, said.event, said.data["source"]) for said in found] == [
            ("2", "message", "/tests/account/alice"), ("3", "message", "/tests/account/bob"),
        ]  # fmt: skip
        assert amounts(found) == [2, 3]


async def test_a_stream_goes_on_after_any_event_also_one_in_the_middle_of_a_commit() -> None:
    async with served() as one:
        await deposit(one, "alice", 1)
        await one.pool.client.actor("account", "alice").deposit_twice(2, 3)
        await deposit(one, "alice", 4)
        async with reading(one, last_id="0") as reader:
            whole = await reader.take(4)
        assert [said.id for said in whole] == ["1", "2-1", "2", "3"]
        for last, said in enumerate(whole):
            async with reading(one, last_id=said.id) as reader:
                assert reader.last_id == said.id, "who is cut off now goes on at the same place"
                await deposit(one, "bob", 100 + last)
                rest = await reader.take(4 - last + last)
            assert amounts(rest)[: 3 - last] == [2, 3, 4][last:]
            assert amounts(rest)[3 - last :][: last + 1] == [100 + n for n in range(last + 1)]


async def test_a_place_may_be_named_in_the_query_string_and_the_header_counts_more() -> None:
    async with served() as one:
        await deposit(one, "alice", 1, 2, 3)
        async with reading(one, "?after=1") as reader:
            assert amounts(await reader.take(2)) == [2, 3]
        async with reading(one, "?after=1", last_id="2") as reader:
            assert amounts(await reader.take(1)) == [3]


async def test_a_place_that_is_not_yet_is_an_error_and_nonsense_too() -> None:
    async with served() as one:
        await deposit(one, "alice", 1)
        ahead = await one.http.get("/events", headers={"Last-Event-ID": "7"})
        assert (ahead.status_code, ahead.json()["code"], ahead.json()["position"]) == (409, "history_regressed", 7)
        for bad in ("x", "-1", "1-", "1-x", "1.5", "9" * 20, "\u0661"):
            refused = await one.http.get("/events", headers=[(b"Last-Event-ID", bad.encode())])
            assert (refused.status_code, refused.json()["path"]) == (422, "Last-Event-ID"), bad


async def test_filters_select_and_ids_go_on_over_what_they_leave_out() -> None:
    async with served(config=GatewayConfig(still_there_s=0.05)) as one:
        await deposit(one, "alice", 5)
        await one.pool.client.actor("notebook", "alice").note("hello")
        await one.pool.client.actor("account", "alice").withdraw(1)
        await deposit(one, "bob", 6)
        for query, ids in [
            ("kind=account", ["1", "3", "4"]),
            ("kind=account&key=alice", ["1", "3"]),
            ("kind=notebook", ["2"]),
            ("type=Withdrawn", ["3"]),
            ("type=Withdrawn&type=Noted", ["2", "3"]),
            ("kind=account&key=alice&type=Deposited", ["1"]),
        ]:
            async with reading(one, f"?{query}&after=0") as reader:
                assert [said.id for said in await reader.take(len(ids))] == ids, query
        async with reading(one, "?type=Noted&after=2") as reader:
            while reader.last_id != "4":  # nothing of that type was stored since, and the place moves on
                await reader.begun()
        for query, path in [("key=a", "kind"), ("kind=Account", "kind"), ("kinds=a", "kinds")]:
            refused = await one.http.get(f"/events?{query}")
            assert (refused.status_code, refused.json()["path"]) == (422, path)


async def test_the_past_is_read_once_also_where_nothing_of_it_is_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as one:
        await one.pool.client.actor("notebook", "alice").note("then")
        await deposit(one, "alice", 1, 2, 3)
        client = one.pool.client.untyped
        stored, reads = client.stored, list[object]()

        def counted(*asked: Any) -> Any:
            reads.append(asked)
            return stored(*asked)

        monkeypatch.setattr(client, "stored", counted)
        async with reading(one, "?kind=notebook&after=0") as reader:
            await reader.take(1)
            await deposit(one, "bob", 4)
            await one.pool.client.actor("notebook", "bob").note("now")
            assert [said.data["data"]["line"] for said in await reader.take(1)] == ["now"]
        assert reads == [(0, 4, "notebook", None)]


async def test_system_events_are_left_out_unless_asked_for() -> None:
    async with served() as one:
        actor = one.pool.client.actor("account", "alice", command_id="mine")
        with pytest.raises(Exception, match="insufficient"):
            await actor.withdraw(1)  # an id of the caller's: the refusal is stored
        await deposit(one, "alice", 1)
        async with reading(one, "?after=0") as reader:
            assert [said.data["type"] for said in await reader.take(1)] == ["Deposited"]
        async with reading(one, "?after=0&type=aether.Refused") as reader:
            assert [said.data["type"] for said in await reader.take(1)] == ["aether.Refused"]


async def test_a_long_past_is_read_from_the_store_and_joins_the_present_without_loss_or_repeat() -> None:
    """The window holds 8 commits; the stream begins long before it, while more is stored."""
    config = GatewayConfig(window_commits_max=8)
    async with served(config=config) as one:
        await deposit(one, "alice", *range(1, 101))
        async with reading(one), reading(one, "?after=0") as reader:
            storing = asyncio.create_task(deposit(one, "bob", *range(101, 201)))
            found = await reader.take(100)
            await storing
            ended = []
            try:
                while len(found) < 200:
                    said = await anext(reader)
                    if said.event == "message":
                        found.append(said)
                    else:
                        ended.append(said.event)
            except StopAsyncIteration:
                assert ended == ["aether.lagged"]
                async with reading(one, last_id=reader.last_id) as again:
                    found += await again.take(200 - len(found))
        assert amounts(found) == list(range(1, 201))


async def test_a_reader_that_is_too_slow_is_told_and_closed_and_goes_on_where_it_was() -> None:
    config = GatewayConfig(window_commits_max=16)
    async with served(config=config, server=ServerConfig(send_timeout_s=300)) as one:
        line = "x" * 30_000
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.transport.set_write_buffer_limits()
        writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"id: 0" in await reader.readuntil(b"id: 0\n")
        for n in range(400):  # far more than sockets hold, and nobody reads
            await one.pool.client.actor("notebook", f"n{n}").note(line)
        feed = one.gateway.feed
        assert feed.held_commits <= 16 + 4
        text = b""
        while b"event: aether.lagged" not in text:
            piece = await reader.read(1 << 20)
            assert piece, text[-300:]
            text += piece
        writer.close()
        ids = [part.partition(b"\n")[0].decode() for part in text.split(b"id: ")[1:]]
        assert ids == [str(n) for n in range(1, len(ids) + 1)], "nothing is left out before the end"
        await until(lambda: feed.streams == 0)
        async with reading(one, f"?after={ids[-1]}") as again:
            rest = [said.id for said in await again.take(400 - len(ids))]
        assert rest == [str(n) for n in range(len(ids) + 1, 401)]


async def test_a_drain_tells_every_stream_and_the_next_gateway_goes_on() -> None:
    async with served() as one:
        async with reading(one) as first, reading(one) as second:
            await deposit(one, "alice", 1)
            for reader in (first, second):
                assert amounts(await reader.take(1)) == [1]
            one.server.stop()
            for reader in (first, second):
                assert [said.event async for said in reader] == ["aether.draining"]
        await one.running
        await deposit(one, "alice", 2)
        async with running(one.pool) as other, reading(other, last_id=first.last_id) as after:
            await deposit(one, "alice", 3)
            assert amounts(await after.take(2)) == [2, 3]


async def test_two_gateways_need_nothing_of_each_other() -> None:
    async with served() as one, running(one.pool) as other:
        key = {"Idempotency-Key": "twice"}
        first = await one.http.post("/actors/account/alice/deposit", json={"amount": 5}, headers=key)
        second = await other.http.post("/actors/account/alice/deposit", json={"amount": 5}, headers=key)
        assert first.json() == second.json()
        assert (await other.http.get("/actors/account/alice")).json()["state"]["balance"] == 5
        async with reading(one) as here:
            await deposit(one, "alice", 6)
            last = (await here.take(1))[0].id
        await deposit(one, "alice", 7)
        async with reading(other, last_id=last) as there:
            assert amounts(await there.take(1)) == [7]


async def test_streams_are_counted_and_one_more_is_refused() -> None:
    async with served(config=GatewayConfig(streams_max=2)) as one:
        async with reading(one), reading(one):
            refused = await one.http.get("/events")
            assert (refused.status_code, refused.json()["limit"]) == (429, "streams_max")
            assert (await one.http.get("/actors/account/alice")).status_code == 200
        await until(lambda: one.gateway.feed.streams == 0)
        async with reading(one):
            pass


def test_a_place_is_read_as_it_was_written() -> None:
    assert place_of("17") == StreamPlace(Position(17))
    assert (place_of("17-2").before, place_of("17").before) == (16, 17)
    for bad in ("", "17-", "a", "17-2-3", " 17"):
        with pytest.raises(InvalidCommand):
            place_of(bad)


async def test_a_stream_that_went_backwards_is_told_to_its_readers() -> None:
    async with served() as one:
        await deposit(one, "alice", 1, 2, 3)
        async with reading(one, "?after=0") as reader:
            found = await reader.take(3)
            again = StoredCommit(ActorId("account", "alice"), Position(4), b"[%b]" % json.dumps(found[0].data).encode())
            receive = one.gateway.feed._receive  # as the bus calls it, which in memory cannot go backwards
            receive(again)
            assert (await reader.take(1))[0].id == "4"
            receive(StoredCommit(again.actor_id, Position(2), again.payload))
            assert [said.event async for said in reader] == ["aether.regressed"]


async def test_a_commit_that_cannot_be_read_is_not_left_out_in_silence() -> None:
    async with served() as one:
        await deposit(one, "alice", 1)
        async with reading(one, "?after=0&kind=account&type=Deposited") as reader:
            await reader.take(1)
            one.gateway.feed._receive(StoredCommit(ActorId("account", "alice"), Position(2), b"\xff"))
            said = (await reader.take(1))[0]
            assert (said.id, said.event, said.data) == (
                "2", "aether.unreadable", {"actor": "account/alice", "position": 2},
            )  # fmt: skip
