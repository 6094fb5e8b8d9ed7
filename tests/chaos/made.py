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
        """A call that ended, and the event that it stored, in a commit of its own. A refusal tells the state."""
        call = call_of(client, actor, Act.APPEND, started_s, number=number, amount=amount)
        told = self.states.get(actor, NOTHING)
        if stores:
            told = self.store([call])[0]
        known = outcome is Outcome.REJECTED or (outcome is Outcome.REPLY and (stores or amount == 0))
        ended = replace(call, ended_s=ended_s, outcome=outcome, receipt=told if known else None)
        self.calls.append(ended)
        return ended

    def decide(
        self, client: str, number: int, started_s: float, ended_s: float, *, actor: str = "l", amount: int,
        outcome: Outcome | None = None,
    ) -> Call:  # fmt: skip
        """A call whose outcome is stored whatever it is; its client is told it, or something else."""
        call = replace(call_of(client, actor, Act.APPEND, started_s, number=number, amount=amount), given=True)
        (decided, told), *_ = self.commit([call], stored=True)
        heard = outcome or decided
        known = heard in (Outcome.REPLY, Outcome.REJECTED)
        self.calls.append(replace(call, ended_s=ended_s, outcome=heard, receipt=told if known else None))
        return self.calls[-1]

    def lose(self, call: Call) -> None:
        """The call's handler ended a worker."""
        before = self.states.get(call.actor, NOTHING)
        state = replace(before, version=before.version + 1)
        body = {"command": "append", "cause": "SIGSEGV", "worker": f"w-{state.version}"}
        self.states[call.actor] = state
        self.commits.append(Commit(call.actor, [system_event(call, "WorkerLost", state, body)]))

    def commit(self, calls: Sequence[Call], *, stored: bool) -> list[tuple[Outcome, Receipt]]:
        """Decide these appends to one ledger, in one commit; `stored` says whether also what emits nothing is."""
        decided: list[tuple[Outcome, Receipt]] = []
        events = []
        for call in calls:
            before = self.states.get(call.actor, NOTHING)
            outcome = Outcome.REJECTED if before.total + call.amount < 0 else Outcome.REPLY
            state = replace(before, version=before.version + 1)
            if outcome is Outcome.REPLY and call.amount:
                state = after(before, call)
                events.append(event_of(call, state))
                decided.append((outcome, state))
            else:
                decided.append((outcome, before))
                if not stored:
                    continue
                body = {"code": "rejected", "message": "less", "details": told_of(before)}
                events.append(
                    system_event(call, "Refused", state, body)
                    if outcome is Outcome.REJECTED
                    else {**system_event(call, "Handled", state, {}), "reply": json.dumps(told_of(before))}
                )
            self.states[call.actor] = state
        if events:
            self.commits.append(Commit(calls[0].actor, events))
        return decided

    def read(self, client: str, started_s: float, ended_s: float, receipt: Receipt, *, actor: str = "l") -> Call:
        """A query that was answered."""
        call = call_of(client, actor, Act.READ, started_s)
        self.calls.append(replace(call, ended_s=ended_s, outcome=Outcome.REPLY, receipt=receipt))
        return self.calls[-1]

    def store(self, calls: Sequence[Call]) -> list[Receipt]:
        """One commit of these appends to one ledger; the receipts."""
        receipts = []
        for call in calls:
            receipts.append(after(self.states.get(call.actor, NOTHING), call))
            self.states[call.actor] = receipts[-1]
        events = [event_of(call, receipt) for call, receipt in zip(calls, receipts, strict=True)]
        self.commits.append(Commit(calls[0].actor, events))
        return receipts

    def check(self, limits: Limits | None = None) -> Report:
        """What the checker says."""
        stored = [commit.stored(sequence) for sequence, commit in enumerate(self.commits, 1)]
        return check(stored, self.calls, namespace=NAMESPACE, shards=SHARDS, limits=limits)


def call_of(client: str, actor: str, act: Act, started_s: float, *, number: int = 0, amount: int = 0) -> Call:
    """A call without an answer yet."""
    name = f"{client}/{actor}/{act}/{number or started_s}"
    return Call(client=client, actor=actor, act=act, number=number, amount=amount, command_id=name,
                started_s=started_s, ended_s=started_s, deadline_s=60.0, outcome=Outcome.UNKNOWN)  # fmt: skip


