"""Laws of the supervisor's plan, over histories of a small world of processes."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.due import next_wake_s, restart_delay_s
from workers.plan import initial, step
from workers.state import (
    Asked,
    CheckStarted,
    Dump,
    Effect,
    Exit,
    Exited,
    Fork,
    Forked,
    GaveUp,
    Heard,
    Input,
    Kill,
    Notify,
    Phase,
    Renew,
    RenewFailed,
    Request,
    Say,
    ServerStarted,
    StartCheck,
    StartServer,
    SupervisorConfig,
    Terminate,
    Tick,
)

CONFIG = SupervisorConfig(
    workers=3, drain_timeout_s=30, boot_timeout_s=60, hang_timeout_s=15, dump_grace_s=1, crash_limit=4, watchdog_s=5
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

    def __post_init__(self) -> None:
        self.state = initial(self.config, "run", self.now_s, SERVER_PID)
        self.server_pid: int | None = SERVER_PID
        self.tell(Tick())

    def tell(self, event: Input) -> list[Effect]:
        """One input, and every input that its effects bring about."""
        told: list[Effect] = []
        events = [event]
        while events:
            self.state, effects = step(self.state, events.pop(0), self.config, self.now_s)
            assert Renew() not in effects[:-1], "whatever follows an exec is lost"
            for effect in effects:
                events += self._perform(effect)
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
                assert pid not in self.terminated, "a worker is asked to stop once"
                self.terminated.add(pid)
            case Kill(pid):
                self.terminated.add(pid)
            case StartServer():
                assert self.server_pid is None, "two servers on one store"
                self.server_pid = self._new_pid()
                return [ServerStarted(self.server_pid)]
            case StartCheck():
                assert not self.checks
                self.checks.add(self._new_pid())
                return [CheckStarted(max(self.checks))]
            case Exit(code):
                assert not self.live, "the exit waits for every worker"
                self.exit_code = code
            case Renew():
                return [Tick()]  # the first that the next interpreter is told
            case Dump() | Notify() | Say():
                pass
        return []

    def _fork(self, fork: Fork) -> Input:
        assert self.state.phase is Phase.RUNNING, "nothing is forked while draining"
        assert all(other.slot != fork.slot for other in self.live.values()), "two workers in one slot"
        assert all(other.slots == fork.slots for other in self.live.values()), "live workers split the shards alike"
        assert fork.incarnation not in self.dead, "an incarnation comes once"
        assert fork.replaces is None or fork.replaces in self.dead, "a replaced worker is certainly dead"
        assert 0 <= fork.slot < fork.slots
        assert not any(slot.stale for slot in self.state.slots if slot.number == fork.slot), "what is forked is fresh"
        if self.forks_fail:
            return Forked(fork.slot, None)
        pid = self._new_pid()
        self.live[pid] = fork
        return Forked(fork.slot, pid)

    def _new_pid(self) -> int:
        self.next_pid += 1
        return self.next_pid

    def die(self, pid: int, code: int) -> list[Effect]:
        self.dead.add(self.live.pop(pid).incarnation)
        self.ready.discard(pid)
        return self.tell(Exited(pid, code))

    def become_ready(self, pid: int) -> list[Effect]:
        self.ready.add(pid)
        return self.tell(Heard(pid, ready=True))

    def all_ready(self) -> None:
        for pid in [pid for pid in self.live if pid not in self.ready]:
            self.become_ready(pid)

    def beat(self) -> None:
        for pid in self.live:
            self.tell(Heard(pid, ready=False))

    def pass_time(self, seconds: float) -> list[Effect]:
        self.now_s += seconds
        return self.tell(Tick())

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
        world.tell(Asked(list(Request)[which % len(Request)]))
    elif what == 4 and world.checks:
        world.now_s += which  # no tick has seen this time pass
        world.tell(Exited(world.checks.pop(), code))
    elif what == 5 and world.server_pid is not None:
        pid, world.server_pid = world.server_pid, None
        world.tell(Exited(pid, code))
    elif what == 6:
        world.forks_fail = not world.forks_fail
    elif what == 7:
        world.tell(RenewFailed())
    elif what == 8:
        world.tell(GaveUp(4, "given up"))
    else:
        world.pass_time([0.1, 1.0, 2.9, 10.0, 100.0][which % 5])


happenings = st.tuples(
    st.sampled_from([0, 0, 1, 1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 9, 9]),
    st.integers(0, 30),
    st.sampled_from([0, 1, 3, 4, -9]),
)


@given(st.lists(happenings, max_size=60))
def test_whatever_happens_the_world_stays_sound_and_a_drain_ends(history: list[tuple[int, int, int]]) -> None:
    world = World()
    for what, which, code in history:
        if world.exit_code is not None:
            break
        happen(world, what, which, code)
    world.tell(Asked(Request.DRAIN))
    assert set(world.live) <= world.terminated, "a drain asks every worker at once"
    for _ in range(200):
        if world.exit_code is not None:
            break
        for pid in [pid for pid in world.live if pid in world.terminated]:
            world.die(pid, 0)
        world.pass_time(1.0)
    assert world.exit_code in (0, 1, 3, 4)
    assert world.state.phase is Phase.DONE


@given(st.lists(happenings, max_size=40))
def test_a_drain_ends_in_its_time_even_when_only_kills_end_workers(history: list[tuple[int, int, int]]) -> None:
    world = World()
    for what, which, code in history:
        if world.exit_code is None:
            happen(world, what, which, code)
    world.tell(Asked(Request.DRAIN))
    world.pass_time(CONFIG.drain_timeout_s)
    killed = {effect.pid for effect in world.effects if isinstance(effect, Kill)}
    assert set(world.live) <= killed
    for pid in sorted(world.live):
        world.die(pid, -9)
    assert world.exit_code is not None


@given(st.lists(happenings, max_size=60))
def test_waking_when_told_is_as_good_as_waking_always(history: list[tuple[int, int, int]]) -> None:
    """Nothing is due before `next_wake_s`: a tick just before it changes nothing."""
    world = World()
    for what, which, code in history:
        if world.exit_code is not None:
            return
        happen(world, what, which, code)
        until_s = next_wake_s(world.state, CONFIG)
        if world.exit_code is None and until_s > world.now_s + 0.001:
            early_s = min((world.now_s + until_s) / 2, world.now_s + 1.0)
            _, effects = step(world.state, Tick(), CONFIG, early_s)
            assert effects == []


@given(st.integers(0, 10_000))
def test_restart_delays_start_at_once_grow_and_stay_below_the_cap(failures: int) -> None:
    delay_s = restart_delay_s(failures, CONFIG)
    assert 0 <= delay_s <= CONFIG.restart_cap_s
    assert delay_s <= restart_delay_s(failures + 1, CONFIG)
    assert (delay_s == 0) == (failures == 0)


@given(st.integers(1, 6))
@settings(max_examples=6)
def test_a_reload_takes_one_slot_at_a_time_and_waits_for_each(workers: int) -> None:
    world = World(SupervisorConfig(workers=workers))
    world.all_ready()
    world.tell(Asked(Request.RELOAD))
    assert Renew() in world.tell(Exited(world.checks.pop(), 0))
    world.pass_time(0.1)
    for slot in range(workers):
        old = world.in_slot(slot)
        assert {pid for pid in world.live if pid in world.terminated} == {old}
        assert len(world.live) == workers
        (fork,) = [effect for effect in world.die(old, 0) if isinstance(effect, Fork)]
        assert fork.slot == slot
        assert not [pid for pid in world.live if pid in world.terminated]
        world.all_ready()
    assert world.pass_time(1.0) == []
    assert [effect.text.partition("\n")[0] for effect in world.effects if isinstance(effect, Notify)] == [
        "READY=1", "RELOADING=1", "READY=1",
    ]  # fmt: skip


def test_a_reload_whose_first_worker_cannot_boot_leaves_the_others_serving() -> None:
    world = World()
    world.all_ready()
    world.tell(Asked(Request.RELOAD))
    world.tell(Exited(world.checks.pop(), 0))
    world.pass_time(0.1)
    world.die(world.in_slot(0), 0)
    for _ in range(3 * CONFIG.crash_limit):
        if 0 in {fork.slot for fork in world.live.values()}:
            world.die(world.in_slot(0), 1)
        world.beat()
        world.pass_time(2.0)
        world.beat()
    assert world.state.phase is Phase.RUNNING
    assert not {world.in_slot(1), world.in_slot(2)} & world.terminated


def test_a_crash_loop_ends_with_3_only_while_nobody_serves() -> None:
    world = World(SupervisorConfig(workers=1, crash_limit=3))
    for _ in range(3):
        assert world.exit_code is None
        world.die(world.in_slot(0), 1)
        world.pass_time(1.0)
    assert world.exit_code == 3


def test_crashes_after_having_served_are_no_crash_loop_but_are_delayed() -> None:
    world = World(SupervisorConfig(workers=1, crash_limit=3, restart_first_s=0.5, restart_cap_s=4.0))
    delays = []
    for _ in range(7):
        world.all_ready()
        world.die(world.in_slot(0), 1)
        delay_s = 0.0
        while not world.live:
            world.pass_time(0.25)
            delay_s += 0.25
        delays.append(delay_s)
    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_silence_is_dumped_then_killed_and_a_word_in_time_saves() -> None:
    world = World(SupervisorConfig(workers=2, pause_s=1_000))
    world.all_ready()
    hung, saved = world.in_slot(0), world.in_slot(1)
    assert [e for e in world.pass_time(15) if isinstance(e, Dump)] == [Dump(hung), Dump(saved)]
    world.tell(Heard(saved, ready=False))
    assert [e for e in world.pass_time(1) if isinstance(e, Kill)] == [Kill(hung)]


def test_a_pause_of_the_supervisor_is_not_the_silence_of_its_workers() -> None:
    world = World()
    world.all_ready()
    assert not [e for e in world.pass_time(3_600) if isinstance(e, Dump | Kill)]
    assert [e for _ in range(8) for e in world.pass_time(2) if isinstance(e, Dump)], "later silence still counts"


def test_refused_configuration_ends_it_before_ready_and_is_a_crash_after() -> None:
    world = World(SupervisorConfig(workers=1))
    world.all_ready()
    world.die(world.in_slot(0), 4)
    assert world.exit_code is None
    world.die(world.in_slot(0), 4)
    assert world.exit_code == 4


def test_a_failed_drain_is_told_by_the_exit_code() -> None:
    for code, expected in ((0, 0), (1, 1), (-9, 1)):
        world = World(SupervisorConfig(workers=1))
        world.all_ready()
        world.tell(Asked(Request.DRAIN))
        world.die(world.in_slot(0), code)
        assert world.exit_code == expected


def test_the_server_is_started_again_after_growing_delays_and_given_up_in_the_end() -> None:
    world = World(SupervisorConfig(workers=1, crash_limit=3))
    world.all_ready()
    for _ in range(3):
        assert world.server_pid is not None
        pid, world.server_pid = world.server_pid, None
        world.tell(Exited(pid, -9))
        world.beat()
        world.pass_time(1.0)
    assert world.state.phase is Phase.DRAINING
    world.die(world.in_slot(0), 0)
    assert world.exit_code == 3


def test_what_is_due_with_a_renewal_comes_before_it() -> None:
    world = World()
    world.all_ready()
    world.tell(Asked(Request.RELOAD))
    world.now_s += 2 * (CONFIG.watchdog_s or 0)
    effects = world.tell(Exited(world.checks.pop(), 0))
    assert effects.index(Notify("WATCHDOG=1")) < effects.index(Renew())


def test_a_fork_that_the_system_refuses_keeps_the_proof_of_the_last_death() -> None:
    world = World(SupervisorConfig(workers=1))
    world.all_ready()
    dead = world.live[world.in_slot(0)].incarnation
    world.forks_fail = True
    world.die(world.in_slot(0), -9)
    world.forks_fail = False
    world.pass_time(1.0)
    assert world.live[world.in_slot(0)].replaces == dead


def test_a_slot_that_waits_for_its_restart_at_a_reload_is_forked_once() -> None:
    world = World(SupervisorConfig(workers=1))
    world.die(world.in_slot(0), 1)
    world.die(world.in_slot(0), 1)
    assert not world.live
    world.tell(Asked(Request.RELOAD))
    world.tell(Exited(world.checks.pop(), 0))
    world.pass_time(60.0)
    world.all_ready()
    world.pass_time(1.0)
    assert not world.terminated
