"""What each input changes: what workers report, how processes begin and end, what the pool is asked for.

Pure. Each function changes the step that it is given. What is due by now is not looked at here: `due` does that next.
"""

from dataclasses import replace
from typing import assert_never

from aether.config import EXIT_CANNOT_BOOT, EXIT_CONFIGURATION, EXIT_DRAINED, EXIT_NOT_DRAINED, EXIT_SYNC_FAILED
from aether.supervisor import gateway_plan
from aether.supervisor.blame import loss_of
from aether.supervisor.deadlines import overdue_s
from aether.supervisor.messages import check_why, ended, while_running
from aether.supervisor.restarts import after_end, server_after_end, was_asked_to_end
from aether.supervisor.rolling_restart import staying
from aether.supervisor.state import (
    WORKERS_MAX,
    Check,
    CheckStarted,
    Dump,
    Exited,
    Forked,
    Gateway,
    GatewayStarted,
    Input,
    Outdate,
    Phase,
    Reexec,
    RenewFailed,
    Request,
    Server,
    ServerStarted,
    SignalReceived,
    Slot,
    StartCheck,
    Terminate,
    Tick,
    WorkerReported,
)
from aether.supervisor.step import Step
from aether.worker_protocol import Loss

STORES_NOTHING = "the embedded nats-server stores nothing, though there is room: it is started again"
SYNC_FAILED = (
    "what is stored cannot be made durable any more, as a worker says: the disk has failed a sync, or another server "
    "is in its place. Draining; after a failed sync a nats-server that is not embedded has to be started before the "
    "pool"
)


def take(step: Step, event: Input) -> None:
    """Take in one input."""
    match event:
        case SignalReceived(request):
            _asked(step, request)
        case WorkerReported():
            _worker_reported(step, event)
            if event.stuck:
                _renew_server(step)
        case Exited():
            _exited(step, event)
        case Forked(number, pid):
            _forked(step, number, pid)
        case ServerStarted(pid):
            _server_started(step, pid)
        case GatewayStarted(pid):
            _gateway_started(step, pid)
        case CheckStarted(pid):
            _check_started(step, pid)
        case RenewFailed(reason):
            _call_off(step, reason)
            step.each_slot(lambda slot: replace(slot, stale=False))
            _gateway_is(step, stale=False)
        case Tick():
            pass
        case _:
            assert_never(event)


def _asked(step: Step, request: Request) -> None:
    match request:
        case Request.DRAIN:
            _drain(step, EXIT_DRAINED, "draining")
        case Request.INTERRUPT:
            step.state = replace(step.state, interrupts=step.state.interrupts + 1)
            _drain(step, EXIT_DRAINED, "draining; interrupt again to kill the workers")
        case Request.RELOAD:
            _reload(step)
        case Request.MORE:
            _one_more(step)
        case Request.LESS:
            _one_less(step)
        case Request.DUMP:
            step.effects += [Dump(slot.pid) for slot in step.state.slots if slot.pid is not None]
        case _:
            assert_never(request)


def _worker_reported(step: Step, event: WorkerReported) -> None:
    slot, ready, unready = step.slot_of(event.pid), event.ready, event.unready
    if slot is None:
        return
    ready_at_s = step.now_s if ready and slot.ready_at_s is None else slot.ready_at_s
    heard_at_s = step.now_s if event.alive else slot.heard_at_s
    looped_at_s = step.now_s if event.joined else slot.looped_at_s
    slot = replace(slot, heard_at_s=heard_at_s, looped_at_s=looped_at_s, left=slot.left or event.left)
    late = slot.killed or step.now_s >= overdue_s(slot, step.config)
    dumped_at_s = slot.dumped_at_s if late else None
    # `ready` and `unready` may both have been said since: then `unready` came last.
    unready = unready or (slot.unready and not ready)
    step.put(replace(slot, ready_at_s=ready_at_s, unready=unready, dumped_at_s=dumped_at_s))


