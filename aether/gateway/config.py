"""The bounds and habits of a gateway and of its server, checked when they are made. Needs no extra.

Each number is also read from the environment: `AETHER_HTTP_` and its name, for the process that `aether gateway` and
`aether run --http` start.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_type_hints

from aether.config import parsed
from aether.errors import ConfigError

MIB = 1024 * 1024
VARIABLE_PREFIX = "AETHER_HTTP_"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """How much a gateway takes and holds. What is over a bound is refused and told.

    - `body_bytes_max`: of one request's body. `body_timeout_s`: how long a body may take to arrive.
    - `calls_max`: requests that are worked on at once, without event streams. `streams_max`: event streams at once.
    - `rate_per_s`, `rate_burst`: requests per second of one caller, and at once. More is 429. A caller is the bearer of
      a token, else an address. No limit by default. `rate_callers_max`: so many callers are remembered.
    - `deadline_s`: how long a call may take when its request does not say with `Prefer: wait`.
    - `page_max`: the most events or keys of one answer. `page_default`: how many when the request says nothing.
    - `window_commits_max`, `window_bytes_max`: what is kept of the stream of events for all streams together. A stream
      whose reader is further behind than this is told so and closed.
    - `still_there_s`: an event stream that has nothing to say says so that often.
    - `cors_origins`: origins whose pages may use the gateway; `*` for all. None by default.
    - `hosts`: names by which the gateway may be called in `Host`; empty for all.
    """

    body_bytes_max: int = MIB
    body_timeout_s: float = 10.0
    calls_max: int = 1_024
    streams_max: int = 1_000
    rate_per_s: float = math.inf
    rate_burst: int = 100
    rate_callers_max: int = 10_000
    deadline_s: float = 10.0
    page_default: int = 1_000
    page_max: int = 100_000
    window_commits_max: int = 8_192
    window_bytes_max: int = 16 * MIB
    still_there_s: float = 15.0
    cors_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _above_zero(self)
        if self.deadline_s > 60:
            raise ConfigError(f"deadline_s must be at most 60, not {self.deadline_s}", setting="deadline_s")
        if self.page_default > self.page_max:
            text = f"page_default must be at most page_max ({self.page_max}), not {self.page_default}"
            raise ConfigError(text, setting="page_default")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What a server bears.

    - `connections_max`: open at once; further ones are closed. `head_bytes_max`: of a request's line and headers.
    - `head_timeout_s`: how long a head may take to arrive, from when the connection is there or its first byte.
    - `send_timeout_s`: how long a reader may take nothing while there is something for it.
    - `idle_timeout_s`: how long a connection is kept for another request.
    - `drain_timeout_s`: how long requests may take to be answered when the server is to stop.
    """

    connections_max: int = 4_096
    head_bytes_max: int = 32_768
    head_timeout_s: float = 10.0
    send_timeout_s: float = 30.0
    idle_timeout_s: int = 30
    drain_timeout_s: int = 20

    def __post_init__(self) -> None:
        _above_zero(self)


C = TypeVar("C", GatewayConfig, ServerConfig)


def from_variables(kind: type[C], variables: Mapping[str, str], **given: Any) -> C:
    """The settings with what the environment says of its numbers. Raises `ConfigError` with the variable's name."""
    types = get_type_hints(kind)
    named = {f"{VARIABLE_PREFIX}{one.name.upper()}": one.name for one in fields(kind)}
    found = {
        name: parsed(variable, variables[variable], types[name])
        for variable, name in named.items()
        if variable in variables and types[name] in (int, float)
    }
    return kind(**{**found, **given})


def _above_zero(config: GatewayConfig | ServerConfig) -> None:
    for one in fields(config):
        value = getattr(config, one.name)
        if isinstance(value, int | float) and not value > 0:
            raise ConfigError(f"{one.name} must be above 0, not {value}", setting=one.name)
