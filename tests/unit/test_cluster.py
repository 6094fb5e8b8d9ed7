"""A cluster of real runtimes over memory: who answers, when shards move, and what becomes of whom is cut off."""

import asyncio
from dataclasses import replace

import pytest

from aether import ConfigError, Unavailable
from aether.cluster.cluster import Cluster
from aether.core.cluster.membership import LeaseRow, MemberRow, encode_lease, encode_member
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.table_keys import lease_key, member_row_key
from tests.support.actors import GATES
from tests.support.members import (
    FAST,
    SHARDS,
    Client,
    RecordingProvider,
    Rows,
    actor_of,
    answered_by,
    client,
    member,
    settled,
    shards_of,
    soon,
)

ALL = set(range(SHARDS))


def others(name: str) -> set[int]:
    """What the ring gives to the other one of two members."""
    return ALL - shards_of(name, "a-0", "b-0")


async def test_alone_it_has_every_shard_and_a_second_one_takes_its_share() -> None:
    server = InMemoryServer()
    async with client(server) as calling, member(server, "a") as a:
        assert await a.cluster.wait_balanced(10)
        assert a.answering() == ALL
        assert [await calling.call(actor_of(shard), "deposit", amount=1) for shard in range(SHARDS)] == [1] * SHARDS
        async with member(server, "b") as b:
            await settled(a, b)
            assert a.answering() == shards_of("a-0", "a-0", "b-0") != set()
            assert b.answering() == shards_of("b-0", "a-0", "b-0") != set()
            taken = b.running.counters.commands
            for shard in range(SHARDS):
                assert await calling.call(actor_of(shard), "deposit", amount=1) == 2
                owner, other = (a, b) if shard in a.answering() else (b, a)
                assert len(owner.running.get_active_vms(shard)) == 1
                assert other.running.get_active_vms(shard) == []
            counted = b.running.counters
            # A caller that a stalled machine keeps waiting asks again: that is a delivery more, and no command.
            assert counted.commands - counted.duplicates - taken == len(b.answering()) == counted.commits
            assert a.running.counters.answers_fenced == b.running.counters.answers_fenced == 0


class Load:
    """Callers that deposit in an account of every shard, without a pause, until told to stop."""

    def __init__(self, calling: Client) -> None:
        self.acknowledged = [0] * SHARDS
        self._calling = calling
        self._stopping = False
        self._tasks = [asyncio.ensure_future(self._run(shard)) for shard in range(SHARDS)]

    async def _run(self, shard: int) -> None:
        while not self._stopping:
            reply = await self._calling.call(actor_of(shard), "deposit", amount=1)
            self.acknowledged[shard] += 1
            assert reply == self.acknowledged[shard], "each deposit has its effect once"

    async def more(self, each: int = 3) -> None:
        """Return when every shard has answered so often again."""
        before = list(self.acknowledged)
        await soon(lambda: any(task.done() for task in self._tasks) or self._grown(before, each))

    def _grown(self, before: list[int], each: int) -> bool:
        return all(now >= then + each for now, then in zip(self.acknowledged, before, strict=True))

    async def stop(self) -> None:
        """Raises what went wrong for any of them."""
        self._stopping = True
        await asyncio.gather(*self._tasks)


async def test_no_command_fails_while_members_come_and_leave() -> None:
    server = InMemoryServer()
    rows = await Rows.of(server)
    async with client(server) as calling, member(server, "a") as a:
        load = Load(calling)
        await load.more()
        async with member(server, "b") as b:
            await settled(a, b)
            await load.more()
            await b.cluster.leave()
            assert b.answering() == set()
            assert b.running.get_active_vms() == []
            assert await b.connection.table.get(member_row_key("b-0")) is None
            await soon(lambda: a.answering() == ALL)
            await load.more()
        await load.stop()
        for shard in shards_of("b-0", "a-0", "b-0"):
            assert rows.holders(shard) == ["a-0", "", "b-0", "", "a-0"]
        for shard in others("b-0"):
            assert rows.holders(shard) == ["a-0"]
        # What is handed over is closed before it is released, so nobody is interrupted at work.
        assert b.running.counters.answers_fenced == a.running.counters.answers_fenced == 0


