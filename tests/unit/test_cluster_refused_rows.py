"""Members whose table takes no writes: callers hear that no worker serves, and why, and later all is served again."""

import asyncio

import pytest

from aether import Unavailable
from aether.core.cluster.status import Status, encode_status
from aether.core.health import Need
from aether.errors import DeadlineExceeded
from aether.memory.server import InMemoryServer
from tests.support.members import SHARDS, Member, actor_of, client, member, settled, soon

FULL = "insufficient resources (10023)"


async def tells(one: Member) -> None:
    """Have a member say how it is when it is asked, as a worker does."""
    await one.connection.transport.answer_status(
        lambda: encode_status(Status(member=one.cluster.name, why=one.health.trouble))
    )


async def test_members_that_cannot_renew_their_rows_withdraw_and_callers_know_that_nothing_was_done() -> None:
    server = InMemoryServer()
    async with client(server) as calling, member(server, "a") as a, member(server, "b") as b:
        await settled(a, b)
        await tells(a)
        await tells(b)
        for shard in range(SHARDS):
            assert await calling.call(actor_of(shard), "deposit", amount=1) == 1
        server.space("tests", SHARDS).refusal = FULL
        await soon(lambda: a.cluster.moves().held == b.cluster.moves().held == 0)
        with pytest.raises(Unavailable, match=r"could not be sent .* insufficient resources \(10023\)"):
            await calling.call(actor_of(0), "deposit", deadline_s=0.3, amount=1)
        server.space("tests", SHARDS).refusal = ""
        await settled(a, b)
        for shard in range(SHARDS):
            assert await calling.call(actor_of(shard), "deposit", amount=1) == 2
        await soon(lambda: not a.health.trouble and not b.health.trouble)


async def test_no_call_is_left_without_a_word_when_the_store_begins_to_refuse() -> None:
    server = InMemoryServer()
    ends: list[BaseException] = []
    async with client(server) as calling, member(server, "a") as a:
        await settled(a)
        stop = asyncio.Event()

        async def caller(number: int) -> None:
            while not stop.is_set():
                try:
                    await calling.call(actor_of(number), "deposit", deadline_s=0.4, amount=1)
                except (Unavailable, DeadlineExceeded) as error:
                    ends.append(error)

        callers = [asyncio.ensure_future(caller(number)) for number in range(SHARDS)]
        await soon(lambda: a.running.counters.commits > 3 * SHARDS)
        server.space("tests", SHARDS).refusal = FULL
        await soon(lambda: a.cluster.moves().held == 0 and len(ends) > 6 * SHARDS)
        stop.set()
        await asyncio.gather(*callers)
    assert {type(end) for end in ends} == {Unavailable}, "each call knows that nothing was done"


async def test_a_member_that_was_never_let_in_says_why() -> None:
    server = InMemoryServer()
    server.space("tests", SHARDS).refusal = FULL
    async with member(server, "a") as a:
        await soon(lambda: FULL in a.health.why(Need.ROW))
        assert not await a.cluster.wait_balanced(0.01)
        server.space("tests", SHARDS).refusal = ""
        assert await a.cluster.wait_balanced(10)
        await soon(lambda: not a.health.lacks)
