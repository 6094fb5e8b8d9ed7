"""The laws of `Timers`: a tick is given out once it is due; only what a later commit says takes a setting's place."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aether.ids import ActorId, Position
from aether.names import shard_of
from aether.ports import Timers
from aether.sends import CancelSchedule, SetSchedule, decode_schedule
from tests.contract.harness import SHARDS, Received, Side, World, commit

HOME = ActorId("account", "alice/\u00e9.>")
SHARD = shard_of(HOME, SHARDS)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR = datetime(2100, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)


def setting(at: datetime, position: int = 1, name: str = "a.b *", number: int = 0, **more: Any) -> SetSchedule:
    of = {"source": str(HOME), "kind": "account", "key": HOME.key, "command": "expire", **more}
    return SetSchedule(name=name, id=f"id {position}", at=at, position=position, number=number, **of)


def cancelling(position: int, name: str = "a.b *") -> CancelSchedule:
    return CancelSchedule(name=name, source=str(HOME), position=position)


async def due(timers: Timers, count: int, shard: int = SHARD) -> list[tuple[int, Any]]:
    """The ticks of a shard, once there are so many."""
    rung = Received[bool]()
    bell = await timers.follow(shard, lambda: rung.receive(True))
    found: list[tuple[int, Any]] = []
    heard = 0
    while len(found) < count:
        batch = await timers.fired(shard, found[-1][0] if found else 0)
        found += [(one.sequence, decode_schedule(one.payload)) for one in batch.messages]
        if not batch.more and len(found) < count:
            heard = len(await rung.count(heard + 1))
    await bell.stop()
    return found


async def test_a_tick_that_is_due_is_given_out_as_it_was_set(world: World) -> None:
    timers, other = (await world.node()).timers, (await world.node()).timers
    one = setting(LONG_AGO, rule="every 60", zone="UTC", catch_up="one")
    assert await timers.arm(one)
    world.pass_time(1)
    ((_, found),) = await due(other, 1)
    assert found == one
    assert await timers.armed() == []


async def test_the_first_time_of_all_is_past_and_the_last_one_is_not_due(world: World) -> None:
    timers = (await world.node()).timers
    last = setting(datetime.max.replace(tzinfo=UTC), name="last")
    assert await timers.arm(last)
    assert await timers.arm(setting(datetime.min.replace(tzinfo=UTC), name="first"))
    world.pass_time(1)
    ((_, found),) = await due(timers, 1)
    assert found.name == "first"
    assert await timers.armed() == [last]


async def test_what_is_not_due_waits_and_is_listed(world: World) -> None:
    timers, other = (await world.node()).timers, (await world.node()).timers
    far = setting(FAR, number=3)
    bob = setting(FAR, source="order/bob")
    assert await timers.arm(far)
    assert await timers.arm(bob)
    assert sorted(await other.armed(), key=lambda one: one.source) == [far, bob]
    assert await other.armed("order") == [bob]
    assert await other.armed("account", HOME.key) == [far]
    assert await other.armed("account", "bob") == []
    assert (await other.fired(SHARD, 0)).messages == []


async def test_the_servers_clock_goes_on(world: World) -> None:
    timers, other = (await world.node()).timers, (await world.node()).timers
    now = await timers.now()
    assert now.utcoffset() == timedelta(0)
    assert await other.now() >= now


async def test_all_that_wait_are_listed_however_many(world: World) -> None:
    timers = (await world.node()).timers
    names = {str(n) for n in range(300)}
    await asyncio.gather(*(timers.arm(setting(FAR, name=name)) for name in names))
    assert {one.name for one in await timers.armed()} == names


async def test_the_end_is_another_one_when_something_has_changed(world: World) -> None:
    timers = (await world.node()).timers
    ends = [await timers.end()]
    await timers.arm(setting(LONG_AGO))
    ends.append(await timers.end())
    world.pass_time(1)
    await due(timers, 1)
    ends.append(await timers.end())
    await timers.arm(setting(FAR, 2))
    ends.append(await timers.end())
    assert ends[0] < ends[1] <= ends[2] < ends[3]


async def test_a_tick_is_not_given_out_before_it_is_due(world: World, adapters: Side) -> None:
    timers = (await world.node()).timers
    now = datetime.now(UTC) if not adapters.manual_time else datetime.fromtimestamp(1_700_000_000, UTC)
    later = setting(now + timedelta(seconds=1.5))
    await timers.arm(later)
    await timers.arm(setting(LONG_AGO, name="now"))
    world.pass_time(1)
    ((_, first),) = await due(timers, 1)
    assert first.name == "now"
    assert await timers.armed() == [later]
    world.pass_time(1)
    assert [one for _, one in await due(timers, 2)][1] == later
    if not adapters.manual_time:
        assert datetime.now(UTC) >= later.at


async def test_a_later_commit_takes_the_place_and_an_earlier_one_does_not(world: World) -> None:
    timers, stale = (await world.node()).timers, (await world.node()).timers
    assert await timers.arm(setting(FAR, 5, number=2))
    assert not await stale.arm(setting(LONG_AGO, 4))
    assert not await stale.arm(setting(LONG_AGO, 5, number=1))
    assert not await stale.arm(cancelling(4))
    assert await stale.arm(setting(FAR, 5, number=2)), "the same one again"
    assert [one.position for one in await timers.armed()] == [5]
    last = setting(LONG_AGO, 6)
    assert await stale.arm(last)
    world.pass_time(1)
    assert [one for _, one in await due(timers, 1)] == [last]


async def test_a_cancelled_schedule_is_not_given_out_and_keeps_its_place(world: World) -> None:
    timers, stale = (await world.node()).timers, (await world.node()).timers
    assert await timers.arm(setting(FAR, 1))
    assert await timers.arm(cancelling(2))
    assert await timers.armed() == []
    assert not await stale.arm(setting(LONG_AGO, 1))
    assert await timers.arm(setting(LONG_AGO, 1, name="another"))
    world.pass_time(1)
    assert [one.name for _, one in await due(timers, 1)] == ["another"]
    assert await timers.arm(setting(FAR, 3))
    assert [one.position for one in await timers.armed()] == [3]


async def test_two_that_arm_at_once_leave_the_later_one(world: World) -> None:
    nodes = [(await world.node()).timers for _ in range(3)]
    for round_ in range(0, 60, 6):
        sends = [setting(FAR, round_ + n) if n % 2 else cancelling(round_ + n) for n in range(1, 7)]
        await asyncio.gather(*(nodes[n % 3].arm(send) for n, send in enumerate(sends)))
        assert await nodes[0].armed() == []
    await asyncio.gather(*(nodes[n % 3].arm(setting(FAR, 100 + n)) for n in range(9)))
    assert [one.position for one in await nodes[0].armed()] == [108]


async def test_ticks_are_removed_up_to_a_sequence(world: World) -> None:
    timers = (await world.node()).timers
    for n in range(3):
        await timers.arm(setting(LONG_AGO, name=str(n)))
        world.pass_time(1)
    found = await due(timers, 3)
    await timers.remove_fired(SHARD, found[1][0])
    assert [one.sequence for one in (await timers.fired(SHARD, 0)).messages] == [found[2][0]]
    await timers.remove_fired(SHARD, found[1][0])
    assert (await timers.fired(SHARD, found[2][0])).messages == []


async def test_ten_thousand_are_due_at_once(world: World, adapters: Side) -> None:
    timers = (await world.node()).timers
    count = 10_000 if adapters.manual_time else 2_000
    for n in range(0, count, 100):
        await asyncio.gather(*(timers.arm(setting(LONG_AGO, name=str(n + m))) for m in range(100)))
    world.pass_time(1)
    assert {one.name for _, one in await due(timers, count)} == {str(n) for n in range(count)}


@pytest.mark.parametrize("number", range(SHARDS))
async def test_a_bell_rings_for_its_shard(world: World, number: int) -> None:
    timers = (await world.node()).timers
    key = next(key for n in range(1000) if shard_of(ActorId("order", key := f"k{n}"), SHARDS) == number)
    rung = Received[bool]()
    bell = await timers.follow(number, lambda: rung.receive(True))
    elsewhere = await timers.follow((number + 1) % SHARDS, lambda: pytest.fail("of another shard"))
    await timers.arm(setting(LONG_AGO, source=f"order/{key}"))
    world.pass_time(1)
    await rung.count(1)
    await bell.stop()
    await elsewhere.stop()


async def test_what_a_lost_commit_has_set_gives_way_to_what_a_later_one_sets(world: World) -> None:
    """The stream of commits went back, and positions come again."""
    node = await world.node()
    assert await node.timers.arm(setting(FAR, 5))
    assert not await node.timers.arm(setting(FAR, 4))
    again = setting(FAR, 4, command="other")
    assert await node.timers.arm(again, node.inbox.end_of_commits), "it ends at 0"
    assert await node.timers.armed() == [again]
    for version in range(1, 6):
        await commit(node.store, HOME, version, Position(version - 1))
    assert not await node.timers.arm(setting(FAR, 3), node.inbox.end_of_commits)
    same_place = setting(LONG_AGO, 4, command="another")
    assert await node.timers.arm(same_place)
    world.pass_time(1)
    assert [one for _, one in await due(node.timers, 1)] == [same_place]


async def test_what_is_overdue_is_read_and_forgotten_but_no_later_setting(world: World) -> None:
    timers = (await world.node()).timers
    far = setting(FAR, name="far")
    assert await timers.arm(far)
    found, _, more = await timers.overdue(0, 300)
    assert (found, more) == ([], False)
    ((sequence, late),) = (await timers.overdue(0, -4e9)).found
    assert late == far
    later = setting(FAR, position=2, name="far")
    assert await timers.arm(later)
    await timers.remove_overdue(far, sequence)
    assert await timers.armed() == [later]
    ((sequence, late),) = (await timers.overdue(0, -4e9)).found
    await timers.remove_overdue(late, sequence)
    assert await timers.armed() == []
