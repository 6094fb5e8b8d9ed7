"""What `aether inbox` asks a pool for, as in `aether.cli.pool`: it prints nothing, and raises typed errors."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from aether.cli.pool import Reached, check_known
from aether.dead_letters import DeadLetter
from aether.errors import InvalidCommand
from aether.ids import ActorId
from aether.waiting_tells import WaitingTells

if TYPE_CHECKING:
    from aether.inbox_needs import InboxContent


class InboxListing(NamedTuple):
    """What waits, dead letters, and how many more of both there are, as far as that is known."""

    waiting: list[WaitingTells]
    dead: list[DeadLetter]
    left_out: int


async def inbox(reached: Reached, kind: str | None, key: str | None, *, dead: bool, limit: int) -> InboxListing:
    """At most `limit` actors that tells wait for, and as many dead letters.

    Raises `UnknownActor` when there is nothing, and the model has no such kind.
    """
    client, left_s = reached.client, reached.left_s()
    waiting, left_out = ([], 0) if dead else await client.waiting_tells(deadline_s=left_s)
    wanted = [one for one in waiting if kind is None or _is_of(one.actor, kind, key)]
    letters: list[DeadLetter] = []
    more = max(0, len(wanted) - limit) + left_out
    async for letter in client.dead_letters(kind, key, deadline_s=left_s):
        if len(letters) == limit:
            more += 1
        else:
            letters.append(letter)
    if kind is not None and not wanted and not letters:
        await check_known(reached, kind)
    return InboxListing(wanted[:limit], letters, more)


async def in_inbox(reached: Reached, id: int) -> DeadLetter | WaitingTells:
    """A dead letter, or what waits first at an actor, by its id. Raises `InvalidCommand`."""
    left_s = reached.left_s()
    try:
        return await reached.client.dead_letter(id, deadline_s=left_s)
    except InvalidCommand:
        for one in (await reached.client.waiting_tells(deadline_s=left_s))[0]:
            if one.first == id:
                return one
        raise


async def inbox_kept(reached: Reached) -> "InboxContent":
    """How large the inbox is, and from where on it is needed for what."""
    return await reached.client.inbox_kept(deadline_s=reached.left_s())


async def retry_dead_letter(reached: Reached, id: int, by: str) -> str:
    """What was sent again, in words."""
    try:
        return await _sent_again(reached, id, by, reached.left_s())
    except InvalidCommand as error:
        raise await _explained(reached, id, error) from None


async def _sent_again(reached: Reached, id: int, by: str, deadline_s: float) -> str:
    receipt = await reached.client.retry_dead_letter(id, by=by, deadline_s=deadline_s)
    return f"{id} sent again to {receipt.actor_id} as {receipt.command_id}"


class SentAgain(NamedTuple):
    """How many dead letters were sent again, how many could not be, and how many are left over the limit."""

    sent: int
    failed: int
    left: int


async def retry_dead_letters(
    reached: Reached, kind: str | None, by: str, limit: int, say: Callable[[str], None]
) -> SentAgain:
    """Send all dead letters again, or those to a kind, the oldest first and at most `limit`.

    What another one sends or drops meanwhile is left out; one that cannot be sent again is said, and the next follows.
    Each may take as long as the command may. Raises `UnknownActor` when there is none, and the model has no such kind.
    """
    sent = failed = left = 0
    async for letter in reached.client.dead_letters(kind, deadline_s=reached.left_s()):
        if sent + failed == limit:
            left += 1
            continue
        try:
            say(await _sent_again(reached, letter.id, by, reached.whole_s))
        except InvalidCommand as error:
            if error.path != "id":
                raise
            if "state" not in error.details:
                say(f"{letter.id} not sent again: {error.message}")
                failed += 1
            continue
        sent += 1
    if kind is not None and not (sent or failed or left):
        await check_known(reached, kind)
    return SentAgain(sent, failed, left)


async def drop_dead_letter(reached: Reached, id: int, by: str) -> DeadLetter:
    """What was dropped."""
    try:
        return await reached.client.drop_dead_letter(id, by=by, deadline_s=reached.left_s())
    except InvalidCommand as error:
        raise await _explained(reached, id, error) from None


async def _explained(reached: Reached, id: int, error: InvalidCommand) -> InvalidCommand:
    """Why this is no dead letter: of one that waits first at its actor, how it becomes one."""
    waiting, _ = await reached.client.waiting_tells(deadline_s=reached.left_s())
    actor = next((one.actor for one in waiting if one.first == id), None)
    text = f"{id} is no dead letter: it waits for {actor}; to make it one: aether inbox give-up"
    return InvalidCommand(text, path="ID") if actor else error


async def give_up(reached: Reached, actor_id: ActorId, until: int | None) -> int:
    """How many of the tells that wait for an actor are given up. Raises `InvalidCommand` when none waits."""
    count = await reached.client.give_up_tells(actor_id, until, deadline_s=reached.left_s())
    if not count:
        raise InvalidCommand(f"nothing waits for {actor_id}{f' up to {until}' if until else ''}", path="KEY")
    return count


def _is_of(actor: str, kind: str, key: str | None) -> bool:
    return actor == f"{kind}/{key}" if key is not None else actor.startswith(f"{kind}/")
