"""When things are due: restarts, patience with workers, the next wake-up.

Pure; functions of the state, the settings and the time. They decide when, `plan` decides what.
"""

from collections.abc import Iterator
from dataclasses import replace

from aether.supervisor.state import Check, Phase, Slot, State, SupervisorConfig


def next_wake_s(state: State, config: SupervisorConfig) -> float:
    """When a `Tick` will have something to do; infinity when only other inputs will."""
    return min(_wakes(state, config), default=float("inf"))


def restart_delay_s(failures: int, config: SupervisorConfig) -> float:
    """Seconds before the restart after so many failures in a row: none at first, then doubling up to the cap."""
    if failures == 0:
        return 0.0
    return float(min(config.restart_cap_s, config.restart_first_s * 2 ** min(failures - 1, 32)))


def overdue_s(slot: Slot, config: SupervisorConfig) -> float:
    """When a worker has been booting, silent or draining for too long, so that its stack is dumped."""
    drained_s = float("inf") if slot.stopping_at_s is None else slot.stopping_at_s + config.drain_timeout_s
    return min(drained_s, silent_s(slot, config))


def silent_s(slot: Slot, config: SupervisorConfig) -> float:
    """When a worker that has nothing else to say should have said that it lives."""
    if slot.ready_at_s is not None or slot.stopping_at_s is not None:
        return loop_silent_s(slot, config)
    return min(slot.heard_at_s + config.boot_timeout_s, loop_silent_s(slot, config))


def loop_silent_s(slot: Slot, config: SupervisorConfig) -> float:
    """When a worker's loop should have run again, which it says from when it has joined; infinity before."""
    ran_at_s = slot.looped_at_s if slot.ready_at_s is None else slot.heard_at_s
    if slot.left or ran_at_s is None:
        return float("inf")
    return ran_at_s + max(0.0, config.loop_silent_kill_s - config.dump_grace_s)


def check_overdue_s(check: Check, config: SupervisorConfig) -> float:
    """When the check has been importing for too long, or should have written its stack by now."""
    if check.dumped_at_s is not None:
        return check.dumped_at_s + config.dump_grace_s
    return check.begun_at_s + config.check_timeout_s


def gateway_drained_by_s(state: State, config: SupervisorConfig) -> float:
    """When a gateway that drains is waited for no more: the workers have the other half of the time."""
    return state.drain_deadline_s - config.drain_timeout_s / 2


def forgive_pause(state: State, config: SupervisorConfig, now_s: float) -> State:
    """The state now, with a time in which the supervisor did not run taken off the silence of its workers."""
    pause_s = now_s - state.seen_at_s
    if pause_s < config.pause_s:
        return replace(state, seen_at_s=now_s)
    return replace(state, seen_at_s=now_s, slots=tuple(_heard_later(slot, pause_s, now_s) for slot in state.slots))


def _heard_later(slot: Slot, pause_s: float, now_s: float) -> Slot:
    looped_at_s = None if slot.looped_at_s is None else min(now_s, slot.looped_at_s + pause_s)
    return replace(slot, heard_at_s=min(now_s, slot.heard_at_s + pause_s), looped_at_s=looped_at_s)


def _gateway_wake_s(state: State, config: SupervisorConfig) -> float:
    gateway = state.gateway
    if gateway is None or gateway.killed:
        return float("inf")
    if gateway.pid is None:
        return gateway.start_at_s if state.phase is Phase.RUNNING and not gateway.starting else float("inf")
    return gateway_drained_by_s(state, config) if state.phase is Phase.DRAINING else float("inf")


def _wakes(state: State, config: SupervisorConfig) -> Iterator[float]:
    for slot in state.slots:
        if slot.pid is not None and not slot.killed:
            dumped_at_s = slot.dumped_at_s
            yield overdue_s(slot, config) if dumped_at_s is None else dumped_at_s + config.dump_grace_s
        elif not slot.alive and state.phase is Phase.RUNNING:
            yield slot.fork_at_s
    if state.phase is Phase.DRAINING and any(slot.pid is not None and not slot.killed for slot in state.slots):
        yield state.drain_deadline_s
    if state.server is not None and state.server.pid is None and not state.server.starting:
        yield state.server.start_at_s
    yield _gateway_wake_s(state, config)
    if state.check is not None and not state.check.killed:
        yield check_overdue_s(state.check, config)
    if config.watchdog_s is not None:
        yield state.watchdog_at_s
