"""How the supervisor's words reach people: one line each on standard error, as text or as JSON.

Without the logging module, which the model may have configured: these lines are part of how a pool is run.
"""

import os
import sys
import time

from aether.config import LOG_LEVELS, LogConfig
from aether.worker_log import json_line


class Console:
    """Says lines of at least the level of `log`; `aether: ...`, or a JSON object like those of the workers."""

    def __init__(self, log: LogConfig | None = None) -> None:
        self._log = log or LogConfig()

    def __call__(self, text: str, level: str = "INFO") -> None:
        """Say it, at one of `LOG_LEVELS`."""
        if LOG_LEVELS.index(level) < LOG_LEVELS.index(self._log.level):
            return
        line = f"aether: {text}"
        if self._log.format == "json":
            line = json_line(time.time(), level, "aether.supervisor", text, {"pid": os.getpid()})
        try:
            sys.stderr.write(f"{line}\n")  # in one go: workers write to the same pipe
            sys.stderr.flush()
        except OSError:
            return  # a closed terminal must not end a supervisor
