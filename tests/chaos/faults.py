"""The faults: each one small class, drawn from a seed, that does one harm to a running world and makes it good again.

A fault is a value: its fields are all the chance in it, so that a seed replays the same list. `dice` in [0, 1) chooses
among what is there when it strikes. `strike` returns when the harm is over and what it restarted serves; that clients
are answered again is for the scenario to wait for.
"""

import os
import signal
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Protocol

from tests.chaos.needs import Needs
from tests.chaos.partitions import Isolate
from tests.chaos.processes import Host
from tests.chaos.waiting import until
from tests.chaos.world import DRAIN_GUARD_S, MEMBER_TTL_S, World, hold, picked

LEASE_OVER_S = (MEMBER_TTL_S + 1.0, MEMBER_TTL_S + 4.0)
"""Longer than a lease, shorter than the silence after which a supervisor kills its worker."""

SHORT_S = (0.5, 4.0)
HOSTS_MAX = 3
WORKERS_TOP = 4


class Fault(Protocol):
    """One harm."""

    needs: ClassVar[frozenset[Needs]]

    @classmethod
    def drawn(cls, chance: Random) -> "Fault":
        """One of its kind, by chance."""

    async def strike(self, world: World) -> None:
        """Do it, and make it good again."""


@dataclass(frozen=True, slots=True)
class KillWorker:
    """kill -9 of a worker; its supervisor replaces it."""

    needs: ClassVar[frozenset[Needs]] = frozenset()
    dice: float

    @classmethod
    def drawn(cls, chance: Random) -> "KillWorker":
        return cls(chance.random())

    async def strike(self, world: World) -> None:
        host, pid = _worker(world, self.dice)
        os.kill(pid, signal.SIGKILL)
        await _gone(world, host, {pid})
        await world.serving(host)


@dataclass(frozen=True, slots=True)
class FreezeWorker:
    """SIGSTOP of a worker beyond its lease, and of its supervisor, which would end it, as when a host is frozen; then
    SIGCONT: it wakes up as the owner of shards that others own now."""

    needs: ClassVar[frozenset[Needs]] = frozenset()
    dice: float
    for_s: float

    @classmethod
    def drawn(cls, chance: Random) -> "FreezeWorker":
        return cls(chance.random(), chance.uniform(*LEASE_OVER_S))

    async def strike(self, world: World) -> None:
        host, pid = _worker(world, self.dice)
        host.send(signal.SIGSTOP)
        os.kill(pid, signal.SIGSTOP)
        try:
            await hold(self.for_s)
        finally:
            if pid in host.workers().values():
                os.kill(pid, signal.SIGCONT)
            host.send(signal.SIGCONT)
        await world.serving(host)


@dataclass(frozen=True, slots=True)
class KillSupervisor:
    """kill -9 of a supervisor, whose workers must die with it, then the same command again at once."""

    needs: ClassVar[frozenset[Needs]] = frozenset()
    dice: float

    @classmethod
    def drawn(cls, chance: Random) -> "KillSupervisor":
        return cls(chance.random())

    async def strike(self, world: World) -> None:
        host = _host(world, self.dice)
        workers = set(host.workers().values())
        host.kill()
        host.start()
        await _gone(world, host, workers)
        await world.serving(host)


@dataclass(frozen=True, slots=True)
class Reload:
    """HUP: every worker is replaced by a fresh one."""

    needs: ClassVar[frozenset[Needs]] = frozenset()
    dice: float

    @classmethod
    def drawn(cls, chance: Random) -> "Reload":
        return cls(chance.random())

    async def strike(self, world: World) -> None:
        host = _host(world, self.dice)
        workers = set(host.workers().values())
        host.send(signal.SIGHUP)
        await _gone(world, host, workers)
        await world.serving(host)


@dataclass(frozen=True, slots=True)
class Scale:
    """TTOU to one worker, TTIN to four, TTOU to two."""

    needs: ClassVar[frozenset[Needs]] = frozenset()
    dice: float

    @classmethod
    def drawn(cls, chance: Random) -> "Scale":
        return cls(chance.random())

    async def strike(self, world: World) -> None:
        host = _host(world, self.dice)
        for wanted in (1, WORKERS_TOP, 2):
            while host.wanted != wanted:
                more = host.wanted < wanted
                host.send(signal.SIGTTIN if more else signal.SIGTTOU)
                host.wanted += 1 if more else -1
                await world.serving(host)


