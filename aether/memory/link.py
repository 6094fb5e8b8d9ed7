"""One node's way to the server: up or down, with the faults that happen on it.

Owns the node's waiters: a wait for an outcome over a connection ends with the connection, at once. Runs in one event
loop. It must not know what travels: the adapters bring the operation, the link brings its fate.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from aether.aio import set_once
from aether.errors import Unavailable
from aether.memory.clock import AlarmClock
from aether.memory.faults import Disconnected, Fault, FaultPoint, Faults, Late, Lost, Stale, StoredLater, StoredUnknown
from aether.memory.server import InMemoryServer
from aether.ports import NotSent

T = TypeVar("T")


class Link:
    """A connection without its adapters; each adapter takes one."""

    def __init__(self, server: InMemoryServer, namespace: str, shards: int, faults: Faults | None = None) -> None:
        self.space = server.space(namespace, shards)
        self.namespace = namespace
        self.shards = shards
        self.clock: AlarmClock = server.clock
        self.payload_bytes_max = server.payload_bytes_max
        self.up = True
        self._closed = False
        self.on_down: dict[Callable[[], None], None] = {}
        self.on_up: dict[Callable[[], None], None] = {}
        self._faults = faults or server.faults

    def disconnect(self) -> None:
        """Break the connection: all waits on it end, nothing arrives until `reconnect`. Idempotent."""
        if self.up:
            self.up = False
            for broken in list(self.on_down):
                broken()

    def reconnect(self) -> None:
        """A new session of the connection: subscriptions go on and catch up. Idempotent."""
        if not self.up and not self._closed:
            self.up = True
            for resync in list(self.on_up):
                resync()

    def close(self) -> None:
        """Break the connection for good. Idempotent."""
        self._closed = True
        self.disconnect()

    def fault(self, step: FaultPoint) -> Fault | None:
        """What goes wrong at this step; a `Disconnected` has broken the connection when this returns."""
        fault = self._faults.at(step)
        if isinstance(fault, Disconnected):
            self.disconnect()
            self.clock.call_after(fault.down_s, self.reconnect)
        return fault

    async def call(self, step: FaultPoint, operation: Callable[[bool], T]) -> T:
        """Do `operation` at the server and await its outcome; its argument says whether a stale replica answers.

        Other tasks run before the outcome arrives, as over any network. Raises `Unavailable` when it does not arrive.
        """
        fault = self.fault(step)
        if not self.up:
            raise NotSent("not connected")
        if isinstance(fault, Lost):
            raise Unavailable(f"a {step.value} was lost")
        answer = operation(isinstance(fault, Stale))
        await self.round_trip(fault.delay_s if isinstance(fault, Late) else 0.0)
        if isinstance(fault, StoredUnknown):
            raise Unavailable(f"a {step.value} was not acknowledged")
        return answer

    async def store(self, step: FaultPoint, operation: Callable[[], T]) -> T:
        """Have `operation` store something at the server, and await its outcome. Raises `Unavailable`.

        What is stored later is lost when the server is restarted meanwhile.
        """
        fault = self.fault(step)
        if not self.up:
            raise NotSent("not connected")
        if isinstance(fault, StoredLater):
            restarts = self.space.restarts
            self.clock.call_after(fault.delay_s, lambda: self.space.restarts == restarts and operation())
        if isinstance(fault, StoredLater | Lost):
            raise Unavailable(f"a {step.value} was not acknowledged")
        outcome = operation()
        await self.round_trip(fault.delay_s if isinstance(fault, Late) else 0.0)
        if isinstance(fault, StoredUnknown):
            raise Unavailable(f"a {step.value} was not acknowledged")
        return outcome

    async def round_trip(self, delay_s: float = 0.0) -> None:
        """Return when a reply would be back, `delay_s` late. Raises `Unavailable` when the link breaks first."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[bool] = loop.create_future()
        waiter = Waiter(self, lambda outcome: set_once(arrived, outcome), broken=False)
        if delay_s:
            self.clock.call_after(delay_s, lambda: waiter.resolve(True))
        else:
            loop.call_soon(waiter.resolve, True)
        if not await arrived:
            raise Unavailable("the connection was lost")


class Waiter(Generic[T]):
    """Waits for an outcome over a link; `receive` is called once, with the outcome or at the end of the connection."""

    def __init__(self, link: Link, receive: Callable[[T], object], broken: T) -> None:
        self._link = link
        self._receive = receive
        self._broken = broken
        link.on_down[self._break] = None

    def resolve(self, outcome: T) -> None:
        """Pass the outcome on, unless the wait has ended."""
        if self._link.on_down.pop(self._break, self) is None:
            self._receive(outcome)

    def _break(self) -> None:
        self.resolve(self._broken)
