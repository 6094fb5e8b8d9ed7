"""One command line, start to end: parse, do, and turn whatever was raised into a line on stderr and an exit code.

The only place that catches. A bug of Aether's own keeps its traceback; a user's mistake never has one.
"""

import errno
import os
import re
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from aether.cli.app import app
from aether.cli.context import CliContext
from aether.cli.exits import (
    EXIT_BAD_INPUT,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_NOT_WRITTEN,
    EXIT_PIPE_CLOSED,
    error_line,
    exit_code,
    one_line,
)
from aether.cli.render import ReaderGone
from aether.config import EXIT_CONFIGURATION
from aether.errors import AetherError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

# A newer typer carries its own copy of click, an older one uses the package: this is the class of either.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]


def execute(arguments: Sequence[str], outside: CliContext | None = None) -> int:
    """Run a command line; the exit code."""
    if outside is None:
        _open_streams()
    world = outside or CliContext.real()
    try:
        result = get_command(app).main(list(arguments), prog_name="aether", standalone_mode=False, obj=world)
        sys.stdout.flush()
    except AetherError as error:
        _say(error_line(error))
        return exit_code(error)
    except _USAGE_ERROR as error:
        return _misused(error)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        _write_no_more()
        return EXIT_PIPE_CLOSED
    except SystemExit as ended:
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        _write_no_more()  # what click makes of a closed pipe, for --help
        return EXIT_PIPE_CLOSED
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _write_no_more()
        _say(f"the output cannot be written: {error.strerror}; the command itself was done")
        return EXIT_NOT_WRITTEN
    return result if isinstance(result, int) else EXIT_DONE


def _open_streams() -> None:
    """Streams that the process was started without lead nowhere; text that the terminal cannot show is escaped."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - likewise
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _write_no_more() -> None:
    """The interpreter flushes stdout once more at exit, and must not fail there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _misused(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "aether"
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    _say(f"usage: {text.rstrip('.')}{_hint(error, where)}{_elsewhere(text, context)}; see {where} --help")
    # `run` and `dev` speak the supervisor's exit codes, where 2 has no meaning.
    return EXIT_CONFIGURATION if context and context.info_name in ("run", "dev") else EXIT_BAD_INPUT


def _elsewhere(text: str, context: Any) -> str:
    """Which groups have the command that is not here; "" for other errors."""
    wanted = re.match(r"No such command '([^']+)'", text)
    groups: Mapping[str, Any] = getattr(context.command, "commands", {}) if context and wanted else {}
    found = [name for name, group in groups.items() if wanted and wanted[1] in getattr(group, "commands", ())]
    return f"; there is {', '.join(f'aether {name} {wanted[1]}' for name in found)}" if wanted and found else ""


def _hint(error: Exception, where: str) -> str:
    """Where a key goes that looks like an option; "" for other errors."""
    context = getattr(error, "ctx", None)
    if getattr(error, "option_name", None) is None or context is None:
        return ""
    values = [str(one.metavar or one.name) for one in context.command.params if one.param_type_name == "argument"]
    if not values:
        return ""
    return f"; a key or value that begins with - goes after --, as in {where} [OPTIONS] -- {' '.join(values)}"


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
