"""Actors that ask others: along a path, in every form of a handler, and with every outcome."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aether import Actor, Model, Rejected, command, event, query


@dataclass(frozen=True, slots=True)
class Visited:
    """It was asked, by whom."""

    by: str


@dataclass(frozen=True, slots=True)
class Paid:
    """Money has moved."""

    amount: int


class Node(Actor):
    """Asks the nodes of a path, one through the other."""

    visits: int = 0

    @command
    async def walk(self, path: list[str]) -> list[str]:
        """Ask the first of the path to walk the rest; who was visited below, and this one last."""
        below = await self.ask(Node, path[0]).walk(path[1:]) if path else []
        self.emit(Visited(self.context.caller))
        return [*below, self.id.key]

    @command
    async def visit_each(self, branches: dict[str, list[str]]) -> list[str]:
        """Ask several nodes at once, each to walk a path of its own."""
        visited = await asyncio.gather(*(self.ask(Node, key).walk(path) for key, path in branches.items()))
        self.emit(Visited(self.context.caller))
        return sorted({key for keys in visited for key in keys})

    @command
    async def follow_at_once(self, plan: str) -> int:
        """Ask as the plan says, all of each level at once."""
        await asyncio.gather(*(self.ask(Node, key).follow_at_once(json.dumps(then)) for key, then in json.loads(plan)))
        self.emit(Visited(self.context.caller))
        return self.visits

    @command
    async def follow(self, plan: str) -> int:
        """Ask as the plan says, JSON of `[[key, plan], ...]`, one after the other; how often this one was visited."""
        for key, then in json.loads(plan):
            await self.ask(Node, key).follow(json.dumps(then))
        self.emit(Visited(self.context.caller))
        return self.visits

    @query
    async def depth(self, path: list[str]) -> int:
        """Queries only."""
        return 1 + (await self.ask(Node, path[0]).depth(path[1:]) if path else 0)

    @query
    async def walk_in_a_query(self, path: list[str]) -> list[str]:
        """A query that asks for a command."""
        return await self.ask(Node, path[0]).walk(path[1:])

    @command
    def plain(self) -> int:
        """A plain handler asks."""
        self.ask(Node, "b")
        return 0

    @command(blocking=True)
    def blocking(self) -> int:
        """A blocking handler asks."""
        self.ask(Node, "b")
        return 0

    @command
    async def visit_badly(self) -> None:
        """Ask, and fail in the event."""
        self.emit(Visited("an event that asks"))

    @command
    async def keep_proxy(self, key: str) -> None:
        """Leave a proxy to whoever wants it."""
        KEPT.append(self.ask(Node, key))

    @command
    async def leave_behind(self, gate: str, key: str) -> None:
        """Leave a task behind that asks when the gate opens."""
        LEFT.append(asyncio.create_task(self._ask_after(gate, key)))

    async def _ask_after(self, gate: str, key: str) -> None:
        await GATES[gate].wait()
        await self.ask(Node, key).walk([])

    @command
    async def in_another_thread(self) -> str:
        """Await an ask on another event loop."""

        def asks() -> str:
            try:
                return str(asyncio.run(_awaited(self.ask(Node, "b").walk([]))))
            except RuntimeError as error:
                return str(error)

        return await asyncio.to_thread(asks)

    @event
    def visited(self, e: Visited) -> None:
        """Count it."""
        if e.by == "an event that asks":
            self.ask(Node, "b")
        self.visits += 1


async def _awaited(call: Any) -> Any:
    return await call


class Purse(Actor):
    """Pays others, and says no."""

    cents: int = 0
    gates: list[str] = field(default_factory=list[str])

    @command
    def put(self, amount: int) -> int:
        """Add money; less takes it."""
        if amount < 0 and self.cents + amount < 0:
            raise Rejected("insufficient funds", cents=self.cents)
        self.emit(Paid(amount))
        return self.cents

    @command
    def nothing(self) -> None:
        """A command without events."""

    @command
    async def pay(self, payee: str, amount: int) -> int:
        """Pay another purse, which hears of it first."""
        await self.ask(Purse, payee).put(amount)
        self.emit(Paid(-amount))
        return self.cents

    @command
    async def pay_at_gate(self, payee: str, amount: int, gate: str) -> int:
        """Pay another purse when the test opens the gate."""
        WAITING.append(self.id.key)
        await GATES[gate].wait()
        await self.ask(Purse, payee).put(amount)
        self.emit(Paid(-amount))
        return self.cents

    @command
    async def take(self, payer: str, amount: int) -> int:
        """Take from another purse; what that one says is not caught."""
        await self.ask(Purse, payer).put(-amount)
        self.emit(Paid(amount))
        return self.cents

    @command
    async def try_to_take(self, payer: str, amount: int) -> str:
        """Take from another purse; what that one says is caught."""
        try:
            await self.ask(Purse, payer).put(-amount)
        except Rejected as error:
            return f"{error.message} {error.details}"
        return "taken"

    @command
    async def refuse_for(self, payer: str, amount: int) -> None:
        """Take from another purse, and say no in one's own words."""
        try:
            await self.ask(Purse, payer).put(-amount)
        except Rejected as error:
            raise Rejected("my own no", because=error.message) from error

    @command
    async def pay_each(self, amounts: dict[str, int]) -> int:
        """Pay several at once."""
        await asyncio.gather(*(self.ask(Purse, key).put(amount) for key, amount in amounts.items()))
        self.emit(Paid(-sum(amounts.values())))
        return self.cents

    @command
    async def pay_twice_each(self, payees: list[str]) -> int:
        """Pay several at once, and each of them once more as they answer: in another order when it runs again."""
        await asyncio.gather(*(self.ask(Purse, key).put(1) for key in payees))
        AMOUNTS.append(1)
        for key in payees if len(AMOUNTS) == 1 else reversed(payees):
            await self.ask(Purse, key).put(1)
        self.emit(Paid(-2 * len(payees)))
        return self.cents

    @command
    async def pay_late_first(self) -> list[str]:
        """Two asks of an actor that are called in one order and awaited in the other."""
        first, second = self.ask(Purse, "x").who(), self.ask(Purse, "x").who()
        ids = [await second, await first]
        return ids[::-1]

    @command
    def who(self) -> str:
        """The id that the command came with."""
        return self.context.command_id

    @command
    async def pay_by_chance(self, payee: str) -> None:
        """Ask for something else each time."""
        AMOUNTS.append(len(AMOUNTS) + 1)
        await self.ask(Purse, payee).put(AMOUNTS[-1])
        self.emit(Paid(0))

    @command
    async def ask_badly(self, how: str) -> None:
        """Ask for what cannot be."""
        kind: Any = {"kind": "nobody"}.get(how, "purse")
        purse = self.ask(kind, {"key": "", "surrogate": "\ud800"}.get(how, "other"))
        await (purse.nonsense() if how == "command" else purse.put("much"))

    @command
    async def forget_to_await(self, payee: str) -> int:
        """Call a method of a proxy, and no more."""
        self.ask(Purse, payee).put(1)  # type: ignore[unused-coroutine]
        return self.cents

    @command
    async def wait_at(self, gate: str) -> int:
        """Hold this purse until the test opens the gate."""
        WAITING.append(self.id.key)
        await GATES[gate].wait()
        self.emit(Paid(0))
        return self.cents

    @command
    async def ask_to_wait(self, other: str, gate: str) -> int:
        """Ask another purse to wait."""
        return await self.ask(Purse, other).wait_at(gate)

    @command
    async def pay_and_have_wait(self, payee: str, other: str, gate: str) -> int:
        """Pay a purse, then ask another one to wait."""
        await self.ask(Purse, payee).put(1)
        await self.ask(Purse, other).wait_at(gate)
        self.emit(Paid(-1))
        return self.cents

    @command
    async def group(self, others: list[str], command: str) -> int:
        """Ask several by a task group."""
        async with asyncio.TaskGroup() as asks:
            asked = [asks.create_task(getattr(self.ask(Purse, key), command)(1)) for key in others]
        return len(asked)

    @command
    async def wait_then_put(self, gate: str, other: str) -> int:
        """Wait for the test, then ask."""
        WAITING.append(self.id.key)
        await GATES[gate].wait()
        return await self.ask(Purse, other).put(1)

    @command
    async def sleep(self, seconds: float) -> None:
        """Hold this purse for a time."""
        await asyncio.sleep(seconds)

    @command
    async def ask_to_sleep(self, other: str, seconds: float) -> None:
        """Ask another purse to sleep."""
        await self.ask(Purse, other).sleep(seconds)

    @query
    def balance(self) -> int:
        """The money."""
        return self.cents

    @event
    def paid(self, e: Paid) -> None:
        """Count it."""
        self.cents += e.amount


GATES: dict[str, asyncio.Event] = {}
WAITING: list[str] = []
AMOUNTS: list[int] = []
KEPT: list[Any] = []
LEFT: list[asyncio.Task[None]] = []

model = Model("asking", actors=[Node, Purse])
