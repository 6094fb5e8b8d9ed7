"""The floor: what a careful person writes by hand for deposits on accounts, with nothing that a user does not need.

One process over plain nats-py: a dict of balances, one subscription for commands, one publish for each event with the
expected sequence, an acknowledgement inbox of its own, and the reply after the acknowledgement. No leases, no command
ids, no replay, no validation. The load does the same on the client's side: one reply inbox and a dict of futures.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable

import nats
import orjson
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

STREAM = "FLOOR"


class FloorWorker:
    """Owns every account. One deposit of an account is in flight at a time; the others wait for it."""

    def __init__(self, connection: Client) -> None:
        self.connection = connection
        self.balances: dict[str, int] = {}
        self.positions: dict[str, int] = {}
        self.waiting: dict[str, deque[tuple[bytes, str]]] = {}
        self.acks: dict[str, Callable[[bytes], Awaitable[None]]] = {}
        self.inbox = connection.new_inbox()
        self.count = 0

    async def start(self) -> None:
        """Subscribe to acknowledgements and commands."""
        await self.connection.subscribe(f"{self.inbox}.*", cb=self.on_ack)
        await self.connection.subscribe("floor.cmd.*", cb=self.on_command)
        await self.connection.flush()

    async def on_command(self, message: Msg) -> None:
        """Take a deposit."""
        account = message.subject.rpartition(".")[2]
        line = self.waiting.get(account)
        if line is not None:
            line.append((message.data, message.reply))
            return
        self.waiting[account] = deque()
        await self.deposit(account, message.data, message.reply)

    async def deposit(self, account: str, body: bytes, reply: str) -> None:
        """Append the event; the reply follows the acknowledgement."""
        command = orjson.loads(body)
        balance = self.balances.get(account, 0) + command["args"]["amount"]
        event = orjson.dumps({"type": "Deposited", "data": {"amount": command["args"]["amount"]}, "id": command["id"]})
        self.count += 1
        token = str(self.count)

        async def acknowledged(ack: bytes) -> None:
            self.positions[account] = orjson.loads(ack)["seq"]
            self.balances[account] = balance
            await self.connection.publish(reply, b'{"ok":true,"value":%d}' % balance)
            line = self.waiting[account]
            if line:
                await self.deposit(account, *line.popleft())
            else:
                del self.waiting[account]

        self.acks[token] = acknowledged
        await self.connection.publish(
            f"floor.evt.{account}",
            event,
            reply=f"{self.inbox}.{token}",
            headers={"Nats-Expected-Last-Subject-Sequence": str(self.positions.get(account, 0))},
        )

    async def on_ack(self, message: Msg) -> None:
        """An acknowledgement of the stream."""
        await self.acks.pop(message.subject.rpartition(".")[2])(message.data)


async def work(url: str) -> None:
    """Run the worker until the process is told to end."""
    connection = await nats.connect(url, pending_size=0, allow_reconnect=False)
    js = connection.jetstream()
    await js.add_stream(name=STREAM, subjects=["floor.evt.>"], allow_direct=True)
    await FloorWorker(connection).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


class FloorClient:
    """Sends deposits over one connection."""

    def __init__(self, connection: Client) -> None:
        self.connection = connection
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
        self.count += 1
        token = str(self.count)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiting[token] = future
        body = orjson.dumps({"id": token, "command": "deposit", "args": {"amount": amount}})
        await self.connection.publish(f"floor.cmd.{account}", body, reply=f"{self.inbox}.{token}")
        return int(orjson.loads(await future)["value"])


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
