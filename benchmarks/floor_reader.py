"""The floor of activation and replay: a hand-written program that answers with an actor's balance, from the stream.

It reads as Aether does, without anything around it: the snapshot and the last commit at once; when they do not match,
the whole history in batched direct gets (ADR-31), and a sum. It keeps nothing.

    python -m benchmarks.floor_reader URL
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import nats
import orjson
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from aether.ids import ActorId
from aether.names import snapshot_key
from benchmarks.history import KIND, names

BATCH_MESSAGES = 1_000


class Reader:
    """Answers `floor.read.<key>`."""

    def __init__(self, connection: Client) -> None:
        self.connection = connection
        self.inbox = connection.new_inbox()
        self.waiting: dict[str, Callable[[Msg], None]] = {}
        self.count = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Subscribe to what the stream answers and to requests."""
        await self.connection.subscribe(f"{self.inbox}.*", cb=self.on_message)
        await self.connection.subscribe("floor.read.*", cb=self.on_read)
        await self.connection.flush()

    async def on_message(self, message: Msg) -> None:
        """A message of the stream."""
        self.waiting[message.subject.rpartition(".")[2]](message)

    async def on_read(self, message: Msg) -> None:
        """Read in a task of its own."""
        task = asyncio.create_task(self.read(message))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def read(self, message: Msg) -> None:
        """Answer with the balance."""
        balance = await self.balance(message.subject.rpartition(".")[2])
        await self.connection.publish(message.reply, b'{"ok":true,"value":%d}' % balance)

    async def balance(self, key: str) -> int:
        """The balance, from the snapshot if it is at the history's end, else from the history."""
        actor_id = ActorId(KIND, key)
        subject = names.event(actor_id)
        bucket = f"KV_{names.snapshots}"
        saved = f"$KV.{names.snapshots}.{snapshot_key(actor_id)}"
        snapshot, last = await asyncio.gather(
            self.ask(f"$JS.API.DIRECT.GET.{bucket}.{saved}", b""),
            self.ask(f"$JS.API.STREAM.MSG.GET.{names.stream}", orjson.dumps({"last_by_subj": subject})),
        )
        found = orjson.loads(last.data).get("message")
        if found is None:
            return 0
        if not _status(snapshot):
            state = orjson.loads(snapshot.data)
            if state["position"] == found["seq"]:
                return int(state["state"]["balance"])
        return await self.replay(subject, found["seq"])

    async def replay(self, subject: str, until: int) -> int:
        """The sum of a history up to a position."""
        balance, sequence = 0, 0
        while sequence < until:
            body = {"seq": sequence + 1, "next_by_subj": subject, "batch": BATCH_MESSAGES}
            for message in await self.batch(f"$JS.API.DIRECT.GET.{names.stream}", orjson.dumps(body)):
                assert message.headers is not None
                sequence = int(message.headers["Nats-Sequence"])
                balance += sum(event["data"]["amount"] for event in orjson.loads(message.data))
        return balance

    async def ask(self, subject: str, body: bytes) -> Msg:
        """A request with one answer."""
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        token = await self.publish(subject, body, answer.set_result)
        try:
            return await answer
        finally:
            del self.waiting[token]

    async def batch(self, subject: str, body: bytes) -> list[Msg]:
        """A request with many answers, the last of which is a status."""
        found: list[Msg] = []
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def take(message: Msg) -> None:
            if _status(message):
                done.set_result(None)
            else:
                found.append(message)

        token = await self.publish(subject, body, take)
        await done
        del self.waiting[token]
        return found

    async def publish(self, subject: str, body: bytes, take: Callable[[Msg], None]) -> str:
        """Send a request; its token."""
        self.count += 1
        token = str(self.count)
        self.waiting[token] = take
        await self.connection.publish(subject, body, reply=f"{self.inbox}.{token}")
        return token


def _status(message: Msg) -> str | None:
    """The status line of a message without content of its own."""
    return message.headers.get("Status") if message.headers and not message.data else None


async def work(url: str) -> None:
    """Answer until the process is told to end."""
    connection = await nats.connect(url, pending_size=0, allow_reconnect=False)
    await Reader(connection).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
