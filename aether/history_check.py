"""Whether a model can read what is stored: a dry run of the replays that its workers would make.

Every event of the actors that are looked at is decoded, upcast and folded by the model's own code, in this process.
The commands of all schedules that wait are looked up, and their arguments decoded; so are the names of what the open
tasks of those actors need. It asks the store alone: no worker
is needed, none is disturbed, and nothing is stored. Snapshots are left aside, because new code may have to read each
history from its start.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from aether.errors import ActorFailed, AetherError, HistoryRegressed, UnreadableEvent
from aether.ids import ActorId, Position
from aether.log_lines import words
from aether.model.definition import ActorType
from aether.runtime.fold import Fold, read_event
from aether.sends import SetSchedule
from aether.wire import Event, is_system_event

SAMPLE_DEFAULT = 100
"""Actors of each kind that are looked at when not all of them are."""

READ_AT_ONCE = 16
"""Histories that are read at once."""

STATE = "(state)"
"""In place of an event's type: the state that all events of an actor come to."""

SCHEDULES = "(schedules)"
"""In place of an event's type: the commands of a kind that schedules are to run."""

TASKS = "(tasks)"
"""In place of an event's type: what the open tasks of a kind need."""


class StoredHistories(Protocol):
    """What is read: an `UntypedClient`."""

    def actors(self, *, deadline_s: float | None = None) -> AsyncIterator[ActorId]:
        """The actors of all kinds that have a history."""
        ...

    def history(
        self, actor_id: ActorId, after_version: int = 0, *, deadline_s: float | None = None
    ) -> AsyncIterator[tuple[Event, Position]]:
        """Every stored event of an actor."""
        ...

    async def schedules(self, *, deadline_s: float | None = None) -> Sequence[SetSchedule]:
        """Those whose next tick is waited for."""
        ...


@dataclass(slots=True)
class Finding:
    """What the model made of the events of one kind, type and schema version: how many, and how many it cannot take.

    `error` is the first reason, which names the actor and version. For a kind that the model does not have `event` is
    "" and the numbers are of actors.
    """

    kind: str
    event: str
    schema_version: int
    read: int = 0
    failed: int = 0
    error: str = ""

    def fail(self, error: str) -> None:
        """Count one that the model cannot take."""
        self.failed += 1
        self.error = self.error or error


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedHistories:
    """The findings, in order of kind, event type and schema version, and of how many actors all events were read."""

    findings: list[Finding]
    actors_read: int
    actors_stored: int

    @property
    def good(self) -> bool:
        """Whether the model takes everything that was read."""
        return not any(finding.failed for finding in self.findings)


async def check_histories(
    stored: StoredHistories,
    actor_types: Mapping[str, ActorType],
    tasks: Container[str],
    *,
    sample: int | None,
    choose: Random,
    without: Collection[str] = (),
    deadline_s: float | None = None,
) -> CheckedHistories:
    """Read the histories of `sample` actors of each kind, chosen at random, or of all actors if it is None.

    All schedules are read. `tasks` are the names of those that the model has. Kinds that are stored and that the model
    does not have are findings too, but for those in `without`. Raises what reading raises: `Unavailable` and
    `DeadlineExceeded` when nothing could be read for `deadline_s`.
    """
    check = _Check(stored, actor_types, tasks, deadline_s)
    chosen = _Sample(sample, choose)
    waiting: list[ActorId] = []
    actors_stored = 0
    async for actor_id in stored.actors(deadline_s=deadline_s):
        if actor_id.kind in without:
            continue
        actors_stored += 1
        if actor_id.kind not in actor_types:
            check.unknown_kind(actor_id.kind)
        elif sample is not None:
            chosen.add(actor_id)
        else:
            waiting.append(actor_id)
            if len(waiting) == READ_AT_ONCE:
                await check.read(waiting)
                waiting = []
    waiting += chosen.actors()
    for first in range(0, len(waiting), READ_AT_ONCE):
        await check.read(waiting[first : first + READ_AT_ONCE])
    for schedule in await stored.schedules(deadline_s=deadline_s):
        if schedule.kind not in without:
            check.schedule(schedule)
    return CheckedHistories(findings=check.sorted(), actors_read=check.actors_read, actors_stored=actors_stored)


class _Sample:
    """So many actors of each kind, every one as likely as another, however many there are: reservoir sampling."""

    def __init__(self, size: int | None, choose: Random) -> None:
        self._size = size or 0
        self._choose = choose
        self._kept: dict[str, list[ActorId]] = {}
        self._seen: dict[str, int] = {}

    def add(self, actor_id: ActorId) -> None:
        kept = self._kept.setdefault(actor_id.kind, [])
        seen = self._seen[actor_id.kind] = self._seen.get(actor_id.kind, 0) + 1
        if len(kept) < self._size:
            kept.append(actor_id)
        elif (place := self._choose.randrange(seen)) < self._size:
            kept[place] = actor_id

    def actors(self) -> list[ActorId]:
        return [actor_id for kept in self._kept.values() for actor_id in kept]


