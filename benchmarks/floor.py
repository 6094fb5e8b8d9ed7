"""The floor: what a careful person writes by hand for deposits on accounts, with nothing that a user does not need.

One process over plain nats-py: a dict of balances, one subscription for commands, an acknowledgement inbox of its own,
and the reply after the acknowledgement. No leases, no command ids, no replay, no validation. The load does the same on
the client's side: one reply inbox and a dict of futures. There are four ways to store:

- `single`: one publish a deposit, with the expected sequence; one deposit of an account is in flight at a time.
- `turn`: one publish an account, with everything that came for it while the one before was in flight.
- `batch`: an atomic batch over all accounts; one is in flight, and what comes meanwhile is the next.
- `barrier`: as `single`, and what was acknowledged is answered after one sync of the server's newest block file.

Several floor processes split the accounts by their names.

    python -m benchmarks.floor URL single|turn|batch|barrier PART STORE
"""

import asyncio
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import nats
import orjson
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import RePublish, StreamConfig
from nats.js.errors import BadRequestError

from benchmarks.floor_blocks import Blocks
from benchmarks.floor_plan import (
    EXPECTED,
    Outgoing,
    Wanted,
    batch_sequences,
    last_sequence,
    next_batch,
    part_of,
    whole_turn,
)

STREAM = "FLOOR"


