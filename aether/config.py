"""Settings, one frozen keyword-only dataclass a component, checked when built.

`from_environment` is the only place that knows the names of environment variables; it takes the mapping, so that only
`aether/system` and the faces touch the real environment. Units are last in every name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from aether.errors import ConfigError

NATS_URL_DEFAULT = "nats://127.0.0.1:4222"
SERVER_VERSION_MIN = (2, 14, 0)
"""Oldest nats-server whose streams have atomic publish, message schedules and per-message time to live together."""


def _at_least(config: object, minimum: float, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value < minimum:
            raise ConfigError(f"{name} must be at least {minimum}, not {value}", setting=name)


def without_secret(url: str) -> str:
    """A URL without user and password."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionConfig:
    """How to reach NATS. Empty texts mean unused.

    - `url`: one server, or several of a cluster with commas between. `name`: how the server lists the connection.
    - `connect_timeout_s`: how long one attempt to connect may take.
    - `ping_interval_s`: how often the server is asked whether it lives; a frozen one is noticed after thrice that time.
    - `credentials_file`: of a NATS user, with its signed token and key. `user`: one that the server's
      configuration has. `password`: of that user. `token`: instead of user and password.
    - `tls_ca_file`: the certificate authority that signed the server's certificate; it makes TLS a must.
      `tls_cert_file`: the client's own certificate. `tls_key_file`: its key.
    """

    url: str = NATS_URL_DEFAULT
    name: str = "aether"
    connect_timeout_s: float = 2.0
    ping_interval_s: float = 1.0
    credentials_file: str = ""
    user: str = ""
    password: str = ""
    token: str = ""
    tls_ca_file: str = ""
    tls_cert_file: str = ""
    tls_key_file: str = ""

    @property
    def shown_url(self) -> str:
        """The URL, or several with commas between, as messages show it: without secrets."""
        return ", ".join(without_secret(url.strip()) for url in self.url.split(",") if url.strip())

    def __post_init__(self) -> None:
        if not self.url.strip():
            raise ConfigError("the NATS URL is empty", setting="url")
        _at_least(self, 0.01, "connect_timeout_s", "ping_interval_s")


SYNC = ("auto", "barrier", "server")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """What a namespace is created with, and how what it stores becomes durable. The create decides.

    - `shards`: how many parts the actors of the namespace are divided into; at most 65,536. Later workers must agree.
    - `replicas`: how many NATS servers keep a copy of its streams and buckets.
    - `sync`: who makes what is stored durable. "barrier": workers sync the files of a server on this machine before
      they answer, or do not start. "server": the server, as it is set (an embedded one syncs every write). "auto": the
      barrier where it can be proved, else the server.
    - `nats_store`: the `store_dir` of a server on this machine that is not embedded, for the barrier.
    """

    shards: int = 256
    replicas: int = 1
    sync: str = "auto"
    nats_store: str = ""

    def __post_init__(self) -> None:
        _at_least(self, 1, "shards", "replicas")
        if self.sync not in SYNC:
            raise ConfigError(f"sync is one of {', '.join(SYNC)}, not {self.sync!r}", setting="sync")
        if self.shards > 65_536:
            raise ConfigError(f"shards must be at most 65536, not {self.shards}", setting="shards")


