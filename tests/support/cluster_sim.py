"""A cluster in one loop: many members' pure cores over one simulated table, with everything late, lost or stopped.

The table is a log with one live message a key, compare-and-set and time to live, as the real one. Each member reads it
through a cursor of its own that lags and leaves out what was overwritten. Its writes arrive late, may be lost, and may
lose their acknowledgement. A member may be frozen, crash, be replaced, leave; the whole table may be unreachable. All
of it comes from one seed, so a run is repeated exactly. Time is a number; nothing waits.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

from aether.config import ClusterConfig
from aether.core.cluster.effects import (
    Abandon,
    AcquireLease,
    Announce,
    Effect,
    Release,
    RemoveMember,
    StartShard,
    StopShard,
)
from aether.core.cluster.handoff import Phase, ShardTrigger
from aether.core.cluster.membership import LeaseRow, MemberRow, decode_lease, decode_member, encode_lease, encode_member
from aether.core.cluster.ownership import Ownership
from aether.core.cluster.session import Create, MemberSession, Update

SHARDS = 12
TTL_S = 5.0
CONFIG = ClusterConfig(ttl_s=TTL_S, moves_in_flight_max=3)


@dataclass(frozen=True, slots=True)
class Message:
    """One stored row."""

    revision: int
    key: str
    value: bytes | None


class Violation(AssertionError):
    """An invariant does not hold."""


class Simulation:
    """`unknown`, `lost` and `slow` are probabilities; `make` builds a member's core, so that a test can leave a
    safeguard out; `drift` is how much faster or slower than the server's a member's clock may run, as a fraction.
    `withdrawing` is the probability that a member serves nothing from a heartbeat on until its row is renewed.
    """

    def __init__(
        self,
        seed: int,
        *,
        unknown: float = 0.1,
        lost: float = 0.1,
        slow: float = 0.2,
        make: Callable[[MemberSession, ClusterConfig], Ownership] | None = None,
        config: ClusterConfig = CONFIG,
        drift: float = 0.0,
        withdrawing: float = 0.0,
    ) -> None:
        self.random = Random(seed)  # noqa: S311 - a simulation
        self.withdrawing = withdrawing
        self.now_s = 100.0
        self.config = config
        self.reachable = True
        self.faulty = True
        self.history: list[str] = []
        self._unknown, self._lost, self._slow = unknown, lost, slow
        self._drift = drift
        self._make = make or (lambda own, config: Ownership(own, SHARDS, config))
        self._order = count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self.log: list[Message] = []
        self.last: dict[str, Message] = {}
        self._expiry: dict[str, int] = {}
        self.members: dict[str, SimMember] = {}
        self._runs = count(1)

    # ---------------------------------------------------------------------------------------------- time

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now_s + delay_s, next(self._order), act))

    def run_for(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self._due and self._due[0][0] <= until_s:
            at_s, _, act = heapq.heappop(self._due)
            self.now_s = max(self.now_s, at_s)
            act()
            self.check()
        self.now_s = until_s
        self.check()

    def delay_s(self) -> float:
        """A network's delay: mostly short, sometimes very long."""
        if self.faulty and self.random.random() < self._slow:
            return self.random.uniform(0.05, 2 * TTL_S)
        return self.random.uniform(0.0005, 0.01)

    # ---------------------------------------------------------------------------------------------- the table

    def live(self, key: str) -> Message | None:
        message = self.last.get(key)
        return message if message is not None and message.value is not None else None

    def put(self, key: str, value: bytes | None, ttl_s: float | None = None) -> int:
        message = Message(len(self.log) + 1, key, value)
        self.log.append(message)
        self.last[key] = message
        if ttl_s is not None:
            self.after(ttl_s + self.random.uniform(0, 0.25), lambda: self._expire(message))
        for member in self.members.values():
            member.ring()
        return message.revision

    def _expire(self, message: Message) -> None:
        if self.last[message.key] is message:
            self.put(message.key, None)

    def write(
        self, key: str, value: bytes, expected: int | None, ttl_s: float | None, told: Callable[[int | None], None]
    ) -> None:
        """Compare-and-set; `told` gets the revision, 0 when refused, or None when nobody knows."""
        chance = self.random.random() if self.faulty else 1.0

        def land(acknowledged: bool) -> None:
            if not self.reachable and not self.random.random() < 0.3:
                self.after(self.delay_s(), lambda: told(None))
                return
            current = self.live(key)
            fits = current is None if expected is None else current is not None and current.revision == expected
            revision = self.put(key, value, ttl_s) if fits else 0
            if acknowledged:
                self.after(self.delay_s(), lambda: told(revision))

        if chance < self._lost:
            self.after(0.5, lambda: told(None))
        elif chance < self._lost + self._unknown:
            self.after(self.delay_s(), lambda: land(acknowledged=False))
            self.after(0.5, lambda: told(None))
        else:
            self.after(self.delay_s(), lambda: land(acknowledged=True))

    # ---------------------------------------------------------------------------------------------- members

    def start(self, node: str, slot: int = 0, *, replaces: str | None = None, claim: str = "") -> "SimMember":
        run = next(self._runs)
        me = MemberRow(node=node, slot=slot, incarnation=f"run{run}-0", claim=claim)
        own = MemberSession(me, replaces=replaces, answers_for_s=self.config.answers_for_s)
        rate = 1 + self.random.uniform(-self._drift, self._drift) if self._drift else 1.0
        member = SimMember(self, own, self._make(own, self.config), rate=rate)
        self.members[me.incarnation] = member
        self.say(f"start {own.name} as {me.incarnation} replacing {replaces}")
        member.begin()
        return member

    def alive(self) -> list["SimMember"]:
        return [member for member in self.members.values() if not member.dead]

    def say(self, text: str) -> None:
        self.history.append(f"{self.now_s:8.3f} {text}")

    def check(self) -> None:
        """No shard has two members that would answer for it now."""
        for shard in range(SHARDS):
            answering = [m for m in self.alive() if m.core.answers(shard, m.now_s)]
            if len(answering) > 1:
                names = ", ".join(m.own.me.incarnation for m in answering)
                raise Violation(f"shard {shard} is answered by {names}\n" + "\n".join(self.history[-60:]))

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.faulty = False
        self.reachable = True
        for member in self.alive():
            member.thaw()

    def check_settled(self) -> None:
        """Every shard is held by the member that the ring wants, once all is well."""
        holders: dict[int, str] = {}
        for member in self.alive():
            for shard in range(SHARDS):
                if member.core.phase(shard) is Phase.HELD:
                    assert shard not in holders, f"shard {shard} is held twice"
                    assert member.core.answers(shard, member.now_s)
                    holders[shard] = member.own.name
            if not member.core.balanced:
                raise Violation(f"{member.own.name} has not settled\n" + "\n".join(self.history[-80:]))
        assert not self.alive() or holders.keys() == set(range(SHARDS))


