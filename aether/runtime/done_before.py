"""Finds out what of the sends of a shard's commits is done already, though the inbox stream does not have it any more.

The stream went back, and of what it has lost some was applied: that is in the histories of the actors it was for. Each
of them is read once, from the first commit that sent it something.
"""

from collections.abc import Iterable

from aether.ids import ActorId, Position
from aether.ports import Inbox
from aether.sends import Send, StartTask
from aether.tells import Tell


async def done_before(inbox: Inbox, sends: Iterable[Send]) -> list[Send]:
    """The tells that were applied, and the starts of tasks that have a result. Raises `Unavailable`."""
    wanted: dict[ActorId, dict[str, Send]] = {}
    for send in sends:
        match send:
            case Tell():
                wanted.setdefault(send.target, {})[send.command_id] = send
            case StartTask():
                wanted.setdefault(send.actor_id, {})[send.result_id] = send
            case _:  # it may be brought twice
                pass
    found: list[Send] = []
    for actor_id, by_id in wanted.items():
        after = Position(min(send.position for send in by_id.values()))
        done = await inbox.commands_done(actor_id, set(by_id), after)
        found += [by_id[command_id] for command_id in done]
    return found
