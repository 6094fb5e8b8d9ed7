"""Workers that were ready and are not, and an embedded server that stores nothing: what the supervisor makes of it."""

from aether.config import EXIT_SYNC_FAILED
from aether.supervisor.state import (
    Exited,
    Notify,
    Request,
    Say,
    SignalReceived,
    StartServer,
    SupervisorConfig,
    Terminate,
    Tick,
    WorkerReported,
)
from tests.support.supervised import CONFIG, World


def statuses(world: World) -> list[str]:
    return [
        line.removeprefix("STATUS=")
        for effect in world.effects
        if isinstance(effect, Notify)
        for line in effect.text.splitlines()
        if line.startswith("STATUS=")
    ]


def all_ready() -> World:
    world = World()
    for pid in list(world.live):
        world.tell(WorkerReported(pid, ready=True))
    return world


def test_a_worker_that_does_not_serve_any_more_is_not_counted_as_ready_until_it_does() -> None:
    world = all_ready()
    assert statuses(world)[-1] == "3 workers ready"
    pid = next(iter(world.live))
    world.tell(WorkerReported(pid, ready=False, unready=True))
    assert statuses(world)[-1] == "2 of 3 workers ready"
    world.tell(WorkerReported(pid, ready=False))
    assert statuses(world)[-1] == "2 of 3 workers ready", "a sign of life is no readiness"
    world.tell(WorkerReported(pid, ready=True))
    assert statuses(world)[-1] == "3 workers ready"
    assert not world.terminated, "it is not restarted for what the server does"


def test_the_last_word_counts_when_several_arrive_together() -> None:
    world = all_ready()
    pid = next(iter(world.live))
    world.tell(WorkerReported(pid, ready=True, unready=True))
    assert statuses(world)[-1] == "2 of 3 workers ready"


def test_a_worker_that_lives_and_is_never_ready_is_left_to_wait() -> None:
    world = World()
    for _ in range(20):
        world.now_s += CONFIG.boot_timeout_s / 2
        for pid in world.live:
            world.tell(WorkerReported(pid, ready=False))
    assert not world.terminated
    assert not [
        effect for effect in world.effects if isinstance(effect, Say) and "does not become ready" in effect.text
    ]


def test_a_stuck_server_is_started_again_once_in_a_while_and_that_is_no_crash() -> None:
    world = all_ready()
    pid = next(iter(world.live))
    for _ in range(10):
        server = world.server_pid
        assert server is not None
        assert Terminate(server) in world.tell(WorkerReported(pid, ready=False, stuck=True))
        assert Terminate(server) not in world.tell(WorkerReported(pid, ready=False, stuck=True)), "it is on its way"
        world.server_pid = None
        assert StartServer() in [*world.tell(Exited(server, 0)), *world.tell(Tick())]
        told = world.tell(WorkerReported(pid, ready=False, stuck=True))
        assert not [each for each in told if isinstance(each, Terminate)], "it has only just begun"
        world.now_s += CONFIG.renew_server_every_s + 1
        for each in world.live:
            world.tell(WorkerReported(each, ready=False))
    assert world.exit_code is None, "the pool goes on"
    assert not [effect for effect in world.effects if isinstance(effect, Say) and "keeps dying" in effect.text]


def test_after_a_failed_sync_the_pool_ends_and_nothing_is_begun_on_what_the_kernel_keeps() -> None:
    world = all_ready()
    pid = next(iter(world.live))
    world.die(pid, EXIT_SYNC_FAILED, sync_failed=True)
    assert [effect for effect in world.effects if isinstance(effect, Say) and "failed a sync" in effect.text]
    assert set(world.live) <= world.terminated
    for each in list(world.live):
        world.die(each, EXIT_SYNC_FAILED, sync_failed=True)
    assert world.exit_code == EXIT_SYNC_FAILED


def test_a_failed_sync_of_a_worker_that_was_not_ready_yet_is_told_by_the_exit_code_of_a_drain() -> None:
    world = World(SupervisorConfig(workers=1))
    world.tell(SignalReceived(Request.DRAIN))
    world.die(world.in_slot(0), EXIT_SYNC_FAILED, sync_failed=True)
    assert world.exit_code == EXIT_SYNC_FAILED
