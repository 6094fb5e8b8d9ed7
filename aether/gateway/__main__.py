"""`python -m aether.gateway module:model`: a gateway by its plain command line, as a supervisor starts it."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from aether.config import EXIT_CONFIGURATION
from aether.gateway.options import GatewayOptions
from aether.gateway.process import run_gateway


class _Parser(argparse.ArgumentParser):
    """Wrong options are a configuration error, with its exit code."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(EXIT_CONFIGURATION if status else 0, message)


def main() -> int:
    """Run the command line of this process; its exit code."""
    parser = _Parser(prog="python -m aether.gateway", description="Serve actors over HTTP.", allow_abbrev=False)
    parser.add_argument("model", help="module:attribute of the model")
    parser.add_argument("--http", help="HOST:PORT (default: 127.0.0.1:8080)")
    parser.add_argument("--fd", type=int, help="of a socket that listens already")
    parser.add_argument("--tokens", type=Path, help="a file of bearer tokens")
    for name in ("authorize", "hosts", "origins", "nats", "namespace", "log-level", "log-format"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    return run_gateway(GatewayOptions(**{name: value for name, value in vars(given).items() if value is not None}))


if __name__ == "__main__":
    sys.exit(main())
