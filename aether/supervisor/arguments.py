"""The plain command line of the supervisor: from arguments to `RunOptions`. It parses, and runs nothing."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from aether.config import EXIT_CONFIGURATION, SYNC
from aether.supervisor.run import RunOptions


def options_from(arguments: Sequence[str]) -> RunOptions:
    """The options of a command line; SystemExit for one that cannot be parsed, or that asks for help."""
    program = "python -m aether.supervisor"
    parser = _Parser(prog=program, description="Run a pool of Aether workers.", allow_abbrev=False)
    parser.add_argument("model", help="module:attribute of the model")
    parser.add_argument("--workers", type=int, help="processes (default: the processors, at most 4)")
    parser.add_argument("--nats", help="'embedded' or a URL (default: AETHER_NATS_URL, else embedded)")
    parser.add_argument("--namespace", help="default: the model's name")
    parser.add_argument("--data-dir", type=Path, help="data and locks (default: .aether)")
    parser.add_argument("--port", type=int, help="port of the embedded server (default: its last, 4222, or a free one)")
    parser.add_argument(
        "--node", help="this supervisor's name in the cluster (default: host name and id of --data-dir)"
    )
    parser.add_argument("--shards", type=int, help="of a new namespace (default: 256)")
    parser.add_argument("--replicas", type=int, help="of a new namespace (default: 1)")
    parser.add_argument("--sync", choices=SYNC, help="who makes commits durable (default: AETHER_SYNC, else auto)")
    parser.add_argument("--drain-timeout", type=float, dest="drain_timeout_s", help="seconds before draining is forced")
    silent = "seconds an event loop may be silent before its worker is killed (default: less than a lease lasts)"
    parser.add_argument("--loop-silent-kill", type=float, dest="loop_silent_kill_s", help=silent)
    parser.add_argument(
        "--check-timeout", type=float, dest="check_timeout_s", help="seconds the code of a reload may take"
    )
    parser.add_argument("--log-level", help="debug, info, warning, error or critical (default: AETHER_LOG_LEVEL, info)")
    parser.add_argument("--log-format", help="text or json (default: AETHER_LOG_FORMAT, text)")
    parser.add_argument("--reload", action="store_true", help="restart the workers when a source file is saved")
    parser.add_argument("--check", action="store_true", help="only load the model, and exit")
    given = parser.parse_args(arguments)
    return RunOptions(**{name: value for name, value in vars(given).items() if value is not None})


class _Parser(argparse.ArgumentParser):
    """Wrong options are a configuration error, with its exit code."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(EXIT_CONFIGURATION if status else 0, message)
