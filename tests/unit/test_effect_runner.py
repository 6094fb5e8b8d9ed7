"""What one member does about its shards: one thing at a time for each, and nothing after its end."""

import asyncio
import gc
import warnings

from aether.cluster.effect_runner import EffectRunner
from aether.core.cluster.effects import Abandon, AcquireLease, Release, StartShard, StopShard
from aether.core.cluster.handoff import ShardTrigger
from aether.core.cluster.membership import LeaseRow
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import FaultPoint, Faults, Lost, StoredUnknown
from aether.memory.server import InMemoryServer
from aether.table_keys import lease_key
from tests.support.members import FAST, SHARDS, RecordingProvider, soon

US = LeaseRow(holder="a-0", session=1, incarnation="run-1")


class Stage:
    """EffectRunner over a memory connection, and what they have reported."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.reports: list[tuple[int, int, ShardTrigger, int]] = []
        self.provider = RecordingProvider()
        self.connection = InMemoryConnection(InMemoryServer(), "tests", shards=SHARDS, faults=faults)
        self.runner = EffectRunner(
            self.connection.table,
            self.connection.transport,
            self.provider,
            FAST,
            lambda *report: self.reports.append(report),
        )


async def test_each_outcome_is_reported_with_its_serial() -> None:
    stage = Stage()
    stage.runner.perform(AcquireLease(1, 7, None, US))
    await soon(lambda: stage.reports == [(1, 7, ShardTrigger.ACQUIRED, 1)])
    stage.runner.perform(AcquireLease(1, 8, None, US))
    await soon(lambda: stage.reports[1:] == [(1, 8, ShardTrigger.REFUSED, 0)])
    stage.runner.perform(Release(1, 9, 1))
    await soon(lambda: stage.reports[2:] == [(1, 9, ShardTrigger.RELEASED, 2)])
    stage.runner.perform(Release(1, 10, 1))
    await soon(lambda: stage.reports[3:] == [(1, 10, ShardTrigger.REFUSED, 0)])
    stage.runner.perform(StartShard(1, 11))
    await soon(lambda: stage.reports[4:] == [(1, 11, ShardTrigger.STARTED, 0)])
    stage.runner.perform(StopShard(1, 12))
    await soon(lambda: stage.reports[5:] == [(1, 12, ShardTrigger.STOPPED, 0)])


async def test_a_write_without_an_answer_is_unknown_whether_it_was_stored_or_not() -> None:
    stage = Stage(Faults.script([(FaultPoint.TABLE_WRITE, StoredUnknown()), (FaultPoint.TABLE_WRITE, Lost())]))
    stage.runner.perform(AcquireLease(1, 7, None, US))
    stage.runner.perform(AcquireLease(2, 7, None, US))
    await soon(lambda: len(stage.reports) == 2)
    assert sorted(stage.reports) == [(1, 7, ShardTrigger.UNKNOWN, 0), (2, 7, ShardTrigger.UNKNOWN, 0)]
    assert stage.connection.space.live(lease_key(1)) is not None
    assert stage.connection.space.live(lease_key(2)) is None


async def test_what_is_abandoned_reports_nothing_more_and_the_next_work_waits_for_its_end() -> None:
    stage = Stage()
    stage.provider.gate = asyncio.Event()
    stage.runner.perform(StartShard(1, 7))
    await soon(lambda: len(stage.reports) == 1)
    stage.runner.perform(StopShard(1, 8))
    await soon(lambda: stage.provider.of(1) == ["serve", "prepare", "leave", "stop_vm"])
    stage.runner.perform(Abandon(1))
    assert stage.provider.of(1)[4:] == ["abandon"]
    stage.runner.perform(StartShard(1, 9))
    await soon(lambda: len(stage.reports) == 2)
    assert stage.reports[1] == (1, 9, ShardTrigger.STARTED, 0)
    stage.provider.gate.set()
    await stage.runner.cancel()
    assert len(stage.reports) == 2
    assert stage.provider.of(1) == ["serve", "prepare", "leave", "stop_vm", "abandon", "serve"]


async def test_work_that_ends_before_it_began_leaves_no_trace() -> None:
    stage = Stage()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stage.runner.perform(AcquireLease(1, 7, None, US))
        stage.runner.perform(StartShard(2, 7))
        await stage.runner.cancel()
        gc.collect()
    assert [str(each.message) for each in caught] == []
    assert stage.reports == []
    assert stage.connection.space.live(lease_key(1)) is None


class SlowToGiveUp(RecordingProvider):
    """Its first serving never comes to an end by itself, and takes a while to be cancelled."""

    async def serve_shard(self, shard: int) -> None:
        """Wait for ever, once."""
        await super().serve_shard(shard)
        if self.of(shard).count("serve") == 1:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                for _ in range(5):
                    await asyncio.sleep(0)
                self.calls.append(("given up", shard))


async def test_a_shard_is_opened_again_only_when_its_first_opening_has_ended() -> None:
    stage = Stage()
    provider = SlowToGiveUp()
    runner = EffectRunner(
        stage.connection.table, stage.connection.transport, provider, FAST, lambda *report: stage.reports.append(report)
    )
    runner.perform(StartShard(1, 7))
    await soon(lambda: provider.of(1) == ["serve"])
    runner.perform(Abandon(1))
    runner.perform(StartShard(1, 8))
    await soon(lambda: stage.reports == [(1, 8, ShardTrigger.STARTED, 0)])
    assert provider.of(1) == ["serve", "abandon", "given up", "serve"]
