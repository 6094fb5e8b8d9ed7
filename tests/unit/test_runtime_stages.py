"""Cohorts: stages in their order, all of what came together, and no item's bug in another one's way."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aether import Actor, Model, Runtime
from aether import command as command_of_actor
from aether.ids import ActorId
from aether.names import shard_of
from aether.runtime.local import local_delivery
from aether.runtime.pipeline import CommandPipeline
from aether.runtime.stage import StagePipeline
from tests.support.actors import Account
from tests.support.nodes import QUIET, command, history, node, send

ALICE, BOB = ActorId("account", "alice"), ActorId("account", "bob")


class Loop:
    """An event loop that turns when it is told to."""

    def __init__(self) -> None:
        self.called: list[Callable[[], None]] = []

    def soon(self, callback: Callable[[], None]) -> None:
        """Call it in the next turn."""
        self.called.append(callback)

    def turn(self) -> int:
        """One turn; how many callbacks it had."""
        called, self.called = self.called, []
        for callback in called:
            callback()
        return len(called)


class Bad:
    """What a machine or a turn with a bug would be."""

    id = "account/bad#1"

    def __init__(self) -> None:
        self.faults: list[BaseException] = []

    def run_turn(self) -> None:
        """Fail."""
        raise LookupError("a bug")

    def finish(self, _: object) -> None:
        """Fail too."""
        raise LookupError("a bug")

    def fault(self, error: BaseException) -> None:
        """It is given up."""
        self.faults.append(error)


def test_what_came_together_goes_through_the_stages_together_in_one_call() -> None:
    loop, done = Loop(), list[str]()

    def read(items: list[str]) -> None:
        for item in items:
            done.append(f"read {item}")
            second.add(item)

    def run(items: list[str]) -> None:
        for item in items:
            done.append(f"run {item}")
            if item == "b":
                first.add("c")

    stages = StagePipeline(loop.soon)
    first, second = stages.add_stage(), stages.add_stage()
    first.bind(read)
    second.bind(run)
    for item in ("a", "b"):
        first.add(item)
    assert (done, stages.running) == ([], False)
    assert loop.turn() == 1
    assert done == ["read a", "read b", "run a", "run b"]
    assert len(first) == 1, "what came back to an earlier stage waits for the next turn"
    assert loop.turn() == 1
    assert done[4:] == ["read c", "run c"]
    assert loop.turn() == 0


def test_what_a_broken_stage_left_is_done_in_the_next_turn() -> None:
    loop, done = Loop(), list[str]()

    def broken(items: list[str]) -> None:
        if items:
            raise LookupError("a bug")

    stages = StagePipeline(loop.soon)
    first, second = stages.add_stage(), stages.add_stage()
    first.bind(broken)
    second.bind(done.extend)
    first.add("a")
    second.add("b")
    with pytest.raises(LookupError):
        loop.turn()
    assert done == []
    loop.turn()
    assert done == ["b"]


async def test_the_table_of_the_pipeline_has_its_stages_in_their_order() -> None:
    root = Path(__file__).parents[2]
    source = (root / "aether" / "runtime" / "pipeline.py").read_text()  # a compiled module has no docstring
    named = re.findall(r"^\| `(\w+)` \|", source, re.MULTILINE)
    stages = CommandPipeline(Loop().soon)
    assert [getattr(stages, name) for name in named] == stages._stages


async def test_every_stage_of_a_runtime_has_its_work() -> None:
    async with node() as runtime:
        worker: Any = runtime._worker
        worker.pipeline.run()


def test_a_stage_without_work_is_a_fault_of_the_runtime() -> None:
    loop = Loop()
    StagePipeline(loop.soon).add_stage().add("a")
    with pytest.raises(AssertionError, match="before its work was bound"):
        loop.turn()


async def test_commands_that_come_together_for_one_actor_share_a_commit() -> None:
    async with node() as runtime:
        await send(runtime, ALICE, command("deposit", amount=1))
        answers = await asyncio.gather(*(send(runtime, ALICE, command("deposit", amount=n)) for n in (2, 3, 4)))
        assert [int(bytes(answer.value)) for answer in answers] == [3, 6, 10]
        assert len({answer.position for answer in answers}) == 1
        assert runtime.counters.commits == 2
        events = await history(runtime, ALICE)
        assert len(events) == 4
        assert [event.time for event in events] == sorted(event.time for event in events)


async def test_a_machine_with_a_bug_keeps_no_other_from_a_turn_or_a_commit() -> None:
    async with node() as runtime:
        await send(runtime, BOB, command("deposit", amount=1))
        worker: Any = runtime._worker
        bad = [Bad(), Bad()]
        worker.pipeline.turns.add(bad[0])
        worker.pipeline.drafts.add(bad[1])
        answer = await send(runtime, BOB, command("deposit", amount=2))
        assert bytes(answer.value) == b"3"
        assert [[type(error) for error in one.faults] for one in bad] == [[LookupError], [LookupError]]


class Vandal(Actor):
    """Ends what others have begun."""

    @command_of_actor
    def abandon(self, shard: int) -> None:
        """Let the worker drop a shard, in the middle of a run of the stages."""
        RUNTIMES[-1].abandon_shard(shard)


RUNTIMES: list[Runtime] = []
EVE = ActorId("vandal", "eve")


async def test_a_turn_whose_machine_was_abandoned_in_the_same_run_stores_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with node(model=Model("tests", actors=[Account, Vandal])) as runtime:
        RUNTIMES.append(runtime)
        await send(runtime, ALICE, command("deposit", amount=1))
        await runtime.create_vm(EVE)
        lost = asyncio.ensure_future(send(runtime, ALICE, command("deposit", amount=2)))
        await asyncio.wait_for(send(runtime, EVE, command("abandon", shard=shard_of(ALICE, 256))), 5)
        assert len(await history(runtime, ALICE)) == 1
        assert not caplog.records
        assert not lost.done(), "its caller asks again, of who serves the shard then"
        lost.cancel()
        assert runtime.get_active_vms() == [await runtime.create_vm(EVE)]


async def test_an_answer_outside_of_the_stages_is_fenced_and_sent_in_the_same_step() -> None:
    async with node() as runtime:
        worker: Any = runtime._worker
        delivery, answered = local_delivery(ALICE, shard_of(ALICE, 256), b"")
        worker.respond(delivery, b"answer")
        assert answered.done(), "the lease that was looked at is the one of this instant"


async def test_a_mailbox_takes_more_queries_at_once_than_it_holds() -> None:
    async with node(config=replace(QUIET, mailbox_max=10)) as runtime:
        await send(runtime, ALICE, command("deposit", amount=1))
        answers = await asyncio.gather(*(send(runtime, ALICE, command("statement")) for _ in range(25)))
        assert {bytes(answer.value) for answer in answers} == {b"1"}
        assert runtime.counters.overloaded == 0


async def test_a_query_after_a_command_that_came_with_it_sees_it() -> None:
    async with node() as runtime:
        await send(runtime, ALICE, command("deposit", amount=1))
        made, read = await asyncio.gather(
            send(runtime, ALICE, command("deposit", amount=2)), send(runtime, ALICE, command("statement"))
        )
        assert bytes(made.value) == b"3"
        assert read.version >= made.version
