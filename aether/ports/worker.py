"""What a worker has of its surroundings: clocks, its lease, the notes of its threads, and its active actors."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from aether.ids import ActorId


class Clock(Protocol):
    """Time as arguments: two clocks and nothing else."""

    def wall_s(self) -> float:
        """Unix time in seconds, for deadlines and records."""
        ...

    def boot_s(self) -> float:
        """Seconds that count on while the machine sleeps (`CLOCK_BOOTTIME`), for leases."""
        ...


class Alarm(Protocol):
    """What will be called at a time, unless it is cancelled."""

    def cancel(self) -> None:
        """Do not call it."""
        ...


@runtime_checkable
class MovedClock(Clock, Protocol):
    """A clock that is moved forward, as that of a test: what waits by it is called when its time was skipped, too."""

    def call_later(self, delay_s: float, wake: Callable[[], object]) -> Alarm:
        """Call `wake` once, in the event loop, when `delay_s` seconds have passed or were skipped."""
        ...


class Lease(Protocol):
    """The right to run the commands of a shard, to commit for its actors and to answer for them."""

    def valid(self, shard: int, boot_s: float) -> bool:
        """Whether a turn may run, and a commit or an answer may leave, at this instant."""
        ...

    @property
    def stored_format(self) -> int:
        """The newest format of stored events that every member reads (`aether.wire.STORED_FORMAT`)."""
        ...


class HandlerNote(Protocol):
    """Where a thread notes which handler is on its stack; the supervisor reads it when the worker has died."""

    def begin(self, actor_id: ActorId, command: str, command_id: str, correlation_id: str) -> None:
        """A handler of this command begins or goes on; without a command it is the actor's replay."""
        ...

    def end(self) -> None:
        """None is on the stack any more."""
        ...


class WorkerNote(Protocol):
    """The notes of a worker's threads."""

    @property
    def loop(self) -> HandlerNote:
        """That of the event loop."""
        ...

    def of_thread(self) -> HandlerNote | None:
        """That of the calling thread, which runs blocking handlers; None when it has none."""
        ...


class Halts(Protocol):
    """Which actors are not to be activated for a while."""

    def halted(self, actor_id: ActorId) -> str | None:
        """Why the actor is not to be activated now; None when it may be."""
        ...

    async def halt(self, actor_id: ActorId, why: str) -> None:
        """Have no member activate the actor for a while. Raises `Unavailable`."""
        ...


class ActiveVM(Protocol):
    """An actor in memory, as the cluster sees it."""

    @property
    def actor_id(self) -> ActorId: ...  # noqa: D102 - a field
    @property
    def shard(self) -> int: ...  # noqa: D102 - a field


class VMProvider(Protocol):
    """How the cluster asks a runtime for its active VMs and stops them."""

    def get_active_vms(self, shard: int | None = None) -> Sequence[ActiveVM]:
        """The active actors, of one shard or of all."""
        ...

    def stop_vm(self, actor_id: ActorId) -> Awaitable[None]:
        """Finish, snapshot and forget one active actor."""
        ...

    async def serve_shard(self, shard: int) -> None:
        """Begin to take the shard's commands, with no actor of it in memory. Raises `Unavailable`."""
        ...

    async def prepare_shard(self, shard: int) -> None:
        """Get ready to leave the shard while it is served, so that leaving it takes less time: snapshot its actors."""
        ...

    async def leave_shard(self, shard: int) -> None:
        """Take no more commands of the shard; all that were delivered have been taken when this returns."""
        ...

    def abandon_shard(self, shard: int) -> None:
        """Drop all that is open of the shard, at once and without an answer to any caller."""
        ...
