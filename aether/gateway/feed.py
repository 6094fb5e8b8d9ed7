"""All stored events for all event streams of a gateway: one subscription, and a window of what it brought lately.

A stream is a position in the window, so that a reader costs no memory of its own, however slow. What is before the
window is read from the store. One writer: the subscription's callback; it listens while there is a stream.
"""

import asyncio
import re
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from aether.errors import HistoryRegressed, InvalidCommand, Overloaded
from aether.gateway.config import GatewayConfig
from aether.gateway.problems import HttpProblem
from aether.ids import ActorId, Position
from aether.ports import StoredCommit, Subscription
from aether.untyped_client import UntypedClient
from aether.wire import SYSTEM_EVENT_PREFIX

CHUNK_BYTES = 65_536
"""Events are sent in pieces of about this size when many are there."""

RECONNECT_MS = 1_000
UNREADABLE = "aether.unreadable"
_EVENT_ID = re.compile(r"(\d{1,19})(?:-(\d{1,6}))?")


class _Head(msgspec.Struct):
    """What of an event decides who gets it."""

    type: str


_heads = msgspec.json.Decoder(list[_Head])
_events = msgspec.json.Decoder(list[msgspec.Raw])


class Frame(NamedTuple):
    """One event as it is sent; `number` is its place in its commit, from 1."""

    type: str
    number: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit in the window."""

    position: Position
    actor_id: ActorId
    frames: tuple[Frame, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """Where a stream is: all up to `position` has been sent, but for the events after `number` if that is not None."""

    position: Position
    number: int | None = None

    @property
    def before(self) -> Position:
        """All up to here has been sent for certain."""
        return self.position if self.number is None else Position(self.position - 1)


def place_of(event_id: str) -> StreamPlace:
    """The place that an event's id names. Raises `InvalidCommand`."""
    found = _EVENT_ID.fullmatch(event_id)
    if found is None:
        raise InvalidCommand(f"no event has the id {event_id[:40]!r}", path="Last-Event-ID")
    number = found[2]
    return StreamPlace(Position(int(found[1])), None if number is None else int(number))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a stream has: of these types, of one kind, with one key; nothing said means all but Aether's own."""

    types: frozenset[str] = frozenset()
    kind: str | None = None
    key: str | None = None

    def frames(self, entry: Entry, place: StreamPlace) -> list[bytes]:
        """The events of a commit that the stream has and that come after its place."""
        if self.kind not in (None, entry.actor_id.kind) or self.key not in (None, entry.actor_id.key):
            return []
        sent = place.number if place.number is not None and place.position == entry.position else 0
        return [frame.text for frame in entry.frames if frame.number > sent and self._has(frame.type)]

    def _has(self, type_: str) -> bool:
        if type_ == UNREADABLE:  # it may have been of any type
            return True
        return type_ in self.types if self.types else not type_.startswith(SYSTEM_EVENT_PREFIX)


def entry_of(commit: StoredCommit) -> Entry:
    """A commit as it is sent. One that cannot be read is an event that says so: it is not left out in silence."""
    position = commit.position
    try:
        heads, raws = _heads.decode(commit.payload), _events.decode(commit.payload)
    except msgspec.MsgspecError:
        text = said(UNREADABLE, {"actor": str(commit.actor_id), "position": position}, f"{position}")
        return Entry(position, commit.actor_id, (Frame(UNREADABLE, 1, text),), len(text))
    last = len(heads)
    frames = tuple(
        Frame(head.type, number, _frame(f"{position}" if number == last else f"{position}-{number}", bytes(raw)))
        for number, (head, raw) in enumerate(zip(heads, raws, strict=True), 1)
    )
    return Entry(position, commit.actor_id, frames, sum(len(frame.text) for frame in frames))


def said(event: str, data: object, event_id: str = "") -> bytes:
    """What the gateway itself says in a stream, under an event name that no model has."""
    named = f"id: {event_id}\n" if event_id else ""
    return f"{named}event: {event}\n".encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"


def _frame(event_id: str, event: bytes) -> bytes:
    # Line breaks of JSON stand between values only, where a space is the same.
    line = event.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"id: %b\ndata: %b\n\n" % (event_id.encode(), line)


class _Ended(Exception):
    """The window has nothing for a place: `name` is what the stream is told."""

    def __init__(self, name: str, **data: object) -> None:
        super().__init__(name)
        self.text = said(name, data)


