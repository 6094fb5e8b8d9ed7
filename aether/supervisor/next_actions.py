"""The actions that the state asks for now, whatever the last input was: to watch, to start, to replace, to end.

Pure. Each function changes the step that it is given.
"""

from dataclasses import replace

from aether.supervisor import gateway_plan
from aether.supervisor.deadlines import check_overdue_s, loop_silent_s, overdue_s
from aether.supervisor.messages import overdue_why, status, workers
from aether.supervisor.rolling_restart import cover_is_over, is_covered, needs_cover, next_to_replace, staying
from aether.supervisor.state import (
    Dump,
    Exit,
    Fork,
    Kill,
    Notify,
    Phase,
    Reexec,
    Slot,
    StartServer,
)
from aether.supervisor.step import Step

INTERRUPTS_TO_KILL = 2


def advance(step: Step) -> None:
    """Do all of it."""
    renewing = bool(step.effects) and step.effects[-1] == Reexec()
    _watch_workers(step)
    _watch_check(step)
    _start_server(step)
    if step.state.phase is Phase.DRAINING:
        _finish_draining(step)
    elif not renewing:
        _roll(step)
        _stop_retired(step)
        _fork_due(step)
        _announce(step)
        _watch_gateway(step, forced=False)
    # A fresh interpreter says nothing while it imports the model, so it gets the whole time.
    if step.config.watchdog_s is not None and (renewing or step.now_s >= step.state.watchdog_at_s):
        step.state = replace(step.state, watchdog_at_s=step.now_s + step.config.watchdog_s)
        step.effects.append(Notify("WATCHDOG=1"))
    if renewing:  # nothing after it would be done
        step.effects.remove(Reexec())
        step.effects.append(Reexec())


def _watch_workers(step: Step) -> None:
    for slot in step.state.slots:
        if slot.pid is None or slot.killed:
            continue
        if slot.dumped_at_s is None and step.now_s >= overdue_s(slot, step.config):
            why = overdue_why(slot, step.now_s >= loop_silent_s(slot, step.config))
            step.say(f"worker {slot.number} (pid {slot.pid}) {why}: dumping its stack, then killing it", "ERROR")
            step.put(replace(slot, dumped_at_s=step.now_s))
            step.effects.append(Dump(slot.pid))
        elif slot.dumped_at_s is not None and step.now_s >= slot.dumped_at_s + step.config.dump_grace_s:
            step.put(replace(slot, killed=True))
            step.effects.append(Kill(slot.pid))


def _watch_check(step: Step) -> None:
    check = step.state.check
    if check is None or check.pid is None or check.killed or step.now_s < check_overdue_s(check, step.config):
        return
    if check.dumped_at_s is None:
        step.state = replace(step.state, check=replace(check, dumped_at_s=step.now_s))
        step.effects.append(Dump(check.pid))
    else:
        step.state = replace(step.state, check=replace(check, killed=True))
        step.effects.append(Kill(check.pid))


def _watch_gateway(step: Step, *, forced: bool) -> None:
    step.state, effects = gateway_plan.advanced(step.state, step.config, step.now_s, forced=forced)
    step.effects += effects


def _start_server(step: Step) -> None:
    server = step.state.server
    if server is None or server.pid is not None or server.starting or step.now_s < server.start_at_s:
        return
    if any(slot.alive for slot in step.state.slots) or step.state.phase is Phase.RUNNING:
        step.state = replace(step.state, server=replace(server, starting=True))
        step.effects.append(StartServer())


def _finish_draining(step: Step) -> None:
    forced = step.state.interrupts >= INTERRUPTS_TO_KILL or step.now_s >= step.state.drain_deadline_s
    _watch_gateway(step, forced=forced)
    gateway_lives = step.state.gateway is not None and step.state.gateway.pid is not None
    if gateway_lives and not forced:
        return  # the workers answer what it has asked for
    for slot in step.state.slots:
        if slot.pid is None:
            continue
        if forced and not slot.killed:
            step.put(replace(slot, killed=True, stopping_at_s=slot.stopping_at_s or step.now_s))
            step.effects.append(Kill(slot.pid))
        elif slot.stopping_at_s is None:
            step.stop(slot)
    if not gateway_lives and not any(slot.alive for slot in step.state.slots):
        step.state = replace(step.state, phase=Phase.DONE)
        step.effects.append(Exit(step.state.exit_code))


def _roll(step: Step) -> None:
    """Replace the next worker of old code, once all of new code are ready and another one can take over."""
    temporary = next((slot for slot in step.state.slots if slot.temporary), None)
    if temporary is not None and cover_is_over(step.state.slots):
        step.retire(temporary)
    going = next_to_replace(step.state.slots)
    if going is not None:
        step.stop(going)
    elif needs_cover(step.state.slots):
        step.add(Slot(number=1, fork_at_s=step.now_s, temporary=True))


def _stop_retired(step: Step) -> None:
    for slot in step.state.slots:
        if not slot.retired or slot.pid is None or slot.stopping_at_s is not None:
            continue
        if not slot.ready or is_covered(slot, step.state.slots):
            step.stop(slot)


def _fork_due(step: Step) -> None:
    slots = sum(not slot.retired for slot in step.state.slots)
    for slot in step.state.slots:
        if slot.alive or slot.retired or step.now_s < slot.fork_at_s:
            continue
        incarnation = f"{step.state.run}-{step.state.forks}"
        step.state = replace(step.state, forks=step.state.forks + 1)
        step.put(replace(slot, forking=True, incarnation=incarnation, stale=False))
        step.effects.append(Fork(slot.number, slots, incarnation, slot.replaces, slot.losses))


def _announce(step: Step) -> None:
    asked_for = staying(step.state.slots)
    if not step.state.announced and step.state.check is None and cover_is_over(asked_for):
        step.state = replace(step.state, announced=True)
        step.say(f"{workers(len(asked_for))} ready")
        step.notify("READY=1")
    elif step.state.status != status(step.state):
        step.notify()
