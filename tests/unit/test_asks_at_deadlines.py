"""Commands and asks whose time was up: nothing is decided of them, so a further try of the same id is run."""

import asyncio

import pytest

from aether import ActorId, DeadlineExceeded, Overloaded, Rejected, Unavailable
from aether.errors import AetherError, mark_asked
from aether.memory.clock import ManualClock
from aether.memory.server import InMemoryServer
from aether.model.definition import CommandType
from aether.ports import Delivery
from aether.runtime.counters import CommandCounts, Counters
from aether.runtime.handler_failure import encode_failure
from aether.runtime.pending_command import PendingCommand
from aether.testing import local_pool
from aether.wire import REFUSED_EVENT, Command, decode_answer
from tests.support.asking import GATES, WAITING, Purse, model
from tests.support.nodes import command as sent
from tests.support.nodes import history, node, send, until

A, B = ActorId("purse", "a"), ActorId("purse", "b")


@pytest.fixture(autouse=True)
def _new_world() -> None:
    WAITING.clear()
    GATES.clear()
    GATES["gate"] = asyncio.Event()


def waits(clock: ManualClock, for_s: float) -> Command:
    """Waits at a gate; the id is the caller's."""
    return sent("wait_at", id="mine", for_s=for_s, now_s=clock.wall_s(), gate="gate")


async def test_a_given_id_whose_time_was_up_is_run_when_it_is_sent_again() -> None:
    clock = ManualClock()  # its time stands still, so what is late here is in time by it
    server = InMemoryServer(clock=clock)
    async with node(server, model=model) as runtime:
        for for_s in (0.1, 0.2):
            with pytest.raises(DeadlineExceeded, match="did not finish before its deadline") as late:
                await send(runtime, A, waits(clock, for_s))
            assert late.value.outcome_known
        assert WAITING == ["a", "a"]
    GATES["gate"].set()
    async with node(server, model=model) as runtime:  # which knows it from the history
        answer = await send(runtime, A, waits(clock, 10.0))
        assert WAITING == ["a", "a", "a"]
        assert await send(runtime, A, waits(clock, 20.0)) == answer
        assert [event.type for event in await history(runtime, A)] == [REFUSED_EVENT, REFUSED_EVENT, "Paid"]
    async with node(server, model=model) as runtime:
        assert await send(runtime, A, waits(clock, 30.0)) == answer
    assert WAITING == ["a", "a", "a"]


async def test_a_late_send_of_a_command_whose_time_was_up_is_not_run_though_a_clock_is_behind() -> None:
    clock = ManualClock()
    server = InMemoryServer(clock=clock)
    async with node(server, model=model) as runtime:
        for _ in range(2):
            with pytest.raises(DeadlineExceeded, match="did not finish before its deadline"):
                await send(runtime, A, waits(clock, 0.1))
    async with node(server, model=model) as runtime:
        with pytest.raises(DeadlineExceeded, match="did not finish before its deadline"):
            await send(runtime, A, waits(clock, 0.1))
        assert [event.type for event in await history(runtime, A)] == [REFUSED_EVENT]
    assert WAITING == ["a"]


async def test_who_asked_some_in_time_goes_on_under_the_same_id() -> None:
    async with local_pool(model) as pool:
        with pytest.raises(DeadlineExceeded):
            await pool.client.actor(Purse, "a", deadline_s=0.3, command_id="mine").pay_and_have_wait("b", "c", "gate")
        GATES["gate"].set()
        payer = pool.client.actor(Purse, "a", deadline_s=20, command_id="mine")
        assert await payer.pay_and_have_wait("b", "c", "gate") == -1
        assert [await pool.client.actor(Purse, key).balance() for key in "abc"] == [-1, 1, 0]
        events = [event.type async for event in pool.client.history(Purse, "b")]
        assert events == ["Paid"]


async def test_a_tell_that_waited_too_long_for_an_ask_asks_again_when_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aether.runtime.tell_line.DELIVERY_S", 0.2)
    async with local_pool(model) as pool:
        await pool.client.tell(Purse.pay_and_have_wait, "a", "b", "c", "gate")
        await until(lambda: WAITING == ["c"])
        await until(lambda: len(WAITING) == 2)  # `a` has been tried again
        GATES["gate"].set()
        while await pool.client.actor(Purse, "a").balance() == 0:  # noqa: ASYNC110 - the tell makes progress
            await asyncio.sleep(0)
        assert [await pool.client.actor(Purse, key).balance() for key in "abc"] == [-1, 1, 0]


async def test_an_ask_goes_on_when_its_handler_gets_more_time() -> None:
    async with node(model=model) as runtime:

        def asks(for_s: float) -> Command:
            return sent("ask_to_wait", id="mine", for_s=for_s, other="b", gate="gate")

        first = asyncio.ensure_future(send(runtime, A, asks(0.3)))
        await until(lambda: WAITING == ["b"])
        more = asyncio.ensure_future(send(runtime, A, asks(20.0)))
        await until(lambda: WAITING == ["b", "b"])  # once more: the first time of `b` was up
        GATES["gate"].set()
        assert (await first).value == (await more).value
        assert [event.type for event in await history(runtime, B)] == [REFUSED_EVENT, "Paid"]


def late_ask(error: AetherError) -> AetherError:
    mark_asked(error, "purse/b.put")
    return error


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([late_ask(DeadlineExceeded("no answer")), late_ask(Unavailable("away"))], "deadline_exceeded"),
        ([ExceptionGroup("inner", [late_ask(Overloaded("full"))])], "deadline_exceeded"),
        ([late_ask(DeadlineExceeded("no answer")), ValueError("x")], "actor_failed"),
        ([late_ask(DeadlineExceeded("no answer")), late_ask(Rejected("no"))], "actor_failed"),
        ([DeadlineExceeded("of a client")], "actor_failed"),
    ],
)
def test_a_task_group_whose_asks_had_no_time_has_had_no_time_either(errors: list[Exception], code: str) -> None:
    """Nothing else is the matter, so it is as with `gather`: the id may be sent again."""
    type_: CommandType = model.actor_type("purse").commands["group"]
    delivery = Delivery(0, A, b"", lambda _: None)
    pending = PendingCommand(sent("group"), type_, None, delivery, 0.0, CommandCounts(), arrived_s=0.0)
    answer = decode_answer(encode_failure(ExceptionGroup("of a task group", errors), pending, A, Counters()))
    assert answer.error is not None
    assert answer.error.code == code
