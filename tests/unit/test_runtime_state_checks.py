"""A state that was changed in place is found, said, rebuilt, and never snapshotted, by whichever code and whenever."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from aether import (
    Actor,
    ActorId,
    Decider,
    InMemoryServer,
    Model,
    Rejected,
    StateChangedOutsideEvent,
    command,
    event,
    query,
)
from aether.config import RuntimeConfig
from aether.errors import ConfigError, DeadlineExceeded
from aether.memory.clock import ManualClock
from aether.runtime.runtime import Runtime
from aether.runtime.state_checker import CheckBudget
from aether.testing import local_runtime
from tests.support.nodes import QUIET, append_from_outside, node, send
from tests.support.nodes import command as made

A = ActorId("basket", "a")
KEPT: list[Any] = []
"""What handlers leave behind."""


@dataclass(frozen=True)
class Added:
    """Things came in."""

    items: list[str]


@dataclass(frozen=True)
class Drawn:
    """Applied otherwise each time."""


@dataclass
class Line:
    """An object in the state."""

    count: int = 0


class Basket(Actor):
    """A state of containers, and every way to change it that is none."""

    items: list[str] = []  # noqa: RUF012 - copied for each actor
    by_name: dict[str, list[int]] = {"a": [1]}  # noqa: RUF012 - copied for each actor
    words: set[str] = {"x"}  # noqa: RUF012 - copied for each actor
    line: Line = Line()
    total: int = 0

    @command
    def add(self, items: list[str]) -> int:
        """As it should be."""
        self.emit(Added(items))
        return len(self.items)

    @command
    def change(self, field: str) -> None:
        """In place, without an event."""
        CHANGES[field](self)

    @command
    def change_and_add(self, field: str) -> None:
        """Before an event."""
        CHANGES[field](self)
        self.emit(Added(["b"]))

    @command
    def add_and_change(self, field: str) -> None:
        """After an event."""
        self.emit(Added(["b"]))
        CHANGES[field](self)

    @command
    def change_and_reject(self) -> None:
        """And decide against it."""
        self.items.append("z")
        raise Rejected("no")

    @command
    def change_and_fail(self) -> None:
        """And fail."""
        self.items.append("z")
        raise ZeroDivisionError

    @command
    async def change_later(self) -> None:
        """After a wait."""
        await asyncio.sleep(0)
        self.items.append("z")

    @command
    async def change_and_wait(self) -> None:
        """And do not end in time."""
        self.items.append("z")
        await asyncio.Event().wait()

    @command
    def change_and_hide(self) -> None:
        """Take it back: the state is what it was."""
        self.items.append("z")
        self.items.pop()

    @command
    def leave(self) -> None:
        """Leave an alias behind."""
        KEPT.append(self.items)

    @command
    def leave_in_event(self) -> None:
        """An alias in an event."""
        added = Added(self.items)
        KEPT.append(added)
        self.emit(added)

    @command
    async def leave_task(self) -> None:
        """A task that changes the state when its command is over."""
        KEPT.append(asyncio.create_task(self._change_soon()))

    async def _change_soon(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        self.items.append("z")

    @command
    def draw(self) -> None:
        """Emit what does not fold."""
        self.emit(Drawn())

    @query
    def see(self) -> list[str]:
        """As it should be."""
        return self.items

    @query
    def sort(self) -> list[str]:
        """A query that changes what it reads."""
        self.items.sort(reverse=True)
        return self.items

    @event
    def added(self, e: Added) -> None:
        """Keep them."""
        self.items.extend(e.items)
        self.total += len(e.items)

    @event
    def drawn(self, e: Drawn) -> None:
        """Not a fold."""
        self.items.append(str(random.random()))  # noqa: S311 - that it is another each time is the point


def evolve(state: list[str], event: Added) -> list[str]:
    return [*state, *event.items]


@dataclass(frozen=True)
class Put:
    """A decider's command."""

    item: str
    quietly: bool = False
    refused: bool = False


