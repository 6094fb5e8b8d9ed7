"""Runs made by hand or by chance, for the checker's own tests: a log and a stream that agree until a test tampers.

`Book` is a server without faults: what is appended is stored at once. `simulated` is many clients over virtual time.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from urllib.parse import quote
from zlib import crc32

from tests.chaos.calls import Act, Call, Outcome, Receipt
from tests.chaos.checker import Limits, check
from tests.chaos.histories import Stored
from tests.chaos.report import Report

NAMESPACE = "made"
SHARDS = 16
NOTHING = Receipt(0, 0, 0)


@dataclass
class Commit:
    """One message of the stream, still open to tampering."""

    actor: str
    events: list[dict[str, Any]]
    namespace: str = NAMESPACE

    def stored(self, sequence: int) -> Stored:
        token = "".join(
            c if c.isascii() and c.isalnum() else "".join(f"={b:02X}" for b in c.encode()) for c in self.actor
        )
        shard = crc32(f"ledger/{self.actor}".encode()) % SHARDS
        subject = f"aether.{self.namespace}.evt.{shard}.ledger.{token}"
        return Stored(sequence, subject, json.dumps(self.events).encode())


@dataclass
class Book:
    """A log, a stream, and the state of every ledger."""

    calls: list[Call] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    states: dict[str, Receipt] = field(default_factory=dict)

    def append(
        self, client: str, number: int, started_s: float, ended_s: float, *, actor: str = "l", amount: int = 5,
        outcome: Outcome = Outcome.REPLY, stores: bool = True,
    ) -> Call:  # fmt: skip
        """A call that ended, and what it stored, in a commit of its own."""
        call = call_of(client, actor, Act.APPEND, started_s, number=number, amount=amount)
        receipt = self.store([call])[0] if stores else None
        ended = replace(call, ended_s=ended_s, outcome=outcome, receipt=receipt if outcome is Outcome.REPLY else None)
        self.calls.append(ended)
        return ended

    def read(self, client: str, started_s: float, ended_s: float, receipt: Receipt, *, actor: str = "l") -> Call:
        """A query that was answered."""
        call = call_of(client, actor, Act.READ, started_s)
        self.calls.append(replace(call, ended_s=ended_s, outcome=Outcome.REPLY, receipt=receipt))
        return self.calls[-1]

    def store(self, calls: Sequence[Call]) -> list[Receipt]:
        """One commit of these appends to one ledger; the receipts."""
        receipts = []
        for call in calls:
            version, total, digest = vars_of(self.states.get(call.actor, NOTHING))
            digest = crc32(f"{digest}/{call.client}/{call.number}/{call.amount}".encode())
            receipts.append(Receipt(version + 1, total + call.amount, digest))
            self.states[call.actor] = receipts[-1]
        events = [event_of(call, receipt) for call, receipt in zip(calls, receipts, strict=True)]
        self.commits.append(Commit(calls[0].actor, events))
        return receipts

    def check(self, limits: Limits | None = None) -> Report:
        """What the checker says."""
        stored = [commit.stored(sequence) for sequence, commit in enumerate(self.commits, 1)]
        return check(stored, self.calls, namespace=NAMESPACE, shards=SHARDS, limits=limits)


def call_of(client: str, actor: str, act: Act, started_s: float, *, number: int = 0, amount: int = 0) -> Call:
    """A call that nobody has answered yet."""
    name = f"{client}/{actor}/{act}/{number or started_s}"
    return Call(client=client, actor=actor, act=act, number=number, amount=amount, command_id=name,
                started_s=started_s, ended_s=started_s, deadline_s=60.0, outcome=Outcome.UNKNOWN)  # fmt: skip


def event_of(call: Call, receipt: Receipt) -> dict[str, Any]:
    """The CloudEvent of an append."""
    version, total, digest = vars_of(receipt)
    return {
        "specversion": "1.0",
        "id": str(version),
        "source": f"/{NAMESPACE}/ledger/{quote(call.actor, safe='')}",
        "type": "Appended",
        "time": "2026-01-01T00:00:00.000001Z",
        "data": {"client": call.client, "number": call.number, "amount": call.amount},
        "commandid": call.command_id,
        "deadline": "2026-01-01T00:01:00Z",
        "schemaversion": 1,
        "reply": json.dumps({"version": version, "total": total, "digest": digest}),
    }


def vars_of(receipt: Receipt) -> tuple[int, int, int]:
    """Its three numbers."""
    return receipt.version, receipt.total, receipt.digest


def simulated(chance: Random, steps: int) -> Book:
    """Clients that call, are stored, and hear of it or not, at any time and in any order that is allowed."""
    return _Simulation(chance).run(steps)


class _Simulation:
    """One step is: a client sends, or a ledger commits some of what it was sent, or a client hears."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._book = Book()
        self._lanes = [(client, actor) for client in ("c0", "c1") for actor in ("käse/1", "l")]
        self._numbers = dict.fromkeys(self._lanes, 0)
        self._flying: dict[tuple[str, str], Call] = {}
        self._receipts: dict[str, Receipt] = {}
        self._seen_at_start: dict[str, Receipt] = {}
        self._states: dict[str, list[Receipt]] = {actor: [NOTHING] for _, actor in self._lanes}
        self._now_s = 0.0

    def run(self, steps: int) -> Book:
        for _ in range(steps):
            self._now_s += self._chance.uniform(0.01, 1.0)
            self._chance.choice((self._send, self._commit, self._hear))()
        for lane in list(self._flying):
            self._end(lane)
        return self._book

    def _send(self) -> None:
        idle = [lane for lane in self._lanes if lane not in self._flying]
        if not idle:
            return
        lane = self._chance.choice(idle)
        client, actor = lane
        if self._chance.random() < 0.3:
            call = call_of(client, actor, Act.READ, self._now_s)
            self._seen_at_start[call.command_id] = self._states[actor][-1]
        else:
            self._numbers[lane] += 1
            amount = self._chance.choice((0, 1, 2, 3))
            call = call_of(client, actor, Act.APPEND, self._now_s, number=self._numbers[lane], amount=amount)
        self._flying[lane] = call

    def _commit(self) -> None:
        waiting: dict[str, list[Call]] = {}
        for call in self._flying.values():
            if call.amount and call.command_id not in self._receipts:
                waiting.setdefault(call.actor, []).append(call)
        if waiting:
            actor = self._chance.choice(sorted(waiting))
            chosen = self._chance.sample(waiting[actor], self._chance.randint(1, len(waiting[actor])))
            for call, receipt in zip(chosen, self._book.store(chosen), strict=True):
                self._receipts[call.command_id] = receipt
                self._states[actor].append(receipt)

    def _hear(self) -> None:
        if self._flying:
            self._end(self._chance.choice(sorted(self._flying)))

    def _end(self, lane: tuple[str, str]) -> None:
        call = self._flying.pop(lane)
        outcome, receipt = self._outcome(call)
        self._book.calls.append(replace(call, ended_s=self._now_s, outcome=outcome, receipt=receipt))

    def _outcome(self, call: Call) -> tuple[Outcome, Receipt | None]:
        if call.act is Act.READ:
            return Outcome.REPLY, self._chance.choice(
                self._states[call.actor][self._seen_at_start[call.command_id].version :]
            )
        if not call.amount:
            return Outcome.REJECTED, None
        receipt = self._receipts.get(call.command_id)
        if receipt is None:
            return self._chance.choice((Outcome.UNKNOWN, Outcome.UNAVAILABLE)), None
        return (Outcome.REPLY, receipt) if self._chance.random() < 0.8 else (Outcome.UNKNOWN, None)


def renumbered(commits: Iterable[Commit], actor: str) -> None:
    """Make an actor's versions contiguous again, as a stream would that never had what was taken from it."""
    version = 0
    for commit in commits:
        for event in commit.events if commit.actor == actor else ():
            version += 1
            event["id"] = str(version)
