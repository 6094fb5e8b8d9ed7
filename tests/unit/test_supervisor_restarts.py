"""Laws of restarts: at once when it helps, ever later when it does not, and an end to what never boots."""

from hypothesis import given
from hypothesis import strategies as st

from aether.supervisor.deadlines import restart_delay_s
from aether.supervisor.state import (
    SupervisorConfig,
)
from tests.support.supervised import CONFIG, World


@given(st.integers(0, 10_000))
def test_restart_delays_start_at_once_grow_and_stay_below_the_cap(failures: int) -> None:
    delay_s = restart_delay_s(failures, CONFIG)
    assert 0 <= delay_s <= CONFIG.restart_cap_s
    assert delay_s <= restart_delay_s(failures + 1, CONFIG)
    assert (delay_s == 0) == (failures == 0)


def test_a_crash_loop_ends_with_3_only_while_no_worker_serves() -> None:
    world = World(SupervisorConfig(workers=1, crash_limit=3))
    for _ in range(3):
        assert world.exit_code is None
        world.die(world.in_slot(0), 1)
        world.pass_time(1.0)
    assert world.exit_code == 3


def test_a_worker_that_served_is_restarted_at_once_and_one_that_dies_again_soon_waits_ever_longer() -> None:
    config = SupervisorConfig(workers=1, crash_limit=3, restart_first_s=0.5, restart_cap_s=4.0, stable_s=2.0)
    world = World(config)
    delays_s = []
    for lived_s in (0.0, 0.0, 1.9, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 0.0):
        world.all_ready()
        world.pass_time(lived_s)
        delays_s.append(restart_after(world, 1))
    assert delays_s == [0.0, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 0.0, 0.0, 0.5]


def restart_after(world: World, code: int) -> float:
    """Seconds between the end of slot 0's worker and its next."""
    died_s = world.now_s
    world.die(world.in_slot(0), code)
    while not world.live:
        world.pass_time(0.25)
    return world.now_s - died_s


def test_a_worker_that_others_kill_is_replaced_at_once_and_nothing_is_held_against_its_code() -> None:
    config = SupervisorConfig(workers=1, restart_first_s=0.5, kills_max=3)
    world = World(config)
    world.all_ready()
    assert restart_after(world, 1) == 0.0
    for _ in range(config.kills_max):
        world.all_ready()
        assert restart_after(world, -9) == 0.0
    world.all_ready()
    assert restart_after(world, 1) == 0.5, "the second failure of its code"
    world.all_ready()
    assert restart_after(world, -9) == 1.0, "kills beyond the limit are a loop too"


def test_a_worker_whose_loop_hangs_again_soon_is_restarted_later() -> None:
    world = World(
        SupervisorConfig(workers=1, restart_first_s=0.5, loop_silent_kill_s=1.5, dump_grace_s=0.5, pause_s=1_000)
    )
    delays_s = []
    for _ in range(3):
        world.all_ready()
        world.pass_time(1.0)
        world.pass_time(0.5)
        delays_s.append(restart_after(world, -9))
    assert delays_s == [0.0, 0.5, 1.0]


@given(
    boots_s=st.floats(0, 1),
    lives_s=st.floats(0, 5),
    codes=st.lists(st.sampled_from([0, 1, 3, 4, -9, -11]), min_size=1, max_size=5),
)
def test_a_worker_that_keeps_dying_after_ready_is_forked_so_often_in_a_minute_and_no_more(
    boots_s: float, lives_s: float, codes: list[int]
) -> None:
    config = SupervisorConfig(workers=1)
    world = World(config)
    end_s, ends = world.now_s + 60.0, 0
    while world.now_s < end_s:
        world.pass_time(boots_s)
        world.all_ready()
        world.pass_time(lives_s)
        restart_after(world, codes[ends % len(codes)])
        ends += 1
    restarted_late = 8  # after 0, 1/4, 1/2, 1, 2, 4, 8, 16 s, the next would pass the minute
    restarted_at_once = 60 / lives_s if lives_s >= config.stable_s else config.kills_max
    assert ends <= restarted_late + restarted_at_once + 2
    assert world.exit_code is None


def test_refused_configuration_ends_it_before_ready_and_is_a_crash_after() -> None:
    world = World(SupervisorConfig(workers=1))
    world.all_ready()
    world.die(world.in_slot(0), 4)
    assert world.exit_code is None
    world.die(world.in_slot(0), 4)
    assert world.exit_code == 4


def test_a_fork_that_the_system_refuses_keeps_the_proof_of_the_last_death() -> None:
    world = World(SupervisorConfig(workers=1))
    world.all_ready()
    dead = world.live[world.in_slot(0)].incarnation
    world.forks_fail = True
    world.die(world.in_slot(0), -9)
    world.forks_fail = False
    world.pass_time(1.0)
    assert world.live[world.in_slot(0)].replaces == dead
