"""The registry: the active machines of one worker, and which of them was used least recently.

It decides who is in memory: a machine is made on the first message, goes when it has been idle for long, and the least
recently used idle one goes first when there is no room. It runs on the event loop only.

The order of use is a chain through the machines themselves. An ordered dictionary would look every machine up twice and
keep a node of its own for each, which a worker with hundreds of thousands of them has in no cache.
"""

from collections.abc import Callable, Iterator

from aether.errors import Overloaded
from aether.ids import ActorId
from aether.runtime.machine import VirtualMachine

EVICTION_LOOK_MAX = 64
"""How many of the least recently used machines are asked whether they are idle before the caller is refused."""


class Registry:
    """Machines by actor."""

    def __init__(self, make: Callable[[ActorId], VirtualMachine], active_vms_max: int) -> None:
        self._make = make
        self._active_vms_max = active_vms_max
        self._machines: dict[ActorId, VirtualMachine] = {}
        self._of_shard: dict[int, dict[str, dict[ActorId, VirtualMachine]]] = {}
        self._oldest: VirtualMachine | None = None
        self._newest: VirtualMachine | None = None

    def __len__(self) -> int:
        return len(self._machines)

    def __iter__(self) -> Iterator[VirtualMachine]:
        return iter(list(self._machines.values()))

    def get(self, actor_id: ActorId) -> VirtualMachine | None:
        """The actor's machine, if it is active."""
        return self._machines.get(actor_id)

    def use(self, actor_id: ActorId, now_s: float) -> VirtualMachine:
        """The actor's machine, made and started if need be, now the most recently used.

        Raises `Overloaded` when there is no room and no idle machine to passivate.
        """
        machine = self._machines.get(actor_id)
        if machine is None:
            if len(self._machines) >= self._active_vms_max:
                self._evict_one()
            machine = self._machines[actor_id] = self._make(actor_id)
            self._of_shard.setdefault(machine.shard, {}).setdefault(actor_id.kind, {})[actor_id] = machine
            self._link(machine)
            machine.begin()
        elif machine is not self._newest:
            self._unlink(machine)
            self._link(machine)
        machine.last_used_s = now_s
        return machine

    def discard(self, machine: VirtualMachine) -> None:
        """Take out a machine that has ended."""
        if self._machines.get(machine.actor_id) is machine:
            del self._machines[machine.actor_id]
            del self._of_shard[machine.shard][machine.actor_id.kind][machine.actor_id]
            self._unlink(machine)

    def of_shard(self, shard: int) -> list[VirtualMachine]:
        """The shard's machines."""
        return [machine for machines in self._of_shard.get(shard, {}).values() for machine in machines.values()]

    def count_by_kind(self) -> dict[str, int]:
        """How many machines each kind has; a kind that had some and has none any more is told with 0."""
        counts: dict[str, int] = {}
        for kinds in self._of_shard.values():
            for kind, machines in kinds.items():
                counts[kind] = counts.get(kind, 0) + len(machines)
        return counts

    def unused_since(self, boot_s: float, most: int) -> list[VirtualMachine]:
        """Idle machines last used before then, of the `most` least recently used."""
        found = []
        machine = self._oldest
        while machine is not None and most > 0 and machine.last_used_s < boot_s:
            if machine.idle:
                found.append(machine)
            most -= 1
            machine = machine.newer
        return found

    def _evict_one(self) -> None:
        machine, left = self._oldest, EVICTION_LOOK_MAX
        while machine is not None and left > 0:
            if machine.idle:
                machine.retire()
                return
            machine, left = machine.newer, left - 1
        message = f"the worker has {self._active_vms_max} active actors and none of the least used is idle"
        raise Overloaded(message, limit="active_vms_max")

    def _link(self, machine: VirtualMachine) -> None:
        newest = self._newest
        machine.older = newest
        if newest is None:
            self._oldest = machine
        else:
            newest.newer = machine
        self._newest = machine

    def _unlink(self, machine: VirtualMachine) -> None:
        older, newer = machine.older, machine.newer
        if older is None:
            self._oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self._newest = older
        else:
            newer.older = older
        machine.older = machine.newer = None
