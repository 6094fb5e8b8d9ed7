"""Which actors failed lately, and why: what a worker remembers of commands that did not end well, within bounds.

Nothing of a failed command is stored, so this is all that can be asked later. Failures are kept in groups, one for each
command, outcome and kind of error: a group counts all of them and names the actors that failed last. So an actor that
fails a thousand times a second displaces no other, and neither do a thousand actors that fail in the same way.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct

GROUPS_MAX = 48
"""Groups that are remembered; the one without a failure for longest is forgotten."""

ACTORS_MAX = 6
"""Actors that a group names."""

BYTES_MAX = 32_768
"""What all of it takes as JSON, about."""

TASK = "task "
"""What the name of a task has before it; no command's name has a space."""

MESSAGE_CHARS_MAX = 300
PLACE_CHARS_MAX = 160
ERROR_CHARS_MAX = 80
_ENTRY_BYTES = 160
"""Names of fields, numbers and quotes of one entry."""


class Failure(NamedTuple):
    """One command that failed. `time_s`: Unix seconds. `place`: where in whose code, as `file:line in function`."""

    kind: str
    key: str
    command: str
    outcome: str
    error: str
    message: str
    place: str
    command_id: str
    correlation_id: str
    time_s: float


class FailedActor(Struct, frozen=True, omit_defaults=True):
    """The last failure of one actor in a group, and how many it had there since it is named."""

    key: str
    time_s: float
    count: int = 1
    message: str = ""
    place: str = ""
    command_id: str = ""
    correlation_id: str = ""


class FailureGroup(Struct, frozen=True, omit_defaults=True):
    """Failures of one command with one outcome and one error. `actors`: those that failed last, the last one first.

    `outcome` is one of `aether_commands_total`; `error` the name of the exception's class. `count` is of all actors.
    Of a task, which an actor has started, `command` is `task` and its name.
    """

    kind: str
    command: str
    outcome: str
    error: str
    count: int
    time_s: float
    actors: tuple[FailedActor, ...] = ()

    @property
    def what(self) -> str:
        """What failed, for people: `account.deposit`, or `task charge of order`."""
        task = self.command.removeprefix(TASK)
        return f"{self.kind}.{task}" if task == self.command else f"task {task} of {self.kind}"

    @property
    def name(self) -> tuple[str, str, str, str]:
        """What tells it from other groups."""
        return (self.kind, self.command, self.outcome, self.error)


class _Group:
    __slots__ = ("actors", "count", "time_s")

    def __init__(self) -> None:
        self.count = 0
        self.time_s = 0.0
        self.actors: OrderedDict[str, FailedActor] = OrderedDict()


class RecentFailures:
    """What one worker remembers. Its owner adds; a reader gets a copy."""

    def __init__(self) -> None:
        self._groups: OrderedDict[tuple[str, str, str, str], _Group] = OrderedDict()
        self._bytes = 0

    def add(self, failure: Failure) -> None:
        """Remember a failure."""
        error = _short(failure.error, ERROR_CHARS_MAX)
        name = (failure.kind, failure.command, failure.outcome, error)
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group()
            self._bytes += _ENTRY_BYTES + _size(*name)
        self._groups.move_to_end(name)
        group.count += 1
        group.time_s = failure.time_s
        earlier = group.actors.pop(failure.key, None)
        if earlier is not None:
            self._bytes -= _bytes_of(earlier)
        group.actors[failure.key] = actor = FailedActor(
            failure.key,
            failure.time_s,
            1 if earlier is None else earlier.count + 1,
            _short(failure.message, MESSAGE_CHARS_MAX),
            _short(failure.place, PLACE_CHARS_MAX),
            failure.command_id,
            failure.correlation_id,
        )
        self._bytes += _bytes_of(actor)
        if len(group.actors) > ACTORS_MAX:
            self._forget_actor(group)
        self._fit()

    def groups(self) -> tuple[FailureGroup, ...]:
        """All of it, the latest first."""
        return tuple(
            FailureGroup(*name, group.count, group.time_s, tuple(reversed(group.actors.values())))
            for name, group in reversed(self._groups.items())
        )

    def _fit(self) -> None:
        """Forget the oldest until the rest is within the bounds: groups first, then actors of the last one."""
        while len(self._groups) > GROUPS_MAX or (self._bytes > BYTES_MAX and len(self._groups) > 1):
            name, group = self._groups.popitem(last=False)
            self._bytes -= _ENTRY_BYTES + _size(*name) + sum(map(_bytes_of, group.actors.values()))

    def _forget_actor(self, group: _Group) -> None:
        _, oldest = group.actors.popitem(last=False)
        self._bytes -= _bytes_of(oldest)


def merged(found: Iterable[Iterable[FailureGroup]]) -> list[FailureGroup]:
    """The groups of all workers, each once, the latest first. An actor that moved is named by its last failure."""
    together: dict[tuple[str, str, str, str], list[FailureGroup]] = {}
    for groups in found:
        for group in groups:
            together.setdefault(group.name, []).append(group)
    summed = [
        FailureGroup(*name, sum(one.count for one in same), max(one.time_s for one in same), _latest(same))
        for name, same in together.items()
    ]
    return sorted(summed, key=lambda one: -one.time_s)


def _latest(groups: list[FailureGroup]) -> tuple[FailedActor, ...]:
    actors: dict[str, FailedActor] = {}
    for actor in sorted(_actors(groups), key=lambda one: -one.time_s):
        actors.setdefault(actor.key, actor)
    return tuple(actors.values())[:ACTORS_MAX]


def _actors(groups: list[FailureGroup]) -> Iterator[FailedActor]:
    for group in groups:
        yield from group.actors


def _short(text: str, most: int) -> str:
    """At most so many characters, all of which can be sent."""
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return cut.encode("utf-8", "backslashreplace").decode()


def _bytes_of(actor: FailedActor) -> int:
    return _ENTRY_BYTES + _size(actor.key, actor.message, actor.place, actor.command_id, actor.correlation_id)


def _size(*texts: str) -> int:
    """As JSON: what is escaped takes up to six bytes for one."""
    return sum(
        len(text.encode()) + 5 * sum(char < " " or char in '"\\' for char in text) if not text.isalnum() else len(text)
        for text in texts
    )
