"""A small world of processes that obeys the supervisor's plan and checks at every step what must never happen."""

from dataclasses import dataclass, field

from hypothesis import strategies as st

from aether.supervisor.plan import step
from aether.supervisor.state import (
    CheckStarted,
    Dump,
    Effect,
    Exit,
    Exited,
    Fork,
    Forked,
    GatewayStarted,
    Input,
    Kill,
    Notify,
    Phase,
    Reexec,
    RenewFailed,
    Request,
    Say,
    ServerStarted,
    SignalReceived,
    StartCheck,
    StartGateway,
    StartServer,
    SupervisorConfig,
    Terminate,
    Tick,
    WorkerReported,
    initial,
)

CONFIG = SupervisorConfig(
    workers=3, drain_timeout_s=30, boot_timeout_s=60, loop_silent_kill_s=16, dump_grace_s=1, crash_limit=4, watchdog_s=5
)
SERVER_PID = 1


@dataclass
class World:
    """Processes that obey the effects; it checks at every step what must never happen."""

    config: SupervisorConfig = CONFIG
    now_s: float = 1_000.0
    live: dict[int, Fork] = field(default_factory=dict)
    ready: set[int] = field(default_factory=set)
    terminated: set[int] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    checks: set[int] = field(default_factory=set)
    effects: list[Effect] = field(default_factory=list)
    exit_code: int | None = None
    next_pid: int = 100
    forks_fail: bool = False
    keeps_serving: bool = False
    has_gateway: bool = False
    gateway_pid: int | None = None
    renewed: Input = field(default_factory=Tick)

    def __post_init__(self) -> None:
        self.state = initial(self.config, "run", self.now_s, SERVER_PID, has_gateway=self.has_gateway)
        self.server_pid: int | None = SERVER_PID
        self.tell(Tick())

    def tell(self, event: Input) -> list[Effect]:
        """One input, and every input that its effects bring about."""
        told: list[Effect] = []
        events = [event]
        while events:
            self.state, effects = step(self.state, events.pop(0), self.config, self.now_s)
            assert Reexec() not in effects[:-1], "whatever follows an exec is lost"
            for effect in effects:
                events += self._perform(effect)
                assert not self.keeps_serving or self.serving(), "nobody serves"
            told += effects
        staying = [slot.number for slot in self.state.slots if not slot.retired]
        assert staying == list(range(len(staying))), "slots count up from 0"
        self.effects += told
        return told

    def _perform(self, effect: Effect) -> list[Input]:
        assert self.exit_code is None, "nothing is done after the exit"
        match effect:
            case Fork():
                return [self._fork(effect)]
            case Terminate(pid):
                assert pid not in self.terminated, "a process is asked to stop once"
                draining = self.state.phase is Phase.DRAINING and pid in self.live
                assert not draining or self.gateway_pid is None or self.gateway_was_killed, "the gateway drains first"
                self.terminated.add(pid)
            case Kill(pid):
                self.terminated.add(pid)
            case StartServer():
                assert self.server_pid is None, "two servers on one store"
                self.server_pid = self._new_pid()
                return [ServerStarted(self.server_pid)]
            case StartGateway():
                assert self.has_gateway
                assert self.gateway_pid is None, "two gateways on one socket"
                assert self.state.phase is Phase.RUNNING, "no gateway is started while draining"
                if self.forks_fail:
                    return [GatewayStarted(None)]
                self.gateway_pid = self._new_pid()
                return [GatewayStarted(self.gateway_pid)]
            case StartCheck():
                assert not self.checks
                self.checks.add(self._new_pid())
                return [CheckStarted(max(self.checks))]
            case Exit(code):
                assert not self.live, "the exit waits for every worker"
                assert self.gateway_pid is None, "the exit waits for the gateway"
                self.exit_code = code
            case Reexec():
                return [self.renewed]  # the first that the next interpreter is told
            case Dump() | Notify() | Say():
                pass
        return []

    def _fork(self, fork: Fork) -> Input:
        assert self.state.phase is Phase.RUNNING, "nothing is forked while draining"
        assert all(other.slot != fork.slot for other in self.live.values()), "two workers in one slot"
        assert fork.incarnation not in self.dead, "an incarnation comes once"
        assert fork.replaces is None or fork.replaces in self.dead, "a replaced worker is certainly dead"
        assert 0 <= fork.slot < fork.slots
        assert not any(slot.stale for slot in self.state.slots if slot.number == fork.slot), "what is forked is fresh"
        if self.forks_fail:
            return Forked(fork.slot, None)
        pid = self._new_pid()
        self.live[pid] = fork
        return Forked(fork.slot, pid)

    @property
    def gateway_was_killed(self) -> bool:
        return Kill(self.gateway_pid or 0) in self.effects or self.now_s >= self.state.drain_deadline_s

    def end_gateway(self, code: int) -> list[Effect]:
        pid, self.gateway_pid = self.gateway_pid, None
        assert pid is not None
        return self.tell(Exited(pid, code))

    def _new_pid(self) -> int:
        self.next_pid += 1
        return self.next_pid

    def die(self, pid: int, code: int, *, sync_failed: bool = False) -> list[Effect]:
        self.dead.add(self.live.pop(pid).incarnation)
        self.ready.discard(pid)
        return self.tell(Exited(pid, code, sync_failed=sync_failed))

    def become_ready(self, pid: int) -> list[Effect]:
        self.ready.add(pid)
        return self.tell(WorkerReported(pid, ready=True))

    def all_ready(self) -> None:
        for pid in [pid for pid in self.live if pid not in self.ready]:
            self.become_ready(pid)

    def beat(self) -> None:
        for pid in self.live:
            self.tell(WorkerReported(pid, ready=False))

    def pass_time(self, seconds: float) -> list[Effect]:
        self.now_s += seconds
        return self.tell(Tick())

    def serving(self) -> set[int]:
        return self.ready - self.terminated

    def settle(self) -> None:
        """Let all that was begun come to its end, without a fault."""
        for _ in range(12 * WORKERS_MAX_TRIED):
            if self.gateway_pid in self.terminated:
                self.end_gateway(0)
            for pid in [pid for pid in self.live if pid in self.terminated]:
                self.die(pid, 0)
            self.all_ready()
            self.beat()
            self.pass_time(0.5)

    def in_slot(self, slot: int) -> int:
        return next(pid for pid, fork in self.live.items() if fork.slot == slot)


def happen(world: World, what: int, which: int, code: int) -> None:
    """One arbitrary thing happens in the world."""
    live = sorted(world.live)
    if what == 0 and live:
        world.die(live[which % len(live)], code)
    elif what == 1 and live:
        world.become_ready(live[which % len(live)])
    elif what == 2:
        world.beat()
    elif what == 3:
        world.tell(SignalReceived(list(Request)[which % len(Request)]))
    elif what == 4 and world.checks:
        world.now_s += which  # no tick has seen this time pass
        world.tell(Exited(world.checks.pop(), code))
    elif what == 5 and world.server_pid is not None:
        pid, world.server_pid = world.server_pid, None
        world.tell(Exited(pid, code))
    elif what == 6:
        world.forks_fail = not world.forks_fail
    elif what == 8 and world.gateway_pid is not None:
        world.end_gateway(code)
    elif what == 7:
        world.tell(RenewFailed("it cannot be"))
    else:
        world.pass_time([0.1, 1.0, 2.9, 10.0, 100.0][which % 5])


WORKERS_MAX_TRIED = 5

happenings = st.tuples(
    st.sampled_from([0, 0, 1, 1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 9, 9]),
    st.integers(0, 30),
    st.sampled_from([0, 1, 3, 4, -9]),
)
