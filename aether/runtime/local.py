"""Commands that are sent within the process: the message, its delivery, and the wait for its answer."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from msgspec import Raw

from aether.aio import set_once
from aether.errors import DeadlineExceeded
from aether.ids import ActorId
from aether.names import shard_of
from aether.ports import Connection, Delivery
from aether.wire import Answer, Command, answer_error, decode_answer, encode_command, instant


@dataclass(frozen=True, slots=True)
class Message:
    """A command for an actor of this runtime: `args` are typed values by name, `id` is made up when None."""

    to: ActorId
    command: str
    args: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    deadline_s: float = 10.0
    correlation_id: str = ""


def local_delivery(actor_id: ActorId, shard: int, payload: bytes) -> tuple[Delivery, "asyncio.Future[bytes]"]:
    """A delivery whose answer resolves the future."""
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    return Delivery(shard, actor_id, payload, lambda answer: set_once(answered, answer)), answered


async def ask(message: Message, args: bytes, receive: Callable[[Delivery], None], connection: Connection) -> Answer:
    """Send a command, its arguments encoded, to `receive`, and wait for its answer.

    Raises the error that it carries; `DeadlineExceeded` when none comes in time.
    """
    command = Command(
        id=message.id or uuid4().hex,
        command=message.command,
        args=Raw(args),
        deadline=instant(connection.clock.wall_s() + message.deadline_s),
        correlationid=message.correlation_id,
        attempt=0 if message.id else 1,
    )
    shard = shard_of(message.to, connection.shards)
    delivery, answered = local_delivery(message.to, shard, encode_command(command))
    receive(delivery)
    try:
        async with asyncio.timeout(message.deadline_s):
            answer = decode_answer(await answered)
    except TimeoutError:
        raise DeadlineExceeded(f"no answer to {message.command} within {message.deadline_s} s") from None
    if answer.error is not None:
        raise answer_error(answer.error)
    return answer
