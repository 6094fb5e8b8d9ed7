"""No reader is told that something is durable before a sync that began after it was written has ended."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from aether.ids import Position
from aether.system import sync_barrier
from aether.system.block_files import Identity, SyncFailed
from aether.system.environment import is_compiled
from aether.system.sync_barrier import MEAN_OF, SHORT_S, SyncBarrier
from tests.support.members import soon

SLOW_S = 10 * SHORT_S


class Syncs:
    """A disk whose syncs are counted; what was written is durable when a sync that began later has ended."""

    def __init__(self) -> None:
        self.began = 0
        self.ended = 0
        self.threads: list[str] = []
        self.error: Exception | None = None
        self.slow: threading.Event | None = None
        self.stream = (0, 1)

    def __call__(self) -> Identity:
        self.began += 1
        self.threads.append(threading.current_thread().name)
        if self.slow is not None:
            assert self.slow.wait(10)
        if self.error is not None:
            raise self.error
        self.ended += 1
        return self.stream

    def go_on(self) -> None:
        """Let the slow sync that is under way end."""
        assert self.slow is not None
        self.slow.set()


def barrier_of(syncs: Syncs) -> tuple[SyncBarrier, list[str]]:
    failed: list[str] = []
    return SyncBarrier(syncs, failed.append, lambda: syncs.stream), failed


async def sync_under_way(position: int = 1) -> tuple[Syncs, SyncBarrier, list[str], list[str]]:
    """A slow sync, made in the thread, for a write that waits; what is called failed, and what the write is told."""
    syncs = Syncs()
    barrier, failed = barrier_of(syncs)
    barrier._mean_s, syncs.slow = SLOW_S, threading.Event()
    told: list[str] = []
    barrier.after_write(Position(position), told.append)
    await soon(lambda: syncs.began == 1)
    return syncs, barrier, failed, told


async def test_all_who_wait_in_one_turn_of_the_loop_share_one_sync() -> None:
    syncs = Syncs()
    barrier, _ = barrier_of(syncs)
    told: list[str] = []
    for position in (1, 2, 3):
        barrier.after_write(Position(position), told.append)
    assert (syncs.began, told) == (0, [])
    await soon(lambda: len(told) == 3)
    assert (syncs.ended, told, barrier.position) == (1, ["", "", ""], 3)


async def test_what_is_known_to_be_durable_is_told_at_once_to_readers_and_never_to_writers() -> None:
    syncs = Syncs()
    barrier, _ = barrier_of(syncs)
    told: list[str] = []
    barrier.after_read(Position(5), told.append)
    await soon(lambda: told == [""])
    barrier.after_read(Position(4), told.append)
    barrier.after_notice(Position(5), told.append)
    assert told == [""] * 3
    barrier.after_write(Position(4), told.append)  # the stream was deleted and made anew
    assert told == [""] * 3
    await soon(lambda: len(told) == 4)
    assert syncs.ended == 2


async def test_on_a_new_connection_no_reader_is_told_anything_before_it_is_proved_again() -> None:
    syncs = Syncs()
    barrier, _ = barrier_of(syncs)
    told: list[str] = []
    barrier.after_read(Position(5), told.append)
    await soon(lambda: told == [""])
    barrier.hold()
    barrier.after_read(Position(4), told.append)
    barrier.after_write(Position(6), told.append)
    barrier.after_notice(Position(6), told.append)
    await asyncio.sleep(3 * sync_barrier.LAZY_S)
    assert (len(told), syncs.began) == (1, 1)
    barrier.go_on()
    await soon(lambda: len(told) == 4)
    assert (syncs.ended, barrier.position) == (2, 6)


async def test_a_sync_that_began_before_a_new_connection_says_nothing_of_its_positions() -> None:
    syncs, barrier, _, told = await sync_under_way(1000)
    barrier.hold()
    syncs.go_on()
    await soon(lambda: told == [""])
    assert barrier.position == 0
    assert await barrier.close()


async def test_who_comes_while_a_sync_runs_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs()
    barrier, _ = barrier_of(syncs)
    barrier._mean_s = SLOW_S
    syncs.slow = threading.Event()
    told: list[str] = []
    barrier.after_write(Position(1), lambda why: told.append("first"))
    await soon(lambda: syncs.began == 1)
    barrier.after_write(Position(2), lambda why: told.append(f"second after {syncs.ended} syncs"))
    await asyncio.sleep(0.01)
    assert told == []
    syncs.go_on()
    await soon(lambda: len(told) == 2)
    assert told == ["first", "second after 2 syncs"]
    assert await barrier.close()


async def test_while_syncs_are_slow_on_average_a_thread_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    if is_compiled():
        pytest.skip("how long a sync took cannot be said for it in compiled code")
    took: list[float] = []
    syncs = Syncs()
    barrier, _ = barrier_of(syncs)
    monkeypatch.setattr(barrier, "_synced", lambda: (syncs(), took[-1]))

    async def sync(took_s: float) -> str:
        told: list[str] = []
        took.append(took_s)
        barrier.after_write(Position(1), told.append)
        await soon(lambda: told == [""])
        return syncs.threads[-1]

    in_loop = await sync(0.0)
    assert await sync(MEAN_OF * SHORT_S / 2) == in_loop
    assert await sync(SHORT_S) == in_loop, "one slow sync among short ones stops the loop once"
    assert await sync(1.0) == in_loop
    assert await sync(SHORT_S) == "aether sync"
    assert "aether sync" in [await sync(0.0) for _ in range(MEAN_OF)]
    for _ in range(10 * MEAN_OF):
        await sync(0.0)
    assert await sync(0.0) == in_loop
    assert await barrier.close()


async def test_at_the_end_who_waits_for_a_sync_that_is_under_way_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_barrier, "CLOSE_TIMEOUT_S", 0.01)
    syncs, barrier, _, told = await sync_under_way()
    barrier.after_write(Position(2), told.append)
    assert not await barrier.close(), "the files must stay open"
    assert len(told) == 2
    assert all(told)
    syncs.go_on()
    await soon(lambda: syncs.ended == 1)
    await asyncio.sleep(0.01)
    assert len(told) == 2


async def test_who_is_in_no_hurry_rides_along_and_is_not_forgotten() -> None:
    syncs = Syncs()
    barrier, _ = barrier_of(syncs)
    told: list[str] = []
    barrier.after_notice(Position(1), told.append)
    barrier.after_write(Position(2), told.append)
    await soon(lambda: len(told) == 2)
    assert syncs.began == 1
    barrier.after_notice(Position(3), told.append)
    await soon(lambda: len(told) == 3)
    assert syncs.began == 2
    await asyncio.sleep(2 * sync_barrier.LAZY_S)
    assert syncs.began == 2


def stop_timer(barrier: SyncBarrier) -> None:
    """Have the test say when the time of those in no hurry is up."""
    assert barrier._lazy is not None
    barrier._lazy.cancel()


async def test_while_others_need_syncs_none_is_made_for_who_is_in_no_hurry() -> None:
    syncs = Syncs()
    barrier, _ = barrier_of(syncs)
    told: list[str] = []
    barrier.after_notice(Position(1), told.append)
    stop_timer(barrier)
    barrier.after_write(Position(2), told.append)
    await soon(lambda: len(told) == 2)
    barrier.after_notice(Position(3), told.append)
    barrier._begin_lazily()  # the time of the first one is up
    stop_timer(barrier)
    assert syncs.began == 1
    barrier._begin_lazily()
    assert (syncs.began, len(told)) == (2, 3)
    assert await barrier.close()


@pytest.mark.parametrize("in_loop", [True, False])
async def test_a_failed_sync_is_final(in_loop: bool) -> None:
    syncs = Syncs()
    barrier, failed = barrier_of(syncs)
    barrier._mean_s = 0.0 if in_loop else SLOW_S
    syncs.error = SyncFailed(5, "Input/output error")
    told: list[str] = []
    barrier.after_write(Position(1), told.append)
    await soon(lambda: len(told) == 1)
    syncs.error = None
    barrier.after_write(Position(2), told.append)
    barrier.after_read(Position(2), told.append)
    barrier.after_notice(Position(2), told.append)
    await soon(lambda: len(told) == 4)
    assert all("Input/output error" in why for why in told)
    assert (len(failed), syncs.began, barrier.position) == (1, 1, 0)
    assert await barrier.close()


async def test_another_error_fails_those_who_wait_and_is_tried_again() -> None:
    syncs = Syncs()
    barrier, failed = barrier_of(syncs)
    syncs.error = FileNotFoundError(2, "No such file or directory")
    told: list[str] = []
    barrier.after_write(Position(1), told.append)
    await soon(lambda: len(told) == 1)
    assert "No such file" in told[0]
    syncs.error = None
    barrier.after_write(Position(1), told.append)
    await soon(lambda: len(told) == 2)
    assert (told[1], failed) == ("", [])


async def test_one_who_raises_does_not_keep_the_others_from_being_told() -> None:
    barrier, _ = barrier_of(Syncs())
    told: list[str] = []

    def raises(_: str) -> None:
        raise RuntimeError

    barrier.after_write(Position(1), raises)
    barrier.after_write(Position(2), told.append)
    await soon(lambda: told == [""])


async def test_at_the_end_who_waits_is_told_that_it_is_not_known() -> None:
    barrier, _ = barrier_of(Syncs())
    told: list[str] = []
    barrier.after_write(Position(1), told.append)
    assert await barrier.close()
    barrier.after_read(Position(1), told.append)
    assert all(told)
    assert len(told) == 2


async def test_what_one_reader_says_that_it_has_read_is_durable_for_that_reader_alone() -> None:
    syncs = Syncs()
    barrier, _ = barrier_of(syncs)
    told: list[str] = []
    barrier.after_question(Position(10**18), told.append)
    await soon(lambda: told == [""])
    barrier.after_read(Position(5), told.append)
    assert told == [""]
    await soon(lambda: len(told) == 2)
    assert (syncs.ended, barrier.position) == (2, 5)
    barrier.after_question(Position(4), told.append)
    assert len(told) == 3


async def test_in_another_stream_nothing_is_known() -> None:
    syncs = Syncs()
    barrier, _ = barrier_of(syncs)
    told: list[str] = []
    barrier.after_read(Position(9), told.append)
    await soon(lambda: told == [""])
    syncs.stream = (0, 2)
    barrier.after_write(Position(1), told.append)
    await soon(lambda: len(told) == 2)
    barrier.after_read(Position(5), told.append)
    assert len(told) == 2
    await soon(lambda: len(told) == 3)
    assert barrier.position == 5


@pytest.mark.parametrize("ask", [SyncBarrier.after_read, SyncBarrier.after_notice, SyncBarrier.after_question])
async def test_who_reads_another_stream_first_is_told_after_a_sync(
    ask: Callable[[SyncBarrier, Position, Callable[[str], None]], None],
) -> None:
    """It was deleted and made anew, and others have written to it."""
    syncs = Syncs()
    barrier, _ = barrier_of(syncs)
    told: list[str] = []
    barrier.after_read(Position(9), told.append)
    await soon(lambda: told == [""])
    syncs.stream = (0, 2)
    ask(barrier, Position(5), told.append)
    assert (told, barrier.position) == ([""], 0)
    await soon(lambda: len(told) == 2)
    assert syncs.ended == 2


async def test_at_the_end_a_sync_that_is_under_way_and_fails_is_told_as_one() -> None:
    syncs, barrier, failed, told = await sync_under_way()
    syncs.error = SyncFailed(5, "Input/output error")
    closing = asyncio.ensure_future(barrier.close())
    await soon(lambda: len(told) == 1)
    syncs.go_on()
    assert await closing
    assert ["Input/output error" in why for why in failed] == [True]


async def test_who_comes_while_a_sync_runs_that_fails_is_told_at_once() -> None:
    syncs, barrier, _, told = await sync_under_way()
    barrier.after_write(Position(2), told.append)
    syncs.error = SyncFailed(5, "Input/output error")
    syncs.go_on()
    await soon(lambda: len(told) == 2)
    assert all("Input/output error" in why for why in told)
    assert await barrier.close()
