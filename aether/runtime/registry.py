"""The registry: the active machines of one worker, least recently used first.

It decides who is in memory: a machine is made on the first message, goes when it has been idle for long, and the least
recently used idle one goes first when there is no room. It runs on the event loop only.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice

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
        self._machines: OrderedDict[ActorId, VirtualMachine] = OrderedDict()
        self._of_shard: dict[int, dict[ActorId, VirtualMachine]] = {}

    def __len__(self) -> int:
        return len(self._machines)

    def __iter__(self) -> Iterator[VirtualMachine]:
        return iter(list(self._machines.values()))

    def get(self, actor_id: ActorId) -> VirtualMachine | None:
        """The actor's machine, if it is active."""
        return self._machines.get(actor_id)

    def use(self, actor_id: ActorId, now_s: float) -> VirtualMachine:
        """The actor's machine, made and started if need be, now the most recently used.

        Raises `Overloaded` when there is no room and nobody to passivate, `UnknownActor` for a kind without a type.
        """
        machine = self._machines.get(actor_id)
        if machine is None:
            if len(self._machines) >= self._active_vms_max:
                self._evict_one()
            machine = self._machines[actor_id] = self._make(actor_id)
            self._of_shard.setdefault(machine.shard, {})[actor_id] = machine
            machine.begin()
        else:
            self._machines.move_to_end(actor_id)
        machine.last_used_s = now_s
        return machine

    def discard(self, machine: VirtualMachine) -> None:
        """Take out a machine that has ended."""
        if self._machines.get(machine.actor_id) is machine:
            del self._machines[machine.actor_id]
            del self._of_shard[machine.shard][machine.actor_id]

    def of_shard(self, shard: int) -> list[VirtualMachine]:
        """The shard's machines."""
        return list(self._of_shard.get(shard, {}).values())

    def unused_since(self, boot_s: float, most: int) -> list[VirtualMachine]:
        """Idle machines last used before then, least recently used first."""
        found = []
        for machine in islice(self._machines.values(), most):
            if machine.last_used_s >= boot_s:
                break
            if machine.idle:
                found.append(machine)
        return found

    def _evict_one(self) -> None:
        for machine in islice(self._machines.values(), EVICTION_LOOK_MAX):
            if machine.idle:
                machine.retire()
                return
        message = f"the worker has {self._active_vms_max} active actors and none of the least used is idle"
        raise Overloaded(message, limit="active_vms_max")
