"""Reads what the commits of a shard send, for its relayer (`aether.runtime.relaying`). Stateless."""

from aether.core.relay import Doubt
from aether.errors import Unavailable
from aether.ids import Position
from aether.ports import SENDING_BYTES_MAX, Inbox, StoredCommit
from aether.sends import Send, sent_by
from aether.wire import decode_commit


def sends_of(commit: StoredCommit) -> list[Send]:
    """What a stored commit sends, in order. Raises `UnreadableEvent`."""
    events = decode_commit(commit.payload, commit.actor_id, commit.position)
    return sent_by(events, commit.actor_id, commit.position)


async def commits_between(
    inbox: Inbox, shard: int, after: Position, until: Position
) -> tuple[list[StoredCommit], Position]:
    """The shard's commits after a position that send something, and up to where these are all. Raises `Unavailable`."""
    commits = await inbox.commits_that_send(shard, after, until)
    is_part = sum(len(one.payload) for one in commits) >= SENDING_BYTES_MAX
    return commits, commits[-1].position if is_part else until


async def check_again(inbox: Inbox, shard: int, doubt: Doubt) -> None:
    """Do a scan again. Raises `Unavailable`, also when the first one has missed a commit."""
    after, until = Position(doubt.after), Position(doubt.until)
    while after < until:
        commits, after = await commits_between(inbox, shard, after, until)
        missed = [one.position for one in commits if one.position not in doubt.found]
        if missed:
            raise Unavailable(f"a scan of shard {shard} has missed the commit at {missed[0]}")
