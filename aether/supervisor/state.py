"""The state, inputs and effects of the supervisor's plan.

Values only; `plan` is the one writer of `State`, `supervisor` performs the effects. Times are seconds
of `CLOCK_MONOTONIC`, which goes on over an exec of the same supervisor. Knows processes, not actors.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from aether.config import EXIT_DRAINED
from aether.errors import ConfigError
from aether.worker_protocol import NOTHING_NOTED, Loss, Noted

WORKERS_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorConfig:
    """The settings of a supervisor.

    - `drain_timeout_s`: how long workers may take to drain before they are killed.
    - `boot_timeout_s`: how long a worker may take to become ready; then its stack is dumped, and `dump_grace_s` later
      it is killed. `loop_silent_kill_s`: how long the loop of one that has joined may be silent before it is killed;
      its stack is dumped `dump_grace_s` before that. It must be under the time in which a member answers, so that what
      the worker runs is over when another worker may run it.
    - `check_timeout_s`: how long the code of a reload may take to be imported before the reload is called off.
    - `restart_first_s`, `restart_cap_s`: the delays of restarts: the first is at once, then doubling up to the cap.
      A worker that was ready for `stable_s` starts that anew, so one that lives longer is restarted at once each time.
    - `crash_limit`: exits of one slot without becoming ready, within `crash_window_s`, after which the supervisor
      gives up, unless another worker is ready. The embedded server has the same limit, without exception.
    - `kills_max`: how many ready workers of one slot may be killed from outside within `crash_window_s` and are
      replaced at once, and how often the embedded server; after that the kills count as failures, whatever sent them.
    - `pause_s`: when the supervisor itself did not run for so long, that time is not held against the workers. It is
      more than the supervisor sleeps, and less than a loop may be silent by half a second at least, in which workers
      say that they live.
    - `renew_server_every_s`: how long after an embedded server that stores nothing was started again it may be again.
    - `watchdog_s`: how often systemd expects a notification; None when it expects none.
    """

    workers: int = 1
    drain_timeout_s: float = 30.0
    boot_timeout_s: float = 60.0
    loop_silent_kill_s: float = 9.6
    dump_grace_s: float = 1.0
    check_timeout_s: float = 120.0
    restart_first_s: float = 0.25
    restart_cap_s: float = 30.0
    stable_s: float = 2.0
    crash_limit: int = 5
    kills_max: int = 30
    crash_window_s: float = 60.0
    pause_s: float = 1.5
    watchdog_s: float | None = None
    renew_server_every_s: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= WORKERS_MAX:
            raise ConfigError(f"workers must be 1-{WORKERS_MAX}, not {self.workers}", setting="workers")
        for name in ("drain_timeout_s", "boot_timeout_s", "loop_silent_kill_s", "dump_grace_s", "check_timeout_s",
                     "restart_first_s", "restart_cap_s", "stable_s", "crash_limit", "kills_max", "crash_window_s",
                     "pause_s"):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}", setting=name)


# ---------------------------------------------------------------------------------------------------- state


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One place for a worker. `pid` is None while it has no process; `incarnation` is of the live one.

    `stale` marks old code that a rolling restart will replace, `retired` a slot that goes when its worker does,
    `unready` a worker that was ready and cannot serve now, `temporary` one that serves only while the one staying
    worker is replaced. `looped_at_s`: when the loop of one that has joined, and is not ready yet, ran last.
    `failures` are those in a row, `boot_failures_s` and `kills_s` the times of recent ends before
    ready and of recent kills from outside. `losses` is what the next worker appends before it serves, or the live one
    until it is ready. `left`: its worker has handed everything over and only has to end.
    """

    number: int
    pid: int | None = None
    forking: bool = False
    incarnation: str = ""
    replaces: str | None = None
    heard_at_s: float = 0.0
    looped_at_s: float | None = None
    ready_at_s: float | None = None
    unready: bool = False
    stopping_at_s: float | None = None
    dumped_at_s: float | None = None
    killed: bool = False
    fork_at_s: float = 0.0
    failures: int = 0
    boot_failures_s: tuple[float, ...] = ()
    kills_s: tuple[float, ...] = ()
    stale: bool = False
    retired: bool = False
    temporary: bool = False
    losses: tuple[Loss, ...] = ()
    left: bool = False

    @property
    def alive(self) -> bool:
        """Whether it has a worker, or one is being forked."""
        return self.forking or self.pid is not None

    @property
    def ready(self) -> bool:
        """Whether its worker serves and was not asked to stop."""
        return self.pid is not None and self.ready_at_s is not None and not self.unready and self.stopping_at_s is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The embedded server as a process; `exits_s` are the times it died of itself, `kills_s` those it was killed.

    `renewed_at_s` is when it was last stopped to be started again.
    """

    pid: int | None
    starting: bool = False
    start_at_s: float = 0.0
    exits_s: tuple[float, ...] = ()
    kills_s: tuple[float, ...] = ()
    renewed_at_s: float | None = None
    renewing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The HTTP gateway as a process. Its socket is the supervisor's, so that no client is refused while it is replaced.

    `failures` are its ends in a row that were not asked for; `stale` marks old code that a reload will replace.
    """

    pid: int | None = None
    starting: bool = False
    start_at_s: float = 0.0
    started_at_s: float = 0.0
    failures: int = 0
    stale: bool = False
    stopping: bool = False
    killed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The import of the code of a reload in a process of its own; `again`: a reload was asked for meanwhile."""

    pid: int | None = None
    begun_at_s: float
    dumped_at_s: float | None = None
    killed: bool = False
    again: bool = False


class Phase(Enum):
    """Running, draining towards an exit, or done."""

    RUNNING = "running"
    DRAINING = "draining"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All the supervisor knows.

    `run` makes its workers' incarnations unique, `forks` counts them. `announced`: that all serve was said last;
    `status` is what systemd shows.
    """

    run: str
    slots: tuple[Slot, ...]
    server: Server | None = None
    gateway: Gateway | None = None
    forks: int = 0
    phase: Phase = Phase.RUNNING
    exit_code: int = EXIT_DRAINED
    drain_deadline_s: float = 0.0
    interrupts: int = 0
    check: Check | None = None
    called_off: bool = False
    announced: bool = False
    status: str = ""
    seen_at_s: float = 0.0
    watchdog_at_s: float = 0.0


