"""A run of the bank made by hand, in which everything happens once and all agrees: for the checker's own tests."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.chaos.bank.checker import check_bank
from tests.chaos.bank.findings import BankReport
from tests.chaos.bank.outside import Asked, Request
from tests.chaos.calls import Act, Call, Outcome, Receipt
from tests.chaos.histories import Stored

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Commit:
    """One message with one event, open to tampering. Its version is counted when it is read."""

    account: str
    type: str
    body: dict[str, Any]
    command_id: str
    at_s: float


@dataclass
class Run:
    """What clients heard, what is stored, what was asked outside."""

    calls: list[Call] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    gap: bool = False

    def commit(self, account: str, type: str, command_id: str, at_s: float, **body: Any) -> None:
        """One event."""
        self.commits.append(Commit(account, type, body, command_id, at_s))

    def call(self, command_id: str, account: str, receipt: Receipt | None = None, **fields: Any) -> None:
        """A call that was answered."""
        self.calls.append(
            Call(
                client="c0",
                actor=account,
                act=Act.APPEND,
                command_id=command_id,
                given=True,
                started_s=0.0,
                ended_s=1.0,
                outcome=Outcome.REPLY,
                receipt=receipt,
                **fields,
            )
        )

    def ask(self, number: str, key: str, attempt: int, at_s: float, receipt: str = "", task: str = "mail") -> None:
        """A request of one second."""
        request = Request(key=key, number=number, task=task, attempt=attempt, worker=7, seconds=1.0, fails=9)
        self.asked.append(
            Asked(request=request, began_s=at_s, ended_s=at_s + 1, answered=True, receipt=receipt)
        )  # fmt: skip

    def stored(self) -> list[Stored]:
        """The stream."""
        found, versions = [], dict[str, int]()
        for sequence, one in enumerate(self.commits, 1):
            version = versions[one.account] = versions.get(one.account, 0) + 1
            event = {
                "id": str(version + (self.gap and sequence == len(self.commits))),
                "type": one.type,
                "commandid": one.command_id,
                "time": (BEGAN + timedelta(seconds=one.at_s)).isoformat(),
                "data": one.body,
            }
            found.append(Stored(sequence, f"aether.made.evt.0.account.{one.account}", json.dumps([event]).encode()))
        return found

    def check(self) -> BankReport:
        """What is wrong with it."""
        return check_bank(self.stored(), self.calls, self.asked)

    def at(self, type: str, count: int = 0) -> Commit:
        """The commit of an event."""
        return [one for one in self.commits if one.type == type][count]

    def change_call(self, number: str, **fields: Any) -> None:
        """Have a client have heard something else."""
        self.calls = [replace(one, **fields) if one.command_id == number else one for one in self.calls]

    def change_asked(self, place: int, **fields: Any) -> None:
        """Have the server outside been asked something else."""
        one = self.asked[place]
        self.asked[place] = replace(one, request=replace(one.request, **fields))


def made() -> Run:
    """Two accounts: payments at once and later, a hold of each end, a repeated payment, a task of each end, a tell."""
    run = Run()
    for account in ("a", "b"):
        run.call(f"open-{account}", account)
        run.commit(account, "Opened", f"open-{account}", 0.0, amount=100)
    _payments(run)
    _holds(run)
    _tasks(run)
    return run


def _payments(run: Run) -> None:
    run.call("pay-1", "a", Receipt(2, 95, 0))
    run.commit("a", "Paid", "pay-1", 1.0, number="pay-1", to="b", amount=5, after_s=0.0)
    run.call("pay-2", "a", Receipt(3, 92, 0))
    run.commit("a", "Paid", "pay-2", 1.0, number="pay-2", to="b", amount=3, after_s=0.0)
    run.commit("b", "Taken", "tell:1", 1.0, number="pay-1", amount=5)
    run.commit("b", "Taken", "tell:2", 1.0, number="pay-2", amount=3)
    run.call("later", "b", Receipt(4, 101, 0))
    run.commit("b", "Paid", "later", 1.0, number="later", to="a", amount=7, after_s=2.0)
    run.commit("a", "Taken", "tell:3", 3.5, number="later", amount=7)
    run.call("c0/tell/a/1", "a", amount=4, number=1)
    run.commit("a", "Taken", "tell:4", 3.5, number="c0/tell/a/1", amount=4)


def _holds(run: Run) -> None:
    for number in ("hold-1", "hold-2"):
        run.call(number, "a")
        run.commit("a", "Held", number, 4.0, number=number, to="b", amount=10, for_s=1.0)
    run.call("capture-1", "a")
    run.commit("a", "Captured", "capture-1", 4.5, number="hold-1")
    run.commit("b", "Taken", "tell:5", 4.5, number="hold-1", amount=10)
    run.commit("a", "Released", "timer:2@x", 5.0, number="hold-2")
    run.call("order", "a")
    run.commit("a", "Ordered", "order", 6.0, number="order", to="b", amount=2, every_s=1.0, times=2)
    for count in (1, 2):
        run.commit("a", "Repeated", f"timer:order@{count}", 6.0 + count, number="order", count=count)
        run.commit("b", "Taken", f"tell:6{count}", 6.0 + count, number=f"order#{count}", amount=2)


def _tasks(run: Run) -> None:
    for number in ("task-1", "task-2", "task-3"):
        run.call(number, "a")
        run.commit("a", "Charged", number, 9.0, number=number, key=f"key-{number}", amount=6)
    run.ask("task-1", "key-task-1", 1, 10.0)
    run.ask("task-1", "key-task-1", 2, 11.5, "r1")
    run.commit("a", "Settled", "task:key-task-1", 12.0, number="task-1", receipt="r1")
    for attempt in (1, 2, 3, 4):
        run.ask("task-2", "key-task-2", attempt, 10.0 + 1.1 * attempt)
    run.commit("a", "Refunded", "task:key-task-2", 15.0, number="task-2", error_type="Refused", attempts=4)
    run.call("stop-3", "a")
    run.commit("a", "Stopped", "stop-3", 15.0, number="task-3")
