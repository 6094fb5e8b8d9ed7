"""Word of new owners: who waits for it is woken for its shard, at once when it had come, and nothing is left behind."""

import asyncio

import uvloop

from aether.announcements import Announcements

PATIENT_S = 60.0


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_who_wait_for_a_shard_are_woken_and_no_others() -> None:
    announcements = Announcements()
    here = [asyncio.ensure_future(announcements.wait(3, now_s(), PATIENT_S)) for _ in range(3)]
    elsewhere = asyncio.ensure_future(announcements.wait(4, now_s(), PATIENT_S))
    await turns()
    announcements.announced([3, 5])
    await asyncio.wait_for(asyncio.gather(*here), 5)
    assert not elsewhere.done()
    elsewhere.cancel()


async def test_what_came_after_the_request_counts_and_what_came_before_does_not() -> None:
    announcements = Announcements()
    before_s = now_s()
    announcements.announced([3])
    after_s = now_s()
    await asyncio.wait_for(announcements.wait(3, before_s, PATIENT_S), 5)
    waiting = asyncio.ensure_future(announcements.wait(3, after_s, PATIENT_S))
    await turns()
    assert not waiting.done()
    announcements.announced([3])
    await asyncio.wait_for(waiting, 5)


async def test_a_wait_ends_in_time() -> None:
    announcements = Announcements()
    await asyncio.wait_for(announcements.wait(3, now_s(), 0.001), 5)
    await asyncio.wait_for(announcements.wait(3, now_s(), 0.0), 5)


async def test_who_gave_up_is_not_woken_and_not_remembered() -> None:
    announcements = Announcements()
    gone = asyncio.ensure_future(announcements.wait(3, now_s(), PATIENT_S))
    staying = asyncio.ensure_future(announcements.wait(3, now_s(), PATIENT_S))
    await turns()
    gone.cancel()
    await asyncio.wait((gone,))
    assert gone.cancelled()
    assert [len(waiters) for waiters in announcements._waiting.values()] == [1]
    announcements.announced([3])
    await asyncio.wait_for(staying, 5)
    assert not any(announcements._waiting.values())


def test_what_comes_in_the_instant_of_the_request_is_not_missed_where_time_is_coarse() -> None:
    async def ask() -> None:
        announcements = Announcements()
        for shard in range(50):
            sent_s = now_s()
            announcements.announced([shard])
            await asyncio.wait_for(announcements.wait(shard, sent_s, PATIENT_S), 5)

    uvloop.run(ask())
