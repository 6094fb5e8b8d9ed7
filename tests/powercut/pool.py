"""A pool whose embedded server is set otherwise: `python -m tests.powercut.pool [--sync-interval TEXT] OPTION...`.

`--sync-interval` is the server's, or `none` for no such line. The streams get the smallest blocks that a server makes
(32 kB), so that a short run has many; a server that is started again goes on with blocks of the usual size, and
`--whole-blocks` leaves them so from the start. `--without` names a step of the sync barrier (`ablations`) that
is left out, `--sync-takes` how many seconds a sync takes. With `--shorten` workers remove from the inbox what is not
needed, all the time. The other options are those of `python -m aether.supervisor`.
"""

import argparse
import os
import subprocess
import sys
import time
from typing import Any

from aether.jetstream import adapters
from aether.supervisor import run as run_module
from aether.supervisor.arguments import options_from
from aether.supervisor.options import RunOptions
from aether.supervisor.run import run
from aether.system import embedded
from tests.powercut.ablations import WITHOUT
from tests.support.shortening import shorten_all_the_time

_END = "}\n"


def set_sync_interval(text: str) -> None:
    """Have embedded servers configured with this `sync_interval`."""
    configuration: Any = embedded._configuration

    def configured(*args: Any) -> str:
        lines = [line for line in configuration(*args).splitlines(keepends=True) if "sync_interval" not in line]
        assert lines[-1] == _END, lines
        return "".join([*lines[:-1], "" if text == "none" else f"  sync_interval: {text}\n", _END])

    vars(embedded)["_configuration"] = configured


def slow_down(sync_s: float) -> None:
    """Have a worker's disk take so long for a sync of a file."""
    sync = os.fdatasync

    def slow(fd: int) -> None:
        time.sleep(sync_s)
        sync(fd)

    vars(os)["fdatasync"] = slow


def shorten_inbox() -> None:
    """Have workers shorten the inbox down to the last few messages; the server has to sync at least once per second.

    A schedule that was set keeps its mark back until the server has synced its stream, which it does every two minutes.
    """
    os.environ["AETHER_INBOX_PURGE"] = "true"
    shorten_all_the_time()
    vars(adapters)["UNSYNCED_S"] = 3.0


def make_small_blocks() -> None:
    """Have the streams of the namespace made with small blocks, before any worker looks for them."""
    start: Any = run_module._embedded

    def started(options: RunOptions, **how: Any) -> embedded.EmbeddedServer:
        server: embedded.EmbeddedServer = start(options, **how)
        program = [sys.executable, "-m", "tests.powercut.small_blocks", server.url, options.namespace or ""]
        subprocess.run(program, check=True, timeout=60)
        return server

    vars(run_module)["_embedded"] = started


def main() -> int:
    """Run the command line of this process; its exit code."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--sync-interval")
    parser.add_argument("--whole-blocks", action="store_true")
    parser.add_argument("--sync-takes", type=float)
    parser.add_argument("--without", choices=sorted(WITHOUT))
    parser.add_argument("--shorten", action="store_true")
    own, others = parser.parse_known_args()
    if own.sync_interval is not None:
        set_sync_interval(own.sync_interval)
    if own.sync_takes is not None:
        slow_down(own.sync_takes)
    if own.shorten:
        shorten_inbox()
    if own.without is not None:
        WITHOUT[own.without]()
    if not own.whole_blocks:
        make_small_blocks()
    return run(options_from(others))


if __name__ == "__main__":
    sys.exit(main())