def decide(state: list[str], command: Put) -> list[Added]:
    if command.quietly:
        state.append(command.item)
        return []
    if command.refused:
        state.append(command.item)
        raise Rejected("no")
    return [Added([command.item])]


CHANGES: dict[str, Callable[[Basket], object]] = {
    "items": lambda basket: basket.items.append("z"),
    "by_name": lambda basket: basket.by_name["a"].append(2),
    "words": lambda basket: basket.words.add("y"),
    "line": lambda basket: setattr(basket.line, "count", 5),
    "items ": lambda basket: basket.items.append(object()),  # type: ignore[arg-type]  # not of its type
    "items  ": lambda basket: basket.items.append(2**70),  # type: ignore[arg-type]  # not of its type
    "words ": lambda basket: basket.words.add("\ud800"),
    "by_name ": lambda basket: basket.by_name.update(b=basket.by_name),  # type: ignore[call-overload]  # holds itself
}
model = Model("baskets", actors=[Basket, Decider([], decide, evolve, kind="heap")])


async def state(runtime: Runtime, actor_id: ActorId = A) -> bytes:
    return bytes((await send(runtime, actor_id, made("aether.state"))).value)


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    KEPT.clear()


@pytest.mark.parametrize("changed", CHANGES)
@pytest.mark.parametrize("name", ["change", "change_and_add", "add_and_change"])
async def test_a_change_in_place_fails_its_command_and_names_the_field(name: str, changed: str) -> None:
    async with local_runtime(model) as runtime:
        basket = runtime.actor(Basket, "a")
        await basket.add(["a"])
        before = await state(runtime)
        with pytest.raises(StateChangedOutsideEvent) as refused:
            await getattr(basket, name)(changed)
        assert (refused.value.actor, refused.value.field) == ("basket/a", changed.strip())
        assert await state(runtime) == before
        assert runtime.counters.states_changed == 1
        assert await basket.add(["b"]) == 2


@pytest.mark.parametrize("name", ["change_and_reject", "change_and_fail", "change_later"])
async def test_a_change_is_found_however_its_handler_ends(name: str) -> None:
    async with local_runtime(model) as runtime:
        basket = runtime.actor(Basket, "a")
        await basket.add(["a"])
        with pytest.raises(StateChangedOutsideEvent):
            await getattr(basket, name)()
        assert await basket.see() == ["a"]


async def test_a_change_of_a_handler_that_is_too_late_is_undone() -> None:
    async with local_runtime(model) as runtime:
        await runtime.actor(Basket, "a").add(["a"])
        with pytest.raises(DeadlineExceeded):
            await runtime.actor(Basket, "a", deadline_s=0.05).change_and_wait()
        assert await runtime.actor(Basket, "a").see() == ["a"]


async def test_a_query_that_changes_what_it_reads_has_failed() -> None:
    async with local_runtime(model) as runtime:
        basket = runtime.actor(Basket, "a")
        await basket.add(["a", "b"])
        with pytest.raises(StateChangedOutsideEvent):
            await basket.sort()
        assert await basket.see() == ["a", "b"]


async def test_what_is_the_same_again_is_no_change() -> None:
    async with local_runtime(model) as runtime:
        basket = runtime.actor(Basket, "a")
        await basket.add(["a"])
        await basket.change_and_hide()
        assert runtime.counters.states_changed == 0


async def test_an_alias_that_is_changed_later_fails_no_other_command() -> None:
    async with local_runtime(model) as runtime:
        basket = runtime.actor(Basket, "a")
        await basket.add(["a"])
        await basket.leave()
        KEPT[0].append("z")
        assert await basket.add(["b"]) == 2
        assert await basket.see() == ["a", "b"]
        assert runtime.counters.states_changed == 1
        KEPT[0].append("z")
        assert await basket.see() == ["a", "b"]
        assert runtime.counters.states_changed == 1


