"""A pool in memory: code that takes a client runs on it, through crashes and over time."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

import aether
from aether import Actor, ClientUnusable, Model, Rejected, command, event
from aether.config import CallConfig
from aether.core.cluster.overview import ShardState
from aether.testing import PoolClock, local_pool
from tests.support.actors import GATES, Account, Deposited, Waiter, Withdrawn, model
from tests.support.nodes import until


async def pay(client: aether.Client, payer: str, payee: str, amount: int) -> int:
    """Code of an application: it knows a client and no pool."""
    await client.actor(Account, payer).withdraw(amount)
    balance: int = await client.actor(Account, payee).deposit(amount)
    return balance


async def test_code_that_takes_a_client_runs_on_it() -> None:
    async with local_pool(model) as pool:
        client = pool.client
        assert isinstance(client, aether.Client)
        assert await client.actor(Account, "alice").deposit(10) == 10
        async with client.subscribe(Withdrawn) as withdrawals:
            assert await pay(client, "alice", "bob", 4) == 4
            assert (await anext(withdrawals)).event == Withdrawn(4)
        with pytest.raises(Rejected):
            await pay(client, "alice", "bob", 100)
        assert [one.event for one in await client.history(Account, "alice")] == [Deposited(10), Withdrawn(4)]
        assert (await client.state(Account, "alice", version=1)).state.balance == 10
        assert {key async for key in client.keys(Account)} == {"alice", "bob"}
        assert client.namespace == "tests"
        with pytest.raises(aether.UnknownActor):
            await client.actor("nobody", "x").deposit(1)


async def test_every_worker_serves_its_share() -> None:
    async with local_pool(model, workers=3) as pool:
        for n in range(60):
            await pool.client.actor(Account, f"a{n}").deposit(1)
        active = [len(worker.runtime.get_active_vms()) for worker in pool.workers]
        assert sum(active) == 60
        assert all(active)
        for n in range(60):
            vms = pool.worker_of(Account, f"a{n}").runtime.get_active_vms()
            assert f"a{n}" in {vm.actor_id.key for vm in vms}


async def test_what_was_answered_outlives_every_worker() -> None:
    async with local_pool(model) as pool:
        for n in range(10):
            await pool.client.actor(Account, f"a{n}").deposit(n + 1)
        for worker in pool.workers:
            new = await pool.crash(worker)
            assert new in pool.workers
            assert worker not in pool.workers
        assert [await pool.client.actor(Account, f"a{n}").statement() for n in range(10)] == list(range(1, 11))
        with pytest.raises(ValueError, match="has crashed already"):
            await pool.crash(worker)


async def test_a_command_whose_worker_crashes_in_the_middle_happens_once() -> None:
    GATES["crash"] = asyncio.Event()
    async with local_pool(model, workers=1) as pool:
        asked = asyncio.ensure_future(pool.client.actor(Waiter, "w").wait_for("crash"))
        await until(lambda: len(pool.workers[0].runtime.get_active_vms()) == 1)
        await asyncio.sleep(0.01)
        old, new = pool.workers[0], await pool.crash(0)
        GATES["crash"].set()
        assert await asked == 1
        assert (old.runtime.counters.commits, new.runtime.counters.commits) == (0, 1)
        assert await pool.client.actor(Waiter, "w").count_now() == 2


async def test_commands_go_on_while_workers_crash() -> None:
    async with local_pool(model, calls=CallConfig(deadline_s=60)) as pool:
        calls = [asyncio.ensure_future(pool.client.actor(Account, f"a{n % 5}").deposit(1)) for n in range(200)]
        for _ in range(10):
            await asyncio.sleep(0.001)
            await pool.crash()
        assert len(await asyncio.gather(*calls)) == 200
        assert [await pool.client.actor(Account, f"a{n}").statement() for n in range(5)] == [40] * 5


@dataclass(frozen=True, slots=True)
class Held:
    """Held until then."""

    until: datetime


class Seat(Actor):
    """A seat that is held for a quarter of an hour."""

    until: datetime | None = None

    @command
    def hold(self) -> datetime:
        """Hold it, if nobody does."""
        if self.until is not None and self.context.now < self.until:
            raise Rejected("held", until=self.until)
        self.emit(Held(self.context.now + timedelta(minutes=15)))
        return self.context.now

    @event
    def held(self, e: Held) -> None:
        """Keep it."""
        self.until = e.until


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
seats = Model("seats", actors=[Seat])


async def test_time_can_be_moved_on() -> None:
    async with local_pool(seats, start=NOON) as pool:
        seat = pool.client.actor(Seat, "12a")
        assert timedelta(0) <= await seat.hold() - NOON < timedelta(minutes=1)
        with pytest.raises(Rejected):
            await seat.hold()
        await pool.clock.advance(minutes=15)
        assert await seat.hold() >= NOON + timedelta(minutes=15)
        [first, second] = await pool.client.history(Seat, "12a")
        assert second.time - first.time >= timedelta(minutes=15)
        assert pool.clock.now() >= second.time


async def test_the_deadline_of_a_call_passes_with_the_time() -> None:
    GATES["late"] = asyncio.Event()
    async with local_pool(model) as pool:
        asked = asyncio.ensure_future(pool.client.actor(Waiter, "w", deadline_s=30).wait_for("late"))
        await until(lambda: any(worker.runtime.get_active_vms() for worker in pool.workers))
        await pool.clock.advance(minutes=1)
        with pytest.raises(aether.DeadlineExceeded):
            await asked
        GATES["late"].set()


async def test_a_lifespan_is_of_each_worker() -> None:
    entered: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        entered.append("in")
        yield
        entered.append("out")

    async with local_pool(Model("tests", actors=[Account], lifespan=lifespan), workers=2) as pool:
        assert entered == ["in"] * 2
        await pool.crash(1)
        assert sorted(entered) == ["in", "in", "in", "out"]
    assert sorted(entered) == ["in"] * 3 + ["out"] * 3


async def test_a_call_that_is_open_when_the_pool_ends_hears_of_it() -> None:
    GATES["end"] = asyncio.Event()
    async with local_pool(model) as pool:
        asked = asyncio.ensure_future(pool.client.actor(Waiter, "w").wait_for("end"))
        await until(lambda: any(worker.runtime.get_active_vms() for worker in pool.workers))
        GATES["end"].set()
    with pytest.raises(aether.ClientUnusable):
        await asked


async def test_nothing_is_left_behind() -> None:
    before = asyncio.all_tasks()
    async with local_pool(model) as pool:
        await pool.client.actor(Account, "a").deposit(1)
        await pool.crash()
        client = pool.client
    with pytest.raises(aether.ClientUnusable):
        await client.actor(Account, "a").deposit(1)
    assert asyncio.all_tasks() == before
    async with local_pool(model) as other:
        assert await other.client.actor(Account, "a").statement() == 0
    gc.collect()


async def test_a_pool_that_does_not_start_stops_what_had_started() -> None:
    exits: list[int] = []

    @asynccontextmanager
    async def second_fails() -> AsyncIterator[None]:
        if exits:
            raise OSError("no database")
        exits.append(0)
        yield
        exits.append(1)

    before = asyncio.all_tasks()
    with pytest.raises(aether.AetherError, match="no database"):
        async with local_pool(Model("tests", actors=[Account], lifespan=second_fails)):
            raise AssertionError("it serves")
    assert exits == [0, 1]
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("workers", [0, 33])
async def test_a_pool_has_a_worker_and_not_too_many(workers: int) -> None:
    with pytest.raises(ValueError, match="1-32 workers"):
        async with local_pool(model, workers=workers):
            raise AssertionError("it serves")


# ------------------------------------------------------------------------------------------------ the clock


async def test_alarms_ring_in_their_order_at_their_times() -> None:
    clock, rung = PoolClock(NOON), list[tuple[str, float]]()
    began_s = clock.boot_s()
    for name, delay_s in (("c", 300.0), ("a", 100.0), ("b", 200.0), ("d", 500.0)):
        clock.call_after(delay_s, lambda name=name: rung.append((name, clock.boot_s() - began_s)))  # type: ignore[misc]
    await clock.advance(minutes=6)
    assert [name for name, _ in rung] == ["a", "b", "c"]
    assert [round(at_s / 10) for _, at_s in rung] == [10, 20, 30]
    assert clock.boot_s() - began_s >= 360


async def test_an_alarm_of_an_alarm_is_on_the_way_too() -> None:
    clock, rung = PoolClock(), list[int]()

    def again() -> None:
        rung.append(1)
        clock.call_after(60, again)

    clock.call_after(60, again)
    await clock.advance(hours=1)
    assert len(rung) in (59, 60)


async def test_time_passes_by_itself() -> None:
    clock, rung = PoolClock(), asyncio.Event()
    await clock.advance(days=1)
    clock.call_after(0.01, rung.set)
    await rung.wait()


async def test_steps_of_several_tasks_add_up() -> None:
    clock, began = PoolClock(NOON), list[int]()
    for hours in (1, 2, 3):
        clock.call_after(hours * 3600, lambda: began.append(clock.now().hour))
    await asyncio.gather(*(clock.advance(hours=1) for _ in range(3)))
    assert (clock.now().hour, began) == (15, [13, 14, 15])


@pytest.mark.parametrize("days", [float("nan"), float("inf"), 1e12, 1e9, 3e6])
async def test_a_step_that_leads_nowhere_is_refused_and_not_taken(days: float) -> None:
    clock = PoolClock(NOON)
    with pytest.raises(ValueError, match=r"finite number|years end with 9999"):
        await clock.advance(days=days)
    assert clock.now().date() == NOON.date()


async def test_a_handler_that_hangs_does_not_hold_up_the_end_of_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aether.testing.local.DRAIN_TIMEOUT_S", 0.05)
    async with asyncio.timeout(10), local_pool(Model("tests", actors=[Hanging])) as pool:
        hangs = asyncio.ensure_future(pool.client.actor(Hanging, "a").hang())
        await asyncio.wait_for(HANGS.wait(), 5)
    with pytest.raises(ClientUnusable):
        await hangs


HANGS = asyncio.Event()


class Hanging(Actor):
    """Has a handler without end."""

    @command
    async def hang(self) -> None:
        """Tell the test, and wait for nothing."""
        HANGS.set()
        await asyncio.Event().wait()


async def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="forward"):
        await PoolClock().advance(seconds=-1)
    with pytest.raises(ValueError, match="time zone"):
        PoolClock(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


async def test_what_the_workers_have_measured_is_there_for_a_client() -> None:
    async with local_pool(model, workers=3) as pool:
        for n in range(6):
            await pool.client.actor(Account, f"a{n}").deposit(1)
        with pytest.raises(Rejected):
            await pool.client.actor(Account, "a0").withdraw(100)
        metrics = await pool.client.metrics()
        sums = metrics.sum()
        assert ([one.member for one in metrics.workers], metrics.missing) == (["local-0", "local-1", "local-2"], ())
        assert sums.value("aether_commands_total", "account", "deposit", "ok") == 6
        assert sums.value("aether_commands_total", "account", "withdraw", "rejected") == 1
        assert sums.value("aether_active_actors", "account") == 6
        assert sums.value("aether_active_actors", "waiter") == 0
        assert sums.value("aether_shards_owned") == sums.value("aether_shards") == 32
        assert sums.value("aether_commits_total") == 6
        await pool.crash(pool.worker_of(Account, "a0"))
        assert (await pool.client.metrics()).sum().value("aether_active_actors", "account") < 6


async def test_an_overview_shows_its_workers_and_that_each_shard_has_one() -> None:
    async with local_pool(model, workers=3) as pool:
        await pool.crash(1)
        seen = await pool.client.untyped.overview()
        assert [(one["node"], one["slot"], one["state"]) for one in seen.members] == [
            ("local", 0, "serving"),
            ("local", 1, "serving"),
            ("local", 2, "serving"),
        ]
        assert sum(one["shards"] for one in seen.members) == len(seen.shards) == 32
        assert {one.state for one in seen.shards} == {ShardState.HELD}
        assert (await pool.client.metrics()).missing == ()
