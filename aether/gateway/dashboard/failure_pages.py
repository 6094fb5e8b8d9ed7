"""Which actors fail, and why: a page of all that the workers remember, and parts of the overview and an actor's page.

The text of a handler's error, and the line that raised it, may hold what callers must not see, so they need the role
`admin`; which actor, which command and which kind of error are shown to all who may read that kind.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aether.core.metrics.failures import ACTORS_MAX, FailedActor, FailureGroup
from aether.gateway.dashboard.numbers import RECENT_S, Numbers, Reading
from aether.gateway.dashboard.pages import Pages, Visit
from aether.gateway.dashboard.soon import soon

MayRead = Callable[[Visit, str], Awaitable[bool]]
"""Whether a visitor may see the actors of a kind."""

MaySee = Callable[[Visit], Awaitable[bool]]
"""Whether a visitor may see what errors say."""

SHOWN_MAX = 4
"""Groups on the overview."""

ACTORS_SHOWN = 3
"""Actors of a group on the overview."""

LIST_BYTES_MAX = 40_000
"""About how large one list is in a page: a page stays small, however much fails."""

_DID = {"failed": "failed", "timed_out": "was not done by its deadline", "rejected": "was rejected"}


@dataclass(frozen=True, slots=True)
class ShownActor:
    """One actor of a group."""

    key: str
    time: datetime
    count: int
    message: str
    place: str
    command_id: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """One group as a page shows it.

    `did`: what its command did, as a verb. `alike`: the errors of all its actors said the same, at the same line, and
    `message` and `place` are that. `more`: there are actors that are not shown.
    """

    kind: str
    what: str
    did: str
    error: str
    count: int
    time: datetime
    ago: str
    actors: tuple[ShownActor, ...]
    alike: bool
    message: str
    place: str
    more: bool


class FailurePages:
    """What pages show of failures."""

    def __init__(self, numbers: Numbers, pages: Pages, may_read: MayRead, may_see: MaySee) -> None:
        self._numbers = numbers
        self._pages = pages
        self._may_read = may_read
        self._may_see = may_see

    async def show(self, visit: Visit) -> None:
        """All of it, as a page."""
        last = await self._numbers.latest()
        await self._pages.answer(
            visit,
            "failures.html",
            failures=await self._shown(visit, last.failures, last.time),
            rejections=await self._shown(visit, last.rejections, last.time),
            sees=await self._may_see(visit),
            reading=last,
        )

    async def overview(self, visit: Visit, reading: Reading) -> dict[str, Any]:
        """What the overview shows: the last groups, how many there are, and a line of what fails just now."""
        readable = await self._readable(visit, reading.failures)
        since_s = reading.time.timestamp() - RECENT_S
        now = [one.what for one in readable if one.time_s >= since_s]
        return {
            "failures": await self._shown(visit, readable[:SHOWN_MAX], reading.time, ACTORS_SHOWN),
            "more_failures": max(0, len(readable) - SHOWN_MAX),
            "sees": await self._may_see(visit),
            "failing": f"{', '.join(dict.fromkeys(now))} failed in the last minute" if now else "",
        }

    async def of_actor(self, visit: Visit, kind: str, key: str) -> dict[str, Any]:
        """What an actor's page shows: its own failures; None when the pool does not say them soon."""
        last = await soon(self._numbers.latest())
        if last is None:
            return {"failures": None, "sees": False}
        own = [
            FailureGroup(one.kind, one.command, one.outcome, one.error, actor.count, actor.time_s, (actor,))
            for one in last.failures
            if one.kind == kind
            for actor in one.actors
            if actor.key == key
        ]
        if last.missing and not own:
            return {"failures": None, "sees": False}
        return {"failures": await self._shown(visit, own, last.time), "sees": await self._may_see(visit)}

    async def _readable(self, visit: Visit, groups: Sequence[FailureGroup]) -> list[FailureGroup]:
        kinds = {kind: await self._may_read(visit, kind) for kind in dict.fromkeys(one.kind for one in groups)}
        return [one for one in groups if kinds[one.kind]]

    async def _shown(
        self, visit: Visit, groups: Sequence[FailureGroup], now: datetime, actors_max: int = ACTORS_MAX
    ) -> list[ShownGroup]:
        sees = await self._may_see(visit)
        readable = await self._readable(visit, groups)
        return [_group(one, actors[:actors_max], sees, now) for one, actors in _first(readable)]


def _group(one: FailureGroup, actors: Sequence[FailedActor], sees: bool, now: datetime) -> ShownGroup:
    shown = tuple(_actor(actor, sees or one.outcome == "rejected") for actor in actors)
    alike = len({(actor.message, actor.place) for actor in shown}) == 1
    return ShownGroup(
        one.kind,
        one.what,
        _DID.get(one.outcome, one.outcome),
        one.error,
        one.count,
        _moment(one.time_s),
        ago(now.timestamp() - one.time_s),
        shown,
        alike,
        shown[0].message if alike else "",
        shown[0].place if alike else "",
        len(one.actors) > len(shown) or sum(actor.count for actor in shown) < one.count,
    )


def ago(seconds: float) -> str:
    """How long ago, for people."""
    if seconds < 1:
        return "just now"
    for unit, most, length_s in (("s", 60, 1), ("min", 3600, 60), ("h", 86_400, 3600)):
        if seconds < most:
            return f"{int(seconds // length_s)} {unit} ago"
    days = int(seconds // 86_400)
    return f"{days} day{'s' * (days != 1)} ago"


def ahead(seconds: float) -> str:
    """In how long, for people."""
    if seconds < 1:
        return "now" if seconds > -1 else f"since {ago(-seconds).removesuffix(' ago')}"
    return f"in {ago(seconds).removesuffix(' ago')}"


def _first(groups: Sequence[FailureGroup]) -> Iterator[tuple[FailureGroup, tuple[FailedActor, ...]]]:
    """The groups with their actors, as many as there is room for, at least one."""
    room = LIST_BYTES_MAX
    for group in groups:
        actors: list[FailedActor] = []
        for actor in group.actors:
            if room > 0:
                actors.append(actor)
                room -= _bytes_max(group, actor)
        if actors:
            yield group, tuple(actors)


def _bytes_max(group: FailureGroup, actor: FailedActor) -> int:
    """What an actor takes at most: `<` is four bytes as text, three in an address."""
    texts = (actor.message, actor.place, actor.command_id, actor.correlation_id, group.error)
    return 1_000 + 7 * len(actor.key) + 5 * sum(map(len, texts))


def _actor(actor: FailedActor, sees: bool) -> ShownActor:
    message, place = (actor.message, actor.place) if sees else ("", "")
    return ShownActor(
        actor.key, _moment(actor.time_s), actor.count, message, place, actor.command_id, actor.correlation_id
    )


def _moment(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, UTC)