@dataclass
class SimMember:
    """The shell of one core: it reads, writes and does what the core decides, late."""

    sim: Simulation
    own: MemberSession
    core: Ownership
    rate: float = 1.0
    dead: bool = False
    frozen: bool = False
    gone: bool = False
    cursor: int = 0
    open: set[int] = field(default_factory=set)
    _kept: list[Callable[[], None]] = field(default_factory=list)
    _reading: bool = False

    @property
    def now_s(self) -> float:
        """Its own clock: it began at another time than the server's, and runs at another rate."""
        return 1_000.0 + self.sim.now_s * self.rate

    def begin(self) -> None:
        self.resync()
        self.beat()

    def act(self, step: Callable[[], None]) -> None:
        """Do a step of this process: later when it is frozen, never when it is dead."""
        if self.dead:
            return
        if self.frozen:
            self._kept.append(step)
            return
        step()

    def freeze(self) -> None:
        self.frozen = True
        self.sim.say(f"freeze {self.own.me.incarnation}")

    def thaw(self) -> None:
        if self.frozen:
            self.frozen = False
            self.sim.say(f"thaw {self.own.me.incarnation}")
            kept, self._kept = self._kept, []
            for step in kept:
                self.act(step)

    def crash(self) -> None:
        self.dead = True
        self.sim.say(f"crash {self.own.me.incarnation}")

    # ---------------------------------------------------------------------------------------------- reading

    def ring(self) -> None:
        if not self._reading and not self.dead:
            self._reading = True
            self.sim.after(self.sim.delay_s() if self.sim.random.random() < 0.2 else 0.001, self._read)

    def _read(self) -> None:
        self._reading = False
        if self.dead:
            return
        if self.frozen:  # the server has sent it; it is read later, in order
            self._kept.append(self._read)
            return
        if not self.sim.reachable:
            self.sim.after(0.2, self.ring)
            return
        batch = self.sim.random.randint(1, 5) if self.sim.faulty else 1_000
        while batch and self.cursor < len(self.sim.log):
            message = self.sim.log[self.cursor]
            self.cursor += 1
            if self.sim.last[message.key] is message:  # else it was overwritten before it was sent
                self._tell(message)
                batch -= 1
        self.decide()
        if self.cursor < len(self.sim.log):
            self.ring()

    def resync(self) -> None:
        """Read the whole table at once, as after the loss of the watch."""
        self.cursor = len(self.sim.log)
        for message in sorted(self.sim.last.values(), key=lambda message: message.revision):
            self._tell(message)
        self.core.completed(self.now_s)
        self.sim.say(f"resync {self.own.me.incarnation} at {self.cursor}")
        self.decide()

    def _tell(self, message: Message) -> None:
        room, _, name = message.key.partition(".")
        if room == "member":
            change = self.core.member_observed(name, message.revision, decode_member(message.value), self.now_s)
            if change.value != "nothing":
                self.sim.say(f"{self.own.me.incarnation}: {change.value} at {message.revision}")
            if change.value in ("replaced", "alive elsewhere"):
                self.crash()
        else:
            self.core.lease_observed(int(name), message.revision, decode_lease(message.value))

    # ---------------------------------------------------------------------------------------------- writing

    def beat(self) -> None:
        def once() -> None:
            if self.gone:
                return
            if self.sim.faulty and self.sim.random.random() < self.sim.withdrawing:
                self.core.withdraw()
                self.decide()
            write = self.own.write(self.now_s, active=not self.core.leaving, about={})
            match write:
                case Create(row):
                    self._write_row(row, None)
                case Update(row, revision):
                    self._write_row(row, revision)
                case _:
                    pass

        if not self.dead and not self.gone:
            self.act(once)
            self.sim.after(TTL_S / self.sim.config.renewals_per_ttl / self.rate, self.beat)

    def _write_row(self, row: MemberRow, revision: int | None) -> None:
        def told(outcome: int | None) -> None:
            if outcome:
                self.act(lambda: self.own.answered(outcome))

        self.sim.write(f"member.{self.own.name}", encode_member(row), revision, TTL_S, told)

    def decide(self) -> None:
        if self.dead or self.frozen:
            return
        for effect in self.core.decide(self.now_s):
            self._do(effect)
        wake_s = self.core.next_wake_s()
        if wake_s < float("inf"):
            self.sim.after(max(0.001, (wake_s - self.now_s) / self.rate), lambda: self.act(self.decide))
        if self.core.leaving and self.core.empty and not self.gone:
            self.gone = True
            row = self.sim.live(f"member.{self.own.name}")
            if row is not None and row.revision == self.own.row_revision:
                self.sim.put(row.key, None)
            self.sim.say(f"left {self.own.me.incarnation}")
            self.dead = True

    def _do(self, effect: Effect) -> None:
        match effect:
            case AcquireLease(shard, serial, revision, row):
                self._lease(shard, serial, revision, row, ShardTrigger.ACQUIRED)
            case Release(shard, serial, revision):
                assert shard not in self.open, "a shard is released when it is closed"
                self._lease(shard, serial, revision, LeaseRow(), ShardTrigger.RELEASED)
            case StartShard(shard, serial):
                self.open.add(shard)
                self._later(shard, serial, ShardTrigger.STARTED)
            case StopShard(shard, serial):
                self._later(shard, serial, ShardTrigger.STOPPED)
            case Abandon(shard):
                self.open.discard(shard)
            case RemoveMember(member, revision):
                row_now = self.sim.live(f"member.{member}")
                if row_now is not None and row_now.revision == revision:
                    self.sim.put(row_now.key, None)
            case Announce():
                pass

    def _later(self, shard: int, serial: int, trigger: ShardTrigger) -> None:
        def finished() -> None:
            if trigger is ShardTrigger.STOPPED:
                self.open.discard(shard)
            self.core.done(shard, serial, trigger, self.now_s)
            self.decide()

        self.sim.after(self.sim.delay_s(), lambda: self.act(finished))

    def _lease(self, shard: int, serial: int, revision: int | None, row: LeaseRow, stored: ShardTrigger) -> None:
        def told(outcome: int | None) -> None:
            trigger = ShardTrigger.UNKNOWN if outcome is None else stored if outcome else ShardTrigger.REFUSED

            def take_in() -> None:
                self.core.done(shard, serial, trigger, self.now_s, outcome or 0)
                self.decide()

            self.act(take_in)

        self.sim.write(f"lease.{shard}", encode_lease(row), revision, None, told)

    def leave(self) -> None:
        def begin() -> None:
            self.core.leave()
            self.sim.say(f"leave {self.own.me.incarnation}")
            self.decide()

        self.act(begin)