@dataclass(frozen=True, slots=True)
class KillServer:
    """kill -9 of the one nats-server; it comes back on its store after a while."""

    needs: ClassVar[frozenset[Needs]] = frozenset({Needs.SINGLE})
    down_s: float

    @classmethod
    def drawn(cls, chance: Random) -> "KillServer":
        return cls(chance.choice((0.0, 1.0, MEMBER_TTL_S + 1.0)))

    async def strike(self, world: World) -> None:
        node = world.servers.nodes[0]
        node.kill()
        await hold(self.down_s)
        await world.servers.restart(node)
        await world.serving(*world.running_hosts())


@dataclass(frozen=True, slots=True)
class KillNode:
    """kill -9 of one server of the cluster: the others serve without it, then it catches up."""

    needs: ClassVar[frozenset[Needs]] = frozenset({Needs.CLUSTER})
    dice: float

    @classmethod
    def drawn(cls, chance: Random) -> "KillNode":
        return cls(chance.random())

    async def strike(self, world: World) -> None:
        nodes = world.servers.nodes
        await _kill_node(world, nodes[picked(self.dice, len(nodes))].name)


@dataclass(frozen=True, slots=True)
class KillLeader:
    """kill -9 of the server that leads the stream of commits, or that of the table."""

    needs: ClassVar[frozenset[Needs]] = frozenset({Needs.CLUSTER})
    of_table: bool

    @classmethod
    def drawn(cls, chance: Random) -> "KillLeader":
        return cls(chance.random() < 0.5)

    async def strike(self, world: World) -> None:
        leader = await world.servers.leader(world.table if self.of_table else world.stream)
        await _kill_node(world, leader.name)


@dataclass(frozen=True, slots=True)
class KillInboxLeader:
    """kill -9 of the server that leads the stream of tells, of schedules and of starts of tasks."""

    needs: ClassVar[frozenset[Needs]] = frozenset({Needs.CLUSTER, Needs.BANK})

    @classmethod
    def drawn(cls, chance: Random) -> "KillInboxLeader":
        return cls()

    async def strike(self, world: World) -> None:
        await _kill_node(world, (await world.servers.leader(f"{world.stream}_INBOX")).name)


@dataclass(frozen=True, slots=True)
class FreezeServer:
    """SIGSTOP of a nats-server: connections stay open and nothing is answered; then SIGCONT."""

    needs: ClassVar[frozenset[Needs]] = frozenset()
    dice: float
    for_s: float

    @classmethod
    def drawn(cls, chance: Random) -> "FreezeServer":
        return cls(chance.random(), chance.uniform(1.0, MEMBER_TTL_S + 3.0))

    async def strike(self, world: World) -> None:
        nodes = world.servers.nodes
        node = nodes[picked(self.dice, len(nodes))]
        node.freeze()
        try:
            await hold(self.for_s)
        finally:
            node.thaw()
        await world.servers.caught_up(world.stream)


@dataclass(frozen=True, slots=True)
class CutConnection:
    """The proxied host's connections break and cannot be made for a while."""

    needs: ClassVar[frozenset[Needs]] = frozenset({Needs.PROXY})
    for_s: float

    @classmethod
    def drawn(cls, chance: Random) -> "CutConnection":
        return cls(chance.uniform(*chance.choice((SHORT_S, LEASE_OVER_S))))

    async def strike(self, world: World) -> None:
        assert world.proxy is not None
        world.proxy.cut()
        try:
            await hold(self.for_s)
        finally:
            world.proxy.mend()
        await _proxied_serves(world)