async def test_what_a_leaving_member_has_taken_is_answered_before_its_shard_goes() -> None:
    GATES["leaving"] = asyncio.Event()
    server = InMemoryServer()
    async with client(server) as calling, member(server, "a") as a, member(server, "b") as b:
        await settled(a, b)
        shard = min(b.answering())
        working = asyncio.ensure_future(calling.call(actor_of(shard, "waiter"), "wait_for", gate="leaving"))
        await soon(lambda: any(not vm.idle for vm in b.running.get_active_vms(shard)))
        leaving = asyncio.ensure_future(b.cluster.leave())
        await soon(lambda: a.answering() == ALL - {shard})
        assert not leaving.done()
        assert b.answering() == {shard}
        GATES["leaving"].set()
        assert await working == 1
        await leaving
        await soon(lambda: a.answering() == ALL)
        assert b.running.counters.answers_fenced == 0


async def test_a_caller_that_waits_for_an_owner_hears_of_each_shard_that_is_served_anew() -> None:
    server = InMemoryServer()
    waiting = InMemoryConnection(server, "tests", shards=SHARDS)
    await waiting.transport.follow_owners()
    since_s = asyncio.get_running_loop().time()
    hearing = [
        asyncio.ensure_future(waiting.transport.owner_announced(actor_of(shard), since_s, 3600)) for shard in ALL
    ]
    async with member(server, "a") as a:
        async with asyncio.timeout(10):
            await asyncio.gather(*hearing)
        assert a.answering() == ALL


async def test_one_that_is_cut_off_stops_before_its_shards_move_and_comes_back_without_its_old_actors() -> None:
    server = InMemoryServer()
    rows = await Rows.of(server)
    async with client(server) as calling, member(server, "a") as a, member(server, "b") as b:
        await settled(a, b)
        lost = b.answering()
        actors = [actor_of(shard) for shard in sorted(lost)]
        assert [await calling.call(each, "deposit", amount=1) for each in actors] == [1] * len(actors)
        old = {vm.id for vm in b.running.get_active_vms()}
        assert len(old) == len(lost)
        b.connection.disconnect()
        await soon(lambda: b.answering() == set())
        space = server.space("tests", SHARDS)
        assert space.live(member_row_key("b-0")) is not None, "it stops before the others may begin"
        assert a.answering() == shards_of("a-0", "a-0", "b-0")
        await soon(lambda: answered_by(a, b) == dict.fromkeys(ALL, "a-0"))
        for shard in lost:
            assert rows.taken_at(shard, "a-0") > rows.ended_at("b-0")
        assert [await calling.call(each, "deposit", amount=10) for each in actors] == [11] * len(actors)
        assert {vm.id for vm in b.running.get_active_vms()} == old, "nobody has told it yet"
        b.connection.reconnect()
        await settled(a, b)
        assert [await calling.call(each, "statement") for each in actors] == [11] * len(actors)
        assert not old & {vm.id for vm in b.running.get_active_vms()}
        assert not b.cluster.failed.done()


async def test_one_that_was_cut_off_for_a_moment_only_keeps_its_shards_and_its_actors() -> None:
    server = InMemoryServer()
    rows = await Rows.of(server)
    async with client(server) as calling, member(server, "a") as a, member(server, "b") as b:
        await settled(a, b)
        actors = [actor_of(shard) for shard in sorted(b.answering())]
        assert [await calling.call(each, "deposit", amount=1) for each in actors] == [1] * len(actors)
        machines = b.running.get_active_vms()
        b.connection.disconnect()
        b.connection.reconnect()
        beats = len(rows.incarnations("b-0"))
        await soon(lambda: len(rows.incarnations("b-0")) > beats + 2)
        await settled(a, b)
        assert [await calling.call(each, "statement") for each in actors] == [1] * len(actors)
        assert list(b.running.get_active_vms()) == list(machines)
        for shard in b.answering():
            assert rows.holders(shard)[-1] == "b-0"


async def test_when_all_members_were_cut_off_each_finds_its_shards_and_actors_again() -> None:
    server = InMemoryServer()
    rows = await Rows.of(server)
    config = replace(FAST, regather_s=3.0)
    async with (
        client(server) as calling,
        member(server, "a", config=config) as a,
        member(server, "b", config=config) as b,
    ):
        await settled(a, b)
        actors = [actor_of(shard) for shard in range(SHARDS)]
        assert [await calling.call(each, "deposit", amount=1) for each in actors] == [1] * SHARDS
        machines = [*a.running.get_active_vms(), *b.running.get_active_vms()]
        before = {shard: len(rows.holders(shard)) for shard in ALL}
        for one in (a, b):
            one.connection.disconnect()
        space = server.space("tests", SHARDS)
        await soon(lambda: not any(space.live(member_row_key(name)) for name in ("a-0", "b-0")))
        for one in (a, b):
            one.connection.reconnect()
        await settled(a, b)
        assert [await calling.call(each, "statement") for each in actors] == [1] * SHARDS
        assert [*a.running.get_active_vms(), *b.running.get_active_vms()] == machines
        assert {len(rows.holders(shard)) - before[shard] for shard in ALL} == {1}, "claimed anew, once, by its holder"


