"""The page of settings: from the dataclasses of `aether.config` and the supervisor's, and the table of variables."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from aether.config import (
    ENVIRONMENT,
    CallConfig,
    ClusterConfig,
    ConnectionConfig,
    LogConfig,
    RuntimeConfig,
    StorageConfig,
)
from aether.gateway.config import VARIABLE_PREFIX as HTTP_PREFIX
from aether.gateway.config import GatewayConfig, ServerConfig
from aether.system.environment import NAMESPACE_VARIABLE
from scripts.reference.text import docstring, document, meanings, table

INTRODUCTION = """
Settings come from the environment. Options of `aether run` come before variables, and variables before defaults. A
program that builds its own `Runtime` or calls `aether.connect` may give the same settings as dataclasses. A value of
the wrong type, or out of bounds, is a `ConfigError` that names the setting. A setting without a variable is given in
code, or by an option of the command line.
The options are in [command line](cli.md).

A truth value is `1`, `true`, `yes` or `on`, or `0`, `false`, `no` or `off`. Seconds may have a fraction.
"""

COMPONENTS: Mapping[type, tuple[str, str]] = {
    ConnectionConfig: (
        "Connection to NATS",
        "For workers, clients and the command line. `aether.ConnectionConfig`.",
    ),
    CallConfig: ("Calls", "For clients and the command line. `aether.CallConfig`."),
    RuntimeConfig: ("Runtime", "For each worker. `aether.RuntimeConfig`."),
    LogConfig: ("Logs", "For the workers and the supervisor of `aether run`; also `--log-level`, `--log-format`."),
    StorageConfig: (
        "Storage",
        "What a new namespace is created with. Another number of shards is refused later. `aether.StorageConfig`.",
    ),
    GatewayConfig: (
        "HTTP gateway",
        "For each gateway. Variables, `AETHER_HTTP_` and a name, are for its process. `aether.gateway.GatewayConfig`.",
    ),
    ServerConfig: (
        "HTTP server",
        "For `aether gateway` and `aether run --http`; where a gateway is mounted, the server around it has its own.",
    ),
    ClusterConfig: (
        "Cluster",
        "How a worker keeps its place among the others. Only the time to live can be set from outside.",
    ),
}

POOL = (
    (NAMESPACE_VARIABLE, "the model's name", "which namespace: of `aether run`, of clients and of the command line"),
    ("AETHER_NODE", "the host's name and an id", "this supervisor's name, which no other of the namespace may have"),
    (
        "AETHER_LOOP_SILENT_KILL_S",
        "four fifths of the time in which a member answers",
        "seconds that an event loop may be silent before its worker is killed",
    ),
)

UNITS = {"_s": "seconds", "_max": "count", "_events": "events", "_limit": "count"}


def page() -> str:
    """The page."""
    parts = [INTRODUCTION, "## Pool", table(("variable", "default", "meaning"), [(f"`{v}`", d, m) for v, d, m in POOL])]
    for component, (title, about) in COMPONENTS.items():
        parts += [f"## {title}", about, _component(component)]
    return document("Configuration", *parts)


def _component(component: type) -> str:
    said = meanings(docstring(component.__module__, component.__name__))
    variables = {field: name for name, (owner, field) in ENVIRONMENT.items() if owner is component}
    if component in (GatewayConfig, ServerConfig):
        numbers = [field.name for field in fields(component) if field.type in (int, float)]
        variables = {name: f"{HTTP_PREFIX}{name.upper()}" for name in numbers}
    rows = []
    for field in fields(component):
        variable = variables.get(field.name)
        if field.name not in said:
            raise LookupError(f"the docstring of {component.__name__} has no bullet for `{field.name}`")
        rows.append(
            (f"`{field.name}`", f"`{variable}`" if variable else "", _unit(field), _default(field), said[field.name])
        )
    return table(("setting", "variable", "unit", "default", "meaning"), rows)


def _unit(field: Field[Any]) -> str:
    if field.type is bool:
        return "truth value"
    if field.type is str or field.default == ():
        return "text"
    found = next((unit for suffix, unit in UNITS.items() if field.name.endswith(suffix)), None)
    return found or ("share" if field.type is float else "count")


def _default(field: Field[Any]) -> str:
    value = field.default
    assert value is not MISSING, f"{field.name} has no default"
    if value in ("", ()):
        return "none"
    if value is None:
        return "see there"
    return f"`{str(value).lower() if field.type is bool else value}`"
