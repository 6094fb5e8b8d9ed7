"""The laws of `Tasks`: each start is with one worker at a time, and with another one when that one is silent."""

import asyncio
from collections import defaultdict

from hypothesis import strategies as st
from hypothesis.stateful import rule
from msgspec import Raw

from aether.ports import Inbox, TaskBacklog, TaskClaim, TaskRow, Tasks
from aether.sends import StartTask, encode_send
from tests.contract.harness import SHARDS, Node, Received, Side, SideMachine, World, run_machine

TTL_S = 1.0
LONG_TTL_S = 3600.0
WAIT_S = 5.0


class Starts:
    """Stores starts of tasks, as the relayer of a shard does."""

    def __init__(self, inbox: Inbox, source: int = 1) -> None:
        self._inbox = inbox
        self._source = source
        self._mark = 0

    async def store(self, task: str, *payloads: bytes) -> list[int]:
        if not self._mark:
            self._mark = await self._inbox.claim_relay(self._source, b"", 0) or 0
        stored = [await self._inbox.relay_task(task, self._source, payload, self._mark) for payload in payloads]
        assert None not in stored
        return [sequence for sequence in stored if sequence is not None]


async def taker(world: World, *tasks: str, ttl_s: float = LONG_TTL_S) -> Node:
    node = await world.node()
    for task in tasks:
        await node.tasks.open(task, ttl_s)
    return node


async def all_of(tasks: Tasks, task: str, count: int) -> list[TaskClaim]:
    found: list[TaskClaim] = []
    while len(found) < count:
        claims = await tasks.take(task, count - len(found), WAIT_S)
        assert claims, f"{len(found)} of {count} starts of {task} came"
        found += claims
    return found


def unless_ours(side: Side, wait_s: float) -> float:
    """So long a wait where time passes by itself; none where it has been moved."""
    return 0.0 if side.manual_time else wait_s


