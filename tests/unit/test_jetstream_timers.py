"""What the server is told with a schedule: when it is due and where to, or for how long it keeps a place."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from aether.ids import ActorId
from aether.jetstream import timers
from aether.jetstream.timers import JetStreamTimers
from aether.names import Names, shard_of
from aether.sends import CancelSchedule, SetSchedule

NAMES = Names("ns", 4)
HOME = ActorId("order", "k")


async def head_of(send: SetSchedule | CancelSchedule, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    heads: list[dict[str, str]] = []

    async def write(_connection: object, _subject: str, _payload: bytes, headers: dict[str, str]) -> int:
        heads.append(headers)
        return 1

    monkeypatch.setattr(timers, "write", write)
    connection: Any = None
    assert await JetStreamTimers(connection, NAMES).arm(send)
    (head,) = heads
    return head


async def test_a_schedule_is_due_at_a_time_in_utc_for_the_shard_of_its_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    at = datetime(2026, 7, 1, 9, tzinfo=timezone(timedelta(hours=2)))
    one = SetSchedule(name="n", id="s", at=at, kind="room", key="12", command="go", source=str(HOME), position=1)
    assert await head_of(one, monkeypatch) == {
        "Nats-Schedule": "@at 2026-07-01T07:00:00Z",
        "Nats-Schedule-Target": NAMES.fired(shard_of(HOME, 4)),
        "Nats-Expected-Last-Subject-Sequence": "0",
    }


async def test_a_cancelled_schedule_takes_the_place_of_what_is_there_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = CancelSchedule(name="n", source=str(HOME), position=1)
    assert await head_of(one, monkeypatch) == {
        "Nats-Rollup": "sub",
        "Nats-TTL": timers.CANCELLED_TTL,
        "Nats-Expected-Last-Subject-Sequence": "0",
    }
