"""Waiting: who is woken, what is cancelled, and what is left to its owner."""

import asyncio

import pytest

from aether.aio import Room, Waiters, first_of, set_once


async def turns() -> None:
    """Let what is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_result_is_set_once_and_never_on_what_was_cancelled() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    set_once(future, 1)
    set_once(future, 2)
    assert future.result() == 1
    gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    gone.cancel()
    set_once(gone, 1)
    assert gone.cancelled()


async def test_all_that_wait_are_woken_and_none_that_comes_later() -> None:
    waiters = Waiters()
    early = [asyncio.create_task(waiters.wait()) for _ in range(3)]
    await turns()
    assert len(waiters) == 3
    waiters.wake()
    late = asyncio.create_task(waiters.wait())
    await turns()
    assert [task.done() for task in early] == [True, True, True]
    assert (late.done(), len(waiters)) == (False, 1)
    late.cancel()
    await turns()
    assert len(waiters) == 0, "a wait that was cancelled is forgotten"


async def test_a_wait_ends_after_its_time_out() -> None:
    waiters = Waiters()
    await asyncio.wait_for(waiters.wait(timeout_s=0.001), 5)
    assert len(waiters) == 0


async def test_the_first_ends_the_wait_and_only_what_was_started_for_it_is_cancelled() -> None:
    first, second = asyncio.Event(), asyncio.Event()
    cancelled = []

    async def of(event: asyncio.Event) -> None:
        try:
            await event.wait()
        except asyncio.CancelledError:
            cancelled.append(event)
            raise

    owned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(first_of(of(first), of(second), owned))
    await turns()
    first.set()
    await asyncio.wait_for(waiting, 5)
    await turns()
    assert cancelled == [second]
    assert not owned.done()


async def test_what_is_done_already_is_first_and_its_error_is_left_to_the_caller() -> None:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    failed.set_exception(LookupError("for the test"))
    await asyncio.wait_for(first_of(failed, asyncio.Event().wait()), 5)
    with pytest.raises(LookupError):
        failed.result()


async def test_the_wait_for_the_first_has_a_time_out_and_can_be_cancelled() -> None:
    owned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await asyncio.wait_for(first_of(owned, asyncio.Event().wait(), timeout_s=0.001), 5)
    waiting = asyncio.create_task(first_of(owned))
    await turns()
    waiting.cancel()
    await turns()
    assert waiting.cancelled()
    assert not owned.done()


async def test_what_goes_beyond_the_room_waits_in_line() -> None:
    room, taken = Room(10), list[str]()

    async def take(name: str, size: int) -> None:
        await room.take(size)
        taken.append(name)

    tasks = [asyncio.create_task(take(name, size)) for name, size in [("a", 6), ("b", 4), ("c", 5), ("d", 1)]]
    await turns()
    assert taken == ["a", "b"], "none passes another one"
    room.give_back(4)
    await turns()
    assert taken == ["a", "b"]
    room.give_back(6)
    await turns()
    assert (taken, all(task.done() for task in tasks)) == (["a", "b", "c", "d"], True)


async def test_what_is_larger_than_the_room_goes_alone() -> None:
    room = Room(10)
    await room.take(1)
    large = asyncio.create_task(room.take(1_000))
    await turns()
    assert not large.done()
    room.give_back(1)
    await turns()
    small = asyncio.create_task(room.take(1))
    await turns()
    assert (large.done(), small.done()) == (True, False)
    room.give_back(1_000)
    await asyncio.wait_for(small, 5)


@pytest.mark.parametrize("is_given", [True, False])
async def test_who_leaves_the_line_takes_no_room_along(is_given: bool) -> None:
    room = Room(10)
    await room.take(10)
    leaves, stays = asyncio.create_task(room.take(10)), asyncio.create_task(room.take(10))
    await turns()
    if is_given:
        room.give_back(10)
    leaves.cancel()
    await turns()
    if not is_given:
        room.give_back(10)
    await asyncio.wait_for(stays, 5)
    room.give_back(10)
    await asyncio.wait_for(room.take(10), 5)


async def test_behind_who_leaves_the_line_there_may_be_room() -> None:
    room = Room(10)
    await room.take(8)
    large, small = asyncio.create_task(room.take(10)), asyncio.create_task(room.take(2))
    await turns()
    large.cancel()
    await asyncio.wait_for(small, 5)
