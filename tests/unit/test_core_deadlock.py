"""Deadlocks: who waits for each other, and which handlers are put off so that all commands end."""

import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.core.actor import deadlock
from aether.core.actor.deadlock import Ask, WaitGraph, Waits, deadlock_of, lasting, put_off

ACTORS = [f"node/{key}" for key in "abcdef"]
ASKS = st.builds(Ask, st.sampled_from(ACTORS), st.sampled_from([f"id-{n}" for n in range(9)]))
GRAPHS = st.dictionaries(
    st.sampled_from(ACTORS),
    st.builds(Waits, st.sampled_from([f"id-{n}" for n in range(9)]), st.lists(ASKS, max_size=3).map(tuple)),
)


def reaches(start: str, goal: str, waits: WaitGraph, seen: frozenset[str] = frozenset()) -> bool:
    """Whether an actor waits for another one, perhaps through others: by trying all ways."""
    asked = [ask.actor for ask in waits[start].asks] if start in waits else []
    return goal in asked or any(reaches(one, goal, waits, seen | {one}) for one in asked if one not in seen)


@given(GRAPHS, st.sampled_from(ACTORS))
def test_a_deadlock_has_all_that_wait_for_each_other_and_their_asks(waits: dict[str, Waits], actor: str) -> None:
    among = [one for one in waits if reaches(actor, one, waits) and reaches(one, actor, waits)]
    found = deadlock_of(actor, waits)
    assert sorted(found) == sorted(among)
    for one, waiting in found.items():
        asks = tuple(ask for ask in waits[one].asks if ask.actor in among)
        assert waiting == waits[one]._replace(asks=asks)
        assert deadlock_of(one, waits) == found


@given(GRAPHS, GRAPHS)
def test_what_lasts_was_so_in_both_looks(before: dict[str, Waits], now: dict[str, Waits]) -> None:
    for one, waiting in lasting(before, now).items():
        assert waiting.runs == before[one].runs == now[one].runs
        assert waiting.asks == tuple(ask for ask in now[one].asks if ask in before[one].asks)
    assert lasting(now, now) == now


def chosen_of(waits: WaitGraph) -> list[str]:
    return [actor for actor in waits if put_off(actor, waits)]


def test_of_two_that_are_in_each_others_way_the_one_with_the_greater_path_is_put_off() -> None:
    """`a` asks `b`, which runs that and asks `c`; `c` runs another command and asks `a`, whose handler is the first."""
    waits = {
        "node/a": Waits("own-a", (Ask("node/b", "ask-1"),), ("p-1", "node/a")),
        "node/b": Waits("ask-1", (Ask("node/c", "ask-2"),), ("p-1", "node/a", "node/b")),
        "node/c": Waits("own-c", (Ask("node/a", "ask-3"),), ("p-2", "node/c")),
    }
    assert chosen_of(waits) == ["node/c"]
    waits["node/c"] = Waits("own-c", (Ask("node/a", "ask-3"),), ("p-0", "node/c"))
    assert chosen_of(waits) == ["node/a"]


def test_what_a_handler_asked_first_is_not_put_off_for_what_it_asked_next() -> None:
    """`a` asks `b` twice; what runs there waits for `c`, which waits for `a`."""
    waits = {
        "node/a": Waits("own-a", (Ask("node/b", "ask-1"), Ask("node/b", "ask-2")), ("p-1", "node/a")),
        "node/b": Waits("ask-1", (Ask("node/c", "ask-3"),), ("p-1", "node/a", "node/b")),
        "node/c": Waits("own-c", (Ask("node/a", "ask-4"),), ("p-0", "node/c")),
    }
    assert chosen_of(waits) == ["node/a"]


def test_who_only_waits_for_a_deadlock_is_not_put_off() -> None:
    waits = {
        "node/a": Waits("own-1", (Ask("node/b", "ask-1"),), ("p-1", "node/a")),
        "node/b": Waits("own-2", (Ask("node/a", "ask-2"),), ("p-2", "node/b")),
        "node/c": Waits("own-9", (Ask("node/a", "ask-3"),), ("p-9", "node/c")),
    }
    assert chosen_of(waits) == ["node/b"]


def test_of_workers_that_say_no_paths_the_command_with_the_last_id_is_put_off() -> None:
    waits = {"node/a": Waits("own-2", (Ask("node/b", "ask-1"),)), "node/b": Waits("own-1", (Ask("node/a", "ask-2"),))}
    assert chosen_of(waits) == ["node/a"]


