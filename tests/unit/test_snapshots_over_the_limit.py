"""Snapshots over the server's largest message: compressed, and where that does not suffice not tried at each commit."""

import logging
import random
from dataclasses import dataclass

import pytest

from aether import Actor, ActorId, After, Model, RuntimeConfig, command, event
from aether.memory.server import InMemoryServer
from aether.runtime.snapshots import describe_snapshot
from tests.support.alone import runtime_alone

PAYLOAD_BYTES_MAX = 32 * 1024
EVERY = 40
CONFIG = RuntimeConfig(snapshot_every_events=EVERY, snapshot_after_replay_s=0)
DIARY = ActorId("diary", "a")


@dataclass(frozen=True)
class Noted:
    """One more."""

    text: str


class Diary(Actor):
    """Keeps what it is told, and has schedules."""

    notes: tuple[str, ...] = ()

    @command
    def note(self, text: str) -> None:
        self.emit(Noted(text))

    @command
    def remind(self, day: int) -> None:
        self.schedule(f"day {day}", After(days=day + 1), Diary.note, self.id.key, "later")

    @event
    def noted(self, e: Noted) -> None:
        self.notes = (*self.notes, e.text)


model = Model("diaries", actors=[Diary])


async def test_a_snapshot_of_many_schedules_is_compressed_and_read_again() -> None:
    server = InMemoryServer(payload_bytes_max=PAYLOAD_BYTES_MAX)
    async with runtime_alone(server, model, CONFIG) as runtime:
        for day in range(200):
            await runtime.actor(Diary, "a").remind(day)
        await runtime.stop_vm(DIARY)
        assert runtime.counters.snapshots_too_large == 0
    raw = server.space("alone", 256).snapshots[DIARY].now
    assert raw is not None
    assert len(raw) < PAYLOAD_BYTES_MAX
    assert describe_snapshot(raw, model.actor_type("diary")) == {
        "version": 200, "position": 200, "bytes": len(raw), "usable": True
    }  # fmt: skip
    async with runtime_alone(server, model, CONFIG) as again:
        vm = await again.create_vm(DIARY)
        assert vm.snapshot_version == 200
        assert vm.fold.agenda is not None
        assert list(vm.fold.agenda.schedules) == [f"day {day}" for day in range(200)]


async def test_what_is_too_large_compressed_is_said_once_in_so_many_events(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(1)  # noqa: S311 - no secret
    caplog.set_level(logging.WARNING, "aether.snapshots")
    async with runtime_alone(InMemoryServer(payload_bytes_max=PAYLOAD_BYTES_MAX), model, CONFIG) as runtime:
        diary = runtime.actor(Diary, "a")
        for _ in range(EVERY):
            await diary.note(chance.randbytes(1024).hex())
        assert runtime._worker is not None
        await runtime._worker.snapshots.flush()
        for _ in range(EVERY - 1):
            await diary.note("short")
        assert runtime.counters.snapshots_too_large == 1
        (said,) = [one for one in caplog.records if "over the limit" in one.getMessage()]
        assert (said.levelname, said.__dict__["actor"]) == ("WARNING", "diary/a")
        await diary.note("short")
        await runtime._worker.snapshots.flush()
        assert runtime.counters.snapshots_too_large == 2
        assert await runtime.connection.snapshots.load(DIARY) is None
