"""What waits for a machine: the coroutines of `aether.runtime.machine`, which is compiled and so has none."""

import asyncio
from typing import Protocol

from aether.aio import Waiters
from aether.errors import Unavailable
from aether.ids import ActorId, Version


class Awaited(Protocol):
    """A `VirtualMachine`, as those see it that wait for it."""

    actor_id: ActorId

    @property
    def idle(self) -> bool:
        """Whether nothing is open."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether it has ended."""
        ...

    def waiters(self) -> Waiters:
        """What is woken when it is idle or has ended."""
        ...

    def catch_up(self, version: Version) -> None:
        """Replay when idle and behind a version."""
        ...

    def retire(self) -> "asyncio.Task[None] | None":
        """End, with a snapshot in the background."""
        ...


async def wait_idle(machine: Awaited) -> None:
    """Wait until the machine is idle or has stopped."""
    while not (machine.idle or machine.stopped):
        await machine.waiters().wait()


async def start(machine: Awaited) -> None:
    """See `VirtualMachine.start`."""
    await wait_idle(machine)
    if machine.stopped:
        raise Unavailable(f"{machine.actor_id} could not be activated; a command to it says why")


async def process_event(machine: Awaited, version: Version) -> None:
    """See `VirtualMachine.process_event`."""
    await wait_idle(machine)
    machine.catch_up(version)
    await wait_idle(machine)


async def stop(machine: Awaited) -> None:
    """See `VirtualMachine.stop`."""
    await wait_idle(machine)
    task = None if machine.stopped else machine.retire()
    if task is not None:
        await task