class _Check:
    """Reads histories and keeps the findings. Runs on one event loop; one batch of actors at a time."""

    def __init__(
        self,
        stored: StoredHistories,
        actor_types: Mapping[str, ActorType],
        tasks: Container[str],
        deadline_s: float | None,
    ) -> None:
        self._stored = stored
        self._actor_types = actor_types
        self._tasks = tasks
        self._deadline_s = deadline_s
        self._findings: dict[tuple[str, str, int], Finding] = {}
        self.actors_read = 0

    def sorted(self) -> list[Finding]:
        return [self._findings[key] for key in sorted(self._findings)]

    def unknown_kind(self, kind: str) -> None:
        known = ", ".join(sorted(self._actor_types))
        self._finding(kind, "", 0).fail(f"the model has no actor {kind!r}; it has: {known}")

    def schedule(self, schedule: SetSchedule) -> None:
        """A tick whose command the model does not take fails, and becomes a dead letter."""
        finding = self._finding(schedule.kind, SCHEDULES, 0)
        finding.read += 1
        what = f"the schedule {schedule.name} of {schedule.source} runs {schedule.kind}.{schedule.command}"
        actor_type = self._actor_types.get(schedule.kind)
        command = actor_type.commands.get(schedule.command) if actor_type is not None else None
        if command is None:
            finding.fail(f"{what}, which the model does not have")
            return
        if command.query:
            finding.fail(f"{what}, which is a query")
            return
        try:
            command.decode_args(bytes(schedule.args))
        except BaseException as error:  # users' code too
            finding.fail(f"{what}, which does not take its arguments: {words(error)}")

    async def read(self, actors: Collection[ActorId]) -> None:
        await asyncio.gather(*map(self._read, actors))

    async def _read(self, actor_id: ActorId) -> None:
        actor_type = self._actor_types[actor_id.kind]
        fold = self._begun(actor_id, actor_type)
        try:
            async for event, position in self._stored.history(actor_id, deadline_s=self._deadline_s):
                fold = self._add(fold, actor_id, actor_type, event, position)
        except UnreadableEvent as error:  # a commit that is none
            self._finding(actor_id.kind, "", 0).fail(error.message)
            fold = None
        if fold is not None:
            self._check_state(fold)
            self._check_tasks(fold)
        self.actors_read += 1

    def _begun(self, actor_id: ActorId, actor_type: ActorType) -> Fold | None:
        try:
            return Fold(actor_id, actor_type)
        except ActorFailed as error:
            self._finding(actor_id.kind, STATE, 0).fail(error.message)
            return None

    def _add(
        self, fold: Fold | None, actor_id: ActorId, actor_type: ActorType, event: Event, position: Position
    ) -> Fold | None:
        """The fold after the event; None once it cannot go on, and then the rest is only decoded."""
        system = is_system_event(event)
        finding = None if system else self._finding(actor_id.kind, event.type, event.schemaversion)
        if finding is not None:
            finding.read += 1
        try:
            if fold is not None:
                fold.apply([event], position)
            elif not system:
                read_event(event, position, actor_id, actor_type)
        except (UnreadableEvent, ActorFailed, HistoryRegressed) as error:
            (finding or self._finding(actor_id.kind, event.type, event.schemaversion)).fail(error.message)
            return None
        return fold

    def _check_state(self, fold: Fold) -> None:
        """A state that cannot be written has no snapshots and no answer to `aether state`."""
        finding = self._finding(fold.actor_id.kind, STATE, 0)
        finding.read += 1
        try:
            fold.actor_type.encode_state(fold.state)
        except BaseException as error:  # users' code too
            why = error.message if isinstance(error, AetherError) else words(error)
            finding.fail(f"the state of {fold.actor_id} at version {fold.version} cannot be stored: {why}")

    def _check_tasks(self, fold: Fold) -> None:
        """A task that the model lacks is not called; a result whose command it lacks is a dead letter, or a failure."""
        actor_id, commands = fold.actor_id, fold.actor_type.commands
        for task_id, one in fold.agenda.tasks.items() if fold.agenda is not None else ():
            finding = self._finding(actor_id.kind, TASKS, 0)
            finding.read += 1
            lacks = [] if one.task in self._tasks else [f"the task {one.task}"]
            lacks += [f"{actor_id.kind}.{name}" for name in (one.then, one.failed) if name and name not in commands]
            if lacks:
                what = f"the task {task_id} that {actor_id} has started needs {' and '.join(lacks)}"
                finding.fail(f"{what}, which the model does not have")

    def _finding(self, kind: str, event: str, schema_version: int) -> Finding:
        key = kind, event, schema_version
        if key not in self._findings:
            self._findings[key] = Finding(kind, event, schema_version)
        return self._findings[key]
