"""Every account folded from the stream, without a line of the runtime, and what is under way between them."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from aether.sends import FIRING, RESULT
from tests.chaos.bank.findings import Finding, Wrong
from tests.chaos.calls import Call, Outcome
from tests.chaos.histories import WORKER_LOST, Stored

EARLY = timedelta(milliseconds=2)
"""The time of an event is up to a millisecond early."""

TELL = "/tell/"
"""Stands in the number of what a client tells."""


class End(StrEnum):
    """What became of a task."""

    OPEN = "open"
    SETTLED = "settled"
    REFUNDED = "refunded"
    STOPPED = "stopped"


HANDLED = "aether.Handled"
DISK_PROBED = "aether.DiskProbed"
"""What a worker stores to see that it can sync the server's files; it is of no account."""


@dataclass
class TaskStarted:
    """A task that the history has started."""

    account: str
    key: str
    amount: int
    end: End = End.OPEN
    receipt: str = ""


@dataclass(frozen=True)
class Move:
    """Money under way: `place` is its place among all that was sent, `due` when a schedule sends it."""

    sender: str
    to: str
    amount: int
    place: int
    due: datetime | None = None


@dataclass
class Hold:
    """Money that is held, or paid again and again: then `times` and `every` are given and `done` counts."""

    account: str
    to: str
    amount: int
    since: datetime
    every: timedelta
    times: int = 1
    done: int = 0


@dataclass(frozen=True)
class Entry:
    """One event, as it is stored."""

    account: str
    version: int
    type: str
    command_id: str
    time: datetime
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.account} version {self.version}, {self.type} {self.body} (command {self.command_id})"


