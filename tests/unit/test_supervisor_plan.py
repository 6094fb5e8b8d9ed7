"""Laws of the supervisor's plan, over histories of a small world of processes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.supervisor.deadlines import next_wake_s
from aether.supervisor.options import RunOptions
from aether.supervisor.plan import step
from aether.supervisor.run import silent_kill_s
from aether.supervisor.state import (
    Dump,
    Exited,
    Kill,
    Notify,
    Phase,
    Reexec,
    RenewFailed,
    Request,
    Say,
    SignalReceived,
    SupervisorConfig,
    Tick,
    WorkerReported,
)
from tests.support.supervised import CONFIG, World, happen, happenings


@given(st.lists(happenings, max_size=60))
def test_whatever_happens_the_world_stays_sound_and_a_drain_ends(history: list[tuple[int, int, int]]) -> None:
    world = World()
    for what, which, code in history:
        if world.exit_code is not None:
            break
        happen(world, what, which, code)
    world.tell(SignalReceived(Request.DRAIN))
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
    world.tell(SignalReceived(Request.DRAIN))
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
    world.tell(WorkerReported(saved, ready=False))
    assert [e for e in world.pass_time(1) if isinstance(e, Kill)] == [Kill(hung)]


def test_a_worker_whose_loop_hangs_before_it_is_ready_is_not_given_the_time_of_a_start() -> None:
    world = World(SupervisorConfig(workers=2, pause_s=1_000, boot_timeout_s=60, loop_silent_kill_s=8))
    joined, starting = world.in_slot(0), world.in_slot(1)
    world.tell(WorkerReported(joined, ready=False, alive=False, joined=True))
    assert [e for e in world.pass_time(7) if isinstance(e, Dump)] == [Dump(joined)]
    assert "worker 0 (pid 101) is silent: its event loop hangs: dumping its stack, then killing it" in [
        e.text for e in world.effects if isinstance(e, Say)
    ]
    assert [e for e in world.pass_time(1) if isinstance(e, Kill)] == [Kill(joined)]
    assert [e for e in world.pass_time(51) if isinstance(e, Dump)] == [], "one that has not joined runs no handlers"
    assert [e for e in world.pass_time(1) if isinstance(e, Dump)] == [Dump(starting)]


def test_that_its_loop_runs_is_no_step_to_being_ready() -> None:
    world = World(SupervisorConfig(workers=1, pause_s=1_000, boot_timeout_s=60, loop_silent_kill_s=8))
    pid = world.in_slot(0)
    for _ in range(59):
        assert not [e for e in world.pass_time(1) if isinstance(e, Dump)]
        world.tell(WorkerReported(pid, ready=False, alive=False, joined=True))
    assert [e for e in world.pass_time(1) if isinstance(e, Dump)] == [Dump(pid)]
    assert any("does not become ready" in e.text for e in world.effects if isinstance(e, Say))


@pytest.mark.parametrize("pause_s", [1.6, 2.5, 3.5])
def test_a_reload_that_takes_long_to_import_is_no_silence_of_workers_beside_an_embedded_server(pause_s: float) -> None:
    variables = {"AETHER_NATS_URL": "embedded"}
    world = World(SupervisorConfig(workers=3, loop_silent_kill_s=silent_kill_s(RunOptions(model="m"), variables)))
    world.all_ready()
    world.pass_time(0.5)
    assert not [e for e in world.pass_time(pause_s) if isinstance(e, Dump)]


def test_a_pause_of_the_supervisor_is_not_the_silence_of_its_workers() -> None:
    world = World()
    world.all_ready()
    joining = World()
    for pid in joining.live:
        joining.tell(WorkerReported(pid, ready=False, alive=False, joined=True))
    for paused in (world, joining):
        assert not [e for e in paused.pass_time(3_600) if isinstance(e, Dump | Kill)]
    assert [e for _ in range(16) for e in world.pass_time(1) if isinstance(e, Dump)], "later silence still counts"


def test_a_failed_drain_is_told_by_the_exit_code() -> None:
    for code, expected in ((0, 0), (1, 1), (-9, 1)):
        world = World(SupervisorConfig(workers=1))
        world.all_ready()
        world.tell(SignalReceived(Request.DRAIN))
        world.die(world.in_slot(0), code)
        assert world.exit_code == expected


def server_dies(world: World, code: int) -> None:
    assert world.server_pid is not None
    pid, world.server_pid = world.server_pid, None
    world.tell(Exited(pid, code))
    world.beat()
    world.pass_time(1.0)


def test_the_server_is_started_again_after_growing_delays_and_given_up_in_the_end() -> None:
    world = World(SupervisorConfig(workers=1, crash_limit=3))
    world.all_ready()
    for code in (1, -11, 2):
        server_dies(world, code)
    assert world.state.phase is Phase.DRAINING
    world.die(world.in_slot(0), 0)
    assert world.exit_code == 3


def test_a_server_that_is_killed_is_started_again_at_once_and_not_given_up() -> None:
    config = SupervisorConfig(workers=1, crash_limit=3, kills_max=8)
    world = World(config)
    world.all_ready()
    for _ in range(config.kills_max):
        server_dies(world, -9)
        assert world.server_pid is not None, "at once"
    assert world.exit_code is None
    for _ in range(config.crash_limit):  # so many kills are a loop too
        server_dies(world, -9)
    assert world.state.phase is Phase.DRAINING


def test_a_worker_whose_loop_hangs_while_it_drains_is_killed_before_its_lease_is_over() -> None:
    world = World(SupervisorConfig(workers=2, drain_timeout_s=1_000, pause_s=1_000, loop_silent_kill_s=8))
    world.all_ready()
    hung, leaving = world.in_slot(0), world.in_slot(1)
    world.tell(SignalReceived(Request.DRAIN))
    world.tell(WorkerReported(leaving, ready=False, left=True))
    assert [e for e in world.pass_time(7) if isinstance(e, Dump)] == [Dump(hung)]
    assert [e for e in world.pass_time(1) if isinstance(e, Kill)] == [Kill(hung)]


def test_what_is_due_with_a_renewal_comes_before_it() -> None:
    world = World()
    world.all_ready()
    world.tell(SignalReceived(Request.RELOAD))
    world.now_s += 2 * (CONFIG.watchdog_s or 0)
    effects = world.tell(Exited(world.checks.pop(), 0))
    assert effects.index(Notify("WATCHDOG=1")) < effects.index(Reexec())


def test_a_check_that_does_not_end_is_dumped_then_killed_and_the_reload_is_called_off() -> None:
    world = World()
    world.all_ready()
    world.tell(SignalReceived(Request.RELOAD))
    (check,) = world.checks
    for _ in range(60):
        assert Dump(check) not in world.effects
        world.beat()
        world.pass_time(2.0)
    assert Dump(check) in world.effects
    world.beat()
    assert Kill(check) in world.pass_time(CONFIG.dump_grace_s)
    assert Kill(check) not in world.pass_time(CONFIG.dump_grace_s), "once is enough"
    world.checks.clear()
    said = [e.text for e in world.tell(Exited(check, -9)) if isinstance(e, Say)]
    assert said[:1] == ["the reload is called off: the new code is not imported within 120 s; the old workers go on"]
    world.tell(SignalReceived(Request.RELOAD))
    assert world.checks, "the next request is heard"


@given(st.sampled_from([0, 1, 4, -9]), st.sampled_from([0, 1]))
def test_a_reload_asked_for_during_a_check_checks_what_the_code_is_then(first: int, second: int) -> None:
    world = World()
    world.all_ready()
    world.tell(SignalReceived(Request.RELOAD))
    (check,) = world.checks
    said = [e.text for e in world.tell(SignalReceived(Request.RELOAD)) if isinstance(e, Say)]
    assert said == ["a reload is under way: when the code has been checked, it is checked once more"]
    world.checks.clear()
    assert Reexec() not in world.tell(Exited(check, first))
    (again,) = world.checks
    world.checks.clear()
    assert (Reexec() in world.tell(Exited(again, second))) == (second == 0)


def test_code_that_no_longer_loads_after_its_check_leaves_the_old_workers_in_place() -> None:
    world = World()
    world.all_ready()
    before = set(world.live)
    world.tell(SignalReceived(Request.RELOAD))
    world.renewed = RenewFailed("the new code is gone")
    assert Reexec() in world.tell(Exited(world.checks.pop(), 0))
    for _ in range(10):
        world.beat()
        world.pass_time(1.0)
    assert (set(world.live), world.serving(), world.exit_code) == (before, before, None)
    assert world.state.status == "3 workers ready; the last reload was called off"
    assert Notify("READY=1\nSTATUS=3 workers ready; the last reload was called off") in world.effects