ROW_LEFTOVER_S = 1.0
"""How much later than its time to live a row may be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """How a worker keeps its place among the others, in seconds.

    - `ttl_s`: how long a member's row outlives its last renewal on the server, whole seconds; 5 with the embedded
      server. `renewals_per_ttl`: how often it is renewed in that time. `margin_s`: how much earlier the member itself
      stops to answer; None is a fifth of `ttl_s`, which is more than the time between two renewals, so that rows that
      expire together, because the server could not be reached, are not taken for dead members by the last of them.
    - `gather_s`: how long a starting worker leaves their shards to siblings that are starting too.
    - `regather_s`: how long after an outage of the server members may be missing before their shards are moved.
    - `moves_in_flight_max`: shards that one worker gives away at once. `prepare_timeout_s`: how long their actors are
      snapshotted before commands are turned away. `close_timeout_s`: how long what was taken then has to be answered
      before it is abandoned; its callers ask again elsewhere.
    - `retry_s`: before a write whose outcome is unknown is tried again.
    """

    ttl_s: float = 15.0
    renewals_per_ttl: int = 7
    margin_s: float | None = None
    gather_s: float = 2.0
    regather_s: float = 2.0
    moves_in_flight_max: int = 8
    prepare_timeout_s: float = 1.0
    close_timeout_s: float = 5.0
    retry_s: float = 0.25

    def __post_init__(self) -> None:
        _at_least(self, 1, "ttl_s", "renewals_per_ttl", "moves_in_flight_max")
        _at_least(self, 0, "gather_s", "regather_s", "prepare_timeout_s", "close_timeout_s", "retry_s")
        if self.ttl_s != int(self.ttl_s):
            raise ConfigError(f"ttl_s counts whole seconds, not {self.ttl_s}", setting="ttl_s")
        if not 0 <= self.answers_for_s <= self.ttl_s:
            raise ConfigError(f"margin_s must be between 0 and ttl_s, not {self.margin_s}", setting="margin_s")

    @property
    def answers_for_s(self) -> float:
        """How long after the sending of a renewal a member may answer."""
        return self.ttl_s - (self.ttl_s / 5 if self.margin_s is None else self.margin_s)

    @property
    def overdue_s(self) -> float:
        """How long after a member's row was read it must have been renewed or be gone, whatever the server knows."""
        return self.ttl_s + ROW_LEFTOVER_S


