"""Commands that are sent within the process: the message, and a delivery whose answer is a future."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aether.ids import ActorId
from aether.ports import Delivery


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
    """A delivery whose answer settles the future."""
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def respond(answer: bytes) -> None:
        if not answered.done():
            answered.set_result(answer)

    return Delivery(shard, actor_id, payload, respond), answered