class Books:
    """Reads commits in the order of the stream; `close` when there are no more. `sent` is what clients asked for."""

    def __init__(self, sent: Mapping[str, Call]) -> None:
        self.findings: list[Finding] = []
        self.tasks: dict[str, TaskStarted] = {}
        self.places: dict[str, int] = {}
        self.types = Counter[str]()
        self.cuts = 0
        self._sent = sent
        self._balances = Counter[str]()
        self._versions = Counter[str]()
        self._states: dict[tuple[str, int], int] = {}
        self._begun: set[str] = set()
        self._taken: set[str] = set()
        self._moving: dict[str, Move] = {}
        self._holds: dict[str, Hold] = {}
        self._orders: dict[str, Hold] = {}
        self._latest: dict[tuple[str, str], int] = {}
        self._brought = 0
        self._spent = 0
        self._in_tasks = 0
        self._off = 0
        self._effects: dict[str, Callable[[Entry], None]] = {
            "Opened": self._opened, "Paid": self._paid, "Taken": self._took, "Held": self._held,
            "Captured": self._captured, "Released": self._released, "Ordered": self._ordered,
            "Repeated": self._repeated, "Charged": self._charged, "Settled": self._settled,
            "Refunded": self._refunded, "Stopped": self._stopped, "Stray": self._strayed,
        }  # fmt: skip

    def balance_at(self, account: str, version: int) -> int | None:
        """What an account had at a version; None if there is no such version."""
        return self._states.get((account, version), 0 if version == 0 else None)

    def read(self, message: Stored) -> None:
        """One commit. After it the total must be what it was."""
        for event in json.loads(message.payload):
            if event["type"] == DISK_PROBED:
                continue
            entry = Entry(
                _account_of(message.subject), int(event["id"]), event["type"], event.get("commandid", ""),
                datetime.fromisoformat(event["time"]), event.get("data") or {},
            )  # fmt: skip
            self._read(entry, message.sequence)
        self.cuts += 1
        off = self._total() - self._brought
        if off != self._off:
            self._off = off
            self._found(Wrong.NOT_CONSERVED, f"{off} off after message {message.sequence}")

    def close(self) -> None:
        """What was sent and had no effect until now."""
        for number, move in self._moving.items():
            self._found(Wrong.LOST, f"{number}: {move}")
        for number, hold in (self._holds | self._orders).items():
            self._found(Wrong.LOST, f"{number}: {hold}")
        for number, task in self.tasks.items():
            if task.end is End.OPEN:
                self._found(Wrong.LOST, f"{number}: {task}")
        for number, call in self._sent.items():
            if TELL in number and call.outcome is Outcome.REPLY and number not in self._taken:
                self._found(Wrong.LOST, f"{number}: its client has a receipt")

    # ------------------------------------------------------------------------------------------ one event

    def _read(self, entry: Entry, sequence: int) -> None:
        self.types[entry.type] += 1
        if entry.version != self._versions[entry.account] + 1:
            self._found(Wrong.VERSION_GAP, f"{entry}: the version before is {self._versions[entry.account]}")
        self._versions[entry.account] = entry.version
        if self.places.setdefault(entry.command_id, sequence) != sequence and not _may_come_again(entry):
            self._found(Wrong.TWICE, f"{entry}: the command is in message {self.places[entry.command_id]}, too")
        effect = self._effects.get(entry.type)
        if effect is not None:
            effect(entry)
        self._states[entry.account, entry.version] = self._balances[entry.account]

    def _opened(self, entry: Entry) -> None:
        self._begin(entry, f"open {entry.account}")
        self._balances[entry.account] += entry.body["amount"]
        self._brought += entry.body["amount"]

    def _paid(self, entry: Entry) -> None:
        body = entry.body
        self._begin(entry, body["number"])
        self._balances[entry.account] -= body["amount"]
        due = entry.time + timedelta(seconds=body["after_s"]) if body["after_s"] else None
        self._move(entry, body["number"], body["to"], body["amount"], due)

    def _took(self, entry: Entry) -> None:
        number, amount = entry.body["number"], entry.body["amount"]
        self._balances[entry.account] += amount
        if number in self._taken:
            self._found(Wrong.TWICE, f"{entry}")
            return
        move = self._moving.pop(number, None) or self._told(entry)
        if move is None or (move.to, move.amount) != (entry.account, amount):
            self._found(Wrong.MADE_UP, f"{entry}: under way was {move}")
            return
        self._taken.add(number)
        if move.due is not None:
            self._check_due(entry, move.due)
        elif move.place:
            if self._latest.get((move.sender, move.to), 0) > move.place:
                self._found(Wrong.OUT_OF_ORDER, f"{entry}: one that was sent later by {move.sender} came before")
            self._latest[move.sender, move.to] = move.place

    def _held(self, entry: Entry) -> None:
        body = entry.body
        self._begin(entry, body["number"])
        self._balances[entry.account] -= body["amount"]
        for_s = timedelta(seconds=body["for_s"])
        self._holds[body["number"]] = Hold(entry.account, body["to"], body["amount"], entry.time, for_s)

    def _captured(self, entry: Entry) -> None:
        hold = self._end(entry, self._holds)
        if hold is not None:
            self._move(entry, entry.body["number"], hold.to, hold.amount, None)

    def _released(self, entry: Entry) -> None:
        hold = self._end(entry, self._holds)
        if hold is not None:
            self._balances[entry.account] += hold.amount
            self._check_due(entry, hold.since + hold.every)

    def _ordered(self, entry: Entry) -> None:
        body = entry.body
        self._begin(entry, body["number"])
        self._balances[entry.account] -= body["amount"] * body["times"]
        every = timedelta(seconds=body["every_s"])
        order = Hold(entry.account, body["to"], body["amount"], entry.time, every, body["times"])
        self._orders[body["number"]] = order

    def _repeated(self, entry: Entry) -> None:
        number, count = entry.body["number"], entry.body["count"]
        order = self._orders.get(number)
        if order is None or order.account != entry.account:
            self._found(Wrong.STRAY if number in self._begun else Wrong.MADE_UP, f"{entry}")
            return
        order.done += 1
        if order.done != count:
            self._found(Wrong.TWICE, f"{entry}: it is the {order.done}th")
        self._check_due(entry, order.since + order.every * order.done)
        self._move(entry, f"{number}#{count}", order.to, order.amount, None)
        if order.done == order.times:
            del self._orders[number]

    def _charged(self, entry: Entry) -> None:
        body = entry.body
        self._begin(entry, body["number"])
        self._balances[entry.account] -= body["amount"]
        self.tasks[body["number"]] = TaskStarted(entry.account, body["key"], body["amount"])
        self._in_tasks += body["amount"]

    def _settled(self, entry: Entry) -> None:
        task = self._end_task(entry, End.SETTLED)
        if task is not None:
            task.receipt = entry.body["receipt"]
            self._spent += task.amount

    def _refunded(self, entry: Entry) -> None:
        task = self._end_task(entry, End.REFUNDED)
        if task is not None:
            self._balances[entry.account] += task.amount

    def _stopped(self, entry: Entry) -> None:
        task = self._end_task(entry, End.STOPPED)
        if task is not None:
            self._balances[entry.account] += task.amount

    def _strayed(self, entry: Entry) -> None:
        self._found(Wrong.STRAY, f"{entry}")

    # ------------------------------------------------------------------------------------------ what they share

    def _found(self, wrong: Wrong, example: str) -> None:
        self.findings.append(Finding(wrong, example))

    def _begin(self, entry: Entry, number: str) -> None:
        if number in self._begun:
            self._found(Wrong.TWICE, f"{entry}")
        self._begun.add(number)
        call = self._sent.get(entry.command_id)
        if call is None or call.actor != entry.account or call.outcome in (Outcome.REJECTED, Outcome.UNAVAILABLE):
            self._found(Wrong.MADE_UP, f"{entry}: {call and call.outcome}")

    def _move(self, entry: Entry, number: str, to: str, amount: int, due: datetime | None) -> None:
        self._moving[number] = Move(entry.account, to, amount, entry.version, due)

    def _told(self, entry: Entry) -> Move | None:
        """What a client has told, if it is that; `place` counts for what it has a receipt of."""
        call = self._sent.get(entry.body["number"])
        if call is None or TELL not in call.command_id or call.outcome is Outcome.UNAVAILABLE:
            return None
        self._brought += call.amount
        place = call.number if call.outcome is Outcome.REPLY else 0
        return Move(f"client {call.client}", call.actor, call.amount, place)

    def _end(self, entry: Entry, holds: dict[str, Hold]) -> Hold | None:
        number = entry.body["number"]
        hold = holds.pop(number, None)
        if hold is None or hold.account != entry.account:
            self._found(Wrong.TWICE if number in self._begun else Wrong.MADE_UP, f"{entry}")
            return None
        return hold

    def _end_task(self, entry: Entry, end: End) -> TaskStarted | None:
        task = self.tasks.get(entry.body["number"])
        if task is None or task.account != entry.account:
            self._found(Wrong.MADE_UP, f"{entry}")
            return None
        if task.end is not End.OPEN:
            self._found(Wrong.STRAY if task.end is End.STOPPED else Wrong.TWICE, f"{entry}: it was {task.end}")
            return None
        task.end = end
        self._in_tasks -= task.amount
        return task

    def _check_due(self, entry: Entry, due: datetime) -> None:
        if entry.time + EARLY < due:
            self._found(Wrong.EARLY, f"{entry}: at {entry.time}, due at {due}")

    def _total(self) -> int:
        kept = sum(one.amount * (one.times - one.done) for one in (self._holds | self._orders).values())
        moving = sum(one.amount for one in self._moving.values())
        return sum(self._balances.values()) + kept + moving + self._in_tasks + self._spent


def _account_of(subject: str) -> str:
    """The key of the actor whose subject it is."""
    token = subject.rpartition(".")[2]
    return re.sub(rb"=([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), token.encode()).decode()


def _may_come_again(entry: Entry) -> bool:
    """Whether a message may have its command id again: a tick or a result that comes once more has no effect then.

    The server leaves out a repetition within two minutes; a later one is told to the actor, which expects it no more.
    """
    return entry.type == WORKER_LOST or (entry.type == HANDLED and entry.command_id.startswith((FIRING, RESULT)))
