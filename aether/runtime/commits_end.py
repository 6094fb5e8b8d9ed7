"""Where the stream of commits ends, as the relayer of a shard has seen it: it may go back, and positions come again.

Of several servers one that was replaced and does not know it may say so, too: it has to be so for a while, and still.
"""

import asyncio
import logging

from aether.core.relay_mark import Mark, Place
from aether.errors import Unavailable
from aether.ids import Position
from aether.ports import Inbox

log = logging.getLogger("aether.relay")


class CommitsEnd:
    """For one shard. Its writer is the task of the relayer."""

    def __init__(self, shard: int, inbox: Inbox) -> None:
        self._shard = shard
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._went_back: tuple[Position, float] | None = None
        """Where the stream of commits ends, before what was relayed, and when that was seen first."""

    def saw(self, end: Position, after: Position) -> None:
        """It ends here; all up to `after` was read once. Raises `Unavailable` when it has ended before that."""
        if end < after:
            self._note(end)
            raise Unavailable(f"the stream of commits ends at {end}, before {after}")
        self._went_back = None

    async def reachable(self, mark: Mark) -> Mark:
        """A mark that is not beyond a stream that went back: what is stored from there on is relayed."""
        if self._went_back is None:
            return mark
        (end, at_s), again_s = self._went_back, self._inbox.scan_again_s
        if mark.relayed <= end or self._loop.time() - at_s < again_s:
            return mark
        if again_s and await self._inbox.end_of_commits() >= mark.relayed:
            self._went_back = None
            return mark
        self._say(mark.relayed, end)
        return Mark(end, await self._inbox.end_of_tells())

    async def still_committed(self, places: list[tuple[int, Place]]) -> list[tuple[int, Place]]:
        """Without what commits have sent that a stream which went back has lost: their positions come again."""
        end = await self._inbox.end_of_commits() if places else Position(0)
        last = max((place.position for _, place in places), default=0)
        if last <= end:
            return places
        since_s = self._note(end)
        if self._loop.time() - since_s < self._inbox.scan_again_s:
            raise Unavailable(f"the stream of commits ends at {end}, before what was relayed")
        self._say(last, end)
        return [one for one in places if one[1].position <= end]

    def _note(self, end: Position) -> float:
        """Since when it is seen that it went back."""
        self._went_back = self._went_back or (end, self._loop.time())
        return self._went_back[1]

    def _say(self, last: int, end: Position) -> None:
        log.error("the stream of commits went backwards", extra={"shard": self._shard, "from": last, "to": end})