def test_where_each_runs_what_it_is_asked_for_it_is_left_to_the_chain() -> None:
    waits = {"node/a": Waits("ask-2", (Ask("node/b", "ask-1"),)), "node/b": Waits("ask-1", (Ask("node/a", "ask-2"),))}
    assert chosen_of(waits) == []


# ------------------------------------------------------------------------------------- until all commands have ended


@dataclass
class Run:
    """A command that a handler runs, or that waits for its actor; `left` are the asks that it is still to make."""

    id: str
    chain: tuple[str, ...]
    left: int
    asks: list[Ask] = field(default_factory=list)


class Crossing:
    """Actors whose handlers ask each other at random, several asks at a time."""

    def __init__(self, seed: int, actors: int, asks_max: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a workload, not a secret
        self.actors = [f"node/{n}" for n in range(actors)]
        self.correlation = {actor: str(self.random.randrange(5)) for actor in self.actors}  # a caller may repeat one
        self.asks_max = asks_max
        self.waiting: dict[str, deque[Run]] = {actor: deque() for actor in self.actors}
        self.askers: dict[str, Run] = {}
        self.put_off_count = 0
        self.commands = self.ended = 0
        for actor in self.random.sample(self.actors, self.random.randint(2, actors)):
            self.arrives(actor, self.new_id(), ())

    def new_id(self) -> str:
        self.commands += 1
        return f"{self.random.randrange(10**6):06}-{self.commands}"

    def arrives(self, actor: str, id: str, chain: tuple[str, ...]) -> None:
        self.waiting[actor].append(Run(id, (*chain, actor), self.random.randint(0, max(0, self.asks_max - len(chain)))))

    def runs(self) -> dict[str, Run]:
        return {actor: waiting[0] for actor, waiting in self.waiting.items() if waiting}

    def step(self) -> bool:
        """One handler asks or ends; False when all wait."""
        may = [(actor, run) for actor, run in self.runs().items() if run.left or not run.asks]
        if not may:
            return False
        actor, run = self.random.choice(may)
        others = [one for one in self.actors if one not in run.chain]
        if run.left and others:
            run.left -= 1
            target, id = self.random.choice(others), self.new_id()
            run.asks.append(Ask(target, id))
            self.askers[id] = run
            self.arrives(target, id, run.chain)
        elif not run.asks:
            self.ended += 1
            self.waiting[actor].popleft()
            asker = self.askers.get(run.id)
            if asker is not None:
                asker.asks = [ask for ask in asker.asks if ask.command_id != run.id]
        else:
            run.left = 0
        return True

    def put_off(self) -> int:
        """Have those put off that have to be; how many they were."""
        waits = {
            actor: Waits(run.id, tuple(run.asks), (self.correlation[run.chain[0]], *run.chain))
            for actor, run in self.runs().items()
        }
        chosen = [actor for actor in waits if put_off(actor, deadlock_of(actor, waits))]
        for actor in chosen:  # it goes on when its turn comes: what it has asked for has been asked
            self.waiting[actor].rotate(-1)
        self.put_off_count += len(chosen)
        return len(chosen)


@pytest.mark.parametrize("asks_max", [1, 2, 3])
@pytest.mark.parametrize("actors", [3, 4, 6, 12])
def test_in_every_deadlock_some_are_put_off_until_all_commands_have_ended(actors: int, asks_max: int) -> None:
    for seed in range(400):
        crossing = Crossing(seed, actors, asks_max)
        while crossing.step() or (crossing.runs() and crossing.put_off()):
            assert crossing.put_off_count < 1_000, f"seed {seed}: they put each other off for ever"
        assert not crossing.runs(), f"seed {seed}: all wait, and none is put off"
        assert crossing.ended == crossing.commands


def test_of_a_large_deadlock_several_are_put_off_at_once() -> None:
    names = [f"node/{n}" for n in range(20)]
    waits = {
        one: Waits(
            f"own-{n}", tuple(Ask(other, f"ask-{n}-{other}") for other in names if other != one), (f"{n:02}", one)
        )
        for n, one in enumerate(names)
    }
    assert chosen_of(waits) == names[-deadlock.PUT_OFF_MAX :]