@dataclass(frozen=True, slots=True)
class MuteConnection:
    """The proxied host is heard and hears nothing, then its connections break: its writes land and it knows of none."""

    needs: ClassVar[frozenset[Needs]] = frozenset({Needs.PROXY})
    for_s: float

    @classmethod
    def drawn(cls, chance: Random) -> "MuteConnection":
        return cls(chance.uniform(*SHORT_S))

    async def strike(self, world: World) -> None:
        assert world.proxy is not None
        world.proxy.mute()
        try:
            await hold(self.for_s)
        finally:
            world.proxy.cut()
            world.proxy.mend()
        await _proxied_serves(world)


@dataclass(frozen=True, slots=True)
class HostJoins:
    """One more supervisor takes its share of the shards."""

    needs: ClassVar[frozenset[Needs]] = frozenset()
    workers: int

    @classmethod
    def drawn(cls, chance: Random) -> "HostJoins":
        return cls(chance.choice((1, 2)))

    async def strike(self, world: World) -> None:
        if len(world.running_hosts()) < HOSTS_MAX:
            await _join(world, self.workers)


@dataclass(frozen=True, slots=True)
class HostLeaves:
    """TERM of a supervisor: it hands over what it has. One joins before, when there is no other."""

    needs: ClassVar[frozenset[Needs]] = frozenset()
    dice: float

    @classmethod
    def drawn(cls, chance: Random) -> "HostLeaves":
        return cls(chance.random())

    async def strike(self, world: World) -> None:
        host = await _guest(world, self.dice)
        code = await host.drained(DRAIN_GUARD_S)
        assert code == 0, f"{host.name} left with {code}; see {host.log}"


@dataclass(frozen=True, slots=True)
class HostDies:
    """kill -9 of a supervisor that does not come back: the others wait for its leases to end. One joins before, too."""

    needs: ClassVar[frozenset[Needs]] = frozenset()
    dice: float

    @classmethod
    def drawn(cls, chance: Random) -> "HostDies":
        return cls(chance.random())

    async def strike(self, world: World) -> None:
        (await _guest(world, self.dice)).kill()


FAULTS: tuple[type[Fault], ...] = (
    KillWorker, FreezeWorker, KillSupervisor, Reload, Scale, KillServer, KillNode, KillLeader, FreezeServer,
    CutConnection, MuteConnection, HostJoins, HostLeaves, HostDies, KillInboxLeader,
    Isolate,
)  # fmt: skip


def _host(world: World, dice: float) -> Host:
    hosts = world.running_hosts()
    return hosts[picked(dice, len(hosts))]


def _worker(world: World, dice: float) -> tuple[Host, int]:
    workers = world.workers()
    name, slot, pid = workers[picked(dice, len(workers))]
    world.note(f"it is worker {slot} of {name}, process {pid}")
    return world.hosts[name], pid


async def _gone(world: World, host: Host, pids: set[int]) -> None:
    """Return when none of these workers lives; a dead supervisor's are nobody's children."""

    def dead(pid: int) -> bool:
        return pid not in host.workers().values() and not _is_live(pid)

    await until(lambda: all(dead(pid) for pid in pids), DRAIN_GUARD_S, f"the end of workers of {host.name}")


def _is_live(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - the kernel's, read in one go
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def _kill_node(world: World, name: str) -> None:
    node = next(node for node in world.servers.nodes if node.name == name)
    world.note(f"it is server {name}")
    node.kill()
    await world.healed()
    await world.servers.restart(node)
    for stream in (world.stream, world.table, f"{world.stream}_INBOX"):
        await world.servers.caught_up(stream)


async def _proxied_serves(world: World) -> None:
    host = world.hosts[world.setting.proxied or ""]
    if host.running:
        await world.serving(host)


async def _join(world: World, workers: int) -> Host:
    names = (f"guest-{n}" for n in range(1, HOSTS_MAX + 1))
    name = next(name for name in names if name not in world.hosts or not world.hosts[name].running)
    host = world.hosts.get(name) or world.add_host(name, workers)
    world.note(f"{name} joins")
    host.start()
    await world.serving(host)
    return host


async def _guest(world: World, dice: float) -> Host:
    """A host that may leave: none that the world began with."""
    guests = [host for host in world.running_hosts() if host.name not in world.setting.hosts]
    guest = guests[picked(dice, len(guests))] if guests else await _join(world, 1)
    world.note(f"it is {guest.name}")
    return guest
