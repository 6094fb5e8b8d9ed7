"""Which pool a command talks to: flags, then the environment, then the embedded server of the data directory.

Pure but for reading that server's address file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aether.config import CallConfig, ConnectionConfig, from_environment
from aether.errors import InvalidCommand
from aether.names import check_namespace
from aether.system.environment import DATA_DIRECTORY_DEFAULT, URL_VARIABLE, namespace_of, nats_url, recorded_url
from aether.system.running_supervisor import running_supervisors
from aether.wire import DEADLINE_AHEAD_MAX_S


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolChoice:
    """What the user said of the pool; None where nothing was said. `timeout_s` is for the whole command."""

    nats: str | None = None
    namespace: str | None = None
    timeout_s: float | None = None
    data_dir: Path = DATA_DIRECTORY_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The pool to talk to; `namespace` None is the only one that its server has."""

    connection: ConnectionConfig
    calls: CallConfig
    namespace: str | None
    unreachable_hint: str = ""
    """What to say when there is no server: which pool was looked for, and where."""

    @property
    def timeout_s(self) -> float:
        """How long the whole command may take, in seconds."""
        return self.calls.deadline_s


def find_target(asked: PoolChoice, variables: Mapping[str, str], model_name: str | None = None) -> Target:
    """The pool meant by what was asked, in an environment, with a model of some name or none.

    Raises `InvalidCommand` for a time-out that no deadline can have, `ConfigError` for every other setting.
    """
    timeout_s = asked.timeout_s
    if timeout_s is not None and not 0 < timeout_s <= DEADLINE_AHEAD_MAX_S:
        text = f"seconds are more than 0 and at most {DEADLINE_AHEAD_MAX_S:.0f}, not {timeout_s:g}"
        raise InvalidCommand(text, path="--timeout")
    url = asked.nats if asked.nats is not None else nats_url(variables, asked.data_dir)
    namespace = asked.namespace
    if namespace is None:
        namespace = namespace_of(variables, model_name)
    here = asked.nats is None and not variables.get(URL_VARIABLE)
    if namespace is None and here:
        namespace = _only_pool(asked.data_dir)
    return Target(
        connection=from_environment(ConnectionConfig, variables, url=url),
        calls=from_environment(CallConfig, variables, deadline_s=timeout_s),
        namespace=None if namespace is None else check_namespace(namespace),
        unreachable_hint=_hint(asked.data_dir, namespace) if here else "",
    )


def _only_pool(data_dir: Path) -> str | None:
    """The namespace of the pools that run with a data directory, when it is one."""
    running = {one.namespace for one in running_supervisors(data_dir)}
    return running.pop() if len(running) == 1 else None


def _hint(data_dir: Path, namespace: str | None) -> str:
    found = running_supervisors(data_dir)
    running = ", ".join(f"{one.namespace} (process {one.pid})" for one in found)
    if running and namespace not in (None, *(one.namespace for one in found)):
        return f"; what runs with {data_dir} is {running}"
    if running:
        return f"; the pool of {data_dir}, {running}, is still starting, or its server is away: try again in a moment"
    if recorded_url(data_dir) is not None:
        return f"; the pool of {data_dir} does not run now: start it with `aether run`"
    return f"; there is no pool's data in {data_dir} here: go to the pool's directory, or give --data-dir or --nats"
