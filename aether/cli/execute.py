"""One command line, start to end: parse, do, and turn whatever was raised into a line on stderr and an exit code.

The only place that catches. A bug of Aether's own keeps its traceback; a user's mistake never has one.
"""

import os
import sys
from collections.abc import Sequence

import typer
from typer.main import get_command

from aether.cli.app import app
from aether.cli.exits import (
    EXIT_BAD_INPUT,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_PIPE_CLOSED,
    error_line,
    exit_code,
    one_line,
)
from aether.cli.outside import Outside
from aether.cli.render import ReaderGone
from aether.config import EXIT_CONFIGURATION
from aether.errors import AetherError

# A newer typer carries its own copy of click, an older one uses the package: this is the class of either.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]


def execute(arguments: Sequence[str], outside: Outside | None = None) -> int:
    """Run a command line; the exit code."""
    world = outside or Outside.real()
    try:
        result = get_command(app).main(list(arguments), prog_name="aether", standalone_mode=False, obj=world)
    except AetherError as error:
        _say(error_line(error))
        return exit_code(error)
    except _USAGE_ERROR as error:
        return _misused(error)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except ReaderGone:
        # The interpreter flushes stdout once more at exit, and must not fail there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    return result if isinstance(result, int) else EXIT_DONE


def _misused(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "aether"
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    _say(f"usage: {text.rstrip('.')}; see {where} --help")
    # `run` speaks the supervisor's exit codes, where 2 has no meaning.
    return EXIT_CONFIGURATION if context and context.info_name == "run" else EXIT_BAD_INPUT


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
