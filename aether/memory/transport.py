"""Commands that wait for an answer: `Transport`, as core NATS does it.

A request goes to everyone who serves its shard (two owners for a moment are a fact of life) and takes the first
answer. Nothing is queued for an absent owner.
"""

import asyncio
from collections.abc import Callable, Sequence

from aether.aio import set_once
from aether.announcements import Announcements
from aether.errors import InvalidCommand, Unavailable
from aether.ids import ActorId
from aether.memory.faults import Again, Fault, FaultPoint, Late, Lost, NoResponders
from aether.memory.feed import Feed
from aether.memory.link import Link, Waiter
from aether.names import shard_of
from aether.ports import Delivery, NotSent, Subscription
from aether.short_answers import short_answer


class InMemoryTransport:
    """The commands of a namespace, as one node sends and receives them."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._announcements = Announcements()
        self._open: dict[Waiter[bytes | Unavailable], int] = {}

    @property
    def request_bytes_max(self) -> int:
        """Largest command, in bytes."""
        return self._link.payload_bytes_max

    async def serve(self, shard: int, receive: Callable[[Delivery], None]) -> Subscription:
        """Receive the commands of a shard. After `stop`, all that were delivered have been received."""
        return ShardService(self._link, shard, receive)

    async def request(self, actor_id: ActorId, payload: bytes, timeout_s: float) -> bytes:
        """The first answer.

        Raises `NotSent` for no owner or no connection, plain `Unavailable` for a lost connection or a time-out, and
        `InvalidCommand` over `request_bytes_max`.
        """
        if len(payload) > self.request_bytes_max:
            text = f"a command is at most {self.request_bytes_max} bytes, this is {len(payload)}"
            raise InvalidCommand(text)
        fault = self._link.fault(FaultPoint.REQUEST)
        if not self._link.up:
            raise NotSent("not connected")
        arrived: asyncio.Future[bytes | Unavailable] = asyncio.get_running_loop().create_future()
        waiter: Waiter[bytes | Unavailable] = Waiter(
            self._link,
            lambda reply: set_once(arrived, reply),
            broken=Unavailable("the connection was lost"),
        )
        self._link.clock.call_after(timeout_s, lambda: waiter.resolve(Unavailable(f"no answer within {timeout_s} s")))
        self._open[waiter] = shard_of(actor_id, self._link.shards)
        try:
            self._send(actor_id, payload, waiter, fault)
            answer = await arrived
        finally:
            del self._open[waiter]
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    def announce(self, shards: Sequence[int]) -> None:
        """Tell every node that follows owners; none when this node is cut off."""
        if self._link.up:
            for listener in list(self._link.space.announcement_listeners):
                listener(shards)

    async def follow_owners(self) -> "OwnersFollowed":
        """Receive announcements, for the requests of this node."""
        return OwnersFollowed(self._link, self._receive_announcement)

    def hang_up(self) -> None:
        """End the requests in flight with `Unavailable`, and the waits for owners: nothing more will be asked."""
        self._announcements.end()
        for waiter in list(self._open):
            waiter.resolve(Unavailable("the connection is closed"))

    async def info(self, inform: Callable[[], bytes]) -> Subscription:
        """Answer questions about the pool."""
        return RequestListener(self._link.space.infos, inform)

    async def ask_info(self) -> bytes:
        """What some worker of the pool says of it. Raises `NotSent` when there is none."""
        infos = list(self._link.space.infos)
        if not self._link.up or not infos:
            raise NotSent("no worker answers")
        return infos[0]()

    async def answer_status(self, inform: Callable[[], bytes]) -> Subscription:
        """Answer status requests for this worker."""
        return RequestListener(self._link.space.informers, inform)

    async def ask_status(self, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        """Ask all workers how they are."""
        self._ask_all(self._link.space.informers, enough)

    async def answer_metrics(self, inform: Callable[[], bytes]) -> Subscription:
        """Answer each question about what the workers have measured."""
        return RequestListener(self._link.space.metrics, inform)

    async def ask_metrics(self, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        """Ask all workers what they have measured."""
        self._ask_all(self._link.space.metrics, enough)

    async def answer_waiting(self, inform: Callable[[], bytes]) -> Subscription:
        """Answer each question about the tells that wait at this worker."""
        return RequestListener(self._link.space.waiting_tells, inform)

    async def ask_waiting(self, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        """Ask all workers which tells wait at them."""
        self._ask_all(self._link.space.waiting_tells, enough)

    def _ask_all(self, informers: dict[Callable[[], bytes], None], enough: Callable[[bytes], bool]) -> None:
        if self._link.up:
            for inform in list(informers):
                if enough(inform()):
                    return

    async def owner_announced(self, actor_id: ActorId, since_s: float, timeout_s: float) -> None:
        """Return when an owner of the actor's shard was announced after `since_s`, or in time."""
        await self._announcements.wait(shard_of(actor_id, self._link.shards), since_s, timeout_s)

    def _receive_announcement(self, shards: Sequence[int]) -> None:
        self._announcements.announced(shards)
        for waiter in [waiter for waiter, shard in self._open.items() if shard in shards]:
            waiter.resolve(Unavailable("another worker answers now"))

    def _send(
        self, actor_id: ActorId, payload: bytes, waiter: Waiter[bytes | Unavailable], fault: Fault | None
    ) -> None:
        match fault:
            case Late(delay_s):
                self._link.clock.call_after(delay_s, lambda: self._route(actor_id, payload, waiter))
            case Again():
                self._route(actor_id, payload, waiter)
                self._route(actor_id, payload, waiter)
            case NoResponders():
                waiter.resolve(NotSent("no worker serves the shard"))
            case Lost():
                pass
            case _:
                self._route(actor_id, payload, waiter)

    def _route(self, actor_id: ActorId, payload: bytes, waiter: Waiter[bytes | Unavailable]) -> None:
        shard = shard_of(actor_id, self._link.shards)
        services = list(self._link.space.serving.get(shard, ()))
        if not services:
            waiter.resolve(NotSent("no worker serves the shard"))
        for deliver in services:
            deliver(actor_id, payload, waiter.resolve)


