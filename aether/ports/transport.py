"""Commands to the owners of shards, and their answers. Why `Delivery` is written by hand: `docs/hot-path.md`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aether.errors import Unavailable
from aether.ids import ActorId
from aether.ports.bus import Subscription
from aether.ports.inbox import TellPlace


class Delivery:
    """A command that reached its owner: `payload` is a `wire.Command`; `respond` sends one `wire.Answer`, at once.

    `told` is the command when it comes from the inbox and not from a caller; `payload` is empty then.
    """

    __slots__ = ("actor_id", "payload", "respond", "shard", "told")

    def __init__(
        self,
        shard: int,
        actor_id: ActorId,
        payload: bytes,
        respond: Callable[[bytes], None],
        told: TellPlace | None = None,
    ) -> None:
        self.shard = shard
        self.actor_id = actor_id
        self.payload = payload
        self.respond = respond
        self.told = told


class NotSent(Unavailable):
    """The request reached no worker (no owner, no connection to send it on), so it has changed nothing."""


class Transport(Protocol):
    """Commands that wait for an answer, and word of who answers them now."""

    @property
    def request_bytes_max(self) -> int:
        """Largest command, in bytes."""
        ...

    async def serve(self, shard: int, receive: Callable[[Delivery], None]) -> Subscription:
        """Receive the commands of a shard. After `stop`, all that were delivered have been received."""
        ...

    def request(self, actor_id: ActorId, payload: bytes, timeout_s: float) -> Awaitable[bytes]:
        """The answer of the shard's owner, to be awaited; called or awaited, it may raise.

        `NotSent` for no owner or no connection; plain `Unavailable` for a lost connection, a time-out, or, while
        owners are followed, when the shard has got another owner meanwhile; `InvalidCommand` over `request_bytes_max`.
        """
        ...

    def announce(self, shards: Sequence[int]) -> None:
        """Tell waiting callers that these shards are served from here now. Best effort; never raises."""
        ...

    async def follow_owners(self) -> Subscription:
        """Hear announcements, for the requests of this connection."""
        ...

    async def answer_status(self, inform: Callable[[], bytes]) -> Subscription:
        """Answer status requests for this worker. Raises `Unavailable`."""
        ...

    async def ask_status(self, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        """Ask all workers how they are: `enough` gets each answer, until it is or the time is up.

        Returns at once when there is no connection or no worker. Never raises.
        """
        ...

    async def owner_announced(self, actor_id: ActorId, since_s: float, timeout_s: float) -> None:
        """Return when an owner of the actor's shard was announced after `since_s` (event loop time), or in time."""
        ...
