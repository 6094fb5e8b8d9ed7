"""The bounds and habits of a gateway, checked when they are made. Needs no extra."""

from dataclasses import dataclass

from aether.errors import ConfigError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """How much a gateway takes and holds. What is over a bound is refused and told.

    - `body_bytes_max`: of one request's body. `body_timeout_s`: how long a body may take to arrive.
    - `calls_max`: requests that are worked on at once, without event streams. `streams_max`: event streams at once.
    - `deadline_s`: how long a call may take when its request does not say with `Prefer: wait`.
    - `page_max`: the most events or keys of one answer; `page_default`: when the request does not say.
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
    deadline_s: float = 10.0
    page_default: int = 1_000
    page_max: int = 100_000
    window_commits_max: int = 8_192
    window_bytes_max: int = 16 * MIB
    still_there_s: float = 15.0
    cors_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("body_bytes_max", "body_timeout_s", "calls_max", "streams_max", "deadline_s", "page_default",
                     "page_max", "window_commits_max", "window_bytes_max", "still_there_s"):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}", setting=name)
        if self.deadline_s > 60:
            raise ConfigError(f"deadline_s must be at most 60, not {self.deadline_s}", setting="deadline_s")
        if self.page_default > self.page_max:
            text = f"page_default must be at most page_max ({self.page_max}), not {self.page_default}"
            raise ConfigError(text, setting="page_default")
