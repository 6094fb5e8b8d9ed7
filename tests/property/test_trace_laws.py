"""Laws of a trace: whatever commits hold, each command of the id is one step, and each step is below one before it."""

from collections import Counter
from datetime import UTC, datetime
from itertools import groupby, pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aether.correlation import steps_of
from aether.ids import ActorId, Position
from aether.ports import StoredCommit
from aether.sends import CancelSchedule, CancelTask, Send, SetSchedule, StartTask, encode_sends
from aether.tells import Tell
from aether.wire import (
    DEAD_LETTERED_EVENT,
    HANDLED_EVENT,
    PARKED_EVENT,
    REFUSED_EVENT,
    WORKER_LOST_EVENT,
    Event,
    encode_commit,
    new_event,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
SET = SetSchedule(name="s", id="s", at=AT, kind="order", key="a", command="tick")
SENDS: list[Send] = [
    Tell(kind="order", key="b", command="go"), SET, StartTask(id="t", task="charge"), CancelTask(id="t"),
    CancelSchedule(name="s"),
]  # fmt: skip
IDS = ["c-1", "c-2", "ask-1", "tell:1.0", "tell:2.0", "tell:3.1", "task:t", "retry:9", SET.firing_id]
TYPES = ["Placed", HANDLED_EVENT, REFUSED_EVENT, PARKED_EVENT, DEAD_LETTERED_EVENT, WORKER_LOST_EVENT]

commands = st.tuples(
    st.sampled_from(IDS),
    st.sampled_from(["", *IDS]),
    st.sampled_from(["o-7", "o-7", "other"]),
    st.sampled_from(TYPES),
    st.sampled_from(["", "9"]),
    st.lists(st.sampled_from(SENDS), max_size=3),
)


def made(version: int, command: tuple[str, str, str, str, str, list[Send]]) -> Event:
    command_id, cause, of, type_, inboxseq, sends = command
    event = new_event(
        version=version, source="/orders/order/a", type=type_, time=AT, data=b"{}", commandid=command_id,
        correlationid=of, causationid=cause or command_id, inboxseq=inboxseq,
    )  # fmt: skip
    return replace(event, sends=encode_sends(sends)) if sends else event


@given(st.lists(st.tuples(st.sampled_from("abc"), st.lists(commands, min_size=1, max_size=3)), max_size=12))
def test_each_command_is_one_step_and_stands_below_one_before_it(
    stored: list[tuple[str, list[tuple[str, str, str, str, str, list[Send]]]]],
) -> None:
    commits, wanted = [], Counter[tuple[str, str, int]]()
    for position, (key, held) in enumerate(stored, 1):
        events = [made(version, command) for version, command in enumerate(held, 1)]
        commits.append(StoredCommit(ActorId("order", key), Position(position), encode_commit(events)))
        for command_id, own in groupby(events, lambda event: event.commandid):
            if [*own][-1].correlationid == "o-7":
                wanted[(key, command_id, position)] += 1
    steps = steps_of("o-7", commits)
    found = Counter(
        (one.actor_id.key, one.command_id, one.position)
        for one in steps
        if one.outcome not in ("open", "sent") and one.position is not None
    )
    assert found == wanted
    assert all(one.depth <= before.depth + 1 for before, one in pairwise(steps))
    assert all(one.depth >= 0 for one in steps)
    assert not steps or steps[0].depth == 0
