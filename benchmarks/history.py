"""Histories written straight into a namespace's stream, in Aether's own format, and the floor's view of them.

Nothing is running that could object: no pool has used these actors yet. Each event is a deposit of 1, so that an
actor's balance is its version; a snapshot written here has a balance that no history has, so that an answer tells
whether it was used.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from heapq import merge
from typing import NamedTuple

import nats
import orjson
from nats.aio.client import Client

from aether.config import ConnectionConfig, StorageConfig
from aether.ids import ActorId
from aether.jetstream.adapters import connect_worker
from aether.names import Names, event_source, snapshot_key
from aether.system.clock import SystemClock
from aether.wire import encode_commit, new_event
from benchmarks.bank import Account, model
from benchmarks.hosts import NAMESPACE

KIND = "account"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
SNAPSHOT_EXTRA = 1_000_000
"""What a snapshot's balance has more than its history."""

UNACKNOWLEDGED_MAX = 500
"""Publishes between two acknowledgements: the server keeps so many and drops what does not fit its queue."""

names = Names(NAMESPACE)


class Commit(NamedTuple):
    """A commit to be written: `events` of an account, the first of which has a version."""

    key: str
    version: int
    events: int


class Spread(NamedTuple):
    """Commits of one event, so that those of an actor are far apart: all actors' first, all actors' second, ..."""

    prefix: str
    actors: int
    events: int

    def commits(self) -> Iterator[tuple[float, Commit]]:
        """Each with its place in the whole, from 0 to 1."""
        count = self.actors * self.events
        for place in range(count):
            version, number = divmod(place, self.actors)
            yield place / count, Commit(f"{self.prefix}{number}", version + 1, 1)


def mixed(histories: Iterable[Spread]) -> Iterator[Commit]:
    """All of them together, each spread evenly over the whole."""
    return (commit for _, commit in merge(*(history.commits() for history in histories)))


def run_of(key: str, events: int, commit_events: int) -> Iterator[Commit]:
    """One actor's history in commits of some size."""
    for version in range(1, events + 1, commit_events):
        yield Commit(key, version, min(commit_events, events - version + 1))


def body_of(commit: Commit) -> bytes:
    """The commit as an Aether worker would have stored it, each event by a command of its own."""
    source = event_source(NAMESPACE, ActorId(KIND, commit.key))
    events = []
    for version in range(commit.version, commit.version + commit.events):
        command_id = f"{commit.key:0>24}-{version}"
        events.append(
            new_event(
                version=version,
                source=source,
                type="Deposited",
                time=LONG_AGO,
                data=b'{"amount":1}',
                commandid=command_id,
                deadline=LONG_AGO,
                correlationid=command_id,
                causationid=command_id,
                reply=str(version),
            )
        )
    return encode_commit(events)


async def make_namespace(url: str) -> None:
    """Make the stream and buckets as a worker does."""
    async with connect_worker(ConnectionConfig(url=url), NAMESPACE, StorageConfig(), SystemClock()):
        pass


def event_subject(key: str) -> str:
    """Where an account's commits are."""
    return names.event(ActorId(KIND, key))


async def write(
    url: str, commits: Iterable[Commit], stream: str = names.stream, subject_of: Callable[[str], str] = event_subject
) -> int:
    """Publish the commits, and how many they were. Raises RuntimeError when the server has not stored all."""
    connection = await nats.connect(url, allow_reconnect=False)
    before = await _messages(connection, stream)
    count = 0
    for commit in commits:
        count += 1
        subject, body = subject_of(commit.key), body_of(commit)
        if count % UNACKNOWLEDGED_MAX:
            await connection.publish(subject, body)
        else:
            await connection.request(subject, body, timeout=30)
    await connection.flush(timeout=30)
    stored = await _until(connection, stream, before + count) - before
    await connection.close()
    if stored != count:
        raise RuntimeError(f"the server has stored {stored} of {count} commits")
    return count


async def write_snapshots(url: str, keys: Sequence[str], version: int) -> None:
    """Snapshots at the end of histories of `version` events, with a balance of their own."""
    connection = await nats.connect(url, allow_reconnect=False)
    fingerprint = model.actor_type(Account).fingerprint
    for key in keys:
        actor_id = ActorId(KIND, key)
        last = await connection.jetstream().get_last_msg(names.stream, names.event(actor_id))
        assert last.seq is not None
        snapshot = {
            "version": version,
            "position": last.seq,
            "fingerprint": fingerprint,
            "state": {"balance": version + SNAPSHOT_EXTRA},
            "record_after": last.seq,
            "record_until_s": 0.0,
        }
        subject = f"$KV.{names.snapshots}.{snapshot_key(actor_id)}"
        await connection.request(subject, orjson.dumps(snapshot), timeout=30)
    await connection.close()


async def _messages(connection: Client, stream: str) -> int:
    told = await connection.request(f"$JS.API.STREAM.INFO.{stream}", timeout=30)
    return int(orjson.loads(told.data)["state"]["messages"])


async def _until(connection: Client, stream: str, wanted: int) -> int:
    """The stream's messages once they are as many as wanted, or have stopped to grow."""
    found, before = await _messages(connection, stream), -1
    while found < wanted and found > before:
        await asyncio.sleep(0.5)
        found, before = await _messages(connection, stream), found
    return found
