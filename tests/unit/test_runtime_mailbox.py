"""A mailbox against a plain list, and the worker's count of what waits: whatever happens, they agree."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.errors import AetherError, InvalidCommand, Overloaded, Unavailable
from aether.ids import ActorId
from aether.names import shard_of
from aether.runtime.counters import CommandCounts
from aether.runtime.local import local_delivery
from aether.runtime.mailbox import Mailbox
from aether.runtime.pending_command import PendingCommand
from aether.runtime.runtime import Runtime
from aether.runtime.worker_context import WorkerContext
from aether.wire import Answer, answer_error, decode_answer, encode_answer, encode_command
from tests.support.actors import model
from tests.support.nodes import QUIET, command, node

ALICE = ActorId("account", "alice")
DEPOSIT = model.actor_type("account").commands["deposit"]
CONFIG = replace(QUIET, mailbox_max=3, waiting_max=4)


def worker_of(runtime: Runtime) -> WorkerContext:
    worker = runtime._worker
    assert worker is not None
    return worker


def pending(id: str, amount: int = 1, for_s: float = 60.0) -> tuple[PendingCommand, "asyncio.Future[bytes]"]:
    """A command as the router makes it, and its caller's answer."""
    made = command("deposit", id, for_s=for_s, amount=amount)
    delivery, answered = local_delivery(ALICE, shard_of(ALICE, 256), encode_command(made))
    args = DEPOSIT.decode_args(bytes(made.args))
    one = PendingCommand(made, DEPOSIT, args, delivery, made.deadline.timestamp(), CommandCounts(), arrived_s=0.0)
    return one, answered


def error_in(answered: "asyncio.Future[bytes]") -> AetherError:
    answer: Answer = decode_answer(answered.result())
    assert answer.error is not None
    return answer_error(answer.error)


async def test_a_command_that_comes_again_shares_the_answer_and_counts_once() -> None:
    async with node(config=CONFIG) as runtime:
        worker = worker_of(runtime)
        mailbox = Mailbox(ALICE, worker)
        (first, one), (second, two) = pending("a"), pending("a")
        assert mailbox.receive(first)
        assert not mailbox.receive(second)
        assert (mailbox.waiting, worker.admission.waiting, worker.counters.duplicates) == (1, 1, 1)
        mailbox.answer(mailbox.next(), encode_answer(b"1", first.command.attempt, 0))
        assert one.result() == two.result()
        assert (mailbox.has_open, worker.admission.waiting) == (False, 0)


async def test_a_command_of_the_turn_is_known_by_its_id_until_its_answer() -> None:
    async with node(config=CONFIG) as runtime:
        mailbox = Mailbox(ALICE, worker_of(runtime))
        mailbox.receive(pending("a")[0])
        running = mailbox.next()
        assert not mailbox.receive(pending("a")[0])
        assert (mailbox.waiting, len(running.deliveries)) == (0, 2)
        mailbox.drop(running)
        assert worker_of(runtime).counters.answers_fenced == 2


async def test_an_id_that_was_given_to_another_command_is_refused_for_good() -> None:
    async with node(config=CONFIG) as runtime:
        mailbox = Mailbox(ALICE, worker_of(runtime))
        mailbox.receive(pending("a", amount=1)[0])
        other, answered = pending("a", amount=2)
        assert not mailbox.receive(other)
        assert isinstance(error_in(answered), InvalidCommand)
        assert decode_answer(answered.result()).decided
        assert mailbox.waiting == 1


async def test_each_bound_refuses_and_leaves_nothing_behind() -> None:
    async with node(config=CONFIG) as runtime:
        worker = worker_of(runtime)
        first, second = Mailbox(ALICE, worker), Mailbox(ActorId("account", "bob"), worker)
        for id in ("a", "b", "c"):
            first.receive(pending(id)[0])
        with pytest.raises(Overloaded) as own:
            first.receive(pending("d")[0])
        second.receive(pending("e")[0])
        with pytest.raises(Overloaded) as all_of_them:
            second.receive(pending("f")[0])
        for _ in range(2):
            first.receive(pending("a")[0])
        with pytest.raises(Overloaded) as deliveries:
            first.receive(pending("a")[0])
        assert [one.value.limit for one in (own, all_of_them, deliveries)] == [
            "mailbox_max", "waiting_max", "mailbox_max"
        ]  # fmt: skip
        assert (first.waiting, second.waiting, worker.admission.waiting, worker.counters.overloaded) == (3, 1, 4, 3)


