"""Finding deadlocks: a handler whose ask has no answer for a while looks whether it waits for itself.

It asks the actors that it waits for, and those that they wait for, what they wait for (`aether.waits`, which a worker
answers at once). What it sees was not all so at one instant. So what is seen twice with the same commands counts: each
of these waited all the time between.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder, Encoder

from aether.core.actor.deadlock import WaitGraph, Waits
from aether.errors import AetherError, InvalidCommand
from aether.ids import ActorId
from aether.wire import WAITS_COMMAND, Answer, Command, encode_command, instant

ACTORS_MAX = 128
"""So many actors are looked at: a deadlock that is not seen among them is ended by its deadlines."""

LOOK_TIMEOUT_S = 1.0
"""So long a worker has to say what an actor waits for. Where none serves the actor now that is known at once."""

_ARGS = b'{"path":true}'
"""Asks for the path, too. Workers of earlier versions ask without, and take no more than the other two fields."""


class _Args(Struct):
    path: bool = False


_encode: Callable[[object], bytes] = Encoder().encode
_decode_waits = Decoder(Waits).decode
_decode_args = Decoder(_Args).decode


def encode_waits(waits: Waits, args: bytes) -> bytes:
    """What an actor waits for, as the arguments of `aether.waits` ask for it. Raises `InvalidCommand`."""
    try:
        wanted = _decode_args(args)
    except MsgspecError as error:
        raise InvalidCommand(str(error)) from None
    return _encode(waits if wanted.path else (waits.runs, waits.asks))


class Worker(Protocol):
    """The asks of a worker's handlers."""

    def waits_here(self, actor_id: ActorId) -> Waits | None:
        """What an actor waits for whose handler asks in this worker; None of all others."""
        ...

    async def look_elsewhere(self, actor_id: ActorId) -> Answer:
        """The answer of the worker that serves the actor to `aether.waits`, asked once. Raises `AetherError`."""
        ...


def waits_command(now_s: float) -> bytes:
    """What a worker is asked for, at a time in Unix seconds."""
    deadline = instant(now_s + LOOK_TIMEOUT_S)
    return encode_command(Command(id=WAITS_COMMAND, command=WAITS_COMMAND, args=Raw(_ARGS), deadline=deadline))


async def look_at(actor: str, waiting: Waits, worker: Worker) -> WaitGraph:
    """What an actor, whose handler waits like this, waits for, and what those wait for that it waits for.

    What handlers of this worker wait for is known here. No message reaches them while their shard is given away.
    """
    waits = {actor: waiting}
    unseen = _targets([waiting], waits)
    while unseen:
        answers = await asyncio.gather(*(_waits_of(one, worker) for one in unseen))
        waits.update(zip(unseen, answers, strict=True))
        unseen = _targets(answers, waits)
    return waits


def _targets(found: Iterable[Waits], seen: WaitGraph) -> list[str]:
    """Who is looked at next, at most as many as `ACTORS_MAX` leaves."""
    asked = dict.fromkeys(ask.actor for waits in found for ask in waits.asks if ask.actor not in seen)
    return list(islice(asked, ACTORS_MAX - len(seen)))


async def _waits_of(actor: str, worker: Worker) -> Waits:
    """What an actor's handler waits for; nothing when that cannot be known now."""
    kind, _, key = actor.partition("/")
    try:
        actor_id = ActorId(kind, key)
        here = worker.waits_here(actor_id)
        if here is not None:
            return here
        answer = await worker.look_elsewhere(actor_id)
        return _decode_waits(bytes(answer.value))
    except (AetherError, MsgspecError):  # its worker is of an earlier version, or is away; it is looked again
        return Waits("", ())