COMMIT_BATCHING = ("auto", "single", "batch")
STATE_CHECKS = ("always", "sampled", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """Bounds and habits of one worker's runtime.

    At a bound the caller gets `Overloaded`; nothing is dropped in silence.

    - `mailbox_max`: commands waiting on one actor. `waiting_max`: commands waiting on all actors of the worker.
    - `active_vms_max`: actors in memory; the least recently used idle one goes first.
    - `activations_max`: histories being read at once; the server reads them on the connection that all else waits for.
      `commits_in_flight_max`: commits that wait for their acknowledgement at once.
    - `commit_batching`: whether commits of different actors are stored together: "auto" while many wait for a server
      that is slow with single ones, as one is that syncs each write; "single" never, "batch" whenever some wait.
    - `turn_commands_max`: commands that share one commit.
    - `idle_passivation_s`: an actor unused for so long leaves memory, with a snapshot; 0 never.
    - `snapshot_every_events`: after so many events a snapshot is written; 0 never. `snapshot_after_replay_s`: it is
      also written after a replay that took so long; 0 never. `snapshots_in_flight_max`: snapshots written at once;
      further ones are left out.
    - `command_log_max`: command ids remembered for one actor. `command_log_margin_s`: how long an id that the client
      library made is remembered beyond its deadline. `command_window_s`: how long one that the caller gave is
      remembered after its commit.
    - `replay_retry_first_s`: how long before a history that could not be read is read again, and before commands whose
      append has no known outcome are run again; it doubles with each try. `replay_retry_max_s`: to how much at most.
    - `tell_attempts_max`: how often a tell whose handler fails is tried; after that it is given up. A rejection is no
      failure: it is final. `tell_retry_first_s`: how long before it is tried for the second time; it doubles with each
      try. `tell_retry_max_s`: to how much at most.
    - `inbox_purge`: remove from the beginning of the stream of tells what no worker needs any more, after four minutes;
      every worker has to have it on.
    - `schedule_late_s`: a tick later than that is left out, of a schedule with `catch_up="skip"`.
    - `tasks_running_max`: tasks that one worker runs at once; `max_running` of a `@task` says less for one of them.
      `task_threads_max`: those of them that are plain functions, each in a thread. `task_drain_s`: how long a worker
      that leaves lets its tasks go on before another worker begins them anew; half of `drain_timeout_s` at most.
    - `append_timeout_s`: an append without acknowledgement for so long has an unknown outcome.
    - `blocking_threads_max`: `blocking` handlers that run at once; others wait for a thread, within their deadlines.
    - `loop_silent_s`: a worker whose event loop is blocked for so long says by what in the log; 0 never.
    - `drain_timeout_s`: how long a worker may take to hand its shards over and answer what it took.
    - `cancel_grace_s`: a handler that goes on for so long after it was cancelled is given up; its actor answers
      `ActorFailed` until it ends.
    - `lifespan_exit_timeout_s`: how long, after the drain, the end of the model's lifespan is waited for.
    - `state_checks`: how often a state with containers is compared with the fold of its events, so that a change in
      place is found: "always" (each command: tests and development), "sampled" (the first command, a few percent of the
      others, and each that `state_checks_share` of the worker's time pays for) or "off". Before it is snapshotted it is
      compared in any case. `state_checks_share`: how much of a worker's time "sampled" checks may take.
    - `follow_stored`: apply events appended from outside as they arrive (see docs/guarantees.md for its cost).
    """

    mailbox_max: int = 1_024
    waiting_max: int = 16_384
    active_vms_max: int = 100_000
    activations_max: int = 64
    commits_in_flight_max: int = 4_096
    commit_batching: str = "auto"
    turn_commands_max: int = 512
    idle_passivation_s: float = 600.0
    snapshot_every_events: int = 500
    snapshot_after_replay_s: float = 0.5
    snapshots_in_flight_max: int = 64
    command_log_max: int = 2_000_000
    command_log_margin_s: float = 5.0
    command_window_s: float = 120.0
    replay_retry_first_s: float = 0.05
    replay_retry_max_s: float = 2.0
    tell_attempts_max: int = 10
    tell_retry_first_s: float = 0.1
    tell_retry_max_s: float = 60.0
    inbox_purge: bool = True
    schedule_late_s: float = 60.0
    tasks_running_max: int = 256
    task_threads_max: int = 32
    task_drain_s: float = 5.0
    append_timeout_s: float = 5.0
    cancel_grace_s: float = 1.0
    blocking_threads_max: int = 32
    loop_silent_s: float = 0.1
    drain_timeout_s: float = 25.0
    lifespan_exit_timeout_s: float = 4.0
    follow_stored: bool = True
    state_checks: str = "sampled"
    state_checks_share: float = 0.02

    def __post_init__(self) -> None:
        _at_least(self, 1, "mailbox_max", "waiting_max", "active_vms_max", "activations_max", "commits_in_flight_max",
                  "turn_commands_max", "snapshots_in_flight_max", "command_log_max",
                  "blocking_threads_max", "tell_attempts_max", "tasks_running_max", "task_threads_max")  # fmt: skip
        _at_least(self, 0, "idle_passivation_s", "snapshot_every_events", "snapshot_after_replay_s",
                  "command_log_margin_s", "replay_retry_first_s", "replay_retry_max_s", "tell_retry_first_s",
                  "tell_retry_max_s", "schedule_late_s", "task_drain_s", "cancel_grace_s",
                  "loop_silent_s", "drain_timeout_s", "lifespan_exit_timeout_s", "state_checks_share")  # fmt: skip
        _at_least(self, 0.01, "append_timeout_s", "command_window_s")
        if self.commit_batching not in COMMIT_BATCHING:
            text = f"commit_batching is one of {', '.join(COMMIT_BATCHING)}, not {self.commit_batching!r}"
            raise ConfigError(text, setting="commit_batching")
        if self.state_checks not in STATE_CHECKS:
            text = f"state_checks is one of {', '.join(STATE_CHECKS)}, not {self.state_checks!r}"
            raise ConfigError(text, setting="state_checks")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallConfig:
    """How a call behaves.

    - `deadline_s`: how long a call may take when it says nothing itself; at most 60.
    - `attempt_timeout_s`: how long the first attempt waits for its answer before the command is sent again.
    - `in_flight_max`: calls of one client that wait for their answers at once; further ones wait for room.
    - `call_retry_first_s`: how long before a command that was refused or not sent is sent again; it doubles with each
      attempt. `call_retry_max_s`: to how much at most.

    An attempt after one that got no answer waits longer, up to four times, so that a late answer is not asked for ever
    more often; an attempt that found no worker does not count.
    """

    deadline_s: float = 10.0
    attempt_timeout_s: float = 1.0
    in_flight_max: int = 4_096
    call_retry_first_s: float = 0.02
    call_retry_max_s: float = 0.5

    def __post_init__(self) -> None:
        _at_least(self, 0.001, "deadline_s", "attempt_timeout_s", "call_retry_first_s", "call_retry_max_s")
        _at_least(self, 1, "in_flight_max")
        if self.deadline_s > 60:
            raise ConfigError(f"deadline_s must be at most 60, not {self.deadline_s}", setting="deadline_s")


LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS = ("text", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What the workers and their supervisor write to standard error, one line per record.

    - `level`: the least that is written: debug, info, warning, error or critical.
    - `format`: `text`, for people, or `json`, one object per line.
    """

    level: str = "INFO"
    format: str = "text"

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", self.level.upper())
        object.__setattr__(self, "format", self.format.lower())
        for name, value, known in (("log_level", self.level, LOG_LEVELS), ("log_format", self.format, LOG_FORMATS)):
            if value not in known:
                raise ConfigError(f"{name} is one of {', '.join(known).lower()}, not {value.lower()!r}", setting=name)


EXIT_DRAINED = 0
EXIT_NOT_DRAINED = 1
EXIT_CANNOT_BOOT = 3
EXIT_CONFIGURATION = 4
EXIT_SYNC_FAILED = 5
"""Of a worker and its pool: the disk has failed a sync, so what the server has may not be what a power cut leaves."""


ENVIRONMENT: Mapping[str, tuple[type, str]] = {
    "AETHER_MEMBER_TTL_S": (ClusterConfig, "ttl_s"),
    "AETHER_NATS_URL": (ConnectionConfig, "url"),
    "AETHER_NATS_CREDENTIALS": (ConnectionConfig, "credentials_file"),
    "AETHER_NATS_USER": (ConnectionConfig, "user"),
    "AETHER_NATS_PASSWORD": (ConnectionConfig, "password"),
    "AETHER_NATS_TOKEN": (ConnectionConfig, "token"),
    "AETHER_NATS_TLS_CA": (ConnectionConfig, "tls_ca_file"),
    "AETHER_NATS_TLS_CERT": (ConnectionConfig, "tls_cert_file"),
    "AETHER_NATS_TLS_KEY": (ConnectionConfig, "tls_key_file"),
    "AETHER_SHARDS": (StorageConfig, "shards"),
    "AETHER_REPLICAS": (StorageConfig, "replicas"),
    "AETHER_SYNC": (StorageConfig, "sync"),
    "AETHER_NATS_STORE": (StorageConfig, "nats_store"),
    "AETHER_LOG_LEVEL": (LogConfig, "level"),
    "AETHER_LOG_FORMAT": (LogConfig, "format"),
    **{f"AETHER_{field.name.upper()}": (RuntimeConfig, field.name) for field in fields(RuntimeConfig)},
    **{f"AETHER_{field.name.upper()}": (CallConfig, field.name) for field in fields(CallConfig)},
}
"""Every variable that fills a setting, with the component and field that it fills."""


_Config = TypeVar("_Config")


def from_environment(component: type[_Config], environment: Mapping[str, str], **overrides: Any) -> _Config:
    """A component's settings: defaults, then the environment, then `overrides` that are not None.

    Raises `ConfigError` naming the variable whose value is of the wrong type.
    """
    values: dict[str, Any] = {}
    kinds = {field.name: field.type for field in fields(component)}  # type: ignore[arg-type]
    for variable, (owner, field) in ENVIRONMENT.items():
        if owner is component and variable in environment:
            values[field] = parsed(variable, environment[variable], kinds[field])
    values.update({name: value for name, value in overrides.items() if value is not None})
    return component(**values)


_PARSERS: Mapping[Any, Any] = {int: int, float: float, str: str}
_TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def parsed(variable: str, text: str, kind: Any) -> Any:
    """The value of a variable as an int, float, str or bool; `ConfigError` names the variable."""
    try:
        return _TRUTH[text.strip().lower()] if kind is bool else _PARSERS[kind](text)
    except (ValueError, KeyError):
        raise ConfigError(f"{variable} must be {kind.__name__}, not {text!r}", setting=variable) from None
