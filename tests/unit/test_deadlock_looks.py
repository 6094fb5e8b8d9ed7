"""Looking for deadlocks: how many actors are looked at, and what workers of other versions say and hear."""

from typing import Any

import pytest
from msgspec import Raw
from msgspec.json import decode, encode

from aether import ActorId, InvalidCommand, Unavailable
from aether.core.actor.deadlock import Ask, Waits
from aether.runtime.deadlocks import ACTORS_MAX, encode_waits, look_at, waits_command
from aether.wire import WAITS_COMMAND, Answer, decode_command

WAITS = Waits("c-1", (Ask("node/b", "ask-1"),), ("c-1", "node/a"))


class Workers:
    """Answers for every actor what it waits for, and counts."""

    def __init__(self, waits: dict[str, bytes], here: dict[str, Waits] | None = None) -> None:
        self.waits = waits
        self.here = here or {}
        self.asked: list[str] = []

    def waits_here(self, actor_id: ActorId) -> Waits | None:
        """What an actor of this worker waits for."""
        return self.here.get(str(actor_id))

    async def look_elsewhere(self, actor_id: ActorId) -> Answer:
        """What an actor waits for; `Unavailable` for those that none has."""
        self.asked.append(str(actor_id))
        if str(actor_id) not in self.waits:
            raise Unavailable("no worker has it")
        return Answer(value=Raw(self.waits[str(actor_id)]))


async def test_what_handlers_of_this_worker_wait_for_is_asked_of_no_other() -> None:
    further = Waits("c-2", (Ask("node/a", "ask-3"),), ("c-2", "node/b"))
    workers: Any = Workers({}, {"node/b": further})
    assert await look_at("node/a", WAITS, workers) == {"node/a": WAITS, "node/b": further}
    assert workers.asked == []


def test_a_worker_is_asked_for_the_path_too() -> None:
    asked = decode_command(waits_command(1_000.0))
    assert (asked.command, decode(asked.args)) == (WAITS_COMMAND, {"path": True})


async def test_it_looks_at_so_many_actors_and_no_more() -> None:
    asks = tuple(Ask(f"node/{n}", f"ask-{n}") for n in range(1_000))
    workers: Any = Workers({})
    seen = await look_at("node/a", Waits("c-1", asks), workers)
    assert (len(seen), len(workers.asked)) == (ACTORS_MAX, ACTORS_MAX - 1)
    assert workers.asked == [ask.actor for ask in asks[: ACTORS_MAX - 1]]


async def test_it_looks_on_at_what_those_wait_for() -> None:
    further = Waits("c-2", (Ask("node/c", "ask-2"), Ask("node/a", "ask-3")), ("c-2", "node/b"))
    workers: Any = Workers({"node/b": encode(further)})
    assert await look_at("node/a", WAITS, workers) == {"node/a": WAITS, "node/b": further, "node/c": Waits("", ())}
    assert workers.asked == ["node/b", "node/c"]


async def test_a_worker_of_an_earlier_version_says_no_path() -> None:
    workers: Any = Workers({"node/b": b'["c-2",[["node/a","ask-2"]]]'})
    seen = await look_at("node/a", WAITS, workers)
    assert seen["node/b"] == Waits("c-2", (Ask("node/a", "ask-2"),), ())


def test_a_worker_of_an_earlier_version_hears_no_path() -> None:
    assert decode(encode_waits(WAITS, b"{}")) == ["c-1", [["node/b", "ask-1"]]]
    assert decode(encode_waits(WAITS, b'{"path":true}'), type=Waits) == WAITS
    with pytest.raises(InvalidCommand):
        encode_waits(WAITS, b'{"path":7}')
