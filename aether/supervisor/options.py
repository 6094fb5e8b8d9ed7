"""The options of `run`, each declared once. Both command lines are made of them: `aether run` and the supervisor's own.

An option is a field of `RunOptions` with what its help says. `run_options` lists them for a parser.
"""

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from aether.supervisor.state import SupervisorConfig
from aether.system.environment import DATA_DIRECTORY_DEFAULT, usable_processors

WORKERS_DEFAULT_MAX = 4


def workers_default() -> int:
    """Workers when none are asked for: one for each usable processor, at most four."""
    return min(WORKERS_DEFAULT_MAX, usable_processors())


def _described(help: str, metavar: str = "", *, also: str = "", is_internal: bool = False) -> dict[str, Any]:
    """What parsers need to know of a field; `also` is a second flag, an internal option is none of `aether run`."""
    return {"help": help, "metavar": metavar, "also": also, "is_internal": is_internal}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What to run; None leaves a setting to the environment and then to its default. Times are in seconds.

    `model` is `module:attribute`.
    """

    model: str
    workers: int = field(
        default_factory=workers_default,
        metadata=_described("Worker processes. Default: one per processor, at most 4.", "N"),
    )
    nats: str | None = field(
        default=None, metadata=_described("'embedded' or a URL. Default: AETHER_NATS_URL, else embedded.", "URL")
    )
    namespace: str | None = field(
        default=None, metadata=_described("Default: AETHER_NAMESPACE, else the model's name.", "NAME")
    )
    node: str | None = field(
        default=None,
        metadata=_described(
            "This supervisor's name, which no other supervisor of the namespace may have. Default: AETHER_NODE, "
            "else the host's name and an id kept in --data-dir.",
            "NAME",
        ),
    )
    data_dir: Path = field(
        default=DATA_DIRECTORY_DEFAULT,
        metadata=_described(f"Data of the embedded server, and locks. Default: {DATA_DIRECTORY_DEFAULT}.", "PATH"),
    )
    port: int | None = field(
        default=None,
        metadata=_described("Port of the embedded server. Default: its last one, 4222, or a free one.", "N"),
    )
    replicas: int | None = field(
        default=None, metadata=_described("Copies of a new namespace's data. Default: AETHER_REPLICAS, else 1.", "N")
    )
    shards: int | None = field(
        default=None, metadata=_described("Shards of a new namespace. Default: AETHER_SHARDS, else 256.", "N")
    )
    sync: str | None = field(
        default=None,
        metadata=_described(
            "Who makes commits durable: 'barrier' the workers, 'server' the server as it is set, 'auto' the workers "
            "where that can be proved. Default: AETHER_SYNC, else auto.",
            "WHO",
        ),
    )
    drain_timeout_s: float = field(
        default=SupervisorConfig().drain_timeout_s,
        metadata=_described("How long draining may take before it is forced.", "SECONDS", also="--timeout"),
    )
    loop_silent_kill_s: float | None = field(
        default=None,
        metadata=_described(
            "How long an event loop may be silent before its worker is killed. Default: four fifths of the time in "
            "which a member answers, which is less than a lease lasts.",
            "SECONDS",
        ),
    )
    check_timeout_s: float = field(
        default=SupervisorConfig().check_timeout_s,
        metadata=_described("How long the code of a reload may take to be imported.", "SECONDS"),
    )
    http: str | None = field(
        default=None,
        metadata=_described(
            "Serve the actors over HTTP too, at this address, by a process beside the workers; needs the extra "
            "gateway. What others than this machine can reach needs authentication.",
            "HOST:PORT",
        ),
    )
    http_tokens: Path | None = field(
        default=None,
        metadata=_described("Bearer tokens for HTTP, a line each: role (read, call or admin), name, token.", "FILE"),
    )
    http_authorize: str | None = field(
        default=None,
        metadata=_described(
            "A function (request, kind, key, command) that decides on each request over HTTP.", "MODULE:NAME"
        ),
    )
    http_hosts: str | None = field(
        default=None,
        metadata=_described("Further names by which HTTP may be called, with commas between.", "NAMES"),
    )
    http_origins: str | None = field(
        default=None,
        metadata=_described("Origins whose pages may call over HTTP, with commas between. Default: none.", "ORIGINS"),
    )
    log_level: str | None = field(
        default=None,
        metadata=_described("debug, info, warning, error or critical. Default: AETHER_LOG_LEVEL, else info.", "LEVEL"),
    )
    log_format: str | None = field(
        default=None,
        metadata=_described("text, or json: one object per line. Default: AETHER_LOG_FORMAT, else text.", "FORMAT"),
    )
    reload: bool = field(
        default=False, metadata=_described("Restart the workers when a source file is saved: for development.")
    )
    dev: bool = field(
        default=False,
        metadata=_described(
            "Take a free port where that of --http is taken, and say where the dashboard is.", is_internal=True
        ),
    )
    check: bool = field(default=False, metadata=_described("Only load the model, and exit.", is_internal=True))

    def to_arguments(self) -> tuple[str, ...]:
        """The same options as the command line of `python -m aether.supervisor`."""
        given = [self.model]
        for option in run_options():
            value = getattr(self, option.name)
            if option.is_switch:
                given += [option.flags[0]] * value
            elif value is not None:
                given.append(f"{option.flags[0]}={value}")
        return tuple(given)


@dataclass(frozen=True, slots=True)
class RunOption:
    """One option for a parser: the field of `RunOptions` it sets, what is typed for it, and the type of its value."""

    name: str
    flags: tuple[str, ...]
    type: type
    metavar: str
    help: str
    is_internal: bool

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return self.type is bool


def run_options() -> list[RunOption]:
    """Every option of `run`, in the order of its help."""
    types = get_type_hints(RunOptions)
    return [
        RunOption(
            name=one.name,
            flags=(f"--{one.name.removesuffix('_s').replace('_', '-')}", *filter(None, [one.metadata["also"]])),
            type=_without_none(types[one.name]),
            metavar=one.metadata["metavar"],
            help=one.metadata["help"],
            is_internal=one.metadata["is_internal"],
        )
        for one in fields(RunOptions)
        if one.default is not MISSING or one.default_factory is not MISSING
    ]


def _without_none(annotation: Any) -> type:
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    found: type = kinds[0] if kinds else annotation
    return found