async def replacement(claim: str, replaces: str | None) -> None:
    server = InMemoryServer()
    rows = await Rows.of(server)
    async with member(server, "b") as b, member(server, "a", incarnation="run-1", claim=claim) as a:
        await settled(a, b)
        old = a.answering()
        async with member(server, "a", incarnation="run-2", claim=claim, replaces=replaces) as again:
            await soon(a.cluster.failed.done)
            assert a.answering() == set()
            with pytest.raises(Unavailable, match="taken the place"):
                await a.cluster.wait_balanced(10)
            await soon(
                lambda: answered_by(again, b, a) == {**dict.fromkeys(old, "a-0"), **dict.fromkeys(ALL - old, "b-0")}
            )
            assert again.answering() == old
            for shard in old:
                assert set(rows.holders(shard)[-2:]) == {"a-0"}, "no shard goes elsewhere in between"
            beats = len(rows.incarnations("a-0"))
            await soon(lambda: len(rows.incarnations("a-0")) > beats + 5)
            assert set(rows.incarnations("a-0")[beats:]) == {"run-2"}
            assert not again.cluster.failed.done()
            assert a.answering() == set()
        for shard in old:
            assert "b-0" not in rows.holders(shard)[rows.holders(shard).index("a-0") :]


async def test_the_replacement_of_a_reaped_process_takes_its_place_and_nothing_moves() -> None:
    await replacement(claim="", replaces="run-1")


async def test_the_next_supervisor_of_a_claim_takes_its_places_and_nothing_moves() -> None:
    await replacement(claim="directory", replaces=None)


async def test_a_name_that_is_alive_elsewhere_is_a_wrong_setting() -> None:
    server = InMemoryServer()
    async with member(server, "a") as a, member(server, "a") as namesake:
        with pytest.raises(ConfigError, match="alive elsewhere") as wrong:
            await namesake.cluster.wait_balanced(10)
        assert wrong.value.setting == "node"
        assert namesake.answering() == set()
        await soon(lambda: a.answering() == ALL)
        assert not a.cluster.failed.done()


async def test_a_name_whose_process_is_gone_is_taken_when_its_row_expires() -> None:
    server = InMemoryServer()
    table = InMemoryConnection(server, "tests", shards=SHARDS).table
    gone = MemberRow(node="a", slot=0, incarnation="long-gone")
    await table.create(member_row_key("a-0"), encode_member(gone), 1.0)
    async with member(server, "a") as a:
        await soon(lambda: a.answering() == ALL)
        assert not a.cluster.failed.done()


async def test_rows_that_an_earlier_run_left_are_removed_at_once() -> None:
    server = InMemoryServer()
    table = InMemoryConnection(server, "tests", shards=SHARDS).table
    space = server.space("tests", SHARDS)

    async def left(node: str, slot: int, incarnation: str, claim: str, *, active: bool = True) -> None:
        row = MemberRow(node=node, slot=slot, incarnation=incarnation, claim=claim, active=active)
        revision = await table.create(member_row_key(f"{node}-{slot}"), encode_member(row), 3600.0)
        assert revision is not None
        lease = LeaseRow(holder=f"{node}-{slot}", session=revision, incarnation=incarnation)
        await table.create(lease_key(slot), encode_lease(lease))

    await left("a", 5, "earlier-6", "directory")
    await left("a", 0, "earlier-1", "directory")
    await left("z", 1, "earlier-2", "another", active=False)
    await left("a", 7, "now-8", "directory", active=False)
    async with member(server, "a", incarnation="now-1", claim="directory", siblings=["a-0", "a-7"]) as a:
        await soon(lambda: a.answering() == ALL - {1, 7})
        assert space.live(member_row_key("a-5")) is None
        for stays in ("z-1", "a-7"):
            assert space.live(member_row_key(stays)) is not None


