"""The supervisor's shell: performs what `plan` decides. No event loop, no NATS connection, no threads.

Owns the worker processes, their pipes and the embedded server's process. Signal handlers only enqueue (the interpreter
writes the signal's number into a pipe); one loop waits, takes in requests, what workers say and who died, in this
order, plans, and acts. Workers hold the read end of one pipe whose write end only the supervisor has: its end-of-file,
beside PR_SET_PDEATHSIG, is how they learn that it died. They also inherit the node's lock, which no other child does,
and must keep it as long as they live: it shows the next supervisor of this node that they do.
"""

import gc
import os
import selectors
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import NoReturn, assert_never

from aether.supervisor.check import RunningCheck, start_check
from aether.supervisor.child import Work, become_worker
from aether.supervisor.console import Console
from aether.supervisor.deadlines import next_wake_s
from aether.supervisor.gateway_program import GatewayProgram
from aether.supervisor.handover import Handover, hand_over
from aether.supervisor.notify import notify
from aether.supervisor.plan import step
from aether.supervisor.signals import SignalQueue, block_signals, unblock_signals
from aether.supervisor.source_watch import LOOK_EVERY_S, SourceWatch
from aether.supervisor.state import (
    CheckStarted,
    Dump,
    Effect,
    Exit,
    Exited,
    Fork,
    Forked,
    GatewayStarted,
    Input,
    Kill,
    Notify,
    Outdate,
    Reexec,
    RenewFailed,
    Request,
    Say,
    ServerStarted,
    SignalReceived,
    StartCheck,
    StartGateway,
    StartServer,
    SupervisorConfig,
    Terminate,
    Tick,
    WorkerReported,
    initial,
)
from aether.supervisor.strays import Strays
from aether.supervisor.worker_pipes import WorkerPipes
from aether.system.embedded import EmbeddedServer, respawn, shut_down
from aether.system.handler_note import make_note
from aether.system.memory_kills import kills_for_memory
from aether.system.node_claim import NodeClaim
from aether.system.process import send_signal, set_process_name, spawn
from aether.system.shared_failure import SharedFailure
from aether.worker_protocol import WORKER_JOINED, WORKER_LEFT, WORKER_READY, WORKER_STUCK, WORKER_UNREADY, WorkerSpec

