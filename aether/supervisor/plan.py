"""What the supervisor decides, as a fold: `step(state, input) -> (state, effects)`.

Pure: no process, clock or randomness is touched here. One writer, the supervisor's loop. The order of a step: the
pause is forgiven, the input is taken in, then `_advance` does all that is due by now, whatever the input was; so a
missed `Tick` costs time and never a decision. The shape is gunicorn's arbiter (reap, check, act), with its decisions
taken out of its system calls.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import assert_never

from aether.config import EXIT_CANNOT_BOOT, EXIT_CONFIGURATION, EXIT_DRAINED, EXIT_NOT_DRAINED, EXIT_SYNC_FAILED
from aether.supervisor import gateway_plan
from aether.supervisor.blame import loss_of
from aether.supervisor.deadlines import check_overdue_s, forgive_pause, loop_silent_s, overdue_s
from aether.supervisor.messages import check_why, ended, overdue_why, status, while_running, workers
from aether.supervisor.restarts import after_end, server_after_end, was_asked_to_end
from aether.supervisor.rolling_restart import cover_is_over, is_covered, needs_cover, next_to_replace, staying
from aether.supervisor.state import (
    WORKERS_MAX,
    Asked,
    Check,
    CheckStarted,
    Dump,
    Effect,
    Exit,
    Exited,
    Fork,
    Forked,
    Gateway,
    GatewayStarted,
    Input,
    Kill,
    Notify,
    Outdate,
    Phase,
    Reexec,
    RenewFailed,
    Request,
    Say,
    Server,
    ServerStarted,
    Slot,
    StartCheck,
    StartServer,
    State,
    SupervisorConfig,
    Terminate,
    Tick,
    WorkerReported,
)
from aether.worker_protocol import Loss

INTERRUPTS_TO_KILL = 2
STORES_NOTHING = "the embedded nats-server stores nothing, though there is room: it is started again"
SYNC_FAILED = (
    "the disk has failed a sync, so what the server has in memory may not be there after a power cut: draining; "
    "start the pool again, and before it a nats-server that is not embedded"
)


def step(state: State, event: Input, config: SupervisorConfig, now_s: float) -> tuple[State, list[Effect]]:
    """The next state and what is to be done, in order. A state that is done stays as it is."""
    if state.phase is Phase.DONE:
        return state, []
    under_way = _Step(forgive_pause(state, config, now_s), config, now_s)
    under_way.take(event)
    under_way.advance()
    return under_way.state, under_way.effects


@dataclass(slots=True)
class _Step:
    """One step under way: the state and the effects so far."""

    state: State
    config: SupervisorConfig
    now_s: float
    effects: list[Effect] = field(default_factory=list)

    # ------------------------------------------------------------------------------------------------ inputs

    def take(self, event: Input) -> None:
        match event:
            case Asked(request):
                self._asked(request)
            case WorkerReported():
                self._worker_reported(event)
                if event.stuck:
                    self._renew_server()
            case Exited():
                self._exited(event)
            case Forked(number, pid):
                self._forked(number, pid)
            case ServerStarted(pid):
                self._server_started(pid)
            case GatewayStarted(pid):
                self._gateway_started(pid)
            case CheckStarted(pid):
                self._check_started(pid)
            case RenewFailed(reason):
                self._call_off(reason)
                self._each_slot(lambda slot: replace(slot, stale=False))
                self._gateway_is(stale=False)
            case Tick():
                pass
            case _:
                assert_never(event)

    def _asked(self, request: Request) -> None:
        match request:
            case Request.DRAIN:
                self._drain(EXIT_DRAINED, "draining")
            case Request.INTERRUPT:
                self.state = replace(self.state, interrupts=self.state.interrupts + 1)
                self._drain(EXIT_DRAINED, "draining; interrupt again to kill the workers")
            case Request.RELOAD:
                self._reload()
            case Request.MORE:
                self._one_more()
            case Request.LESS:
                self._one_less()
            case Request.DUMP:
                self.effects += [Dump(slot.pid) for slot in self.state.slots if slot.pid is not None]
            case _:
                assert_never(request)

    def _worker_reported(self, event: WorkerReported) -> None:
        slot, ready, unready = self._slot_of(event.pid), event.ready, event.unready
        if slot is None:
            return
        ready_at_s = self.now_s if ready and slot.ready_at_s is None else slot.ready_at_s
        heard_at_s = self.now_s if event.alive else slot.heard_at_s
        looped_at_s = self.now_s if event.joined else slot.looped_at_s
        slot = replace(slot, heard_at_s=heard_at_s, looped_at_s=looped_at_s, left=slot.left or event.left)
        late = slot.killed or self.now_s >= overdue_s(slot, self.config)
        dumped_at_s = slot.dumped_at_s if late else None
        # `ready` and `unready` may both have been said since: then `unready` came last.
        unready = unready or (slot.unready and not ready)
        self._put(replace(slot, ready_at_s=ready_at_s, unready=unready, dumped_at_s=dumped_at_s))

    def _forked(self, number: int, pid: int | None) -> None:
        slot = next(slot for slot in self.state.slots if slot.number == number)
        if pid is not None:
            self._put(replace(slot, forking=False, pid=pid, heard_at_s=self.now_s))
        else:
            self._empty(replace(slot, forking=False), "cannot be forked", None)

    def _exited(self, event: Exited) -> None:
        pid, code = event.pid, event.code
        slot = self._slot_of(pid)
        if slot is not None:
            loss = loss_of(slot, code, event.noted, event.out_of_memory)
            self._empty(slot, f"(pid {pid}) {ended(code)}{while_running(event.noted, loss)}", code, loss)
        elif self.state.check is not None and pid == self.state.check.pid:
            self._checked(self.state.check, code)
        elif self.state.server is not None and pid == self.state.server.pid:
            self._server_died(self.state.server, code)
        elif self.state.gateway is not None and pid == self.state.gateway.pid:
            self._gateway_ended(self.state.gateway, code)

    def _empty(self, slot: Slot, how: str, code: int | None, loss: Loss | None = None) -> None:
        """The slot's worker has ended; `code` is None when it could not be forked."""
        was_ready = slot.ready_at_s is not None
        if self.state.phase is Phase.DRAINING:
            if slot.killed or (was_ready and code != 0) or code == EXIT_SYNC_FAILED:
                self._worsen_exit()
        elif code == EXIT_SYNC_FAILED:
            self._drain(EXIT_NOT_DRAINED, SYNC_FAILED)
        elif code == EXIT_CONFIGURATION and not was_ready:
            self._drain(EXIT_CONFIGURATION, f"worker {slot.number} refuses its configuration")
        if not was_asked_to_end(slot) or code != 0 or loss is not None:
            self._say(f"worker {slot.number} {how}", "INFO" if code == EXIT_DRAINED else "ERROR")
        if slot.retired:
            self._remove(slot)
            return
        slot = after_end(slot, code, self.config, self.now_s, loss)
        self._put(slot)
        boot_failures = len(slot.boot_failures_s)
        if boot_failures >= self.config.crash_limit and not any(other.ready for other in self.state.slots):
            self._drain(EXIT_CANNOT_BOOT, f"worker {slot.number} ended {boot_failures} times before it was ready")

    # ------------------------------------------------------------------------------------------------ the server

    def _renew_server(self) -> None:
        """Stop an embedded server that has to be started again, as one whose disk was full does."""
        server = self.state.server
        if server is None or server.pid is None or self.state.phase is not Phase.RUNNING:
            return
        renewed_at_s = server.renewed_at_s
        if renewed_at_s is not None and self.now_s - renewed_at_s < self.config.renew_server_every_s:
            return
        self.state = replace(self.state, server=replace(server, renewed_at_s=self.now_s, renewing=True))
        self._say(STORES_NOTHING, "ERROR")
        self.effects.append(Terminate(server.pid))

    def _server_died(self, server: Server, code: int) -> None:
        if server.renewing:  # at our wish, which is no crash
            self.state = replace(self.state, server=replace(server, pid=None, start_at_s=self.now_s, renewing=False))
            return
        server = server_after_end(server, code, self.config, self.now_s)
        self.state = replace(self.state, server=server)
        self._say(f"the embedded nats-server {ended(code)}; it is started again", "ERROR")
        if len(server.exits_s) >= self.config.crash_limit:
            self._drain(EXIT_CANNOT_BOOT, "the embedded nats-server keeps dying")

    def _server_started(self, pid: int | None) -> None:
        server = self.state.server
        assert server is not None
        if pid is None:
            self._server_died(server, EXIT_CANNOT_BOOT)
        else:
            self.state = replace(self.state, server=replace(server, pid=pid, starting=False))

    # ------------------------------------------------------------------------------------------------ the gateway

    def _gateway_started(self, pid: int | None) -> None:
        gateway = self.state.gateway
        assert gateway is not None
        self.state = replace(self.state, gateway=gateway_plan.started(gateway, pid, self.config, self.now_s))

    def _gateway_ended(self, gateway: Gateway, code: int) -> None:
        if not gateway.stopping:
            self._say(f"the gateway (pid {gateway.pid}) {ended(code)}; it is started again", "ERROR")
        elif gateway.killed:
            self._say("the gateway was killed before it had drained", "ERROR")
        self.state = replace(self.state, gateway=gateway_plan.ended(gateway, self.config, self.now_s))

    def _gateway_is(self, *, stale: bool) -> None:
        gateway = self.state.gateway
        if gateway is not None and (not stale or gateway.pid is not None):
            self.state = replace(self.state, gateway=replace(gateway, stale=stale))

    def _watch_gateway(self, *, forced: bool) -> None:
        self.state, effects = gateway_plan.advanced(self.state, self.config, self.now_s, forced=forced)
        self.effects += effects

    # ------------------------------------------------------------------------------------------------ requests

    def _drain(self, code: int, reason: str) -> None:
        if self.state.phase is Phase.DRAINING:
            if self.state.exit_code in (EXIT_DRAINED, EXIT_NOT_DRAINED) and code != EXIT_DRAINED:
                self.state = replace(self.state, exit_code=code)
            return
        deadline_s = self.now_s + self.config.drain_timeout_s
        self.state = replace(self.state, phase=Phase.DRAINING, exit_code=code, drain_deadline_s=deadline_s)
        self._say(reason, "INFO" if code == EXIT_DRAINED else "ERROR")
        self._notify("STOPPING=1")

    def _worsen_exit(self) -> None:
        if self.state.exit_code == EXIT_DRAINED:
            self.state = replace(self.state, exit_code=EXIT_NOT_DRAINED)

    def _reload(self) -> None:
        if self.state.phase is not Phase.RUNNING:
            self._say("nothing is reloaded: the pool is draining", "WARNING")
            return
        if self.state.check is not None:
            self.state = replace(self.state, check=replace(self.state.check, again=True))
            self._say("a reload is under way: when the code has been checked, it is checked once more")
            return
        self.state = replace(self.state, announced=False, check=Check(begun_at_s=self.now_s))
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={int(self.now_s * 1_000_000)}")
        self.effects.append(StartCheck())

    def _check_started(self, pid: int | None) -> None:
        check = self.state.check
        assert check is not None
        self.state = replace(self.state, check=replace(check, pid=pid))
        if pid is None:
            self._checked(check, None)

    def _checked(self, check: Check, code: int | None) -> None:
        if self.state.phase is not Phase.RUNNING:
            self.state = replace(self.state, check=None)
            return
        if check.again:
            self.state = replace(self.state, check=Check(begun_at_s=self.now_s))
            self.effects.append(StartCheck())
            return
        self.state = replace(self.state, check=None, called_off=False)
        if code != 0:
            self._call_off(check_why(check, code, self.config))
            return
        self._each_slot(self._outdated)
        self._gateway_is(stale=True)
        self.effects += [Outdate(slot.pid) for slot in self.state.slots if slot.stale and slot.pid is not None]
        self._say("reloading, one worker after the other")
        self.effects.append(Reexec())

    def _call_off(self, reason: str) -> None:
        self.state = replace(self.state, called_off=True)
        self._say(f"the reload is called off: {reason}; the old workers go on", "ERROR")

    def _outdated(self, slot: Slot) -> Slot:
        if slot.alive:
            return replace(slot, stale=True)
        # What kept failing may be mended in the new code: it gets its chance at once.
        return replace(slot, fork_at_s=self.now_s, failures=0, boot_failures_s=())

    def _one_more(self) -> None:
        if self.state.phase is not Phase.RUNNING:
            return
        number = len(staying(self.state.slots))
        held = next((slot for slot in self.state.slots if slot.number == number), None)
        if held is not None:  # by a worker that is leaving or temporary: it stays, or its place is filled again
            self._put(replace(held, retired=False, temporary=False))
        elif number < WORKERS_MAX:
            self._add(Slot(number=number, fork_at_s=self.now_s))

    def _one_less(self) -> None:
        asked_for = staying(self.state.slots)
        if self.state.phase is Phase.RUNNING and len(asked_for) > 1:
            self._retire(asked_for[-1])

    # ------------------------------------------------------------------------------------------------ what is due

    def advance(self) -> None:
        renewing = bool(self.effects) and self.effects[-1] == Reexec()
        self._watch_workers()
        self._watch_check()
        self._start_server()
        if self.state.phase is Phase.DRAINING:
            self._finish_draining()
        elif not renewing:
            self._roll()
            self._stop_retired()
            self._fork_due()
            self._announce()
            self._watch_gateway(forced=False)
        # A fresh interpreter says nothing while it imports the model, so it gets the whole time.
        if self.config.watchdog_s is not None and (renewing or self.now_s >= self.state.watchdog_at_s):
            self.state = replace(self.state, watchdog_at_s=self.now_s + self.config.watchdog_s)
            self.effects.append(Notify("WATCHDOG=1"))
        if renewing:  # nothing after it would be done
            self.effects.remove(Reexec())
            self.effects.append(Reexec())

    def _watch_workers(self) -> None:
        for slot in self.state.slots:
            if slot.pid is None or slot.killed:
                continue
            if slot.dumped_at_s is None and self.now_s >= overdue_s(slot, self.config):
                why = overdue_why(slot, self.now_s >= loop_silent_s(slot, self.config))
                self._say(f"worker {slot.number} (pid {slot.pid}) {why}: dumping its stack, then killing it", "ERROR")
                self._put(replace(slot, dumped_at_s=self.now_s))
                self.effects.append(Dump(slot.pid))
            elif slot.dumped_at_s is not None and self.now_s >= slot.dumped_at_s + self.config.dump_grace_s:
                self._put(replace(slot, killed=True))
                self.effects.append(Kill(slot.pid))

    def _watch_check(self) -> None:
        check = self.state.check
        if check is None or check.pid is None or check.killed or self.now_s < check_overdue_s(check, self.config):
            return
        if check.dumped_at_s is None:
            self.state = replace(self.state, check=replace(check, dumped_at_s=self.now_s))
            self.effects.append(Dump(check.pid))
        else:
            self.state = replace(self.state, check=replace(check, killed=True))
            self.effects.append(Kill(check.pid))

    def _start_server(self) -> None:
        server = self.state.server
        if server is None or server.pid is not None or server.starting or self.now_s < server.start_at_s:
            return
        if any(slot.alive for slot in self.state.slots) or self.state.phase is Phase.RUNNING:
            self.state = replace(self.state, server=replace(server, starting=True))
            self.effects.append(StartServer())

    def _finish_draining(self) -> None:
        forced = self.state.interrupts >= INTERRUPTS_TO_KILL or self.now_s >= self.state.drain_deadline_s
        self._watch_gateway(forced=forced)
        gateway_lives = self.state.gateway is not None and self.state.gateway.pid is not None
        if gateway_lives and not forced:
            return  # the workers answer what it has asked for
        for slot in self.state.slots:
            if slot.pid is None:
                continue
            if forced and not slot.killed:
                self._put(replace(slot, killed=True, stopping_at_s=slot.stopping_at_s or self.now_s))
                self.effects.append(Kill(slot.pid))
            elif slot.stopping_at_s is None:
                self._stop(slot)
        if not gateway_lives and not any(slot.alive for slot in self.state.slots):
            self.state = replace(self.state, phase=Phase.DONE)
            self.effects.append(Exit(self.state.exit_code))

    def _roll(self) -> None:
        """Replace the next worker of old code, once all of new code are ready and another one can take over."""
        temporary = next((slot for slot in self.state.slots if slot.temporary), None)
        if temporary is not None and cover_is_over(self.state.slots):
            self._retire(temporary)
        going = next_to_replace(self.state.slots)
        if going is not None:
            self._stop(going)
        elif needs_cover(self.state.slots):
            self._add(Slot(number=1, fork_at_s=self.now_s, temporary=True))

    def _stop_retired(self) -> None:
        for slot in self.state.slots:
            if not slot.retired or slot.pid is None or slot.stopping_at_s is not None:
                continue
            if not slot.ready or is_covered(slot, self.state.slots):
                self._stop(slot)

    def _fork_due(self) -> None:
        slots = sum(not slot.retired for slot in self.state.slots)
        for slot in self.state.slots:
            if slot.alive or slot.retired or self.now_s < slot.fork_at_s:
                continue
            incarnation = f"{self.state.run}-{self.state.forks}"
            self.state = replace(self.state, forks=self.state.forks + 1)
            self._put(replace(slot, forking=True, incarnation=incarnation, stale=False))
            self.effects.append(Fork(slot.number, slots, incarnation, slot.replaces, slot.losses))

    def _announce(self) -> None:
        asked_for = staying(self.state.slots)
        if not self.state.announced and self.state.check is None and cover_is_over(asked_for):
            self.state = replace(self.state, announced=True)
            self._say(f"{workers(len(asked_for))} ready")
            self._notify("READY=1")
        elif self.state.status != status(self.state):
            self._notify()

    # ------------------------------------------------------------------------------------------------ small words

    def _stop(self, slot: Slot) -> None:
        assert slot.pid is not None
        self._put(replace(slot, stopping_at_s=self.now_s))
        self.effects.append(Terminate(slot.pid))

    def _slot_of(self, pid: int) -> Slot | None:
        return next((slot for slot in self.state.slots if slot.pid == pid), None)

    def _retire(self, slot: Slot) -> None:
        """Retire the slot, and its worker when there is one."""
        if slot.alive:
            self._put(replace(slot, retired=True, temporary=False))
        else:
            self._remove(slot)

    def _add(self, slot: Slot) -> None:
        slots = (*self.state.slots, slot)
        self.state = replace(self.state, slots=tuple(sorted(slots, key=lambda each: each.number)))

    def _remove(self, slot: Slot) -> None:
        self.state = replace(self.state, slots=tuple(s for s in self.state.slots if s.number != slot.number))

    def _put(self, slot: Slot) -> None:
        self._each_slot(lambda old: slot if old.number == slot.number else old)

    def _each_slot(self, change: Callable[[Slot], Slot]) -> None:
        self.state = replace(self.state, slots=tuple(change(slot) for slot in self.state.slots))

    def _say(self, text: str, level: str = "INFO") -> None:
        self.effects.append(Say(text, level))

    def _notify(self, *lines: str) -> None:
        """Send systemd these lines and the pool's status."""
        self.state = replace(self.state, status=status(self.state))
        self.effects.append(Notify("\n".join((*lines, f"STATUS={self.state.status}"))))