class FloorWorker(ABC):
    """Owns the accounts of its part. An `alike` one stores what Aether stores: CloudEvents, repeated to itself."""

    alike = False

    def __init__(self, connection: Client, part: int, store: Path) -> None:
        self.connection = connection
        self.part = part
        self.balances: dict[str, int] = {}
        self.positions: dict[str, int] = {}
        self.acks: dict[str, Callable[[bytes], Awaitable[None]]] = {}
        self.inbox = connection.new_inbox()
        self.count = 0
        self.heard = 0

    async def start(self) -> None:
        """Subscribe to acknowledgements and commands."""
        await self.connection.subscribe(f"{self.inbox}.*", cb=self.on_ack)
        await self.connection.subscribe(f"floor.cmd.{self.part}.*", cb=self.on_command)
        await self.connection.subscribe(f"floor.sum.{self.part}", cb=self.on_sum)
        if self.alike:
            await self.connection.subscribe("floor.stored.>", cb=self.on_stored)
        await self.connection.flush()

    async def on_command(self, message: Msg) -> None:
        """Take a deposit."""
        command = orjson.loads(message.data)
        account = message.subject.rpartition(".")[2]
        await self.take(Wanted(account, command["args"]["amount"], command["id"], message.reply))

    async def on_sum(self, message: Msg) -> None:
        """Tell the sum of all balances, for the check."""
        await self.connection.publish(message.reply, b'{"ok":true,"value":%d}' % sum(self.balances.values()))

    async def on_stored(self, message: Msg) -> None:
        """What was stored, perhaps by another process."""
        self.heard = int(message.headers["Nats-Sequence"]) if message.headers else 0

    def encode(self, wanted: Wanted) -> bytes:
        """What is stored of a deposit."""
        return orjson.dumps([wanted.cloud_event] if self.alike else wanted.event)

    @abstractmethod
    async def take(self, wanted: Wanted) -> None:
        """Store a deposit, now or with others."""

    async def publish(
        self, account: str, body: bytes, headers: dict[str, str], acknowledged: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Append an event; `acknowledged` follows."""
        self.count += 1
        token = str(self.count)
        self.acks[token] = acknowledged
        await self.connection.publish(f"floor.evt.{account}", body, reply=f"{self.inbox}.{token}", headers=headers)

    async def on_ack(self, message: Msg) -> None:
        """An acknowledgement of the stream."""
        await self.acks.pop(message.subject.rpartition(".")[2])(message.data)

    async def answer(self, reply: str, balance: int) -> None:
        """Answer a deposit."""
        await self.connection.publish(reply, b'{"ok":true,"value":%d}' % balance)

    def expected(self, account: str) -> dict[str, str]:
        """The header that refuses an append behind our back."""
        return {EXPECTED: str(self.positions.get(account, 0))}


class Synced(FloorWorker):
    """What came together is answered after one sync of the file that the server wrote it to."""

    def __init__(self, connection: Client, part: int, store: Path) -> None:
        super().__init__(connection, part, store)
        self.blocks = Blocks(store, STREAM)

    async def on_ack(self, message: Msg) -> None:
        """Go on when it is on the disk."""
        self.blocks.when_synced(partial(super().on_ack, message))


class Single(FloorWorker):
    """Deposits of an account wait for each other."""

    def __init__(self, connection: Client, part: int, store: Path) -> None:
        super().__init__(connection, part, store)
        self.waiting: dict[str, deque[Wanted]] = {}

    async def take(self, wanted: Wanted) -> None:
        """Store it, unless one of its account is in flight."""
        line = self.waiting.get(wanted.account)
        if line is not None:
            line.append(wanted)
            return
        self.waiting[wanted.account] = deque()
        await self.store(wanted)

    async def store(self, wanted: Wanted) -> None:
        """Append the event; the reply follows the acknowledgement."""
        account = wanted.account
        balance = self.balances.get(account, 0) + wanted.amount

        async def acknowledged(ack: bytes) -> None:
            self.positions[account] = last_sequence(ack)
            self.balances[account] = balance
            await self.stored(wanted, balance)
            line = self.waiting[account]
            if line:
                await self.store(line.popleft())
            else:
                del self.waiting[account]

        await self.publish(account, self.encode(wanted), self.expected(account), acknowledged)

    async def stored(self, wanted: Wanted, balance: int) -> None:
        """What follows when it is stored."""
        await self.answer(wanted.reply, balance)


class Turn(FloorWorker):
    """What comes for an account while its message is in flight is its next message."""

    def __init__(self, connection: Client, part: int, store: Path) -> None:
        super().__init__(connection, part, store)
        self.waiting: dict[str, list[Wanted]] = {}

    async def take(self, wanted: Wanted) -> None:
        """Store it, unless a message of its account is in flight."""
        line = self.waiting.get(wanted.account)
        if line is not None:
            line.append(wanted)
            return
        self.waiting[wanted.account] = []
        await self.store(wanted.account, [wanted])

    async def store(self, account: str, turn: list[Wanted]) -> None:
        """Append the events of a turn; the replies follow the acknowledgement."""

        async def acknowledged(ack: bytes) -> None:
            self.positions[account] = last_sequence(ack)
            for wanted in turn:
                self.balances[account] = self.balances.get(account, 0) + wanted.amount
                await self.answer(wanted.reply, self.balances[account])
            line = self.waiting[account]
            if line:
                self.waiting[account] = []
                await self.store(account, line)
            else:
                del self.waiting[account]

        await self.publish(account, whole_turn(turn), self.expected(account), acknowledged)


class Batch(FloorWorker):
    """What comes while a batch is in flight is the next batch."""

    def __init__(self, connection: Client, part: int, store: Path) -> None:
        super().__init__(connection, part, store)
        self.waiting: deque[Wanted] = deque()
        self.in_flight = False
        self.tasks: set[asyncio.Task[None]] = set()

    async def take(self, wanted: Wanted) -> None:
        """Put it into the next batch."""
        self.waiting.append(wanted)
        if not self.in_flight:
            # Begun in a task of its own, so that everything that was received with it comes along.
            self.in_flight = True
            task = asyncio.create_task(self.store())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def store(self) -> None:
        """Send the next batch; the replies follow its acknowledgement."""
        batch_id = f"{self.inbox[7:]}-{self.count}"
        batch = next_batch(self.waiting, self.balances, self.positions, batch_id, encode=self.encode)

        async def acknowledged(ack: bytes) -> None:
            await self.stored(batch, last_sequence(ack))

        *before, last = batch
        for one in before:
            await self.connection.publish(f"floor.evt.{one.wanted.account}", one.body, headers=one.headers)
        await self.publish(last.wanted.account, last.body, last.headers, acknowledged)

    async def stored(self, batch: list[Outgoing], last: int) -> None:
        """Take over the balances, answer, and go on with what has come meanwhile."""
        for one, sequence in zip(batch, batch_sequences(last, len(batch)), strict=True):
            self.balances[one.wanted.account] = one.balance
            self.positions[one.wanted.account] = sequence
        self.in_flight = bool(self.waiting)
        if self.waiting:
            await self.store()
        for one in batch:
            await self.answer(one.wanted.reply, one.balance)


class Barrier(Synced, Single):
    """One publish a deposit, and the barrier."""


class TurnBarrier(Synced, Turn):
    """One publish an account's turn, and the barrier."""


class SingleAlike(Single):
    """One publish a deposit, of all that Aether stores."""

    alike = True


class BatchAlike(Batch):
    """Atomic batches of all that Aether stores."""

    alike = True


WAYS: dict[str, type[FloorWorker]] = {
    "single": Single,
    "turn": Turn,
    "batch": Batch,
    "barrier": Barrier,
    "turn barrier": TurnBarrier,
    "single alike": SingleAlike,
    "batch alike": BatchAlike,
}


async def make_stream(js: JetStreamContext, config: StreamConfig) -> None:
    """Make it; a server that refuses ends the process."""
    try:
        await js.add_stream(config, allow_atomic=True)
    except BadRequestError as error:
        raise SystemExit(f"the stream {config.name} cannot be made: {error}") from error


async def work(url: str, way: str, part: int, store: Path) -> None:
    """Run the worker until the process is told to end."""
    connection = await nats.connect(url, pending_size=0, allow_reconnect=False)
    js = connection.jetstream()
    repeated = RePublish(src="floor.evt.>", dest="floor.stored.>") if WAYS[way].alike else None
    config = StreamConfig(name=STREAM, subjects=["floor.evt.>"], allow_direct=True, republish=repeated)
    await make_stream(js, config)
    await WAYS[way](connection, part, store).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


class FloorClient:
    """Sends deposits over one connection."""

    def __init__(self, connection: Client, parts: int = 1) -> None:
        self.connection = connection
        self.parts = parts
        self.inbox = connection.new_inbox()
        self.waiting: dict[str, asyncio.Future[bytes]] = {}
        self.count = 0

    async def start(self) -> None:
        """Subscribe to replies."""
        await self.connection.subscribe(f"{self.inbox}.*", cb=self.on_reply)

    async def on_reply(self, message: Msg) -> None:
        """A reply."""
        self.waiting.pop(message.subject.rpartition(".")[2]).set_result(message.data)

    async def deposit(self, account: str, amount: int) -> int:
        """Deposit, and the new balance."""
        part = part_of(account, self.parts) if self.parts > 1 else 0
        return await self.ask(f"floor.cmd.{part}.{account}", {"command": "deposit", "args": {"amount": amount}})

    async def total(self) -> int:
        """The sum of all balances."""
        return sum([await self.ask(f"floor.sum.{part}", {}) for part in range(self.parts)])

    async def ask(self, subject: str, body: dict[str, object]) -> int:
        """A request and the value of its reply."""
        self.count += 1
        token = str(self.count)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiting[token] = future
        await self.connection.publish(subject, orjson.dumps({"id": token, **body}), reply=f"{self.inbox}.{token}")
        return int(orjson.loads(await future)["value"])


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
