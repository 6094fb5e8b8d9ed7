"""Actors that the tests run: scalar state, container state, asynchronous handlers, and every way to fail."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from aether import Actor, Model, Rejected, command, event, query

Amount = Annotated[int, Meta(gt=0)]


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money came in."""

    amount: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Money went out."""

    amount: int


class Account(Actor):
    """Scalar state: a failed handler is undone from a checkpoint."""

    balance: int = 0
    deposits: int = 0

    @command
    def deposit(self, amount: Amount) -> int:
        """Add money."""
        self.emit(Deposited(amount))
        return self.balance

    @command
    def deposit_twice(self, first: Amount, second: Amount) -> int:
        """Two events of one command."""
        self.emit(Deposited(first))
        self.emit(Deposited(second))
        return self.balance

    @command
    def withdraw(self, amount: Amount) -> int:
        """Take money, if there is enough."""
        if amount > self.balance:
            raise Rejected("insufficient funds", balance=self.balance, asked=amount)
        self.emit(Withdrawn(amount))
        return self.balance

    @command
    def deposit_then_reject(self, amount: Amount) -> int:
        """Emit, then decide no after all."""
        self.emit(Deposited(amount))
        raise Rejected("changed my mind")

    @command
    def deposit_then_break(self, amount: Amount) -> int:
        """Emit, then have a bug."""
        self.emit(Deposited(amount))
        raise ZeroDivisionError("a bug")

    @command
    def touch(self) -> None:
        """A command without events."""

    @command
    def whoami(self) -> dict[str, str]:
        """What a handler knows of its call."""
        return {
            "id": str(self.id),
            "version": str(self.version),
            "command": self.context.command_id,
            "correlation": self.context.correlation_id,
        }

    @command
    def cheat(self) -> None:
        """Change state outside an event."""
        self.balance = 1_000_000

    @query
    def statement(self) -> int:
        """The balance."""
        return self.balance

    @query
    def emitting_query(self) -> int:
        """A query that breaks its word."""
        self.emit(Deposited(1))
        return 1

    @event
    def deposited(self, e: Deposited) -> None:
        """Count it."""
        self.balance += e.amount
        self.deposits += 1

    @event
    def withdrawn(self, e: Withdrawn) -> None:
        """Count it."""
        self.balance -= e.amount


@dataclass(frozen=True, slots=True)
class Noted:
    """A line was added."""

    line: str


class Notebook(Actor):
    """Container state: a failed handler is undone by a replay."""

    lines: list[str] = field(default_factory=list)

    @command
    def note(self, line: str) -> int:
        """Add a line; the count."""
        self.emit(Noted(line))
        return len(self.lines)

    @command
    def note_then_reject(self, line: str) -> int:
        """Add a line, then decide no."""
        self.emit(Noted(line))
        raise Rejected("no", lines=len(self.lines))

    @query
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)

    @event
    def noted(self, e: Noted) -> None:
        """Keep it."""
        self.lines.append(e.line)


@dataclass(frozen=True, slots=True)
class Counted:
    """One more."""


class Waiter(Actor):
    """Asynchronous handlers: they hold their actor. `gates` are opened by the test."""

    count: int = 0

    @command
    async def wait_for(self, gate: str) -> int:
        """Wait for the test, then count."""
        before = self.count
        await GATES[gate].wait()
        self.emit(Counted())
        assert self.count == before + 1
        return self.count

    @command
    async def leave_behind(self, gate: str) -> None:
        """Start a task that emits when the test lets it, and do not wait for it."""
        LEFT_BEHIND.append(asyncio.create_task(self._emit_after(gate)))

    async def _emit_after(self, gate: str) -> None:
        await GATES[gate].wait()
        self.emit(Counted())

    @command
    def count_now(self) -> int:
        """Count at once."""
        self.emit(Counted())
        return self.count

    @event
    def counted(self, e: Counted) -> None:
        """Count it."""
        self.count += 1


GATES: dict[str, asyncio.Event] = {}
LEFT_BEHIND: list[asyncio.Task[None]] = []

model = Model("tests", actors=[Account, Notebook, Waiter])
