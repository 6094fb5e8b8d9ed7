"""Whatever changes a state in place, and whenever: what is stored and what is read again is the fold of the history."""

import asyncio
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import decode

from aether import Actor, ActorId, InMemoryServer, Model, Rejected, command, event, query
from aether.errors import AetherError
from aether.wire import SYSTEM_EVENT_PREFIX, Event
from tests.support.nodes import QUIET, history, node

ALIASES: list[list[int]] = []


@dataclass(frozen=True)
class Added:
    """A number came in."""

    number: int


class Numbers(Actor):
    """Keeps numbers, and lets them be changed in place."""

    numbers: list[int] = []  # noqa: RUF012 - copied for each actor

    @command
    def add(self, number: int) -> int:
        """As it should be."""
        self.emit(Added(number))
        return len(self.numbers)

    @command
    def spoil(self, number: int, before: bool, after: bool, refuse: bool) -> None:
        """Change in place, with or without an event or a decision."""
        if before:
            self.numbers.append(-1)
        if number:
            self.emit(Added(number))
        if after:
            self.numbers[:] = []
        if refuse:
            raise Rejected("no")

    @query
    def leave(self) -> None:
        """Leave an alias behind."""
        ALIASES.append(self.numbers)

    @query
    def sum(self) -> int:
        """As it should be."""
        return sum(self.numbers)

    @event
    def added(self, e: Added) -> None:
        """Keep it."""
        self.numbers.append(e.number)


model = Model("numbers", actors=[Numbers])
A = ActorId("numbers", "a")
steps = st.lists(
    st.tuples(st.just("add"), st.integers(1, 9))
    | st.tuples(st.just("spoil"), st.integers(0, 9), st.booleans(), st.booleans(), st.booleans())
    | st.sampled_from([("leave",), ("alias",), ("sum",), ("stop",)]),
    max_size=25,
)


@given(st.sampled_from(["always", "sampled", "off"]), st.integers(0, 4), steps)
def test_what_is_read_again_is_the_fold_of_the_history(
    checks: str, every: int, steps: list[tuple[object, ...]]
) -> None:
    asyncio.run(_scenario(checks, every, steps))


async def _scenario(checks: str, every: int, steps: list[tuple[object, ...]]) -> None:
    ALIASES.clear()
    server = InMemoryServer()
    config = replace(QUIET, state_checks=checks, snapshot_every_events=every)
    async with node(server, model=model, config=config) as runtime:
        numbers = runtime.actor(Numbers, "a")
        for name, *arguments in steps:
            if name == "alias":
                for alias in ALIASES:
                    alias.append(-2)
            elif name == "stop":
                await runtime.stop_vm(A)
            else:
                try:
                    await getattr(numbers, str(name))(*arguments)
                except AetherError:
                    continue
        if checks == "always":
            stored = await history(runtime, A)
            assert await numbers.sum() == sum(_numbers(stored))
    async with node(server, model=model, config=config) as runtime:
        stored = await history(runtime, A)
        assert await runtime.actor(Numbers, "a").sum() == sum(_numbers(stored))


def _numbers(stored: list[Event]) -> list[int]:
    own = [one for one in stored if not one.type.startswith(SYSTEM_EVENT_PREFIX)]
    return [decode(bytes(one.data), type=Added).number for one in own]
