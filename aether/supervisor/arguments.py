"""The plain command line of the supervisor: from arguments to `RunOptions`. It parses, and runs nothing."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from aether.config import EXIT_CONFIGURATION
from aether.supervisor.options import RunOptions, run_options


def options_from(arguments: Sequence[str]) -> RunOptions:
    """The options of a command line; SystemExit for one that cannot be parsed, or that asks for help."""
    program = "python -m aether.supervisor"
    parser = _Parser(prog=program, description="Run a pool of Aether workers.", allow_abbrev=False)
    parser.add_argument("model", help="module:attribute of the model")
    for option in run_options():
        if option.is_switch:
            parser.add_argument(*option.flags, dest=option.name, action="store_true", help=option.help)
        else:
            parser.add_argument(
                *option.flags, dest=option.name, type=option.type, metavar=option.metavar, help=option.help
            )
    given = parser.parse_args(arguments)
    return RunOptions(**{name: value for name, value in vars(given).items() if value is not None})


class _Parser(argparse.ArgumentParser):
    """Wrong options are a configuration error, with its exit code."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(EXIT_CONFIGURATION if status else 0, message)
