"""How a worker's log looks: one line per record, as text or as JSON, with the command that the line was written for.

The library itself never configures logging: a worker process does, once, for its own and its users' loggers.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aether.config import LogConfig
from aether.log_lines import printable
from aether.runtime.running import log_fields

_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class CommandFilter(logging.Filter):
    """Gives each record the `actor`, `command`, `command_id` and `correlation_id` of the command it is written for.

    It lets every record pass, and leaves fields that the record has already. Put it on a handler: it runs in the
    context of the code that logs.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """True, after the fields were added."""
        for name, value in log_fields().items():
            record.__dict__.setdefault(name, value)
        return True


class FieldFormatter(logging.Formatter):
    """`time worker[pid] level logger: message key=value ...`, then a traceback if there is one.

    Keys and ids are whatever callers say, so no field can begin a line of its own.
    """

    def __init__(self, worker: str) -> None:
        super().__init__(f"%(asctime)s {worker}[{os.getpid()}] %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, with the record's own fields."""
        line = super().formatMessage(record)
        return " ".join([line, *(f"{name}={printable(str(value))}" for name, value in _own_fields(record).items())])


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `time`, `level`, `logger`, `message`, `worker`, `pid`, and the record's own fields."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._who = {"worker": worker, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = {**self._who, **_own_fields(record)}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return json_line(record.created, record.levelname, record.name, record.getMessage(), fields)


def json_line(time_s: float, level: str, logger: str, message: str, fields: Mapping[str, Any]) -> str:
    """A log line as JSON; `time_s` is Unix seconds. What of `fields` is no JSON value is written as text.

    A field with the name of one of the line's own gets an underscore behind it.
    """
    time = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    line = {"time": time, "level": level, "logger": logger, "message": message}
    named = {name if name not in line else f"{name}_": _as_json(value) for name, value in fields.items()}
    return json.dumps({**line, **named}, ensure_ascii=False)


def _as_json(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value


def _own_fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in _USUAL}


def configure_logging(worker: str, log: LogConfig) -> None:
    """Send every logger's records to standard error in that form. Called once, by the worker process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(worker) if log.format == "json" else FieldFormatter(worker))
    handler.addFilter(CommandFilter())
    logging.basicConfig(level=log.level, handlers=[handler], force=True)
