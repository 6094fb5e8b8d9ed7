"""The command line: `aether run`, `call`, `state`, `history`, `ps` and `model`.

Owns what people type and read: arguments as text, tables, exit codes. On stdout there is the answer and nothing else,
as JSON wherever a program may read it; an error is one line on stderr. Everything happens in `aether.client` and
`aether.supervisor`. One process, one command, one event loop at most.
"""

import sys
from collections.abc import Sequence

from aether.config import EXIT_CONFIGURATION

_EXTRA = ("typer", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments`, by default the process's own; the exit code."""
    try:
        from aether.cli.execute import execute  # noqa: PLC0415 - needs an extra, which may be missing
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        print(f"the command line needs {missing}: `pip install 'aether-actors[cli]'` brings it", file=sys.stderr)
        return EXIT_CONFIGURATION
    return execute(sys.argv[1:] if arguments is None else arguments)
