"""Stores what a shard's actors have sent in the inbox stream, without a task: from a commit to an acknowledgement.

The compiled half of `aether.runtime.relaying`: plain calls, no coroutine. What is to be stored and when is the word of
`aether.core.relay`; what came of a flight that failed is found out by the task of the shard.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aether.core.relay import Relay
from aether.errors import Unavailable
from aether.names import shard_of
from aether.ports import Inbox
from aether.runtime.counters import Counters
from aether.sends import Send, StartTask, encode_send
from aether.tells import Tell, encode_tell


class RelayFlight:
    """What of one shard is on its way into the inbox stream: some at once, of one line one.

    `rest` is called when it is over and there is more to do, unless a task waits for its end.
    """

    __slots__ = ("_counters", "_fence", "_inbox", "_left", "_outcomes", "_over", "_relay", "_rest", "_sends", "_shard",
                 "_shards", "failure")  # fmt: skip

    def __init__(
        self, shard: int, shards: int, inbox: Inbox, relay: Relay, counters: Counters, rest: Callable[[], None]
    ) -> None:
        self.failure: BaseException | None = None
        """Why not all of the last flight is known to be stored."""
        self._shard = shard
        self._shards = shards
        self._inbox = inbox
        self._relay = relay
        self._counters = counters
        self._rest = rest
        self._sends: list[Send] = []
        self._outcomes: list[asyncio.Future[int | None]] = []
        self._left = 0
        self._fence = 0
        self._over: asyncio.Future[None] | None = None

    def begin(self) -> bool:
        """Send what may be on its way at once; False when there is nothing, or it belongs elsewhere. Never raises."""
        if self._left:
            return True
        relay = self._relay
        sends = relay.heads(self._inbox.relays_at_once)
        if not sends:
            return False
        self._fence, self._sends, self._left = relay.fence, sends, len(sends)
        self._outcomes = outcomes = [self._store(send) for send in sends]
        for outcome in outcomes:
            outcome.add_done_callback(self._arrived)
        return True

    def over(self) -> "asyncio.Future[None] | None":
        """To wait for the end of what is on its way; None when nothing is. `failure` says what came of it."""
        if not self._left:
            return None
        self._over = asyncio.get_running_loop().create_future()
        return self._over

    def _store(self, send: Send) -> "asyncio.Future[int | None]":
        try:
            sent = self._sent(send)
            return sent if isinstance(sent, asyncio.Future) else asyncio.ensure_future(sent)
        except Exception as error:  # the task says what it is
            failed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    def _sent(self, send: Send) -> Awaitable[int | None]:
        if isinstance(send, Tell):
            target = shard_of(send.target, self._shards)
            return self._inbox.relay(target, self._shard, encode_tell(send), self._fence)
        assert isinstance(send, StartTask)
        return self._inbox.relay_task(send.task, self._shard, encode_send(send), self._fence)

    def _arrived(self, _: object) -> None:
        self._left -= 1
        if self._left:
            return
        self._land()
        over, self._over = self._over, None
        if over is not None and not over.done():
            over.set_result(None)
        elif self._relay.waiting:  # as what has failed does
            self._rest()

    def _land(self) -> None:
        """All have their outcomes. From the first that is not stored on nothing counts: a claim finds out."""
        sends, outcomes = self._sends, self._outcomes
        self._sends, self._outcomes = [], []
        for number, outcome in enumerate(outcomes):
            error = Unavailable("it was cancelled") if outcome.cancelled() else outcome.exception()
            if self.failure is not None:
                continue
            if error is None:
                error = self._take(sends[number], outcome.result())
            if error is not None:
                self.failure = error
                self._relay.lost()

    def _take(self, send: Send, sequence: int | None) -> Unavailable | None:
        """Why it cannot count as stored."""
        if sequence is None or self._relay.fence != self._fence:
            what = "are relayed by another one, or over another connection"
            return Unavailable(f"the tells of shard {self._shard} {what}")
        self._relay.stored(send, sequence)
        if isinstance(send, Tell):
            self._counters.tells_relayed += 1
        return None
