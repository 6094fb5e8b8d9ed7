"""The first and last moments of a worker process: between the fork and the work, between the work and the exit.

Runs in the child only, on its one thread, and never returns. Its terminal's signals are the supervisor's business:
SIGINT, SIGHUP, SIGTTIN and SIGTTOU are ignored; SIGTERM keeps its default until the work takes it over.
"""

import faulthandler
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, TypeAlias

from aether.config import EXIT_CONFIGURATION, EXIT_NOT_DRAINED
from aether.errors import ConfigError, ModelError
from aether.system.forked import part_with_children
from aether.system.process import die_with_parent, ignore_terminal, leave, reset_signals, set_process_name
from aether.worker_protocol import WorkerSpec

Work: TypeAlias = Callable[[WorkerSpec], int]
"""What a worker does: it runs until it has drained after SIGTERM; its exit code."""

COLLECT_AFTER = (10_000, 3, 100)
"""`gc.set_threshold`: a command makes some twenty objects and no cycle. Python's own 700 cost a tenth of the CPU, and
double the 99th percentile, because every look at the oldest objects takes in all active actors: a second with 200,000.
So all are looked at after three million more, and cycles of garbage among them stay until then. Those that are neither
new nor old are looked at 30,000 at a time, which takes some 10 ms."""


def become_worker(
    spec: WorkerSpec, namespace: str, work: Work, supervisor_pid: int, close_fds: Iterable[int], kept_fds: Sequence[int]
) -> NoReturn:
    """Do the work in the process just forked and leave with its exit code.

    It closes `close_fds`, which are the supervisor's, and keeps `kept_fds`, which processes that it forks do not.
    """
    code = EXIT_NOT_DRAINED
    try:
        _settle(supervisor_pid, close_fds)
        set_process_name(f"aether-slot-{spec.slot}", f"aether: worker {spec.slot} {namespace}")
        part_with_children(kept_fds, "aether-forked", f"aether: forked by worker {spec.slot} {namespace}")
        code = work(spec)
    except (ConfigError, ModelError) as error:
        code = EXIT_CONFIGURATION
        print(f"aether: worker {spec.slot}: {error}", file=sys.stderr)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # the supervisor must see an exit code, whatever it was
        traceback.print_exc()
    finally:
        leave(code)


def _settle(supervisor_pid: int, close_fds: Iterable[int]) -> None:
    faulthandler.unregister(signal.SIGUSR1)
    ignore_terminal()
    reset_signals()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    die_with_parent(supervisor_pid)
    # Only the supervisor's own: the model may have opened files while it was imported. Above all the write end of the
    # parent pipe, whose end-of-file would never come while a worker holds it. The node's lock stays open.
    for fd in close_fds:
        os.close(fd)
    gc.set_threshold(*COLLECT_AFTER)
    gc.enable()