async def test_what_is_put_back_goes_before_all_that_waits_in_its_order() -> None:
    async with node(config=replace(CONFIG, mailbox_max=10, waiting_max=10)) as runtime:
        mailbox = Mailbox(ALICE, worker_of(runtime))
        for id in ("a", "b", "c", "d"):
            mailbox.receive(pending(id)[0])
        first, second, third = mailbox.next(), mailbox.next(), mailbox.next()
        mailbox.put_back(third)
        mailbox.put_back_all([first, second])
        assert [mailbox.next().command.id for _ in range(mailbox.waiting)] == ["a", "b", "c", "d"]


async def test_only_what_waits_beyond_its_deadline_expires() -> None:
    async with node(config=CONFIG) as runtime:
        mailbox = Mailbox(ALICE, worker_of(runtime))
        late, answered = pending("late", for_s=-1.0)
        for one in (pending("a")[0], late, pending("b")[0]):
            mailbox.receive(one)
        mailbox.expire(Unavailable("the store is away"))
        assert "the store is away" in str(error_in(answered))
        assert [mailbox.next().command.id, mailbox.next().command.id] == ["a", "b"]
        assert worker_of(runtime).admission.waiting == 2
        assert late.counts.outcomes() == {**CommandCounts().outcomes(), "timed_out": 1}


async def test_what_is_abandoned_is_told_apart_and_counts_no_longer() -> None:
    async with node(config=CONFIG) as runtime:
        mailbox = Mailbox(ALICE, worker_of(runtime))
        for id in ("a", "b", "c"):
            mailbox.receive(pending(id)[0])
        running = mailbox.next()
        in_turn, waiting = mailbox.abandon()
        assert in_turn == [running]
        assert [one.command.id for one in waiting] == ["b", "c"]
        assert (mailbox.has_open, mailbox.waiting, worker_of(runtime).admission.waiting) == (False, 0, 0)


STEPS = st.lists(
    st.sampled_from(["receive", "receive", "receive", "next", "answer", "drop", "put back", "put all back", "refuse"])
)


@given(STEPS)
def test_the_order_and_the_count_are_those_of_a_list(steps: Sequence[str]) -> None:
    asyncio.run(_compare(steps))


async def _compare(steps: Sequence[str]) -> None:
    async with node(config=replace(CONFIG, mailbox_max=1_000, waiting_max=1_000)) as runtime:
        worker = worker_of(runtime)
        mailbox = Mailbox(ALICE, worker)
        queue, turn = list[PendingCommand](), list[PendingCommand]()
        for number, step in enumerate(steps):
            if step == "receive":
                queue.append(pending(str(number))[0])
                assert mailbox.receive(queue[-1])
            elif step == "next" and queue:
                turn.append(mailbox.next())
                assert turn[-1] is queue.pop(0)
            elif step == "answer" and turn:
                mailbox.answer(turn.pop(), b"{}")
            elif step == "drop" and turn:
                mailbox.drop(turn.pop())
            elif step == "put back" and turn:
                queue.insert(0, turn.pop())
                mailbox.put_back(queue[0])
            elif step == "put all back":
                mailbox.put_back_all(turn)
                queue, turn = [*turn, *queue], []
            elif step == "refuse":
                mailbox.refuse_waiting(Unavailable("for the test"))
                queue = []
            assert (mailbox.waiting, worker.admission.waiting) == (len(queue), len(queue) + len(turn))
            assert mailbox.has_open == bool(queue or turn)
        assert [mailbox.next() for _ in queue] == queue
