"""The table and its watch on a real server, and the watch's pure parts."""

from hypothesis import given
from hypothesis import strategies as st

from aether.jetstream.watch import Attempt, View
from aether.ports import Row
from tests.contract.harness import Received
from tests.support.jetstream import Sessions, node
from tests.support.nats_server import NatsServer
from tests.support.proxy import Proxy


async def test_a_row_over_the_sign_of_a_gone_one(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        table, seen = one.table, Received[Row]()
        first = await table.create("lease.1", b"a")
        assert first is not None
        watch = await table.watch(seen.receive)
        assert seen.items == [Row("lease.1", b"a", first)]
        assert await table.delete("lease.1", first)
        assert not await table.delete("lease.1", first)
        second = await table.create("lease.1", b"b", ttl_s=1)
        assert second is not None
        assert await table.create("lease.1", b"c") is None
        await seen.until(lambda rows: rows[-1].value is None and rows[-1].revision > second)
        assert [row.value for row in seen.items] == [b"a", None, b"b", None]
        assert await table.rows() == []
        assert await table.get("lease.1") is None
        third = await table.create("lease.1", b"d")
        assert third is not None
        assert await table.update("lease.1", b"e", second) is None
        await watch.stop()
        assert seen.items[-1] == Row("lease.1", b"d", third)


async def test_a_watch_comes_back_with_what_changed_and_what_vanished(own_server: NatsServer, namespace: str) -> None:
    async with (
        Proxy(own_server.port) as proxy,
        node(proxy.url, namespace) as away,
        node(own_server.url, namespace) as other,
    ):
        revisions = [await other.table.create(f"member.{number}", b"1") for number in range(4)]
        assert all(revisions)
        seen = Received[Row]()
        await away.table.watch(seen.receive)
        assert len(seen.items) == 4
        sessions = Sessions(away.nats)
        proxy.cut()
        await sessions.lost()
        assert await other.table.update("member.0", b"2", revisions[0] or 0)
        assert await other.table.delete("member.1", revisions[1] or 0)
        await vanish(other.nats.session, namespace, "member.2")
        proxy.mend()
        await seen.count(7)
        live = {row.key: row.value for row in seen.items}
        assert live == {"member.0": b"2", "member.1": None, "member.2": None, "member.3": b"1"}
        assert [row.revision for row in seen.items] == sorted(row.revision for row in seen.items)
        await other.table.create("member.4", b"1")
        assert (await seen.count(8))[-1].key == "member.4"


async def vanish(session: object, namespace: str, key: str) -> None:
    """Remove a row and the sign of it."""
    from aether.jetstream.connection.session import NatsSession  # noqa: PLC0415

    assert isinstance(session, NatsSession)
    stream = f"KV_AETHER_{namespace}_TABLE"
    body = b'{"filter":"$KV.AETHER_%b_TABLE.%b"}' % (namespace.encode(), key.encode())
    await session.request(f"$JS.API.STREAM.PURGE.{stream}", body, 5)


async def test_a_watch_notices_that_its_consumer_is_gone(own_server: NatsServer, namespace: str) -> None:
    async with node(own_server.url, namespace) as one:
        seen = Received[Row]()
        await one.table.watch(seen.receive)
        session = one.nats.session
        assert session is not None
        stream = f"KV_AETHER_{namespace}_TABLE"
        names = (await session.request(f"$JS.API.CONSUMER.NAMES.{stream}", b"", 5)).data
        consumer = names.partition(b'"watch_')[2].partition(b'"')[0].decode()
        await session.request(f"$JS.API.CONSUMER.DELETE.{stream}.watch_{consumer}", b"", 5)
        await one.table.create("member.1", b"1")
        assert (await seen.count(1))[0].key == "member.1"
        assert one.nats.session is session


rows = st.dictionaries(st.sampled_from("abcde"), st.one_of(st.none(), st.binary(max_size=2)))


@given(st.lists(rows, min_size=1, max_size=6))
def test_a_view_always_ends_as_what_replaced_it(views: list[dict[str, bytes | None]]) -> None:
    told: list[Row] = []
    view = View(told.append)
    revision = 0
    known: dict[str, Row] = {}
    for wanted in views:
        current = []
        for key, value in wanted.items():
            row = known.get(key)
            if row is None or row.value != value:
                revision += 1
                row = known[key] = Row(key, value, revision)
            current.append(row)
        view.replace(current)
        folded = {row.key: row.value for row in told}
        assert {k: v for k, v in folded.items() if v is not None} == {k: v for k, v in wanted.items() if v is not None}
        count = len(told)
        view.replace(current)
        assert len(told) == count


@given(st.integers(0, 8), st.data())
def test_an_attempt_is_complete_with_all_rows_and_not_before(count: int, data: st.DataObject) -> None:
    attempt = Attempt()
    opened_after = data.draw(st.integers(0, count))
    for number in range(1, count + 1):
        if number - 1 == opened_after:
            attempt.opened(count)
        assert not attempt.complete
        assert attempt.message(number, count - number, Row(str(number), b"", number))
    if opened_after == count:
        attempt.opened(count)
    assert attempt.complete
    assert not attempt.message(count + 2, 0, Row("x", b"", count + 2))
    assert not attempt.heartbeat(count + 1)


async def test_a_watch_says_when_it_has_caught_up_after_a_cut_and_after_a_restart(
    own_server: NatsServer, namespace: str
) -> None:
    async with (
        Proxy(own_server.port) as proxy,
        node(proxy.url, namespace) as away,
        node(own_server.url, namespace) as other,
    ):
        assert await other.table.create("member.0", b"1")
        told = Received[str]()
        watch = await away.table.watch(
            lambda row: told.receive(f"{row.key} {row.value!r}"), lambda: told.receive("completed")
        )
        assert told.items == ["member.0 b'1'", "completed"]
        sessions = Sessions(away.nats)
        proxy.cut()
        await sessions.lost()
        for number in range(1, 4):
            assert await other.table.create(f"member.{number}", b"1")
        assert len(told.items) == 2
        proxy.mend()
        await told.until(lambda items: items.count("completed") == 2)
        assert told.items[2:] == [f"member.{number} b'1'" for number in range(1, 4)] + ["completed"]
        sessions = Sessions(away.nats)
        own_server.kill()
        await sessions.lost()
        own_server.start()
        await told.until(lambda items: items.count("completed") == 3)
        assert told.items[6:] == ["completed"], "though nothing has changed"
        await watch.stop()


async def test_a_watch_whose_consumer_is_gone_says_when_it_has_caught_up(
    own_server: NatsServer, namespace: str
) -> None:
    async with node(own_server.url, namespace) as one:
        told = Received[str]()
        await one.table.watch(lambda row: told.receive(row.key), lambda: told.receive("completed"))
        session = one.nats.session
        assert session is not None
        stream = f"KV_AETHER_{namespace}_TABLE"
        names = (await session.request(f"$JS.API.CONSUMER.NAMES.{stream}", b"", 5)).data
        consumer = names.partition(b'"watch_')[2].partition(b'"')[0].decode()
        await session.request(f"$JS.API.CONSUMER.DELETE.{stream}.watch_{consumer}", b"", 5)
        await one.table.create("member.1", b"1")
        assert await told.count(3) == ["completed", "member.1", "completed"]
