"""The options of a gateway's process, for its command lines. Needs no extra."""

from dataclasses import dataclass
from pathlib import Path

from aether.system.environment import DATA_DIRECTORY_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What to serve and where; None leaves a setting to the environment and then to its default.

    - `model`: `module:attribute`. `http`: `HOST:PORT`, or `fd` of a socket that listens already.
    - `tokens`: a file of bearer tokens. `authorize`: `module:attribute` of a function that decides on each request.
      One of them is a must where others than this machine can reach it.
    - `hosts`: further names by which it may be called, with commas between. `origins`: those whose pages may use it.
    - `nats`, `namespace`, `data_dir`: the pool, as for every client. `log_level`, `log_format`: see `LogConfig`.
    """

    model: str
    http: str = "127.0.0.1:8080"
    fd: int | None = None
    tokens: Path | None = None
    authorize: str | None = None
    hosts: str | None = None
    origins: str | None = None
    nats: str | None = None
    namespace: str | None = None
    data_dir: Path = DATA_DIRECTORY_DEFAULT
    log_level: str | None = None
    log_format: str | None = None

    def to_arguments(self) -> tuple[str, ...]:
        """The same options as the command line of `python -m aether.gateway`."""
        named = ("http", "fd", "tokens", "authorize", "hosts", "origins", "nats", "namespace", "data_dir", "log_level",
                 "log_format")  # fmt: skip
        given = ((name, getattr(self, name)) for name in named)
        return (self.model, *(f"--{name.replace('_', '-')}={value}" for name, value in given if value is not None))