async def test_a_cluster_without_a_provider_says_so() -> None:
    connection = InMemoryConnection(InMemoryServer(), "tests", shards=SHARDS)
    with pytest.raises(ConfigError) as wrong:
        async with Cluster(connection, MemberRow(node="a", slot=0, incarnation="x-1")):
            pass
    assert wrong.value.setting == "vm_provider"


async def test_a_cluster_that_cannot_read_the_table_does_not_start() -> None:
    connection = InMemoryConnection(InMemoryServer(), "tests", shards=SHARDS)
    connection.disconnect()
    cluster = Cluster(connection, MemberRow(node="a", slot=0, incarnation="x-1"))
    cluster.set_vm_provider(RecordingProvider())
    with pytest.raises(Unavailable):
        async with cluster:
            pass


def tasks_named(name: str) -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == name]


async def test_an_actor_at_work_for_too_long_is_abandoned_and_its_shard_goes() -> None:
    GATES["for ever"] = asyncio.Event()
    server = InMemoryServer()
    config = replace(FAST, close_timeout_s=0.1)
    async with client(server) as calling, member(server, "a", config=config) as a:
        await soon(lambda: a.answering() == ALL)
        [*_, shard] = sorted(shards_of("b-0", "a-0", "b-0"))
        waiter = actor_of(shard, "waiter")
        working = asyncio.ensure_future(calling.call(waiter, "wait_for", gate="for ever"))
        await soon(lambda: bool(tasks_named(f"{waiter}.wait_for")))
        [handler] = tasks_named(f"{waiter}.wait_for")
        async with member(server, "b", config=config) as b:
            await settled(a, b)
            assert handler.cancelled()
            assert a.running.get_active_vms(shard) == []
            # Its caller was not answered by the one that gave it up, and asks the other again by itself.
            await soon(lambda: any(not vm.idle for vm in b.running.get_active_vms(shard)))
            GATES["for ever"].set()
            assert await working == 1


# ------------------------------------------------------------------------------------------------ the provider


async def test_a_provider_is_asked_in_order() -> None:
    server, provider = InMemoryServer(), RecordingProvider()
    async with member(server, "a", provider=provider) as a:
        await soon(lambda: a.answering() == ALL and a.cluster.moves().held == SHARDS)
        assert sorted(provider.calls) == [("serve", shard) for shard in range(SHARDS)]
        async with member(server, "b") as b:
            await settled(a, b)
            for shard in b.answering():
                assert provider.of(shard) == ["serve", "prepare", "leave", "stop_vm", "abandon"]
            for shard in a.answering():
                assert provider.of(shard) == ["serve"]
            await b.cluster.leave()
        await soon(lambda: a.cluster.moves().held == SHARDS)
        for shard in shards_of("b-0", "a-0", "b-0"):
            assert provider.of(shard) == ["serve", "prepare", "leave", "stop_vm", "abandon", "serve"]
        a.connection.disconnect()
        await soon(lambda: a.answering() == set())
        assert len(provider.calls) == 16 + 5 * len(shards_of("b-0", "a-0", "b-0")), "what is held is kept meanwhile"


async def test_what_was_lost_meanwhile_is_abandoned_and_served_anew() -> None:
    server, provider = InMemoryServer(), RecordingProvider()
    async with member(server, "a") as a, member(server, "b", provider=provider) as b:
        await settled(a, b)
        lost = b.answering()
        b.connection.disconnect()
        await soon(lambda: a.answering() == ALL)
        b.connection.reconnect()
        await soon(lambda: all(provider.of(shard) == ["serve", "abandon", "serve"] for shard in lost))
        await settled(a, b)


async def test_no_more_shards_are_given_away_at_once_than_may() -> None:
    server, provider = InMemoryServer(), RecordingProvider(gate=asyncio.Event())
    config = replace(FAST, moves_in_flight_max=3)
    async with member(server, "a", provider=provider, config=config) as a:
        await soon(lambda: a.cluster.moves().held == SHARDS)
        async with member(server, "b") as b:
            beats = len(provider.calls)
            await soon(lambda: len(provider.calls) == beats + 9)
            await soon(lambda: b.cluster.moves().held == 0 and a.cluster.moves().giving == 3)
            assert [call for call, _ in provider.calls[beats:]].count("leave") == 3
            assert provider.gate is not None
            provider.gate.set()
            await settled(a, b)


