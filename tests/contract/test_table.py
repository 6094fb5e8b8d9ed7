"""The laws of `Table`: compare-and-set on each row, an end to rows that are not renewed, one order for all watchers."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from aether.ports import Row, Subscription
from tests.contract.harness import Received, Side, SideMachine, World, run_machine

KEYS = ["lease.0", "lease.1", "lease.10", "member.a-0", "member.=C3=A9-1"]
FENCE = "fence"
TTL_S = 1.0
LONG_TTL_S = 3600.0
"""Never reached on a side whose time is not ours."""


@dataclass
class Held:
    """A live row of the model."""

    value: bytes
    revision: int
    expires_at_s: float | None


@dataclass
class Watcher:
    """A watch, and the changes since its beginning, in order."""

    subscription: Subscription
    received: Received[Row]
    due: list[tuple[str, bytes | None]] = field(default_factory=list)


which_node = st.integers(0, 1)
some_key = st.sampled_from(KEYS)
some_value = st.binary(min_size=1, max_size=20)
some_ttl = st.sampled_from([None, 5.0, 10.0])


class TableMachine(SideMachine):
    """Two nodes that write, watchers that come at any time, and rows that end."""

    def prepare(self) -> None:
        self.tables = [self.stage.run(self.stage.world.node()).table for _ in range(2)]
        self.model: dict[str, Held] = {}
        self.revision = 0
        self.now_s = 0.0
        self.fence_revision: int | None = None
        self.watchers: list[Watcher] = []

    @rule(key=some_key, node=which_node, value=some_value, ttl_s=some_ttl)
    def create(self, key: str, node: int, value: bytes, ttl_s: float | None) -> None:
        created = self.stage.run(self.tables[node].create(key, value, self.ttl(ttl_s)))
        assert (created is None) == (key in self.model)
        if created is not None:
            self.wrote(key, value, created, ttl_s)

    @rule(key=some_key, node=which_node, value=some_value, ttl_s=some_ttl)
    def update(self, key: str, node: int, value: bytes, ttl_s: float | None) -> None:
        if key in self.model:
            revision = self.model[key].revision
            updated = self.stage.run(self.tables[node].update(key, value, revision, self.ttl(ttl_s)))
            assert updated is not None
            self.wrote(key, value, updated, ttl_s)

    @rule(key=some_key, node=which_node, off=st.sampled_from([-1, 1, 50]), ends=st.booleans())
    def write_at_another_revision(self, key: str, node: int, off: int, ends: bool) -> None:
        if key in self.model:
            elsewhere = max(1, self.model[key].revision + off)
            if elsewhere != self.model[key].revision:
                table = self.tables[node]
                if ends:
                    assert self.stage.run(table.delete(key, elsewhere)) is False
                else:
                    assert self.stage.run(table.update(key, b"wrong", elsewhere)) is None

    @rule(key=some_key, node=which_node)
    def delete(self, key: str, node: int) -> None:
        if key in self.model:
            assert self.stage.run(self.tables[node].delete(key, self.model[key].revision)) is True
            self.ended(key)

    @rule(node=which_node, prefix=st.sampled_from(["", "lease.", "lease.1", "member.", "nothing"]))
    def read(self, node: int, prefix: str) -> None:
        rows = {row.key: row for row in self.stage.run(self.tables[node].rows(prefix)) if row.key != FENCE}
        assert list(rows) == sorted(key for key in self.model if key.startswith(prefix))
        for key, row in rows.items():
            assert row == Row(key, self.model[key].value, self.model[key].revision)
            assert self.stage.run(self.tables[node].get(key)) == row
        for key in KEYS:
            assert key in self.model or self.stage.run(self.tables[node].get(key)) is None

    @precondition(lambda self: self.side.manual_time)
    @rule(seconds=st.sampled_from([1.0, 4.0, 6.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        expiring = [(row.expires_at_s, key) for key, row in self.model.items() if row.expires_at_s is not None]
        self.stage.world.pass_time(seconds)
        for expires_at_s, key in sorted(expiring, key=lambda each: (each[0], self.model[each[1]].revision)):
            if expires_at_s <= self.now_s:
                self.ended(key)

    @precondition(lambda self: len(self.watchers) < 3)
    @rule(node=which_node)
    def watch(self, node: int) -> None:
        received: Received[Row] = Received()
        subscription = self.stage.run(self.tables[node].watch(received.receive))
        rows = sorted(self.model.items(), key=lambda each: each[1].revision)
        self.watchers.append(Watcher(subscription, received, [(key, row.value) for key, row in rows]))

    @rule()
    def compare(self) -> None:
        self.stage.run(self.fence())

    def finish(self) -> None:
        self.stage.run(self.fence())
        for watcher in self.watchers:
            self.stage.run(watcher.subscription.stop())

    def ttl(self, ttl_s: float | None) -> float | None:
        return ttl_s if ttl_s is None or self.side.manual_time else LONG_TTL_S

    def wrote(self, key: str, value: bytes, revision: int, ttl_s: float | None) -> None:
        assert revision > self.revision
        self.revision = revision
        self.model[key] = Held(value, revision, None if ttl_s is None else self.now_s + ttl_s)
        self.tell(key, value)

    def ended(self, key: str) -> None:
        del self.model[key]
        self.tell(key, None)

    def tell(self, key: str, value: bytes | None) -> None:
        for watcher in self.watchers:
            watcher.due.append((key, value))

    async def fence(self) -> None:
        """A write that every watcher must hear of: when it has, it has heard what came before."""
        if self.fence_revision is None:
            self.fence_revision = await self.tables[0].create(FENCE, b"fence")
        else:
            self.fence_revision = await self.tables[0].update(FENCE, b"fence", self.fence_revision)
        revision = self.fence_revision
        assert revision is not None
        for watcher in self.watchers:
            rows = await watcher.received.until(lambda rows: any(row.revision >= revision for row in rows))
            revisions = [row.revision for row in rows]
            assert revisions == sorted(set(revisions))
            told = [(row.key, row.value) for row in rows if row.key != FENCE]
            assert is_subsequence(told, watcher.due)
            assert live(told) == live(watcher.due)


def is_subsequence(told: list[tuple[str, bytes | None]], due: list[tuple[str, bytes | None]]) -> bool:
    """Whether what was told happened, in this order. What is overwritten at once may be skipped."""
    remaining = iter(due)
    return all(change in remaining for change in told)


def live(changes: list[tuple[str, bytes | None]]) -> dict[str, bytes]:
    """The rows after the changes."""
    return {key: value for key, value in dict(changes).items() if value is not None}


def test_the_table_equals_its_model(adapters: Side) -> None:
    run_machine(TableMachine, adapters)


async def test_of_many_creates_exactly_one_makes_the_row(world: World) -> None:
    tables = [(await world.node()).table for _ in range(3)]
    created = await asyncio.gather(*(tables[n % 3].create("lease.0", b"%d" % n) for n in range(12)))
    [winner] = [n for n, revision in enumerate(created) if revision is not None]
    assert await tables[0].get("lease.0") == Row("lease.0", b"%d" % winner, created[winner] or 0)


async def test_of_many_updates_of_one_revision_exactly_one_writes(world: World) -> None:
    tables = [(await world.node()).table for _ in range(3)]
    revision = await tables[0].create("lease.0", b"first")
    assert revision is not None
    updated = await asyncio.gather(*(tables[n % 3].update("lease.0", b"%d" % n, revision) for n in range(12)))
    [winner] = [n for n, written in enumerate(updated) if written is not None]
    assert await tables[0].get("lease.0") == Row("lease.0", b"%d" % winner, updated[winner] or 0)


async def test_a_row_that_is_not_renewed_ends_and_watchers_hear_it_in_order(world: World) -> None:
    one, other = (await world.node()).table, (await world.node()).table
    received: Received[Row] = Received()
    await other.watch(received.receive)
    first = await one.create("member.a-0", b"alive", TTL_S)
    await one.create("lease.0", b"stays")
    assert first is not None
    await received.count(2)
    world.pass_time(TTL_S)
    rows = await received.count(3)
    assert [(row.key, row.value) for row in rows] == [
        ("member.a-0", b"alive"),
        ("lease.0", b"stays"),
        ("member.a-0", None),
    ]
    assert rows[2].revision > rows[1].revision > first
    assert await one.get("member.a-0") is None
    assert [row.key for row in await one.rows()] == ["lease.0"]
    assert await one.update("member.a-0", b"still here", first) is None
    assert await one.delete("member.a-0", first) is False
    again = await one.create("member.a-0", b"again")
    assert again is not None
    assert again > rows[2].revision


async def test_a_renewed_row_outlives_its_first_time_to_live(world: World) -> None:
    table = (await world.node()).table
    received: Received[Row] = Received()
    await table.watch(received.receive)
    kept = await table.create("member.kept-0", b"1", TTL_S)
    assert kept is not None
    kept = await table.update("member.kept-0", b"2", kept, LONG_TTL_S)
    assert await table.create("member.gone-0", b"1", TTL_S) is not None
    world.pass_time(TTL_S)
    rows = await received.until(lambda rows: rows[-1].value is None if rows else False)
    assert rows[-1].key == "member.gone-0"
    assert await table.get("member.kept-0") == Row("member.kept-0", b"2", kept or 0)


async def test_a_stopped_watch_hears_nothing_more(world: World) -> None:
    table = (await world.node()).table
    going, staying = Received[Row](), Received[Row]()
    watch = await table.watch(going.receive)
    await table.watch(staying.receive)
    await table.create("lease.0", b"1")
    await going.count(1)
    await watch.stop()
    await watch.stop()
    await table.create("lease.1", b"1")
    await staying.count(2)
    assert [row.key for row in going.items] == ["lease.0"]


async def test_a_beginning_is_completed_after_every_live_row_and_once(world: World) -> None:
    one, other = (await world.node()).table, (await world.node()).table
    for key in KEYS:
        assert await one.create(key, b"1") is not None
    gone = await one.create("lease.2", b"1")
    assert gone is not None
    assert await one.delete("lease.2", gone)
    told: Received[str] = Received()
    watch = await other.watch(lambda row: told.receive(row.key), lambda: told.receive("completed"))
    await told.until(lambda items: "completed" in items)
    assert [key for key in told.items if key != "lease.2"] == [*KEYS, "completed"]
    assert await one.create("lease.3", b"1") is not None
    await told.until(lambda items: "lease.3" in items)
    assert told.items.count("completed") == 1
    await watch.stop()


async def test_the_beginning_of_an_empty_table_is_completed_too(world: World) -> None:
    table = (await world.node()).table
    told: Received[str] = Received()
    await table.watch(lambda row: told.receive(row.key), lambda: told.receive("completed"))
    await told.count(1)
    await table.create("lease.0", b"1")
    assert await told.count(2) == ["completed", "lease.0"]


async def test_namespaces_do_not_see_each_other(world: World) -> None:
    one, other = (await world.node("one")).table, (await world.node("other")).table
    received: Received[Row] = Received()
    await other.watch(received.receive)
    assert await one.create("lease.0", b"mine") is not None
    assert await other.get("lease.0") is None
    assert await other.create("lease.0", b"theirs") is not None
    assert [row.value for row in await received.count(1)] == [b"theirs"]
    assert [row.value for row in await one.rows()] == [b"mine"]