def faults(sim: Simulation) -> Iterator[str]:
    """One random fault or mercy after the other, forever."""
    nodes = ["a", "b", "c", "d"]
    while True:
        alive = sim.alive()
        names = {member.own.name for member in alive}
        chosen = sim.random.choice(
            ["start", "start", "crash", "restart", "freeze", "thaw", "leave", "outage", "resync", "quiet", "quiet"]
        )
        free = [node for node in nodes if f"{node}-0" not in names]
        if chosen == "start" and free:
            sim.start(sim.random.choice(free))
        elif chosen == "crash" and len(alive) > 1:
            sim.random.choice(alive).crash()
        elif chosen == "restart" and alive:
            member = sim.random.choice(alive)
            member.crash()
            sim.start(member.own.me.node, replaces=member.own.me.incarnation)
        elif chosen == "freeze" and alive:
            sim.random.choice(alive).freeze()
        elif chosen == "thaw":
            for member in alive:
                member.thaw()
        elif chosen == "leave" and len(alive) > 1:
            sim.random.choice(alive).leave()
        elif chosen == "outage":
            sim.reachable = not sim.reachable
            sim.say(f"reachable {sim.reachable}")
        elif chosen == "resync" and alive and sim.reachable:
            member = sim.random.choice(alive)
            member.act(member.resync)
        yield chosen


