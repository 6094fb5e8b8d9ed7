"""What becomes of the gateway's process, beside the workers: when it starts, is replaced, and ends.

Pure. It never ends the pool: whatever it does, the workers serve. It is drained before they are, so that what was
asked over HTTP is still answered; it has half of the time that a drain may take.
"""

from dataclasses import replace

from aether.supervisor.deadlines import gateway_drained_by_s, restart_delay_s
from aether.supervisor.state import (
    Effect,
    Gateway,
    Kill,
    Phase,
    StartGateway,
    State,
    SupervisorConfig,
    Terminate,
)


def advanced(state: State, config: SupervisorConfig, now_s: float, *, forced: bool) -> tuple[State, list[Effect]]:
    """What is due by now; `forced`: nothing is waited for any more."""
    gateway = state.gateway
    if gateway is None:
        return state, []
    if gateway.pid is None:
        if gateway.starting or state.phase is not Phase.RUNNING or now_s < gateway.start_at_s:
            return state, []
        return replace(state, gateway=replace(gateway, starting=True)), [StartGateway()]
    if forced or (state.phase is Phase.DRAINING and now_s >= gateway_drained_by_s(state, config)):
        if gateway.killed:
            return state, []
        return replace(state, gateway=replace(gateway, stopping=True, killed=True)), [Kill(gateway.pid)]
    if not gateway.stopping and (state.phase is Phase.DRAINING or (gateway.stale and _workers_are_fresh(state))):
        return replace(state, gateway=replace(gateway, stopping=True)), [Terminate(gateway.pid)]
    return state, []


def started(gateway: Gateway, pid: int | None, config: SupervisorConfig, now_s: float) -> Gateway:
    """The gateway with its new process, or with a further failure when there is none."""
    if pid is not None:
        return Gateway(pid=pid, started_at_s=now_s, failures=gateway.failures)
    return _failed(gateway.failures + 1, config, now_s)


def ended(gateway: Gateway, config: SupervisorConfig, now_s: float) -> Gateway:
    """The gateway without its process: due at once when that was asked for, else as a failure."""
    if gateway.stopping:
        return Gateway(start_at_s=now_s)
    lived = now_s - gateway.started_at_s >= config.stable_s
    return _failed(1 if lived else gateway.failures + 1, config, now_s)


def _workers_are_fresh(state: State) -> bool:
    """Whether a reload has come to its end: what the new gateway knows, every worker knows."""
    return state.check is None and all(slot.ready and not slot.stale for slot in state.slots if not slot.retired)


def _failed(failures: int, config: SupervisorConfig, now_s: float) -> Gateway:
    # Not at once the first time: it fails where the pool is only just starting.
    delay_s = max(config.restart_first_s, restart_delay_s(failures, config))
    return Gateway(start_at_s=now_s + delay_s, failures=failures, stale=False)
