"""Laws of the supervisor's plan, over histories of a small world of processes."""

from hypothesis import given
from hypothesis import strategies as st

from aether.supervisor.due import next_wake_s
from aether.supervisor.plan import step
from aether.supervisor.state import (
    Asked,
    Dump,
    Exited,
    Heard,
    Kill,
    Notify,
    Phase,
    Renew,
    Request,
    SupervisorConfig,
    Tick,
)
from tests.support.supervised import CONFIG, World, happen, happenings


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
