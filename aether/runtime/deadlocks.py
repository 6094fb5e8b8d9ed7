"""Finding deadlocks: a handler whose ask has no answer for a while looks whether it waits for itself.

It asks the actors that it waits for, and those that they wait for, what they wait for (`aether.waits`, which a worker
answers at once). What it sees was not all so at one instant. So a circle counts when it is seen twice with the same
commands: each of these waited all the time between.
"""

import asyncio
from collections.abc import Callable

from msgspec import MsgspecError
from msgspec.json import Decoder, Encoder

from aether.calls import Caller
from aether.core.actor.deadlock import Circle, Waits, circle_through
from aether.errors import AetherError
from aether.ids import ActorId
from aether.wire import WAITS_COMMAND

ACTORS_MAX = 64
"""So many actors are looked at: a longer circle is ended by its deadlines."""

LOOK_TIMEOUT_S = 1.0

encode_waits: Callable[[Waits], bytes] = Encoder().encode
_decode_waits = Decoder(Waits).decode


async def find_circle(actor: str, waiting: Waits, caller: Caller) -> Circle | None:
    """The circle that an actor, whose handler waits like this, is in; None when none is seen."""
    waits = {actor: waiting}
    unseen = list(dict.fromkeys(_targets(waiting, waits)))
    while unseen and len(waits) < ACTORS_MAX:
        answers = await asyncio.gather(*(_waits_of(one, caller) for one in unseen))
        waits.update(zip(unseen, answers, strict=True))
        unseen = list(dict.fromkeys(target for answer in answers for target in _targets(answer, waits)))
    return circle_through(actor, waits)


def _targets(waiting: Waits, seen: dict[str, Waits]) -> list[str]:
    return [ask.actor for ask in waiting.asks if ask.actor not in seen]


async def _waits_of(actor: str, caller: Caller) -> Waits:
    """What an actor's handler waits for; nothing when that cannot be known now."""
    kind, _, key = actor.partition("/")
    try:
        answer = await caller.call(
            ActorId(kind, key), WAITS_COMMAND, b"{}", deadline_s=LOOK_TIMEOUT_S, command_id=WAITS_COMMAND
        )
        return _decode_waits(bytes(answer.value))
    except (AetherError, MsgspecError):  # its worker is of an earlier version, or is away
        return Waits("", ())
