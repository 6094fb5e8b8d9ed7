"""A world in which requests and commits are late, doubled and out of order, and owners change: are answers final?

One actor, one shard, a store, two workers that take turns as its owner, and clients that send a command again until
they hear of it. All is drawn from one seed. The law: what a client was told of a command is what became of it, whatever
arrives afterwards.

What is simulated is what can happen over NATS. A request that was published once is handed to every subscriber of that
moment, which may be two: the owner and a worker that has lost the shard and does not know it yet. That worker reads
what it was handed before it can own the shard again, because the news of that comes on the same connection. A request
or an append may arrive at any later time. A worker that was stopped between its look at the lease and its write writes
later.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from aether import ActorId, Runtime
from aether.memory.clock import ManualClock
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.names import SHARDS_DEFAULT, shard_of
from aether.ports import Append, AppendOutcome, Delivery, Unknown
from aether.wire import STORED_FORMAT, Answer, Command, decode_answer, encode_command
from tests.support.actors import model
from tests.support.gated_store import GatedStore
from tests.support.nodes import QUIET, command, history

ALICE = ActorId("account", "alice")
SHARD = shard_of(ALICE, SHARDS_DEFAULT)
AT_ONCE = replace(QUIET, replay_retry_first_s=0.0)
STEPS = 60
TURNS = 12
"""Turns of the event loop between two steps, at most."""


async def rest() -> None:
    """Let everything go as far as it goes by itself."""
    for _ in range(10 * TURNS):
        await asyncio.sleep(0)


class OwnersLease:
    """Valid for the owner only."""

    stored_format = STORED_FORMAT

    def __init__(self) -> None:
        self.held = False

    def valid(self, shard: int, boot_s: float) -> bool:
        """As the world has it."""
        return self.held


class LateStore(GatedStore):
    """A store whose next append may be late: it arrives when the world lets it, and its sender does not hear of it."""

    def __init__(self, connection: InMemoryConnection) -> None:
        super().__init__(connection.event_store)
        self.late: list[Callable[[], None]] = []
        self.silent: list[Callable[[], None]] = []
        self.next_is_late = False
        self.next_is_silent = False

    def publish(self, actor_id: ActorId, payload: bytes, expected: int, done: Callable[[AppendOutcome], None]) -> None:
        """Append now, or later without a word."""
        if not self.next_is_late:
            super().publish(actor_id, payload, expected, done)  # type: ignore[arg-type]  # a Position is an int
            return
        self.next_is_late = False
        self.late.append(lambda: super(LateStore, self).publish(actor_id, payload, expected, lambda _: None))  # type: ignore[arg-type]
        if self.next_is_silent:
            self.silent.append(lambda: done(Unknown("no answer in time")))
        else:
            asyncio.get_running_loop().call_soon(done, Unknown("late"))

    def publish_together(self, appends: Sequence[Append]) -> None:
        """`publish` for each."""
        for append in appends:
            self.publish(append.actor_id, append.payload, append.expected, append.done)


@dataclass
class Call:
    """What one client knows of its command."""

    made: Command
    sends: int = 0
    answer: Answer | None = None

    @property
    def told(self) -> str:
        """What it was told for good: "done", "refused" or nothing."""
        if self.answer is None or (self.answer.error is not None and not self.answer.decided):
            return ""
        return "done" if self.answer.error is None else "refused"


@dataclass
class Worker:
    """One worker: a runtime, its lease, and its store."""

    runtime: Runtime
    lease: OwnersLease
    store: LateStore
    subscribed: bool = False
    inbox: list[Delivery] = field(default_factory=list)
    """Requests that were handed to it and that it has not read: it is stopped, or slow."""

    @property
    def is_behind(self) -> bool:
        """Whether something of it is still to come."""
        return bool(self.inbox or self.store.late or self.store.silent or self.store.held)

    def go_on(self) -> None:
        """It was stopped: now it reads what it was handed, and its time-outs are over."""
        waiting, self.inbox = self.inbox, []
        for delivery in waiting:
            self.runtime.receive(delivery)
        silent, self.store.silent = self.store.silent, []
        for time_out in silent:
            time_out()
        self.store.release()


class World:
    """One run of one seed. `drops_earlier` is what clients do with the answers to earlier sends."""

    drops_earlier = True

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - no secret
        self.clock = ManualClock()
        self.server = InMemoryServer(clock=self.clock)
        self.calls: list[Call] = []
        self.on_their_way: list[Delivery] = []
        self.workers: list[Worker] = []

    async def run(self) -> list[str]:
        """Everything that clients were told and that is not so."""
        for _ in range(2):
            await self._add_worker()
        await self._take_over()
        for _ in range(STEPS):
            await self._step()
            for _ in range(self.random.randrange(TURNS)):
                await asyncio.sleep(0)
        found = await self._end()
        for worker in self.workers:
            worker.runtime.abandon_shard(SHARD)
            await worker.runtime.stop()
        return found

    @property
    def _owner(self) -> Worker:
        return self.workers[0]

    async def _add_worker(self) -> None:
        connection, lease = InMemoryConnection(self.server, "tests"), OwnersLease()
        store = LateStore(connection)
        runtime = Runtime(connection, store, AT_ONCE, shards=(), lease=lease, jitter=lambda: 0.0)
        runtime.load_model(model)
        await runtime.start()
        self.workers.append(Worker(runtime, lease, store))

    async def _step(self) -> None:
        steps = [self._call, self._call, self._send_again, self._send_again, self._arrive, self._arrive, self._arrive,
                 self._go_on, self._append_late, self._make_late, self._make_slow, self._passivate, self._time_passes,
                 self._hand_over, self._expire]  # fmt: skip
        chosen = self.random.choice(steps)
        await chosen()

    async def _call(self) -> None:
        name, amount = self.random.choice([("deposit", 1), ("withdraw", 1), ("withdraw", 2), ("touch", 0)])
        args = {"amount": amount} if amount else {}
        given = f"given-{len(self.calls)}" if self.random.random() < 0.2 else None
        for_s = self.random.choice([5.0, 60.0])
        self.calls.append(Call(command(name, id=given, for_s=for_s, now_s=self.clock.wall_s(), **args)))
        self._send(self.calls[-1])

    async def _send_again(self) -> None:
        waiting = [call for call in self.calls if call.told == ""]
        if waiting:
            self._send(self.random.choice(waiting))

    def _send(self, call: Call) -> None:
        call.sends += 1
        number = call.sends
        attempt = number if call.made.attempt else 0
        made = Command(id=call.made.id, command=call.made.command, args=call.made.args, deadline=call.made.deadline,
                       attempt=attempt)  # fmt: skip

        def respond(raw: bytes) -> None:
            if call.told == "" and (call.sends == number or not self.drops_earlier):
                call.answer = decode_answer(raw)

        self.on_their_way.append(Delivery(SHARD, ALICE, encode_command(made), respond))

    async def _arrive(self) -> None:
        if not self.on_their_way:
            return
        delivery = self.on_their_way.pop(self.random.randrange(len(self.on_their_way)))
        self._owner.runtime.receive(delivery)
        for worker in self.workers[1:]:
            if worker.subscribed:
                worker.inbox.append(delivery)

    async def _go_on(self) -> None:
        """A worker goes on, and one that has lost the shard learns it."""
        worker = self.random.choice(self.workers)
        worker.go_on()
        if worker is not self._owner and self.random.random() < 0.5:
            worker.subscribed = False

    async def _make_late(self) -> None:
        store = self._owner.store
        store.next_is_late, store.next_is_silent = True, self.random.random() < 0.3

    async def _make_slow(self) -> None:
        self._owner.store.hold = True

    async def _time_passes(self) -> None:
        self.clock.advance(6.0)

    async def _append_late(self) -> None:
        stores = [worker.store for worker in self.workers if worker.store.late]
        if stores:
            late = self.random.choice(stores).late
            late.pop(self.random.randrange(len(late)))()

    async def _passivate(self) -> None:
        for machine in self._owner.runtime.get_active_vms(SHARD):
            if machine.idle:
                machine.retire()

    async def _hand_over(self) -> None:
        """The owner gives the shard away: it has answered what it took."""
        before = self._owner
        if any(not machine.idle for machine in before.runtime.get_active_vms(SHARD)):
            return
        before.runtime.abandon_shard(SHARD)
        before.subscribed = False
        await self._take_over()

    async def _expire(self) -> None:
        """The owner's lease ends; what it had open is still open, and it hears of it later or never."""
        await self._take_over()

    async def _take_over(self) -> None:
        """The next worker is the owner; what it has of an earlier time it reads before."""
        self._owner.lease.held = False
        self.workers = [*self.workers[1:], self._owner]
        owner = self._owner
        owner.go_on()
        await rest()
        await owner.runtime.serve_shard(SHARD)
        owner.subscribed = owner.lease.held = True

    async def _end(self) -> list[str]:
        """Everything arrives that still can; then each client's word is held against the history."""
        while self.on_their_way or any(worker.is_behind for worker in self.workers):
            await self._arrive()
            await self._append_late()
            for worker in self.workers:
                worker.go_on()
            await rest()
        await rest()
        events = await history(self._owner.runtime, ALICE)
        runs = [e.commandid for n, e in enumerate(events) if n == 0 or events[n - 1].commandid != e.commandid]
        carried_out = {e.commandid for e in events if not e.type.startswith("aether.")}
        found = [f"{name} was carried out twice" for name in {name for name in runs if runs.count(name) > 1}]
        for call in self.calls:
            name, emits = call.made.id, call.made.command != "touch"
            if call.told == "refused" and name in carried_out:
                found.append(f"{call.made.command} {name} was refused, and is in the history")
            if call.told == "done" and emits and name not in carried_out:
                found.append(f"{call.made.command} {name} was done, and is not in the history")
        balance = 0
        for event in events:
            change = {"Deposited": 1, "Withdrawn": -1}.get(event.type, 0)
            balance += change * (int(bytes(event.data).partition(b":")[2].rstrip(b"}")) if change else 0)
            if balance < 0:
                found.append(f"version {event.id} overdraws")
        return found


def violations(seed: int) -> list[str]:
    """What one seed finds."""
    return asyncio.run(World(seed).run())