def _forked(step: Step, number: int, pid: int | None) -> None:
    slot = next(slot for slot in step.state.slots if slot.number == number)
    if pid is not None:
        step.put(replace(slot, forking=False, pid=pid, heard_at_s=step.now_s))
    else:
        _empty(step, replace(slot, forking=False), "cannot be forked", None)


def _exited(step: Step, event: Exited) -> None:
    pid, code = event.pid, event.code
    slot = step.slot_of(pid)
    if slot is not None:
        if event.sync_failed and code == EXIT_SYNC_FAILED:
            _drain(step, EXIT_SYNC_FAILED, SYNC_FAILED)
            loss = None
        else:
            loss = loss_of(slot, code, event.noted, event.out_of_memory)
        _empty(step, slot, f"(pid {pid}) {ended(code)}{while_running(event.noted, loss)}", code, loss)
    elif step.state.check is not None and pid == step.state.check.pid:
        _checked(step, step.state.check, code)
    elif step.state.server is not None and pid == step.state.server.pid:
        _server_died(step, step.state.server, code)
    elif step.state.gateway is not None and pid == step.state.gateway.pid:
        _gateway_ended(step, step.state.gateway, code)


def _empty(step: Step, slot: Slot, how: str, code: int | None, loss: Loss | None = None) -> None:
    """The slot's worker has ended; `code` is None when it could not be forked."""
    was_ready = slot.ready_at_s is not None
    if step.state.phase is Phase.DRAINING:
        if slot.killed or (was_ready and code != 0):
            _worsen_exit(step)
    elif code == EXIT_CONFIGURATION and not was_ready:
        _drain(step, EXIT_CONFIGURATION, f"worker {slot.number} refuses its configuration")
    if not was_asked_to_end(slot) or code != 0 or loss is not None:
        step.say(f"worker {slot.number} {how}", "INFO" if code == EXIT_DRAINED else "ERROR")
    if slot.retired:
        step.remove(slot)
        return
    slot = after_end(slot, code, step.config, step.now_s, loss)
    step.put(slot)
    boot_failures = len(slot.boot_failures_s)
    if boot_failures >= step.config.crash_limit and not any(other.ready for other in step.state.slots):
        _drain(step, EXIT_CANNOT_BOOT, f"worker {slot.number} ended {boot_failures} times before it was ready")


def _renew_server(step: Step) -> None:
    """Stop an embedded server that has to be started again, as one whose disk was full does."""
    server = step.state.server
    if server is None or server.pid is None or step.state.phase is not Phase.RUNNING:
        return
    renewed_at_s = server.renewed_at_s
    if renewed_at_s is not None and step.now_s - renewed_at_s < step.config.renew_server_every_s:
        return
    step.state = replace(step.state, server=replace(server, renewed_at_s=step.now_s, renewing=True))
    step.say(STORES_NOTHING, "ERROR")
    step.effects.append(Terminate(server.pid))


def _server_died(step: Step, server: Server, code: int) -> None:
    if server.renewing:  # at our wish, which is no crash
        step.state = replace(step.state, server=replace(server, pid=None, start_at_s=step.now_s, renewing=False))
        return
    server = server_after_end(server, code, step.config, step.now_s)
    step.state = replace(step.state, server=server)
    step.say(f"the embedded nats-server {ended(code)}; it is started again", "ERROR")
    if len(server.exits_s) >= step.config.crash_limit:
        _drain(step, EXIT_CANNOT_BOOT, "the embedded nats-server keeps dying")


def _server_started(step: Step, pid: int | None) -> None:
    server = step.state.server
    assert server is not None
    if pid is None:
        _server_died(step, server, EXIT_CANNOT_BOOT)
    else:
        step.state = replace(step.state, server=replace(server, pid=pid, starting=False))


def _gateway_started(step: Step, pid: int | None) -> None:
    gateway = step.state.gateway
    assert gateway is not None
    step.state = replace(step.state, gateway=gateway_plan.started(gateway, pid, step.config, step.now_s))