def play(sim: Simulation, steps: int) -> None:
    """Faults, then peace, then the end that must be reached."""
    sim.start("a")
    sim.start("b")
    chaos = faults(sim)
    for _ in range(steps):
        next(chaos)
        sim.run_for(sim.random.choice([0.01, 0.1, 0.5, 1.0, 3.0, TTL_S * 1.5]))
    sim.heal()
    sim.run_for(6 * TTL_S)
    sim.check_settled()


def churn(sim: Simulation, steps: int) -> None:
    """Nobody dies, but members come and leave faster than shards can follow; then the end that must be reached."""
    sim.start("a")
    sim.start("b")
    for _ in range(steps):
        alive = sim.alive()
        free = [node for node in "abcdef" if f"{node}-0" not in {member.own.name for member in alive}]
        chosen = sim.random.choice(["start", "start", "leave", "leave", "resync", "quiet"])
        if chosen == "start" and free:
            sim.start(sim.random.choice(free))
        elif chosen == "leave" and len(alive) > 1:
            sim.random.choice(alive).leave()
        elif chosen == "resync" and alive:
            member = sim.random.choice(alive)
            member.act(member.resync)
        sim.run_for(sim.random.choice([0.01, 0.05, 0.1, 0.3, 0.5, 1.0, 2.0]))
    sim.heal()
    sim.run_for(6 * TTL_S)
    sim.check_settled()