async def test_an_alias_in_an_event_is_not_the_state() -> None:
    async with local_runtime(model) as runtime:
        basket = runtime.actor(Basket, "a")
        await basket.add(["a"])
        await basket.leave_in_event()
        KEPT[0].items.append("z")
        assert await basket.see() == ["a", "a"]


async def test_a_task_that_was_left_behind_changes_nothing_for_long() -> None:
    async with local_runtime(model) as runtime:
        basket = runtime.actor(Basket, "a")
        await basket.add(["a"])
        await basket.leave_task()
        await KEPT[0]
        assert await basket.see() == ["a"]
        assert runtime.counters.states_changed == 1


async def test_commands_of_one_turn_before_the_change_are_committed_and_those_after_run_on_the_rebuilt_state() -> None:
    async with local_runtime(model) as runtime:
        basket = runtime.actor(Basket, "a")
        answers: list[Any] = list(
            await asyncio.gather(
                basket.add(["a"]), basket.change("items"), basket.add(["b"]), basket.see(), return_exceptions=True
            )
        )
        assert isinstance(answers.pop(1), StateChangedOutsideEvent)
        assert answers == [1, 2, ["a", "b"]]


async def test_events_from_outside_are_no_change() -> None:
    async with local_runtime(model) as runtime:
        basket = runtime.actor(Basket, "a")
        await basket.add(["a"])
        await append_from_outside(runtime, A, model.actor_type(Basket), Added(["b"]))
        assert await basket.add(["c"]) == 3
        assert runtime.counters.states_changed == 0


async def test_an_event_method_that_is_no_fold_is_found() -> None:
    async with local_runtime(model) as runtime:
        with pytest.raises(StateChangedOutsideEvent, match="the same way each time"):
            await runtime.actor(Basket, "a").draw()


async def test_a_deciders_state_that_is_changed_in_place() -> None:
    async with local_runtime(model) as runtime:
        heap = runtime.actor("heap", "a")
        await heap.put("a")
        for arguments in ({"quietly": True}, {"refused": True}):
            with pytest.raises(StateChangedOutsideEvent):
                await heap.put("z", **arguments)
        assert await runtime.actor("heap", "a").put("b") is None
        assert b'"state":["a","b"]' in (await state(runtime, ActorId("heap", "a")))


@pytest.mark.parametrize("checks", ["always", "sampled", "off"])
async def test_a_changed_state_is_never_snapshotted(checks: str) -> None:
    """Whether or not the change is found at once: what a later process reads is the fold of the events."""
    server = InMemoryServer()
    config = replace(QUIET, state_checks=checks, snapshot_every_events=3)
    async with node(server, model=model, config=config) as runtime:
        basket = runtime.actor(Basket, "a")
        for item in "abcd":
            await basket.add([item])
        assert runtime.counters.snapshots_written > 0
        written = runtime.counters.snapshots_written
        await basket.leave()
        await basket.add(["e"])
        KEPT[0].append("z")
    if checks != "always":
        assert runtime.counters.snapshots_written == written
    assert runtime.counters.states_changed == 1
    async with node(server, model=model) as runtime:
        assert await runtime.actor(Basket, "a").see() == ["a", "b", "c", "d", "e"]


async def test_a_worker_with_time_to_spare_checks_every_command() -> None:
    async with node(model=model, config=replace(QUIET, state_checks="sampled")) as runtime:
        basket = runtime.actor(Basket, "a")
        await basket.add(["a"])
        for _ in range(3):
            with pytest.raises(StateChangedOutsideEvent):
                await basket.change("items")
            assert await basket.see() == ["a"]


def test_checks_spend_no_more_than_their_share_of_the_time() -> None:
    clock = ManualClock()
    budget = CheckBudget(0.02, clock.boot_s)
    spent_s = 0.0
    for _ in range(10_000):
        clock.advance(0.001)
        if budget.pays():
            began_s = clock.boot_s()
            clock.advance(0.000_5)
            budget.spend(began_s)
            spent_s += 0.000_5
    assert 0.015 < spent_s / clock.boot_s() < 0.025
    assert not CheckBudget(0.0, clock.boot_s).pays()


