"""Waiting: who is woken, what is cancelled, and what is left to its owner."""

import asyncio

import pytest

from aether.aio import Waiters, first_of, set_once


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