def _gateway_ended(step: Step, gateway: Gateway, code: int) -> None:
    if not gateway.stopping:
        step.say(f"the gateway (pid {gateway.pid}) {ended(code)}; it is started again", "ERROR")
    elif gateway.killed:
        step.say("the gateway was killed before it had drained", "ERROR")
    step.state = replace(step.state, gateway=gateway_plan.ended(gateway, step.config, step.now_s))


def _gateway_is(step: Step, *, stale: bool) -> None:
    gateway = step.state.gateway
    if gateway is not None and (not stale or gateway.pid is not None):
        step.state = replace(step.state, gateway=replace(gateway, stale=stale))


def _drain(step: Step, code: int, reason: str) -> None:
    if step.state.phase is Phase.DRAINING:
        if step.state.exit_code in (EXIT_DRAINED, EXIT_NOT_DRAINED) and code != EXIT_DRAINED:
            step.state = replace(step.state, exit_code=code)
        return
    deadline_s = step.now_s + step.config.drain_timeout_s
    step.state = replace(step.state, phase=Phase.DRAINING, exit_code=code, drain_deadline_s=deadline_s)
    step.say(reason, "INFO" if code == EXIT_DRAINED else "ERROR")
    step.notify("STOPPING=1")


def _worsen_exit(step: Step) -> None:
    if step.state.exit_code == EXIT_DRAINED:
        step.state = replace(step.state, exit_code=EXIT_NOT_DRAINED)


def _reload(step: Step) -> None:
    if step.state.phase is not Phase.RUNNING:
        step.say("nothing is reloaded: the pool is draining", "WARNING")
        return
    if step.state.check is not None:
        step.state = replace(step.state, check=replace(step.state.check, again=True))
        step.say("a reload is under way: when the code has been checked, it is checked once more")
        return
    step.state = replace(step.state, announced=False, check=Check(begun_at_s=step.now_s))
    step.notify(f"RELOADING=1\nMONOTONIC_USEC={int(step.now_s * 1_000_000)}")
    step.effects.append(StartCheck())


def _check_started(step: Step, pid: int | None) -> None:
    check = step.state.check
    assert check is not None
    step.state = replace(step.state, check=replace(check, pid=pid))
    if pid is None:
        _checked(step, check, None)


def _checked(step: Step, check: Check, code: int | None) -> None:
    if step.state.phase is not Phase.RUNNING:
        step.state = replace(step.state, check=None)
        return
    if check.again:
        step.state = replace(step.state, check=Check(begun_at_s=step.now_s))
        step.effects.append(StartCheck())
        return
    step.state = replace(step.state, check=None, called_off=False)
    if code != 0:
        _call_off(step, check_why(check, code, step.config))
        return
    step.each_slot(lambda slot: _outdated(step, slot))
    _gateway_is(step, stale=True)
    step.effects += [Outdate(slot.pid) for slot in step.state.slots if slot.stale and slot.pid is not None]
    step.say("reloading, one worker after the other")
    step.effects.append(Reexec())


def _call_off(step: Step, reason: str) -> None:
    step.state = replace(step.state, called_off=True)
    step.say(f"the reload is called off: {reason}; the old workers go on", "ERROR")


def _outdated(step: Step, slot: Slot) -> Slot:
    if slot.alive:
        return replace(slot, stale=True)
    # What kept failing may be mended in the new code: it gets its chance at once.
    return replace(slot, fork_at_s=step.now_s, failures=0, boot_failures_s=())


def _one_more(step: Step) -> None:
    if step.state.phase is not Phase.RUNNING:
        return
    number = len(staying(step.state.slots))
    held = next((slot for slot in step.state.slots if slot.number == number), None)
    if held is not None:  # by a worker that is leaving or temporary: it stays, or its place is filled again
        step.put(replace(held, retired=False, temporary=False))
    elif number < WORKERS_MAX:
        step.add(Slot(number=number, fork_at_s=step.now_s))


def _one_less(step: Step) -> None:
    asked_for = staying(step.state.slots)
    if step.state.phase is Phase.RUNNING and len(asked_for) > 1:
        step.retire(asked_for[-1])