class EventFeed:
    """The window, and the streams over it."""

    def __init__(self, client: UntypedClient, config: GatewayConfig) -> None:
        self._client = client
        self._config = config
        self._streams = 0
        self._changing = asyncio.Lock()
        self._subscription: Subscription | None = None
        self._bell = asyncio.Event()
        self._ringing = False
        self._draining = False
        self._loop = asyncio.get_running_loop()
        self._history = 0
        self._position = self._base = Position(0)
        self._start = Position(-1)
        self._entries: list[Entry] = []
        self._positions: list[Position] = []
        self._bytes = 0

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._streams

    @property
    def held_commits(self) -> int:
        """How many commits are in the window."""
        return len(self._entries)

    def drain(self) -> None:
        """End every stream, and take no further one. Idempotent."""
        self._draining = True
        self._bell.set()

    @asynccontextmanager
    async def stream(self, wanted: Filter, start: StreamPlace | None) -> AsyncIterator[AsyncIterator[bytes]]:
        """A stream from a place, or from now on.

        Raises `Overloaded`, `Unavailable`, and `HttpProblem` for a place that the stream has not reached.
        """
        if self._draining:
            raise HttpProblem(503, "the gateway is stopping", headers={"Retry-After": "1"}, code="unavailable")
        if self._streams >= self._config.streams_max:
            raise Overloaded(f"{self._config.streams_max} event streams are open", limit="streams_max")
        self._streams += 1
        try:
            await self._listen()
            yield self._events(wanted, await self._begin(start))
        finally:
            self._streams -= 1
            if not self._streams:
                await self._listen_no_more()

    async def _begin(self, start: StreamPlace | None) -> StreamPlace:
        if start is None:
            return StreamPlace(self._position)
        if start.position > self._position and start.position > await self._client.last_position():
            text = f"the stream of events ends before position {start.position}"
            # Not the 5xx of `HistoryRegressed`: the server is well, and to ask for the same once more changes nothing.
            raise HttpProblem(409, text, code=HistoryRegressed.code, position=start.position)
        return start

    async def _events(self, wanted: Filter, place: StreamPlace) -> AsyncIterator[bytes]:
        history = self._history
        yield b"retry: %d\nid: %d%b\n\n" % (RECONNECT_MS, place.position, _suffix(place))
        while place.before < self._base and not self._stops():
            until = self._position
            async for commits in self._client.stored(place.before, until, wanted.kind, wanted.key):
                found: list[bytes] = []
                for commit in commits:
                    found += wanted.frames(entry_of(commit), place)
                place = StreamPlace(commits[-1].position)
                if found:
                    yield b"".join(found)
                if self._stops():
                    break
            else:
                place = StreamPlace(until)
        try:
            while True:
                bell = self._bell
                found, place = self._take(wanted, place, history)
                if found:
                    yield b"".join(found)
                elif not await self._rung(bell):
                    yield b":\nid: %d\n\n" % place.position
        except _Ended as ended:
            yield ended.text

    def _stops(self) -> bool:
        return self._draining

    async def _rung(self, bell: asyncio.Event) -> bool:
        """Wait for more; False when it is time to say that the stream is still there."""
        try:
            async with asyncio.timeout(self._config.still_there_s):
                await bell.wait()
        except TimeoutError:
            return False
        return True

    def _take(self, wanted: Filter, place: StreamPlace, history: int) -> tuple[list[bytes], StreamPlace]:
        """What of the window comes next, about `CHUNK_BYTES`, and the place after it."""
        if self._draining:
            raise _Ended("aether.draining")
        if history != self._history:
            raise _Ended("aether.regressed")
        if place.before < self._base:
            raise _Ended("aether.lagged", position=place.before)
        found: list[bytes] = []
        size, first = 0, bisect_right(self._positions, place.before)
        for entry in self._entries[first:]:
            frames = wanted.frames(entry, place)
            found += frames
            place = StreamPlace(entry.position)
            size += sum(map(len, frames))
            if size >= CHUNK_BYTES:
                break
        return found, place

    # ------------------------------------------------------------------------------------------------ the window

    async def _listen(self) -> None:
        async with self._changing:
            if self._subscription is None:
                self._forget(Position(0))
                subscription, position = await self._client.listen(self._receive)
                self._subscription = subscription
                self._drop_until(position)
                self._start = self._position = max(self._position, position)

    async def _listen_no_more(self) -> None:
        async with self._changing:
            if not self._streams and self._subscription is not None:
                subscription, self._subscription = self._subscription, None
                await subscription.stop()

    def _receive(self, commit: StoredCommit) -> None:
        if commit.position <= self._position:
            if self._position == self._start:
                return  # it was on its way when this began
            # The stream went backwards, as after a lost disk: what the streams have is not what is stored now.
            self._history += 1
            self._forget(Position(commit.position - 1))
        entry = entry_of(commit)
        self._entries.append(entry)
        self._positions.append(entry.position)
        self._bytes += entry.bytes
        self._position = entry.position
        if len(self._entries) > self._config.window_commits_max or self._bytes > self._config.window_bytes_max:
            self._make_room()
        if not self._ringing:
            self._ringing = True
            self._loop.call_soon(self._ring)

    def _ring(self) -> None:
        self._ringing = False
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()
        if self._draining:
            self._bell.set()

    def _make_room(self) -> None:
        """Drop the older quarter, and more while there are too many bytes; the newest stays."""
        drop, size = len(self._entries) // 4, self._bytes
        size -= sum(entry.bytes for entry in self._entries[:drop])
        while drop < len(self._entries) - 1 and size > self._config.window_bytes_max:
            size -= self._entries[drop].bytes
            drop += 1
        if drop:
            self._drop_until(self._positions[drop - 1])

    def _drop_until(self, position: Position) -> None:
        drop = bisect_right(self._positions, position)
        self._bytes -= sum(entry.bytes for entry in self._entries[:drop])
        del self._entries[:drop]
        del self._positions[:drop]
        self._base = position

    def _forget(self, position: Position) -> None:
        self._entries, self._positions, self._bytes = [], [], 0
        self._base = self._position = position
        self._start = Position(-1)


def _suffix(place: StreamPlace) -> bytes:
    return b"" if place.number is None else b"-%d" % place.number
