"""The command line: `aether run`, `call`, `state`, `history`, `ps` and `model`.

Owns what people type and read: arguments as text, tables, exit codes. On stdout there is the answer and nothing else,
as JSON wherever a program may read it; an error is one line on stderr. Everything happens in `aether.client` and
`aether.supervisor`. One process, one command, one event loop at most.
"""

# Few and small imports: until `main` is called an interrupt ends in a traceback.
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_EXTRA = ("typer", "rich")
_EXIT_CONFIGURATION = 4
_EXIT_INTERRUPTED = 130


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run the command line `arguments`, by default the process's own; the exit code."""
    try:
        taken = _end_at_once_when_interrupted()  # what a command needs takes a moment to import
        try:
            from aether.cli.execute import execute  # noqa: PLC0415 - needs an extra, which may be missing
        finally:
            if taken:
                signal.signal(signal.SIGINT, signal.default_int_handler)
        return execute(sys.argv[1:] if arguments is None else arguments)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        print(f"the command line needs {missing}: `pip install 'aether-actors[cli]'` brings it", file=sys.stderr)
        return _EXIT_CONFIGURATION
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED


def run() -> "NoReturn":
    """Run the command line of this process and end it: the `aether` script."""
    code = main()
    _end_at_once_when_interrupted()
    sys.exit(code)


def _end_at_once_when_interrupted() -> bool:
    """Let an interrupt end the process without a word, where there is nothing to end properly; whether it will.

    An interrupt that is ignored, as in the background of a shell, stays so.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return False
    try:
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(_EXIT_INTERRUPTED))
    except ValueError:  # another thread than the main one: no interrupt comes here
        return False
    return True