_SIGNALS: Mapping[type[Terminate | Outdate | Dump | Kill], int] = {
    Terminate: signal.SIGTERM,
    Outdate: signal.SIGHUP,
    Dump: signal.SIGUSR1,
    Kill: signal.SIGKILL,
}
_WAIT_MAX_S = 1.0
ROOM_BYTES_MIN = 16 * 1024 * 1024
"""Free bytes of a disk below which a server that stores nothing is left as it is: started anew it could not begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorContext:
    """What one supervisor works with.

    `check` is a program that proves, as `aether.supervisor.check` says, that fresh code loads; `fresh` is this
    supervisor's own command line, which must reach `supervise` again with the handover. `directory` and `variables` are
    where they start, whatever the model has changed since. When one of `sources` is saved, the code is reloaded.
    `gateway` runs beside the workers. `sync_failure` is the mark that all workers share, those of the next interpreter
    too.
    """

    namespace: str
    node: NodeClaim
    server: EmbeddedServer | None
    check: tuple[str, ...]
    fresh: tuple[str, ...]
    directory: Path
    variables: Mapping[str, str]
    say: Console = field(default_factory=Console)
    sources: SourceWatch | None = None
    gateway: GatewayProgram | None = None
    sync_failure: SharedFailure | None = None


def supervise(
    config: SupervisorConfig,
    work: Work,
    context: SupervisorContext,
    handover: Handover | None = None,
    first: Input | None = None,
) -> int:
    """Run workers that do `work` until asked to stop; the exit code. Call from the main thread of a process that then
    exits: its signals stay blocked.

    A `handover` continues what an earlier interpreter of this process began; `first` goes to the plan before any other
    input.
    """
    supervisor = _Supervisor(config, work, context, handover)
    with supervisor.signals:
        return supervisor.run(first or Tick())


class _Supervisor:
    """One run: the only writer of its state."""

    def __init__(self, config: SupervisorConfig, work: Work, context: SupervisorContext, handover: Handover | None):
        self._config = config
        self._work = work
        self._around = context
        self._server = context.server
        self._check: RunningCheck | None = None
        self._strays = Strays()
        self._kills_for_memory = kills_for_memory()
        self._exit_code: int | None = None
        self._steps = 0
        self.signals = SignalQueue()
        if handover is None:
            self._pipes = WorkerPipes(*os.pipe2(os.O_CLOEXEC))
            server_pid = None if self._server is None else self._server.pid
            has_gateway = context.gateway is not None
            self._state = initial(config, token_hex(4), time.monotonic(), server_pid, has_gateway=has_gateway)
        else:
            status = {int(pid): fd for pid, fd in handover.status_fds.items()}
            notes = {int(pid): fd for pid, fd in handover.note_fds.items()}
            self._pipes = WorkerPipes(handover.parent_read_fd, handover.parent_write_fd, status, notes)
            self._state = handover.state

    def run(self, first: Input) -> int:
        set_process_name("aether", f"aether: supervisor {self._around.namespace} ({self._around.node.name})")
        gc.collect()
        gc.freeze()  # forked workers then share these pages, which no collection writes to
        self._strays.look(self._ours())
        self._strays.look(self._ours())
        self._take(first)
        while self._exit_code is None:
            self._wait()
            steps_before = self._steps
            for request in self.signals.requests():
                self._take(SignalReceived(request))
            self._reload_saved()
            for pid in list(self._pipes.status):
                self._listen(pid)
            self._reap()
            if self._steps == steps_before:  # any other step has done what a tick does
                self._take(Tick())
        return self._exit_code

    def _reload_saved(self) -> None:
        sources = self._around.sources
        if sources is not None and (saved := sources.saved()):
            self._around.say(f"saved: {', '.join(path.name for path in saved)}")
            self._take(SignalReceived(Request.RELOAD))

    def _wait(self) -> None:
        wait_max_s = _WAIT_MAX_S if self._around.sources is None else LOOK_EVERY_S
        timeout_s = min(wait_max_s, next_wake_s(self._state, self._config) - time.monotonic())
        # A poll object, made anew: it has no descriptor of its own that a fork would share.
        with selectors.PollSelector() as waiting:
            for fd in (self.signals.read_fd, *self._pipes.status.values()):
                waiting.register(fd, selectors.EVENT_READ)
            waiting.select(max(0.0, timeout_s))

    def _listen(self, pid: int) -> None:
        said = self._pipes.read_status(pid)
        if said:
            unready = said.rfind(WORKER_UNREADY) > said.rfind(WORKER_READY)
            stuck = WORKER_STUCK in said and self._server is not None and _has_room(self._server.directory)
            self._take(
                WorkerReported(
                    pid,
                    ready=WORKER_READY in said,
                    alive=said.strip(WORKER_JOINED) != b"",
                    joined=WORKER_JOINED in said,
                    unready=unready,
                    left=WORKER_LEFT in said,
                    stuck=stuck,
                )
            )

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                self._strays.look(self._ours())
                return
            self._strays.end_those_of(pid, self._ours(), was_worker=pid in self._workers())
            self._listen(pid)
            noted = self._pipes.noted(pid)
            self._pipes.forget(pid)
            if noted.stacks:
                self._around.say(f"the stacks of pid {pid}, which crashed:\n{noted.stacks.rstrip()}")
            code = os.waitstatus_to_exitcode(status)
            if self._check is not None and pid == self._check.pid:
                code, self._check = self._check.ended(code), None
            self._take(Exited(pid, code, noted, self._memory_ran_out(), self._sync_failed()))

    def _sync_failed(self) -> bool:
        mark = self._around.sync_failure
        return mark is not None and mark.happened

    def _memory_ran_out(self) -> bool:
        """Whether the kernel has killed for want of memory since this was asked last."""
        before, self._kills_for_memory = self._kills_for_memory, kills_for_memory()
        return self._kills_for_memory > before

    def _ours(self) -> set[int]:
        """The children that the supervisor has started."""
        others = (self._state.server, self._state.gateway, self._check)
        return self._workers() | {one.pid for one in others if one is not None and one.pid is not None}

    def _workers(self) -> set[int]:
        return {slot.pid for slot in self._state.slots if slot.pid is not None}

    def _take(self, event: Input) -> None:
        """Plan and act until nothing follows: the outcome of an effect is an input of its own."""
        events = [event]
        while events:
            self._steps += 1
            self._state, effects = step(self._state, events.pop(0), self._config, time.monotonic())
            events += [outcome for effect in effects for outcome in self._perform(effect)]

    def _perform(self, effect: Effect) -> list[Input]:
        match effect:
            case Fork():
                return [Forked(effect.slot, self._fork(effect))]
            case Terminate() | Outdate() | Dump() | Kill():
                send_signal(effect.pid, _SIGNALS[type(effect)])
            case StartServer():
                return [ServerStarted(self._start_server())]
            case StartGateway():
                return [GatewayStarted(self._spawn_gateway())]
            case StartCheck():
                return [CheckStarted(self._spawn_check())]
            case Reexec():
                return [self._reexec()]
            case Notify(text):
                notify(self._around.variables.get("NOTIFY_SOCKET", ""), text)
            case Say(text, level):
                self._around.say(text, level)
            case Exit(code):
                self._leave(code)
            case _:
                assert_never(effect)
        return []

    def _fork(self, effect: Fork) -> int | None:
        supervisor_pid = os.getpid()
        try:
            note_fd = make_note()
            status_read_fd, status_write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._around.say(f"no pipe for worker {effect.slot}: {error.strerror}", "ERROR")
            return None
        sys.stdout.flush()
        sys.stderr.flush()
        block_signals()  # a signal in the child before its handlers are reset would be written into our own pipe
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker(effect, supervisor_pid, status_read_fd, status_write_fd, note_fd)
        except OSError as error:
            os.close(status_read_fd)
            os.close(note_fd)
            self._around.say(f"worker {effect.slot} cannot be forked: {error.strerror}", "ERROR")
            return None
        finally:
            unblock_signals()
            os.close(status_write_fd)
        self._pipes.status[pid] = status_read_fd
        self._pipes.notes[pid] = note_fd
        return pid

    def _become_worker(
        self, fork: Fork, supervisor_pid: int, status_read_fd: int, status_write_fd: int, note_fd: int
    ) -> NoReturn:
        node, pipes, signals = self._around.node, self._pipes, self.signals
        spec = WorkerSpec(
            slot=fork.slot, slots=fork.slots, node=node.name, incarnation=fork.incarnation, replaces=fork.replaces,
            claim=node.claim, status_fd=status_write_fd, parent_fd=pipes.parent_read_fd,
            note_fd=note_fd, losses=fork.losses,
        )  # fmt: skip
        close_fds = [status_read_fd, pipes.parent_write_fd, signals.read_fd, signals.write_fd, *pipes.status.values()]
        close_fds += pipes.notes.values()
        if self._server is not None:
            close_fds.append(self._server.lock_fd)  # the server itself holds it
        if self._around.gateway is not None:
            close_fds.append(self._around.gateway.listening_fd)
        kept_fds = [status_write_fd, note_fd, pipes.parent_read_fd, *([] if node.lock_fd is None else [node.lock_fd])]
        become_worker(spec, self._around.namespace, self._work, supervisor_pid, close_fds, kept_fds)

    def _start_server(self) -> int | None:
        assert self._server is not None
        try:
            self._server = respawn(self._server)
        except OSError as error:
            self._around.say(f"the embedded nats-server cannot be started: {error.strerror}", "ERROR")
            return None
        return self._server.pid

    def _spawn_gateway(self) -> int | None:
        program = self._around.gateway
        assert program is not None
        directory, kept = self._around.directory, (program.listening_fd,)
        try:
            return spawn(program.arguments, keep_fds=kept, directory=directory, variables=program.variables,
                         ignores_terminal=True)  # fmt: skip
        except OSError as error:
            self._around.say(f"the gateway cannot be started: {error.strerror}", "ERROR")
            return None

    def _spawn_check(self) -> int | None:
        around = self._around
        try:
            self._check = start_check(around.check, around.directory, around.variables)
        except OSError as error:
            around.say(f"no process to check the new code: {error.strerror}", "ERROR")
            return None
        return self._check.pid

    def _reexec(self) -> Input:
        handover = Handover(
            state=self._state,
            node=self._around.node,
            status_fds={str(pid): fd for pid, fd in self._pipes.status.items()},
            note_fds={str(pid): fd for pid, fd in self._pipes.notes.items()},
            parent_read_fd=self._pipes.parent_read_fd,
            parent_write_fd=self._pipes.parent_write_fd,
            server=self._server,
            gateway_fd=None if self._around.gateway is None else self._around.gateway.listening_fd,
            sync_failure_fd=None if self._around.sync_failure is None else self._around.sync_failure.fd,
        )
        block_signals()
        self.signals.leave_to_successor()
        try:
            hand_over(handover, self._around.fresh, self._around.directory, self._around.variables)
        except OSError as error:
            self.signals.take_back()
            return RenewFailed(f"the fresh interpreter cannot be started: {error.strerror}")
        finally:
            unblock_signals()
        raise AssertionError("an exec came back without an error")

    def _leave(self, code: int) -> None:
        self._strays.end_all(self._ours())
        if self._server is not None:
            server = self._state.server
            if server is not None and server.pid is not None:
                shut_down(replace(self._server, pid=server.pid))
            else:
                os.close(self._server.lock_fd)
        os.close(self._pipes.parent_write_fd)
        os.close(self._pipes.parent_read_fd)
        self._exit_code = code


def _has_room(directory: Path) -> bool:
    """Whether a server that is started there can write."""
    try:
        return shutil.disk_usage(directory).free >= ROOM_BYTES_MIN
    except OSError:
        return False
