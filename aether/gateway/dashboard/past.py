"""An actor's past: a page of its history with what each event changed, and its state at any version.

A worker gives the state before the page; the events of the page are folded here, by the same code that a worker folds
them with. So a page costs the reading of one state and of its own events, however long the history is.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from aether.errors import AetherError, InvalidCommand
from aether.gateway.dashboard.trees import Difference, difference
from aether.ids import ActorId, Position, Version
from aether.model.definition import ActorType
from aether.runtime.fold import Fold
from aether.untyped_client import UntypedClient
from aether.wire import Event

PAGE_EVENTS = 20
"""Events of one page of a history. Pages end at the latest version, and so many before it."""

STATE_BYTES_MAX = 512 * 1024
"""A larger state is not compared: the gateway serves others meanwhile."""


class _State(msgspec.Struct):
    version: int
    state: msgspec.Raw


_state = msgspec.json.Decoder(_State)


@dataclass(frozen=True, slots=True)
class Step:
    """One event with what it changed. `difference` is None where that is not known, and `why` says why."""

    event: Event
    position: Position
    difference: Difference | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    """The state at `version`, of `latest` in all, with the page of the history that the version is on.

    `first` is the version before the page's first event, `last` that of its last event.
    """

    version: int
    latest: int
    state: Any
    state_bytes: int
    first: int
    last: int
    steps: tuple[Step, ...]

    @property
    def later(self) -> int:
        """The last version of the next page, 0 when this is the last one."""
        return min(self.last + PAGE_EVENTS, self.latest) if self.last < self.latest else 0

    @property
    def step(self) -> Step | None:
        """The event that made this version."""
        return next((step for step in self.steps if step.event.version == self.version), None)


async def read_past(
    client: UntypedClient, actor_type: ActorType, actor_id: ActorId, version: int | None, deadline_s: float
) -> Past:
    """The past at a version, or at the latest one. Raises what `UntypedClient.state_answer` and `history` raise."""
    now = _state.decode((await client.state_answer(actor_id, deadline_s=deadline_s)).value)
    wanted = now.version if version is None else version
    if wanted > now.version:
        text = f"{actor_id} has no version {wanted} yet: its history ends at version {now.version}"
        raise InvalidCommand(text, path="version", asked=wanted, latest=now.version)
    last = now.version - (now.version - wanted) // PAGE_EVENTS * PAGE_EVENTS
    first = max(0, last - PAGE_EVENTS)
    before, position = None, Position(0)
    if first:
        answer = await client.state_answer(actor_id, first, deadline_s=deadline_s)
        before, position = bytes(_state.decode(answer.value).state), Position(max(0, answer.position - 1))
    events = await _events(client, actor_id, first, last, position, deadline_s)
    folded = _Folding(actor_type, actor_id, before, first)
    states: dict[int, bytes] = {first: folded.state, now.version: bytes(now.state)}
    steps = []
    for event, where in events:
        steps.append(folded.step(event, where))
        if not folded.why:
            states.setdefault(event.version, folded.state)
    if wanted not in states or (wanted == 0 and folded.why):
        states[wanted] = bytes(_state.decode((await client.state_answer(actor_id, wanted)).value).state)
    raw = states[wanted]
    return Past(wanted, now.version, orjson.loads(raw), len(raw), first, last, tuple(steps))


async def _events(
    client: UntypedClient, actor_id: ActorId, first: int, last: int, position: Position, deadline_s: float
) -> list[tuple[Event, Position]]:
    found: list[tuple[Event, Position]] = []
    if last > first:
        async for event, where in client.history(actor_id, first, after_position=position, deadline_s=deadline_s):
            found.append((event, where))
            if event.version >= last:
                break
    return found


class _Folding:
    """Folds the events of one page. `why` says why it cannot go on, "" while it can."""

    def __init__(self, actor_type: ActorType, actor_id: ActorId, before: bytes | None, version: int) -> None:
        self.why = ""
        self.state = before or b"null"
        try:
            self._fold = Fold(actor_id, actor_type)
            if before is not None:
                self._fold.state = actor_type.decode_state(before, actor_id)
                self._fold.version = Version(version)
            self.state = actor_type.encode_state(self._fold.state)
        except (AetherError, ValueError) as error:
            self.why = f"the model of this gateway cannot read the state: {error}"
        self._check_size()
        self._value = orjson.loads(self.state)

    def step(self, event: Event, position: Position) -> Step:
        """Add the next event."""
        before = self._value
        if not self.why:
            try:
                self._fold.apply([event], position)
                self.state = self._fold.actor_type.encode_state(self._fold.state)
            except (AetherError, ValueError) as error:
                self.why = f"the model of this gateway cannot apply it: {error}"
            self._check_size()
        if self.why:
            return Step(event, position, None, self.why)
        self._value = orjson.loads(self.state)
        return Step(event, position, difference(before, self._value))

    def _check_size(self) -> None:
        if not self.why and len(self.state) > STATE_BYTES_MAX:
            self.why = f"the state is {len(self.state):,} bytes, which is too large to compare here"