async def backlog_becomes(tasks: Tasks, *expected: TaskBacklog) -> None:
    """A server may count what it was just told a moment later."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if await tasks.backlog() == [*expected]:
                return


async def test_starts_of_each_task_are_handed_out_once_and_in_order(world: World) -> None:
    node = await taker(world, "charge", "mail")
    starts = Starts(node.inbox)
    stored = await starts.store("charge", b"a", b"b", b"c")
    mail = await starts.store("mail", b"d")
    claims = await all_of(node.tasks, "charge", 3)
    assert [(one.sequence, one.payload, one.deliveries) for one in claims] == [
        (sequence, payload, 1) for sequence, payload in zip(stored, (b"a", b"b", b"c"), strict=True)
    ]
    assert [(one.sequence, one.payload) for one in await all_of(node.tasks, "mail", 1)] == [(mail[0], b"d")]
    assert await node.tasks.take("charge", 1, 0.0) == []


async def test_what_was_stored_before_a_worker_took_it_is_handed_out(world: World) -> None:
    await Starts((await world.node()).inbox).store("charge", b"early")
    node = await taker(world, "charge")
    assert [one.payload for one in await all_of(node.tasks, "charge", 1)] == [b"early"]


async def first_open_becomes(tasks: Tasks, expected: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while await tasks.first_open() != expected:
            pass


async def test_the_first_open_start_is_that_of_any_task_taken_or_not(world: World) -> None:
    node = await taker(world, "charge", "mail")
    starts = Starts(node.inbox)
    assert await node.tasks.first_open() == 0
    charges = await starts.store("charge", b"a", b"b")
    (mail,) = await starts.store("mail", b"c")
    (unknown,) = await starts.store("nobody.takes", b"d")
    await first_open_becomes(node.tasks, charges[0])
    first, second = await all_of(node.tasks, "charge", 2)
    node.tasks.done(second)
    assert await node.tasks.first_open() == charges[0], "a later one is done"
    node.tasks.done(first)
    await first_open_becomes(node.tasks, mail)
    node.tasks.done((await all_of(node.tasks, "mail", 1))[0])
    await first_open_becomes(node.tasks, unknown)


async def test_no_more_are_handed_out_than_were_asked_for(world: World) -> None:
    node, other = await taker(world, "charge"), await taker(world, "charge")
    await Starts(node.inbox).store("charge", *(b"%d" % n for n in range(200)))
    first = await node.tasks.take("charge", 3, WAIT_S)
    rest = await all_of(other.tasks, "charge", 197)
    assert len(first) == 3
    assert {one.payload for one in (*first, *rest)} == {b"%d" % n for n in range(200)}


async def test_a_start_that_comes_later_ends_the_wait(world: World) -> None:
    node = await taker(world, "charge")
    waiting = asyncio.create_task(node.tasks.take("charge", 10, WAIT_S))
    await Starts((await world.node()).inbox).store("charge", b"late")
    assert [one.payload for one in await waiting] == [b"late"]


async def test_one_that_is_not_kept_is_handed_out_again_and_one_that_is_done_is_not(world: World) -> None:
    node, other = await taker(world, "charge", ttl_s=TTL_S), await taker(world, "charge", ttl_s=TTL_S)
    await Starts(node.inbox).store("charge", b"done", b"lost")
    done, lost = await all_of(node.tasks, "charge", 2)
    node.tasks.done(done)
    world.pass_time(TTL_S)
    again = await all_of(other.tasks, "charge", 1)
    assert [(one.sequence, one.payload, one.deliveries) for one in again] == [(lost.sequence, b"lost", 2)]


async def test_one_that_is_kept_stays(world: World, adapters: Side) -> None:
    node, other = await taker(world, "charge", ttl_s=TTL_S), await taker(world, "charge", ttl_s=TTL_S)
    await Starts(node.inbox).store("charge", b"kept", b"lost")
    kept, lost = await all_of(node.tasks, "charge", 2)
    for _ in range(8):
        world.pass_time(TTL_S / 4)
        node.tasks.keep(kept)
        if not (again := await other.tasks.take("charge", 2, unless_ours(adapters, TTL_S / 4))):
            continue
        assert [one.sequence for one in again] == [lost.sequence], "the one that was kept was handed out"
        other.tasks.done(again[0])
    node.tasks.done(kept)


async def test_one_that_is_put_off_comes_again_later_and_at_once_when_it_is_hurried(world: World) -> None:
    node = await taker(world, "charge")
    await Starts(node.inbox).store("charge", b"soon", b"now", b"hurried")
    soon, now, hurried = await all_of(node.tasks, "charge", 3)
    node.tasks.again(soon, 0.5)
    node.tasks.again(hurried, LONG_TTL_S)
    node.tasks.again(now, 0.0)
    assert [(one.payload, one.deliveries) for one in await all_of(node.tasks, "charge", 1)] == [(b"now", 2)]
    node.tasks.hurry(hurried.token)
    assert [(one.payload, one.deliveries) for one in await all_of(node.tasks, "charge", 1)] == [(b"hurried", 2)]
    world.pass_time(0.5)
    assert [(one.payload, one.deliveries) for one in await all_of(node.tasks, "charge", 1)] == [(b"soon", 2)]


async def test_a_claim_is_good_over_another_connection(world: World, adapters: Side) -> None:
    node = await taker(world, "charge", ttl_s=TTL_S)
    await Starts(node.inbox).store("charge", b"a")
    (claim,) = await all_of(node.tasks, "charge", 1)
    await node.restart()
    node.tasks.done(claim)
    await node.tasks.open("charge", TTL_S)
    world.pass_time(TTL_S)
    assert await node.tasks.take("charge", 1, unless_ours(adapters, 2 * TTL_S)) == []


async def test_who_leaves_takes_nothing_more_and_others_go_on(world: World) -> None:
    node, other = await taker(world, "charge"), await taker(world, "charge")
    waiting = asyncio.create_task(node.tasks.take("charge", 1, WAIT_S))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert await node.tasks.leave("charge") == []
    assert await node.tasks.leave("charge") == []
    await Starts(node.inbox).store("charge", b"a")
    assert [one.payload for one in await all_of(other.tasks, "charge", 1)] == [b"a"]


async def test_who_leaves_gets_what_has_arrived_meanwhile(world: World) -> None:
    node = await taker(world, "charge")
    waiting = asyncio.create_task(node.tasks.take("charge", 1, WAIT_S))
    for _ in range(100):  # the request is on its way
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    await Starts(node.inbox).store("charge", b"a")
    arrived = await node.tasks.leave("charge")
    for claim in arrived:
        assert (claim.payload, claim.deliveries) == (b"a", 1)
        node.tasks.again(claim, 0.0)
    other = await taker(world, "charge")
    [claim] = await all_of(other.tasks, "charge", 1)
    assert (claim.payload, claim.deliveries) == (b"a", 1 + len(arrived))


async def test_the_backlog_says_how_many_wait_and_how_many_are_taken(world: World) -> None:
    node = await taker(world, "charge", "mail")
    await Starts(node.inbox).store("charge", b"a", b"b", b"c")
    claims = await all_of(node.tasks, "charge", 2)
    await backlog_becomes(node.tasks, TaskBacklog("charge", 1, 2), TaskBacklog("mail", 0, 0))
    for claim in claims:
        node.tasks.done(claim)
    await all_of(node.tasks, "charge", 1)
    await backlog_becomes(node.tasks, TaskBacklog("charge", 0, 1), TaskBacklog("mail", 0, 0))


async def test_what_is_written_down_of_a_failed_task_is_there_until_it_is_removed(world: World) -> None:
    tasks, other = (await world.node()).tasks, (await world.node()).tasks
    assert await other.row("one") is None
    await tasks.write_row("one", b"1")
    await tasks.write_row("two/ \u00e9", b"2")
    await tasks.write_row("one", b"3")
    assert await other.row("one") == b"3"
    assert await other.rows() == [TaskRow("two/ \u00e9", b"2"), TaskRow("one", b"3")]
    await other.drop_row("one")
    await other.drop_row("never")
    assert await tasks.row("one") is None
    assert await tasks.rows() == [TaskRow("two/ \u00e9", b"2")]


def start_of(task_id: str, args: bytes = b"{}") -> bytes:
    """A start as it is relayed."""
    return encode_send(StartTask(id=task_id, task="charge", source="order/1", args=Raw(args)))


async def test_the_stream_knows_which_starts_it_has(world: World) -> None:
    node = await taker(world, "charge")
    assert not await node.tasks.has_start("one")
    starts = Starts(node.inbox)
    await starts.store("charge", start_of("one"), start_of("two \u00e9", b'{"id":"three"}'), b"no start")
    await starts.store("never taken", start_of("four"))
    for task_id in ("one", "two \u00e9", "four"):
        assert await node.tasks.has_start(task_id)
    for task_id in ("three", "on", "ONE", '"', "*", "no start"):
        assert not await node.tasks.has_start(task_id)
    [claim, *_] = await all_of(node.tasks, "charge", 3)
    node.tasks.done(claim)
    assert await node.tasks.has_start("one"), "as long as the stream has it"


async def test_all_nodes_hear_of_what_is_cancelled_also_what_was_before(world: World) -> None:
    tasks, node = (await world.node()).tasks, await world.node()
    await tasks.cancel("early", "by its actor")
    await tasks.write_row("early", b"a row is no cancellation")
    heard: Received[tuple[str, str]] = Received()
    following = await node.tasks.follow_cancelled(lambda *row: heard.receive(row))
    assert await heard.count(1) == [("early", "by its actor")]
    await tasks.cancel("later", "by an operator")
    assert (await heard.count(2))[1] == ("later", "by an operator")
    await node.restart()
    await tasks.cancel("after", "x")
    await heard.until(lambda rows: ("after", "x") in rows)
    await following.stop()


class TasksMachine(SideMachine):
    """Two nodes that take starts; each start is with one of them at a time, and ends only when it is done."""

    def prepare(self) -> None:
        self.nodes = [self.stage.run(taker(self.stage.world, "a", "b")) for _ in range(2)]
        self.starts = [Starts(self.nodes[0].inbox, source) for source in range(2)]
        self.open: dict[str, set[int]] = defaultdict(set)
        self.held: dict[int, tuple[int, str, TaskClaim]] = {}
        self.deliveries: dict[int, int] = defaultdict(int)

    @rule(task=st.sampled_from("ab"), source=st.integers(0, 1), count=st.integers(1, 3))
    def store(self, task: str, source: int, count: int) -> None:
        self.open[task].update(self.stage.run(self.starts[source].store(task, *[b"x"] * count)))

    @rule(task=st.sampled_from("ab"), node=st.integers(0, 1), most=st.integers(1, 4))
    def take(self, task: str, node: int, most: int) -> None:
        claims = self.stage.run(self.nodes[node].tasks.take(task, most, 0.0))
        assert len(claims) <= most
        for claim in claims:
            assert claim.sequence in self.open[task], "a start that is done, or another task's"
            assert claim.sequence not in self.held, "a start that somebody has"
            self.deliveries[claim.sequence] += 1
            assert claim.deliveries == self.deliveries[claim.sequence]
            self.held[claim.sequence] = (node, task, claim)

    @rule(which=st.integers(0, 5), how=st.sampled_from(["done", "again", "keep"]))
    def say(self, which: int, how: str) -> None:
        if not self.held:
            return
        sequence = sorted(self.held)[which % len(self.held)]
        node, task, claim = self.held[sequence]
        if how == "keep":
            self.nodes[node].tasks.keep(claim)
            return
        del self.held[sequence]
        if how == "done":
            self.nodes[node].tasks.done(claim)
            self.open[task].discard(sequence)
        else:
            self.nodes[node].tasks.again(claim, 0.0)

    def finish(self) -> None:
        for sequence, (node, task, claim) in self.held.items():
            self.nodes[node].tasks.done(claim)
            self.open[task].discard(sequence)
        for task in "ab":
            left = self.stage.run(all_of(self.nodes[0].tasks, task, len(self.open[task])))
            assert {one.sequence for one in left} == self.open[task]


def test_a_start_is_with_one_node_at_a_time_until_it_is_done(adapters: Side) -> None:
    assert SHARDS > 1
    run_machine(TasksMachine, adapters)
