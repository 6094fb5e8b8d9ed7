"""What is made of the disk that a cut left: by a fresh server and a reader, or by a whole fresh pool."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any, TypeAlias

import nats
from nats.js.errors import NotFoundError

from aether.names import SHARDS_DEFAULT
from aether.system.environment import recorded_url
from tests.chaos.calls import Call, Outcome, read_call
from tests.chaos.checker import Limits, check
from tests.chaos.histories import KIND, Stored
from tests.chaos.load import LoadOptions, ledger_names, open_lanes
from tests.chaos.processes import MODEL
from tests.chaos.raw_stream import RawStream, read_stream
from tests.powercut.recorded import LEDGERS, NAMESPACE, WORKERS
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool

STREAM = f"AETHER_{NAMESPACE}"
ANSWERS = 3
"""So many answers of each ledger are asked for after a cut."""

READY_WITHIN_S = 60.0
ANSWERED_WITHIN_S = 30.0
DEADLINE_S = 20.0

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong after one cut, in words; nothing when it held. `commits`: stored in it."""

    faults: tuple[str, ...]
    commits: int


async def by_reader(directory: Path, heard: Sequence[Call]) -> Verdict:
    """A server on the disk, and what it has stored held against what clients had heard."""
    with NatsServer(store=directory) as server:
        stored = await stored_of(server.url)
        snapshots = await rows(server.url, f"KV_{STREAM}_SNAPSHOTS")
    return Verdict((*_faults(stored, heard), *ahead(snapshots, stored.stored)), len(stored.stored))


async def by_pool(directory: Path, heard: Sequence[Call]) -> Verdict:
    """A pool on the disk: it must answer for every actor, and all must fit together afterwards."""
    faults: list[str] = []
    pool = Pool(MODEL, f"--workers={WORKERS}", f"--namespace={NAMESPACE}", data=directory)
    guard = Timer(READY_WITHIN_S, pool.process.kill)
    guard.start()
    try:
        with pool:
            guard.cancel()
            url = recorded_url(directory)
            assert url is not None
            answers = await _used(url)
            stored = await stored_of(url)
            faults += [f"no answer of {ledger}" for ledger in answers.missing]
            faults += held(await rows(url, f"KV_{STREAM}_TABLE", "lease."), stored.shards)
            faults += _faults(stored, [*heard, *answers.calls])
    except AssertionError as error:
        pool.close()
        return Verdict((f"the pool did not start: {error}",), 0)
    finally:
        guard.cancel()
    faults += [f"the pool said: {line.strip()}" for line in pool.lines if _is_alarming(line)]
    return Verdict(tuple(faults), len(stored.stored))


def held(leases: Mapping[str, Row], shards: int) -> list[str]:
    """What is wrong with the rows of leases: each shard has one, and its holder is a worker of the pool."""
    holders = {row.get("incarnation", "") for row in leases.values() if row.get("holder")}
    held = sum(bool(row.get("holder")) for row in leases.values())
    if held == shards and len(holders) <= WORKERS:
        return []
    return [f"{held} of {shards} leases are held, by {sorted(holders)}"]


def _is_alarming(line: str) -> bool:
    return any(word in line for word in (" ERROR ", "HistoryRegressed", "Traceback", "regressed"))


def _faults(stored: RawStream, heard: Sequence[Call]) -> list[str]:
    limits = Limits(answered_min=0, answered_share_min=0.0)
    report = check(stored.stored, heard, namespace=NAMESPACE, shards=stored.shards, limits=limits)
    return [
        f"{violation.value} ({report.counts[violation]}): {'; '.join(examples)}"
        for violation, examples in report.examples.items()
    ]


async def stored_of(url: str, kind: str = KIND) -> RawStream:
    """The commits of one kind; none where there is no stream."""
    try:
        found = await read_stream(url, NAMESPACE)
        return found._replace(stored=[one for one in found.stored if one.subject.split(".")[4] == kind])
    except NotFoundError:
        return RawStream([], SHARDS_DEFAULT)


async def rows(url: str, stream: str, prefix: str = "") -> dict[str, Row]:
    """The last values of a bucket by key."""
    connection = await nats.connect(url)
    try:
        jetstream = connection.jetstream(timeout=10)
        subjects = f"$KV.{stream.removeprefix('KV_')}."
        info = await jetstream.stream_info(stream, subjects_filter=f"{subjects}>")
        rows = {}
        for subject in info.state.subjects or {}:
            if subject.startswith(subjects + prefix):
                message = await jetstream.get_last_msg(stream, subject)
                rows[subject.removeprefix(subjects)] = json.loads(message.data or b"{}")
        return rows
    except NotFoundError:
        return {}
    finally:
        await connection.close()


def ahead(snapshots: Mapping[str, Row], stored: Sequence[Stored]) -> list[str]:
    """What is wrong with snapshots: one is of a commit that is in its actor's history."""
    versions = {}
    for message in stored:
        actor = message.subject.split(".", 4)[-1]
        versions[actor, message.sequence] = int(json.loads(message.payload)[-1]["id"])
    return [
        f"the snapshot of {actor} has version {row['version']} at {row['position']}, the history does not"
        for actor, row in snapshots.items()
        if versions.get((actor, row["position"])) != row["version"]
    ]


class _Answers:
    """Calls that have ended; `enough` once each ledger has answered often enough, or it has taken too long."""

    def __init__(self, ledgers: Sequence[str]) -> None:
        self.calls: list[Call] = []
        self.enough = asyncio.Event()
        self._wanted = dict.fromkeys(ledgers, ANSWERS)

    @property
    def missing(self) -> list[str]:
        """Ledgers that have not answered often enough."""
        return [ledger for ledger, wanted in self._wanted.items() if wanted > 0]

    def write(self, line: str) -> None:
        call = read_call(line)
        self.calls.append(call)
        self._wanted[call.actor] -= call.outcome in (Outcome.REPLY, Outcome.REJECTED)
        if not self.missing:
            self.enough.set()


async def _used(url: str) -> _Answers:
    """Calls of a new client to every ledger."""
    answers = _Answers(ledger_names(LEDGERS))
    options = LoadOptions(url=url, namespace=NAMESPACE, log=Path(), ledgers=LEDGERS, deadline_s=DEADLINE_S, pause_s=0.0)
    async with AsyncExitStack() as clients:
        lanes = await open_lanes(clients, options, answers, names=["later"])
        asyncio.get_running_loop().call_later(ANSWERED_WITHIN_S, answers.enough.set)
        await asyncio.gather(*(lane.run(answers.enough) for lane in lanes))
    return answers
