"""Laws of the rolling restart and of resizes: a worker serves all the time, and nothing else restarts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from aether.supervisor.state import (
    Exited,
    Fork,
    Notify,
    Phase,
    Reexec,
    RenewFailed,
    Request,
    SignalReceived,
    SupervisorConfig,
    Terminate,
)
from tests.support.supervised import CONFIG, WORKERS_MAX_TRIED, World, happen, happenings

ENDINGS = {(3, list(Request).index(request)) for request in (Request.DRAIN, Request.INTERRUPT)}


def orderly(world: World, what: int, which: int) -> None:
    """One thing happens in a world without faults, where workers end only when asked to."""
    ending = sorted(pid for pid in world.live if pid in world.terminated)
    booting = sorted(pid for pid in world.live if pid not in world.ready)
    world.beat()
    if what == 0 and ending:
        world.die(ending[which % len(ending)], 0)
    elif what == 1 and booting:
        world.become_ready(booting[which % len(booting)])
    elif what == 2 and world.checks:
        world.tell(Exited(world.checks.pop(), which % 2))
    elif what == 3:
        world.tell(RenewFailed("it cannot be"))
    elif what == 4:
        world.tell(SignalReceived([Request.MORE, Request.LESS][which % 2]))
    elif what == 5:
        world.tell(SignalReceived(Request.RELOAD))
    else:
        world.pass_time(0.5)


steps = st.tuples(st.sampled_from([0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 5, 6]), st.integers(0, 30))


@given(st.integers(1, WORKERS_MAX_TRIED), st.lists(steps, max_size=80))
def test_while_no_worker_crashes_one_serves_whatever_is_asked_for(workers: int, history: list[tuple[int, int]]) -> None:
    """At every moment of a roll or a resize one ready worker stays; in the end there are as many as were asked for."""
    world = World(SupervisorConfig(workers=workers))
    world.all_ready()
    world.keeps_serving = True
    for what, which in history:
        if what == 4:
            workers = workers + 1 if which % 2 == 0 else max(1, workers - 1)
        orderly(world, what, which)
    while world.checks:
        world.tell(Exited(world.checks.pop(), 0))
    world.settle()
    assert sorted(fork.slot for fork in world.live.values()) == list(range(workers))
    assert world.serving() == set(world.live)
    assert not any(slot.stale or slot.retired or slot.temporary for slot in world.state.slots)
    assert (
        world.state.status.removesuffix("; the last reload was called off")
        == f"{workers} worker{'s' * (workers > 1)} ready"
    )


@given(st.integers(1, WORKERS_MAX_TRIED), st.lists(happenings, max_size=60))
def test_after_whatever_faults_a_roll_ends_with_fresh_workers(
    workers: int, history: list[tuple[int, int, int]]
) -> None:
    world = World(SupervisorConfig(workers=workers, boot_timeout_s=1_000, loop_silent_kill_s=1_000, crash_limit=100))
    world.all_ready()
    for what, which, code in history:
        if what < 8 and world.state.phase is Phase.RUNNING and (what, which % len(Request)) not in ENDINGS:
            happen(world, what, which, code if code != 4 else 1)
    world.forks_fail = False
    if world.server_pid is None:
        world.pass_time(CONFIG.restart_cap_s)
    world.tell(SignalReceived(Request.RELOAD))
    born = world.next_pid
    while world.checks:  # one that was under way is followed by another
        born = world.next_pid
        world.tell(Exited(world.checks.pop(), 0))
    world.pass_time(2 * CONFIG.restart_cap_s)
    wanted = [slot.number for slot in world.state.slots if not slot.retired and not slot.temporary]
    world.settle()
    assert world.state.phase is Phase.RUNNING
    assert sorted(fork.slot for fork in world.live.values()) == wanted
    assert min(world.live) > born, "a worker of old code was left"


def test_a_reload_of_the_only_worker_has_a_temporary_one_stand_in_until_the_replacement_serves() -> None:
    world = World(SupervisorConfig(workers=1))
    world.all_ready()
    old = world.in_slot(0)
    world.keeps_serving = True
    world.tell(SignalReceived(Request.RELOAD))
    world.tell(Exited(world.checks.pop(), 0))
    temporary = world.in_slot(1)
    assert not world.terminated, "the temporary one is not ready yet"
    world.become_ready(temporary)
    assert world.terminated == {old}
    world.die(old, 0)
    replacement = world.in_slot(0)
    assert world.terminated == {old}, "the replacement is not ready yet"
    world.become_ready(replacement)
    assert world.terminated == {old, temporary}
    world.die(temporary, 0)
    assert set(world.live) == {replacement}
    assert told_systemd(world) == ["READY=1", "RELOADING=1", "READY=1"]


def test_a_temporary_worker_that_cannot_boot_leaves_the_old_one_serving() -> None:
    world = World(SupervisorConfig(workers=1))
    world.all_ready()
    world.keeps_serving = True
    world.tell(SignalReceived(Request.RELOAD))
    world.tell(Exited(world.checks.pop(), 0))
    for _ in range(3 * CONFIG.crash_limit):
        if 1 in {fork.slot for fork in world.live.values()}:
            world.die(world.in_slot(1), 1)
        world.beat()
        world.pass_time(2.0)
    assert world.state.phase is Phase.RUNNING
    assert not world.terminated
    world.keeps_serving = False
    world.settle()
    assert [fork.slot for fork in world.live.values()] == [0], "it is mended, stands in, and goes"


def test_one_worker_more_while_a_temporary_one_serves_keeps_that_one() -> None:
    world = World(SupervisorConfig(workers=1))
    world.all_ready()
    world.tell(SignalReceived(Request.RELOAD))
    world.tell(Exited(world.checks.pop(), 0))
    temporary = world.in_slot(1)
    world.tell(SignalReceived(Request.MORE))
    world.settle()
    assert world.in_slot(1) == temporary
    assert len(world.live) == 2


def test_one_worker_less_waits_until_another_can_take_over() -> None:
    world = World(SupervisorConfig(workers=2))
    world.all_ready()
    first, last = world.in_slot(0), world.in_slot(1)
    world.die(first, 1)
    world.tell(SignalReceived(Request.LESS))
    assert not world.terminated
    world.become_ready(world.in_slot(0))
    assert world.terminated == {last}


def test_a_resize_touches_only_the_last_slot() -> None:
    world = World()
    world.all_ready()
    before = set(world.live)
    assert [(e.slot, e.slots) for e in world.tell(SignalReceived(Request.MORE)) if isinstance(e, Fork)] == [(3, 4)]
    world.all_ready()
    added = world.in_slot(3)
    assert [e for e in world.tell(SignalReceived(Request.LESS)) if isinstance(e, Terminate)] == [Terminate(added)]
    world.die(added, 0)
    assert set(world.live) == before
    assert world.terminated == {added}


def test_a_slot_that_kept_failing_gets_its_chance_at_once_with_new_code() -> None:
    world = World(SupervisorConfig(workers=3, restart_first_s=30))
    world.all_ready()
    for _ in range(2):
        world.die(world.in_slot(1), 1)
    assert len(world.live) == 2
    world.tell(SignalReceived(Request.RELOAD))
    world.tell(Exited(world.checks.pop(), 0))
    world.die(world.in_slot(1), 1)
    assert world.in_slot(1), "what the old code did is forgotten"
    assert not world.terminated, "the others wait until it serves"
    world.all_ready()
    assert world.terminated == {world.in_slot(0)}


def test_a_worker_of_old_code_that_does_not_serve_yet_is_replaced_at_once() -> None:
    world = World(SupervisorConfig(workers=1))
    booting = world.in_slot(0)
    world.tell(SignalReceived(Request.RELOAD))
    world.tell(Exited(world.checks.pop(), 0))
    assert world.terminated == {booting}
    assert len(world.live) == 1, "nothing to stand in for"


def test_systemd_is_told_how_the_pool_stands() -> None:
    world = World(SupervisorConfig(workers=2))
    world.all_ready()
    world.tell(SignalReceived(Request.RELOAD))
    world.tell(Exited(world.checks.pop(), 1))
    world.die(world.in_slot(0), -9)
    world.all_ready()
    world.tell(SignalReceived(Request.DRAIN))
    notes = [effect.text.split("\n") for effect in world.effects if isinstance(effect, Notify)]
    assert [lines for lines in notes if "RELOADING=1" not in lines] == [
        ["STATUS=0 of 2 workers ready"],
        ["STATUS=1 of 2 workers ready"],
        ["READY=1", "STATUS=2 workers ready"],
        ["READY=1", "STATUS=2 workers ready; the last reload was called off"],
        ["STATUS=1 of 2 workers ready; the last reload was called off"],
        ["STATUS=2 workers ready; the last reload was called off"],
        ["STOPPING=1", "STATUS=draining"],
    ]
    (reloading,) = [lines for lines in notes if "RELOADING=1" in lines]
    assert reloading == ["RELOADING=1", f"MONOTONIC_USEC={int(world.now_s * 1_000_000)}", "STATUS=reloading"]


def told_systemd(world: World) -> list[str]:
    """The states told, without the lines that go with them."""
    firsts = [effect.text.partition("\n")[0] for effect in world.effects if isinstance(effect, Notify)]
    return [first for first in firsts if not first.startswith("STATUS=")]


@given(st.integers(2, 6))
@settings(max_examples=5)
def test_a_reload_takes_one_slot_at_a_time_and_waits_for_each(workers: int) -> None:
    world = World(SupervisorConfig(workers=workers))
    world.all_ready()
    world.tell(SignalReceived(Request.RELOAD))
    assert Reexec() in world.tell(Exited(world.checks.pop(), 0))
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
    assert told_systemd(world) == ["READY=1", "RELOADING=1", "READY=1"]


def test_a_reload_whose_first_worker_cannot_boot_leaves_the_others_serving() -> None:
    world = World()
    world.all_ready()
    world.tell(SignalReceived(Request.RELOAD))
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


def test_a_slot_that_waits_for_its_restart_at_a_reload_is_forked_once() -> None:
    world = World(SupervisorConfig(workers=1))
    world.die(world.in_slot(0), 1)
    world.die(world.in_slot(0), 1)
    assert not world.live
    world.tell(SignalReceived(Request.RELOAD))
    world.tell(Exited(world.checks.pop(), 0))
    world.pass_time(60.0)
    world.all_ready()
    world.pass_time(1.0)
    assert not world.terminated
