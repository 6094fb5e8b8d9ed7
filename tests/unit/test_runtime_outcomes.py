"""What became of commands, counted by kind and command: each outcome has a counter of its own, and lateness is told."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from aether import Actor, ActorId, Model, Rejected, command, event, query
from aether.errors import AetherError, InvalidCommand
from aether.memory.clock import ManualClock
from aether.memory.server import InMemoryServer
from aether.runtime.counters import CommandCounts
from tests.support.nodes import QUIET, append_from_outside, node, send
from tests.support.nodes import command as made


@dataclass(frozen=True, slots=True)
class Tried:
    """Something was tried; a negative one cannot be applied."""

    amount: int


CLOCK = ManualClock()


class Trial(Actor):
    """Every way to end."""

    count: int = 0

    @command
    def do(self, how: str) -> int:
        """End in one way or another."""
        if how == "reject":
            raise Rejected("no")
        if how == "invalid":
            raise InvalidCommand("no", path="how")
        if how == "fail":
            raise LookupError("a bug")
        if how.startswith("late"):
            CLOCK.advance(100)
        if how.endswith("emit"):
            self.emit(Tried(1))
        return self.count

    @command
    async def wait(self) -> int:
        """Until the deadline."""
        await asyncio.Event().wait()
        return self.count

    @query
    def say(self) -> int:
        """How often."""
        return self.count

    @event
    def tried(self, e: Tried) -> None:
        """Count it, or break."""
        if e.amount < 0:
            raise ValueError("negative")
        self.count += 1


model = Model("tests", actors=[Trial])
TRIAL, BROKEN = ActorId("trial", "t"), ActorId("trial", "broken")


async def test_each_outcome_has_a_counter_of_its_own() -> None:
    async with node(model=model) as runtime:
        for how, times in (("emit", 2), ("nothing", 1), ("reject", 3), ("invalid", 1), ("fail", 4)):
            for _ in range(times):
                with suppress(AetherError):
                    await send(runtime, TRIAL, made("do", how=how))
        with suppress(AetherError):
            await send(runtime, TRIAL, made("wait", for_s=0.2))
        for name in ("say", "aether.state"):
            await send(runtime, TRIAL, made(name))
        await append_from_outside(runtime, BROKEN, model.actor_type("trial"), Tried(-1))
        for _ in range(2):
            with suppress(AetherError):
                await send(runtime, BROKEN, made("say"))
        counters = runtime.counters
        none = CommandCounts().as_dict()
        assert {what: one.as_dict() for what, one in counters.by_command.items()} == {
            ("trial", "do"): {**none, "ok": 3, "rejected": 4, "failed": 4},
            ("trial", "wait"): {**none, "timed_out": 1, "late": 1},
            ("trial", "say"): {**none, "ok": 1, "failed": 2},
            ("trial", "aether.state"): {**none, "ok": 1},
        }
        assert (counters.commands_rejected, counters.handlers_failed, counters.handlers_late) == (4, 4, 1)
        assert counters.actors_not_loaded == 2
        assert "by_command" not in counters.as_dict()


async def test_commands_of_one_commit_are_counted_when_it_is_stored() -> None:
    async with node(model=model) as runtime:
        await send(runtime, TRIAL, made("say"))
        sent = [made("do", how=how) for how in ("emit", "reject", "nothing", "emit")]
        await asyncio.gather(*(send(runtime, TRIAL, one) for one in sent), return_exceptions=True)
        outcomes = runtime.counters.of("trial", "do")
        assert (outcomes.ok, outcomes.rejected) == (3, 1)


@pytest.mark.parametrize("how", ["late", "late and emit"])
async def test_a_handler_that_is_late_is_named_and_counted(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async with node(InMemoryServer(clock=CLOCK), model=model, config=replace(QUIET, follow_stored=False)) as runtime:
        with caplog.at_level(logging.WARNING):
            late = made("do", how=how, id="c-1", attempt=1, now_s=CLOCK.wall_s())
            await send(runtime, TRIAL, late)
        (line,) = [r.__dict__ for r in caplog.records if r.message == "a handler is past its deadline"]
        assert (line["actor"], line["command"], line["command_id"]) == ("trial/t", "do", "c-1")
        outcomes = runtime.counters.of("trial", "do")
        assert (outcomes.ok, outcomes.late) == (1, 1)


async def test_one_that_is_in_time_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async with node(model=model) as runtime:
        await send(runtime, TRIAL, made("do", how="emit"))
        assert runtime.counters.handlers_late == 0
        assert caplog.records == []
