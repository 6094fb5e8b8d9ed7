"""The floor of tells: what a careful person writes by hand to credit an account and have another one credited later.

Built on `benchmarks.floor`, one process, with the same promise as a tell of Aether and nothing else. The event of the
first account has the tell within. Once it is acknowledged the caller is answered, and the tell is published to a stream
of tells, on the condition that its shard's mark is still the one that this process wrote, so that no process before
it adds any. An ordered consumer (no acknowledgements) brings it to the owner of the second account, whose event says
which tell it applies, so that a repetition is seen. An account has one event in flight at a time, and one tell to
the same account. There is no start after a crash, which would read the events for tells that are not in the stream.

- `tells`: nothing is synced.
- `tells barrier`: an event counts as acknowledged after a sync of the server's file, and a tell is applied after one:
  after a power cut its sequence must not belong to another tell.

    python -m benchmarks.floor_tells URL tells|"tells barrier" PART STORE
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import nats
import orjson
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig

from benchmarks.floor import STREAM, FloorClient, Single, Synced, make_stream
from benchmarks.floor_blocks import Blocks
from benchmarks.floor_plan import EXPECTED, SHARDS, Paired, Told, Wanted, delivered, last_sequence, mark_of

TELLS = "FLOOR_TELLS"
HEARTBEAT_S = 5.0


class Teller(Single):
    """Owns all accounts, and brings tells from one to the other."""

    def __init__(self, connection: Client, part: int, store: Path) -> None:
        super().__init__(connection, part, store)
        self.marks: list[int] = []
        self.telling: dict[tuple[str, str], deque[Told]] = {}
        self.tell_inbox = connection.new_inbox()
        self.tell_acks: dict[str, Callable[[bytes], Awaitable[None]]] = {}
        self.had: dict[str, int] = {}
        self.deliveries = connection.new_inbox()
        self.delivered = 0
        self.applied = 0

    async def start(self) -> None:
        """Write the marks, and subscribe to tells too."""
        js = self.connection.jetstream()
        marks = [js.publish(mark_of(shard), b"", headers={EXPECTED: "0"}) for shard in range(SHARDS)]
        self.marks = [ack.seq for ack in await asyncio.gather(*marks)]
        await self.connection.subscribe(self.deliveries, cb=self.on_delivery)
        await js.add_consumer(
            TELLS,
            ConsumerConfig(
                deliver_subject=self.deliveries,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=max(self.marks) + 1,
                ack_policy=AckPolicy.NONE,
                max_deliver=1,
                flow_control=True,
                idle_heartbeat=HEARTBEAT_S,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        await self.connection.subscribe(f"{self.tell_inbox}.*", cb=self.on_tell_ack)
        await self.connection.subscribe(f"floor.applied.{self.part}", cb=self.on_applied)
        await super().start()

    async def on_command(self, message: Msg) -> None:
        """Take a deposit that is to be told."""
        command = orjson.loads(message.data)
        account, args = message.subject.rpartition(".")[2], command["args"]
        await self.take(Paired(account, args["amount"], command["id"], message.reply, args["to"]))

    async def on_applied(self, message: Msg) -> None:
        """Say how many tells are applied."""
        await self.connection.publish(message.reply, b'{"ok":true,"value":%d}' % self.applied)

    async def stored(self, wanted: Wanted, balance: int) -> None:
        """Answer the caller and tell the other account; or a tell is applied."""
        assert isinstance(wanted, Paired)
        if wanted.tell:
            self.applied += 1
            return
        await self.answer(wanted.reply, balance)
        await self.tell(Told(wanted.account, self.positions[wanted.account], wanted.to, wanted.amount))

    async def tell(self, told: Told) -> None:
        """Send it, unless one of the same account to the same one is in flight."""
        line = self.telling.get((told.source, told.to))
        if line is not None:
            line.append(told)
            return
        self.telling[told.source, told.to] = deque()
        await self.send(told)

    async def send(self, told: Told) -> None:
        """Store it in the stream of tells; the next one follows the acknowledgement."""
        self.count += 1
        token = str(self.count)
        self.tell_acks[token] = partial(self.sent, told)
        reply = f"{self.tell_inbox}.{token}"
        await self.connection.publish(told.subject, told.body, reply=reply, headers=told.headers(self.marks))

    async def on_tell_ack(self, message: Msg) -> None:
        """An acknowledgement of the stream of tells. No sync: the tell is in its event, which is on the disk."""
        await self.tell_acks.pop(message.subject.rpartition(".")[2])(message.data)

    async def sent(self, told: Told, ack: bytes) -> None:
        """It is in the stream of tells."""
        last_sequence(ack)
        line = self.telling[told.source, told.to]
        if line:
            await self.send(line.popleft())
        else:
            del self.telling[told.source, told.to]

    async def on_delivery(self, message: Msg) -> None:
        """A tell, a mark, or word of the consumer. A hole in its numbering is final: there is no second consumer."""
        if message.subject == self.deliveries:
            await self.on_heartbeat(message)
            return
        sequence, number = delivered(message.reply)
        if number != self.delivered + 1:
            raise RuntimeError(f"the consumer gave number {number} after {self.delivered}")
        self.delivered = number
        if message.data:
            await self.arrived(sequence, message.data)

    async def on_heartbeat(self, message: Msg) -> None:
        """The consumer is there, how many it has sent, and perhaps wants to hear that they came."""
        if message.reply:
            await self.connection.publish(message.reply)
        elif int((message.headers or {}).get("Nats-Last-Consumer", self.delivered)) != self.delivered:
            raise RuntimeError(f"the consumer has sent {message.headers}, {self.delivered} came")

    async def arrived(self, sequence: int, body: bytes) -> None:
        """Credit the account, unless it had this tell."""
        told = orjson.loads(body)
        account = told["to"]
        if sequence > self.had.get(account, 0):
            self.had[account] = sequence
            await self.take(Paired(account, told["amount"], f"tell:{told['position']}", "", tell=sequence))


class TellerBarrier(Synced, Teller):
    """The same, and the barrier: for events, and for tells that arrive."""

    def __init__(self, connection: Client, part: int, store: Path) -> None:
        super().__init__(connection, part, store)
        self.tells = Blocks(store, TELLS)

    async def start(self) -> None:
        """Have the marks on the disk too."""
        await super().start()
        await self.tells.sync()

    async def arrived(self, sequence: int, body: bytes) -> None:
        """Credit the account when the tell is on the disk."""
        self.tells.when_synced(partial(super().arrived, sequence, body))


WAYS: dict[str, type[Teller]] = {"tells": Teller, "tells barrier": TellerBarrier}


async def tell(client: FloorClient, account: str, to: str, amount: int) -> int:
    """Deposit, and have the same deposited on another account later; the new balance."""
    return await client.ask(f"floor.cmd.0.{account}", {"command": "tell", "args": {"amount": amount, "to": to}})


async def applied(client: FloorClient) -> int:
    """How many tells are applied."""
    return await client.ask("floor.applied.0", {})


async def work(url: str, way: str, part: int, store: Path) -> None:
    """Run the worker until the process is told to end."""
    connection = await nats.connect(url, pending_size=0, allow_reconnect=False)
    js = connection.jetstream()
    await make_stream(js, StreamConfig(name=STREAM, subjects=["floor.evt.>"], allow_direct=True))
    await make_stream(js, StreamConfig(name=TELLS, subjects=["floor.tell.>", "floor.mark.*"], allow_direct=True))
    await WAYS[way](connection, part, store).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