async def test_a_shard_that_cannot_be_served_yet_is_tried_again() -> None:
    failures: list[Exception] = [Unavailable("no connection"), Unavailable("still none"), RuntimeError("a bug")]

    def fail(shard: int) -> None:
        if shard == 3 and failures:
            raise failures.pop()

    server, provider = InMemoryServer(), RecordingProvider(serving=fail)
    async with member(server, "a", provider=provider) as a:
        await soon(lambda: a.cluster.moves().held == SHARDS)
        assert provider.of(3) == ["serve"] * 4
        assert provider.of(4) == ["serve"]


async def test_a_shard_whose_closing_fails_goes_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    def fail(shard: int) -> None:
        raise RuntimeError("a bug")

    server, provider = InMemoryServer(), RecordingProvider(stopping=fail)
    async with member(server, "a", provider=provider) as a:
        await soon(lambda: a.answering() == ALL)
        async with member(server, "b") as b:
            await settled(a, b)
            for shard in b.answering():
                assert provider.of(shard) == ["serve", "prepare", "leave", "stop_vm", "abandon"]
            assert "a shard is given away without having been closed" in caplog.text


async def test_a_member_whose_heartbeat_ends_says_so() -> None:
    server = InMemoryServer()
    async with member(server, "a", provider=RecordingProvider()) as a:
        await soon(lambda: a.answering() == ALL)

        def broken() -> dict[str, object]:
            raise ZeroDivisionError("a bug")

        a.cluster.about = broken
        await soon(a.cluster.failed.done)
        with pytest.raises(ZeroDivisionError):
            await a.cluster.wait_balanced(10)


async def test_nothing_goes_on_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    server = InMemoryServer()
    before = asyncio.all_tasks()
    async with member(server, "a") as a, member(server, "b") as b:
        await settled(a, b)
        await a.cluster.stop()
        await a.cluster.stop()
    async with member(server, "c") as leaving:
        await leaving.cluster.leave()
    await soon(lambda: asyncio.all_tasks() == before)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


BARRIER = "sync barrier, boot 1"


def unlike(connection: InMemoryConnection, name: str, durability: str) -> Cluster:
    """A member that makes commits durable in a way of its own."""
    row = MemberRow(node=name, slot=0, incarnation=f"{name}-run-0", durability=durability)
    cluster = Cluster(connection, row, FAST)
    cluster.set_vm_provider(RecordingProvider())
    return cluster


@pytest.mark.parametrize(("first", "second"), [("", BARRIER), (BARRIER, ""), (BARRIER, "sync barrier, boot 2")])
async def test_who_makes_commits_durable_otherwise_than_those_who_are_there_does_not_join(
    first: str, second: str
) -> None:
    server = InMemoryServer()
    async with InMemoryConnection(server, "tests", shards=SHARDS) as one, unlike(one, "a", first) as a:
        assert await a.wait_balanced(10)
        async with InMemoryConnection(server, "tests", shards=SHARDS) as other:
            with pytest.raises(ConfigError, match="'a-0'") as refused:
                async with unlike(other, "b", second):
                    raise AssertionError("it has joined")
        assert refused.value.setting == "sync"
        assert a.moves().held == SHARDS
        assert not a.failed.done()


async def test_it_joins_when_those_who_did_otherwise_have_gone() -> None:
    server = InMemoryServer()
    async with InMemoryConnection(server, "tests", shards=SHARDS) as one:
        async with unlike(one, "a", BARRIER) as a:
            assert await a.wait_balanced(10)  # and it is killed: its row expires
        async with InMemoryConnection(server, "tests", shards=SHARDS) as other, unlike(other, "b", "") as b:
            assert await b.wait_balanced(10)
            assert b.moves().held == SHARDS


async def test_of_two_who_join_at_once_the_later_one_gives_way() -> None:
    """Neither saw the other when it looked."""
    server = InMemoryServer()
    async with (
        InMemoryConnection(server, "tests", shards=SHARDS) as one,
        InMemoryConnection(server, "tests", shards=SHARDS) as other,
        unlike(one, "a", BARRIER) as a,
    ):
        assert await a.wait_balanced(10)
        b = unlike(other, "b", "")
        b._core.differing = lambda: ""  # type: ignore[method-assign]
        async with b:
            del b._core.differing
            with pytest.raises(ConfigError, match="'a-0'"):
                await b.wait_balanced(10)
        assert not a.failed.done()