def initial(
    config: SupervisorConfig, run: str, now_s: float, server_pid: int | None = None, *, has_gateway: bool = False
) -> State:
    """The state before the first fork; `run` is unique to this start of the supervisor."""
    return State(
        run=run,
        slots=tuple(Slot(number=number, fork_at_s=now_s) for number in range(config.workers)),
        server=None if server_pid is None else Server(pid=server_pid),
        gateway=Gateway(start_at_s=now_s) if has_gateway else None,
        seen_at_s=now_s,
        watchdog_at_s=now_s,
    )


# ---------------------------------------------------------------------------------------------------- inputs


class Request(Enum):
    """What a signal asks for."""

    DRAIN = "drain"
    INTERRUPT = "interrupt"
    RELOAD = "reload"
    MORE = "more"
    LESS = "less"
    DUMP = "dump"


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """The supervisor received a signal."""

    request: Request


@dataclass(frozen=True, slots=True)
class WorkerReported:
    """A worker wrote to its status pipe: ready now, or ready before and not now, or gone from the cluster, or alive.

    `joined`: its loop runs, and it may run handlers; that alone, where `alive` is false, is no step to being ready.
    `stuck`: the embedded server does not answer what it writes, and there is room on the disk.
    """

    pid: int
    ready: bool
    alive: bool = True
    joined: bool = False
    unready: bool = False
    left: bool = False
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class Exited:
    """A child was reaped: its exit code, or minus the signal that killed it.

    `noted` is what a worker was running; `out_of_memory`: the kernel has killed for want of memory meanwhile.
    `sync_failed`: a worker has said that it can make nothing durable any more.
    """

    pid: int
    code: int
    noted: Noted = NOTHING_NOTED
    out_of_memory: bool = False
    sync_failed: bool = False


@dataclass(frozen=True, slots=True)
class Forked:
    """The outcome of `Fork`: the new worker's pid, or None when the system refused."""

    slot: int
    pid: int | None


@dataclass(frozen=True, slots=True)
class ServerStarted:
    """The outcome of `StartServer`; None when the system refused."""

    pid: int | None


@dataclass(frozen=True, slots=True)
class GatewayStarted:
    """The outcome of `StartGateway`; None when the system refused."""

    pid: int | None


@dataclass(frozen=True, slots=True)
class CheckStarted:
    """The outcome of `StartCheck`; None when the system refused."""

    pid: int | None


@dataclass(frozen=True, slots=True)
class RenewFailed:
    """A `Reexec` failed, at once or in the fresh interpreter: the old workers go on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


Input: TypeAlias = (
    SignalReceived
    | WorkerReported
    | Exited
    | Forked
    | ServerStarted
    | GatewayStarted
    | CheckStarted
    | RenewFailed
    | Tick
)

# ---------------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork a worker into a slot; the outcome comes back as `Forked`. `slots` counts those that are not retired."""

    slot: int
    slots: int
    incarnation: str
    replaces: str | None
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask a worker to drain and exit."""

    pid: int


@dataclass(frozen=True, slots=True)
class Outdate:
    """Notify a worker that fresh code has been loaded and it is about to be replaced."""

    pid: int


@dataclass(frozen=True, slots=True)
class Dump:
    """Have a worker, or the check, write the stacks of its threads."""

    pid: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker, or the check, without asking."""

    pid: int


@dataclass(frozen=True, slots=True)
class StartServer:
    """Start the embedded server that died again; the outcome comes back as `ServerStarted`."""


@dataclass(frozen=True, slots=True)
class StartGateway:
    """Start the HTTP gateway; the outcome comes back as `GatewayStarted`."""


@dataclass(frozen=True, slots=True)
class StartCheck:
    """Import the model in a fresh interpreter; the outcome is `CheckStarted`, then `Exited`, where 0 is a proof."""


@dataclass(frozen=True, slots=True)
class Reexec:
    """Exec a fresh interpreter that takes over this state; `RenewFailed` comes back when that fails."""


@dataclass(frozen=True, slots=True)
class Notify:
    """Notify systemd."""

    text: str


@dataclass(frozen=True, slots=True)
class Say:
    """Write a line for people; `level` is one of `LOG_LEVELS`."""

    text: str
    level: str = "INFO"


@dataclass(frozen=True, slots=True)
class Exit:
    """No worker and no gateway lives: stop the embedded server and leave with this code."""

    code: int


Effect: TypeAlias = (
    Fork | Terminate | Outdate | Dump | Kill | StartServer | StartGateway | StartCheck | Reexec | Notify | Say | Exit
)