async def test_sampled_checks_find_a_change_soon_and_blame_no_other_command() -> None:
    config = replace(QUIET, state_checks="sampled", state_checks_share=0.0)
    async with node(model=model, config=config) as runtime:
        basket = runtime.actor(Basket, "a")
        with pytest.raises(StateChangedOutsideEvent):
            await basket.change("items")  # the first command is checked
        await basket.add(["a"])
        await basket.change("items")
        for _ in range(40):
            await basket.see()
        assert runtime.counters.states_changed == 2
        assert await basket.see() == ["a"]


async def test_without_checks_a_change_is_found_when_a_snapshot_is_due() -> None:
    config = replace(QUIET, state_checks="off", snapshot_every_events=2)
    async with node(model=model, config=config) as runtime:
        basket = runtime.actor(Basket, "a")
        await basket.change("items")
        assert await basket.see() == ["z"]
        await basket.add(["a"])
        await basket.add(["b"])
        assert runtime.counters.snapshots_written == 0
        assert runtime.counters.states_changed >= 1
        assert await basket.see() == ["a", "b"]


async def test_long_histories_are_checked_within_a_bound_of_events() -> None:
    async with node(model=model, config=replace(QUIET, state_checks="off")) as runtime:
        basket = runtime.actor(Basket, "a")
        for n in range(1_030):
            await basket.add([str(n)])
        (vm,) = runtime.get_active_vms()
        assert vm.fold.checker is not None
        assert vm.fold.checker.events < 1_024
        assert runtime.counters.states_changed == 0


async def test_a_state_without_containers_has_no_witness() -> None:
    class Plain(Actor):
        total: int = 0
        words: tuple[str, ...] = ()

        @query
        def see(self) -> int:
            return self.total

    async with local_runtime(Model("plain", actors=[Plain])) as runtime:
        await runtime.actor(Plain, "a").see()
        (vm,) = runtime.get_active_vms()
        assert vm.fold.checker is None


async def test_numbers_and_sets_that_are_spelled_otherwise_are_no_change() -> None:
    @dataclass(frozen=True)
    class Weighed:
        words: list[str]

    class Scale(Actor):
        weight: float = 0.0
        weights: list[float] = []  # noqa: RUF012 - copied for each actor
        words: set[str] = set()  # noqa: RUF012 - copied for each actor

        @command
        def weigh(self, words: list[str]) -> None:
            self.emit(Weighed(words))

        @event
        def weighed(self, e: Weighed) -> None:
            self.weight = 3
            self.weights.append(2)
            self.words.update(e.words)
            self.words.discard("w1")

    async with local_runtime(Model("scales", actors=[Scale])) as runtime:
        for n in range(20):
            await runtime.actor(Scale, "a").weigh([f"w{n}" for n in range(n, -1, -1)])
        assert runtime.counters.states_changed == 0


async def test_a_factory_that_gives_one_object_to_all_is_copied() -> None:
    shared: list[str] = []

    class Shelf(Actor):
        items: list[str] = field(default_factory=lambda: shared)

        @command
        def add(self, items: list[str]) -> list[str]:
            self.emit(Added(items))
            return self.items

        @event
        def added(self, e: Added) -> None:
            self.items.extend(e.items)

    async with local_runtime(Model("shelves", actors=[Shelf])) as runtime:
        assert await runtime.actor(Shelf, "a").add(["a"]) == ["a"]
        assert await runtime.actor(Shelf, "b").add(["b"]) == ["b"]
        assert shared == []


def test_the_setting_is_one_of_three() -> None:
    with pytest.raises(ConfigError, match="sampled"):
        RuntimeConfig(state_checks="sometimes")
