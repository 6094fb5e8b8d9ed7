"""When a worker looks at its shards: each in its turn, and a few at a time."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aether.config import RuntimeConfig
from aether.core.health import Health, Need
from aether.errors import Unavailable
from aether.ports import InboxBatch
from aether.runtime import telling as looking
from aether.runtime.counters import Counters
from aether.runtime.telling import LOOK_PARTS, Telling, _Shard
from aether.system.clock import SystemClock

SHARDS = 3 * LOOK_PARTS


class Streams:
    """The ends of three streams."""

    tell_bytes_max = 1_000
    end = 1
    epoch = 0
    error: Unavailable | None = None

    def on_connected(self, _: Any) -> Any:
        return lambda: None

    async def end_of_commits(self) -> int:
        return self.end

    async def end_of_tells(self) -> int:
        if self.error is not None:
            raise self.error
        return self.end

    async def dead_letters(self, _: int) -> InboxBatch:
        return InboxBatch([], False)


class Shard:
    """What is done for one shard; it notes when."""

    def __init__(self, shard: int, noted: list[tuple[str, int]]) -> None:
        self._shard = shard
        self._noted = noted

    def look(self) -> None:
        self._noted.append(("look", self._shard))

    def ring(self) -> None:
        self._noted.append(("search", self._shard))


@pytest.fixture
async def looks(monkeypatch: pytest.MonkeyPatch) -> tuple[Telling, Streams, list[tuple[str, int]]]:
    monkeypatch.setattr(looking, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(looking, "SEARCH_EVERY_S", 0.0)
    streams, noted = Streams(), list[tuple[str, int]]()
    around = SimpleNamespace(
        connection=SimpleNamespace(shards=SHARDS), clock=SystemClock(), lease=None, config=RuntimeConfig(),
        counters=Counters(), health=Health(), jitter=lambda: 0.0, tasks=None, timers=None,
    )  # fmt: skip
    one = Telling(cast(Any, streams), cast(Any, around), lambda _: None)
    for shard in range(SHARDS):
        relayer = SimpleNamespace(look=lambda: None)
        one._serving[shard] = _Shard(cast(Any, relayer), cast(Any, Shard(shard, noted)))
    return one, streams, noted


async def turn(noted: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """What is done until the loop has nothing more to do at once."""
    noted.clear()
    await asyncio.sleep(0)
    return [*noted]


async def test_each_shard_is_looked_at_in_its_turn_and_few_at_a_time(
    looks: tuple[Telling, Streams, list[tuple[str, int]]],
) -> None:
    one, _, noted = looks
    turns = [await turn(noted) for _ in range(20 * LOOK_PARTS)]
    assert max(len(done) for done in turns) <= 2 * SHARDS // LOOK_PARTS  # a look and a search of each
    counts = [sum(done.count(("look", shard)) for done in turns) for shard in range(SHARDS)]
    assert min(counts) > 2
    assert max(counts) - min(counts) <= 1
    for shard in range(SHARDS):
        del one._serving[shard]
    await one.close(1.0)


async def test_each_is_searched_once_for_an_end_that_has_moved(
    looks: tuple[Telling, Streams, list[tuple[str, int]]],
) -> None:
    one, streams, noted = looks
    for end in (1, 2):
        streams.end = end
        turns = [await turn(noted) for _ in range(20 * LOOK_PARTS)]
        assert [sum(done.count(("search", shard)) for done in turns) for shard in range(SHARDS)] == [1] * SHARDS
    for shard in range(SHARDS):
        del one._serving[shard]
    await one.close(1.0)


async def test_a_stream_that_is_gone_is_lacked_until_it_is_made_anew(
    looks: tuple[Telling, Streams, list[tuple[str, int]]],
) -> None:
    one, streams, noted = looks
    found: list[str] = []
    for error in (Unavailable("late"), Unavailable("no stream", gone=True), None):
        streams.error = error
        for _ in range(4 * LOOK_PARTS):
            await turn(noted)
        found.append(one._health.why(Need.TELLS))
    assert found == ["", "no stream", ""]
    assert one._health.trouble == "", "calls are served"
    one._serving.clear()
    await one.close(1.0)


async def test_when_what_was_read_may_be_gone_each_inbox_is_read_anew(
    looks: tuple[Telling, Streams, list[tuple[str, int]]],
) -> None:
    one, streams, _ = looks
    closed: list[int] = []
    for shard, served in one._serving.items():
        served.relayer = cast(Any, SimpleNamespace(connected=lambda: None, waiting=0))
        served.inbox = cast(
            Any, SimpleNamespace(close=partial(closed.append, shard), connected=lambda: None, waiting=0)
        )
        served.relaying, served.reading = (cast(Any, asyncio.get_running_loop().create_future()) for _ in range(2))
    one._serving[1].is_left = True
    before = {shard: served.inbox for shard, served in one._serving.items()}
    one._connected()
    assert closed == [], "the server was not started again"
    streams.epoch = 1
    one._connected()
    assert closed == [0, *range(2, SHARDS)], "one that is left is left alone"
    assert [shard for shard, served in one._serving.items() if served.inbox is before[shard]] == [1]
    await asyncio.sleep(0)
    assert [cast(Any, served.relaying).cancelled() for served in one._serving.values()] == [False] * SHARDS
    streams.epoch = 2
    await one.close(1)
