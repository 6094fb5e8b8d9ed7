"""`python -m aether.supervisor module:model`: the supervisor of a pool, by its plain command line."""

# Few and small imports: until `main` is called an interrupt ends in a traceback.
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_EXIT_NOT_DRAINED = 1
_STDERR_FD = 2


def main() -> int:
    """Run the command line of this process; its exit code."""
    try:
        taken = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if taken:  # else it is ignored, as in the background of a shell, and stays so
            signal.signal(signal.SIGINT, lambda _number, _frame: _interrupted())
        from aether.supervisor.arguments import options_from  # noqa: PLC0415 - takes a moment
        from aether.supervisor.run import run  # noqa: PLC0415

        if taken:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run(options_from(sys.argv[1:]))
    except KeyboardInterrupt:
        _interrupted()


def _interrupted() -> "NoReturn":
    """End without a traceback: nothing was begun."""
    os.write(_STDERR_FD, b"aether: interrupted while it started\n")
    os._exit(_EXIT_NOT_DRAINED)


if __name__ == "__main__":
    sys.exit(main())