def event_of(call: Call, receipt: Receipt) -> dict[str, Any]:
    """The CloudEvent of an append."""
    return {
        "specversion": "1.0",
        "id": str(receipt.version),
        "source": f"/{NAMESPACE}/ledger/{quote(call.actor, safe='')}",
        "type": "Appended",
        "time": "2026-01-01T00:00:00.000001Z",
        "data": {"client": call.client, "number": call.number, "amount": call.amount},
        "commandid": call.command_id,
        "deadline": "2026-01-01T00:01:00Z",
        "schemaversion": 1,
        "reply": json.dumps(told_of(receipt)),
    }


def system_event(call: Call, name: str, state: Receipt, body: dict[str, Any]) -> dict[str, Any]:
    """A CloudEvent of Aether's own, without a reply."""
    event = {**event_of(call, state), "type": f"aether.{name}", "data": body}
    del event["reply"]
    return event


def after(before: Receipt, call: Call) -> Receipt:
    """The state after an append."""
    digest = crc32(f"{before.digest}/{call.client}/{call.number}/{call.amount}".encode())
    return Receipt(before.version + 1, before.total + call.amount, digest)


def told_of(receipt: Receipt) -> dict[str, int]:
    """A state as an answer has it."""
    return {"version": receipt.version, "total": receipt.total, "digest": receipt.digest}


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
        self._decided: dict[str, tuple[Outcome, Receipt]] = {}
        self._lost: set[str] = set()
        self._seen_at_start: dict[str, Receipt] = {}
        self._states: dict[str, list[Receipt]] = {actor: [NOTHING] for _, actor in self._lanes}
        self._now_s = 0.0

    def run(self, steps: int) -> Book:
        for _ in range(steps):
            self._now_s += self._chance.uniform(0.01, 1.0)
            self._chance.choice((self._send, self._commit, self._hear, self._lose))()
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
            amount = self._chance.choice((-3, -2, -1, 0, 1, 2, 3))
            call = call_of(client, actor, Act.APPEND, self._now_s, number=self._numbers[lane], amount=amount)
            call = replace(call, given=self._chance.random() < 0.5)
        self._flying[lane] = call

    def _commit(self) -> None:
        waiting: dict[str, list[Call]] = {}
        for call in self._undecided():
            waiting.setdefault(call.actor, []).append(call)
        if waiting:
            actor = self._chance.choice(sorted(waiting))
            chosen = self._chance.sample(waiting[actor], self._chance.randint(1, len(waiting[actor])))
            stored = any(call.given for call in chosen) or self._chance.random() < 0.5
            for call, (outcome, told) in zip(chosen, self._book.commit(chosen, stored=stored), strict=True):
                self._decided[call.command_id] = outcome, told
                if outcome is Outcome.REPLY and call.amount:
                    self._states[actor].append(told)
                elif stored:
                    self._states[actor].append(replace(told, version=told.version + 1))

    def _lose(self) -> None:
        calls = [call for call in self._undecided() if call.command_id not in self._lost]
        if calls and self._chance.random() < 0.2:
            call = self._chance.choice(calls)
            self._lost.add(call.command_id)
            self._book.lose(call)
            self._states[call.actor].append(self._book.states[call.actor])

    def _undecided(self) -> list[Call]:
        return [
            call for call in self._flying.values() if call.act is Act.APPEND and call.command_id not in self._decided
        ]

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
        if call.command_id not in self._decided:
            return self._chance.choice((Outcome.UNKNOWN, Outcome.UNAVAILABLE)), None
        return self._decided[call.command_id] if self._chance.random() < 0.8 else (Outcome.UNKNOWN, None)


def renumbered(commits: Iterable[Commit], actor: str) -> None:
    """Make an actor's versions contiguous again, as a stream would that never had what was taken from it."""
    version = 0
    for commit in commits:
        for event in commit.events if commit.actor == actor else ():
            version += 1
            event["id"] = str(version)
