"""A search for a trace, some commits at a time: where it stands, in the address of the page that goes on with it.

No gateway remembers a search, so any gateway of the pool can go on with it, and a search that its reader has left is
over. The commits found so far are read again for each page.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from time import monotonic

import orjson

from aether.correlation_search import TRACE_SINCE
from aether.errors import InvalidCommand
from aether.ids import Position
from aether.ports import StoredCommit
from aether.untyped_client import UntypedClient

FOUND_MAX = 200
"""How many commits of one trace are kept; the search ends there."""

FOUND_BYTES_MAX = 8 * 1024 * 1024
"""About how many bytes they may have; the search ends there, too: each page reads them again."""

APART_MAX = 256
"""Commits found that are not further apart than this are read again in one go."""

BEFORE = timedelta(minutes=10)
"""How much earlier than an event the link to its trace begins to read: its command may be late in the trace."""

_WRONG = "this is no cursor that a page of a trace gave"


@dataclass(frozen=True, slots=True)
class TraceSearch:
    """All is found in the commits after `first` up to `read_to`, of those up to `until`. `end` is the last one stored.

    `found` are the positions of what may belong to the trace.
    """

    first: Position
    read_to: Position
    until: Position
    end: Position
    found: tuple[Position, ...] = ()

    @property
    def full(self) -> bool:
        """Whether as much was found as one page may have."""
        return len(self.found) >= FOUND_MAX

    @property
    def over(self) -> bool:
        """Whether there is nothing to go on with."""
        return self.full or self.read_to >= self.until

    @property
    def complete(self) -> bool:
        """Whether everything that was stored when it began has been read."""
        return self.read_to >= self.end

    def cursor(self) -> str:
        """Where it goes on."""
        steps = [later - earlier for earlier, later in pairwise((self.first, *self.found))]
        raw = orjson.dumps([self.first, self.read_to, self.until, self.end, *steps])
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_search(cursor: str) -> TraceSearch:
    """What `TraceSearch.cursor` said. Raises `InvalidCommand`."""
    try:
        numbers = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise InvalidCommand(_WRONG, path="cursor") from None
    if not (isinstance(numbers, list) and 4 <= len(numbers) <= 4 + FOUND_MAX and all(type(n) is int for n in numbers)):
        raise InvalidCommand(_WRONG, path="cursor")
    first, read_to, until, end, *steps = numbers
    found = tuple(accumulate(steps, initial=first))[1:]
    if not (0 <= first <= read_to <= until <= end) or any(one <= 0 for one in steps) or (found and found[-1] > read_to):
        raise InvalidCommand(_WRONG, path="cursor")
    return TraceSearch(Position(first), Position(read_to), Position(until), Position(end), tuple(map(Position, found)))


async def search_on(
    client: UntypedClient, correlation_id: str, search: TraceSearch, for_s: float, deadline_s: float
) -> tuple[TraceSearch, Sequence[StoredCommit]]:
    """What was found before, read again, and what is found within about `for_s` seconds more.

    Raises what `search_commits` raises.
    """
    ends_s = monotonic() + for_s
    commits: list[StoredCommit] = []
    for after, last in _close_together(search.found):
        async for _, again in client.search_commits(correlation_id, after, last, deadline_s=deadline_s):
            commits += again
    read_to, until = search.read_to, search.until
    async with aclosing(
        client.search_commits(correlation_id, read_to, search.until, deadline_s=deadline_s)
    ) as searched:
        async for up_to, found in searched:
            commits += found[: FOUND_MAX - len(commits)]
            read_to = up_to
            if sum(len(one.payload) for one in commits) >= FOUND_BYTES_MAX:
                until = read_to
                break
            if len(commits) >= FOUND_MAX or monotonic() >= ends_s:
                break
    return replace(search, read_to=read_to, until=until, found=tuple(one.position for one in commits)), commits


def since_for(time: datetime) -> str:
    """From when on the trace of what failed then is read: "" for the usual time, where that has it."""
    return "" if datetime.now(UTC) - time < TRACE_SINCE - BEFORE else (time - BEFORE).isoformat()


def _close_together(found: Sequence[Position]) -> Iterator[tuple[Position, Position]]:
    """Ranges of the stream with everything that was found: the position before each, and its last one."""
    begin = 0
    for number in range(1, len(found) + 1):
        if number == len(found) or found[number] - found[number - 1] > APART_MAX:
            yield Position(found[begin] - 1), found[number - 1]
            begin = number