class RequestListener:
    """One node's answers to questions of a kind."""

    def __init__(self, informers: dict[Callable[[], bytes], None], inform: Callable[[], bytes]) -> None:
        self._informers = informers
        self._inform = inform
        informers[inform] = None

    async def stop(self) -> None:
        """Answer no more. Idempotent."""
        self._informers.pop(self._inform, None)


class OwnersFollowed:
    """One node's subscription to announcements, while it is connected."""

    def __init__(self, link: Link, receive: Callable[[Sequence[int]], None]) -> None:
        self._link = link
        self._receive_announcement = receive
        self._loop = asyncio.get_running_loop()
        link.space.announcement_listeners[self._announced] = None

    async def stop(self) -> None:
        """Receive no more. Idempotent."""
        self._link.space.announcement_listeners.pop(self._announced, None)

    def _announced(self, shards: Sequence[int]) -> None:
        if self._link.up:
            self._loop.call_soon(self._receive_announcement, tuple(shards))


class ShardService:
    """One node's serving of one shard."""

    def __init__(self, link: Link, shard: int, receive: Callable[[Delivery], None]) -> None:
        self._link = link
        self._shard = shard
        self._feed = Feed(receive, lambda feed: self._pause())
        link.on_down[self._break] = None
        link.on_up[self._resume] = None
        if link.up:
            self._resume()

    async def stop(self) -> None:
        """Take no more; what was delivered has been received. Idempotent."""
        self._link.on_down.pop(self._break, None)
        self._link.on_up.pop(self._resume, None)
        await self._feed.stop()

    def _deliver(self, actor_id: ActorId, payload: bytes, answer: Callable[[bytes], None]) -> None:
        self._feed.push(Delivery(self._shard, actor_id, payload, lambda outcome: self._respond(answer, outcome)))

    def _respond(self, answer: Callable[[bytes], None], payload: bytes) -> None:
        if len(payload) > self._link.payload_bytes_max:
            payload = short_answer(payload, self._link.payload_bytes_max)
        fault = self._link.fault(FaultPoint.ANSWER)
        if not self._link.up or isinstance(fault, Lost):
            return
        if isinstance(fault, Late):
            self._link.clock.call_after(fault.delay_s, lambda: answer(payload))
        else:
            asyncio.get_running_loop().call_soon(answer, payload)

    def _resume(self) -> None:
        self._link.space.serving.setdefault(self._shard, {})[self._deliver] = None

    def _pause(self) -> None:
        self._link.space.serving[self._shard].pop(self._deliver, None)

    def _break(self) -> None:
        self._pause()
        self._feed.discard()
