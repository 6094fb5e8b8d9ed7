"""How a worker's log looks: one line a record, constant message first, fields behind it.

The library itself never configures logging.
"""

import logging
import sys

_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class FieldFormatter(logging.Formatter):
    """`time level logger: message key=value ...`, then a traceback if there is one."""

    def __init__(self, worker: str) -> None:
        super().__init__(f"%(asctime)s {worker} %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, with the record's own fields."""
        line = super().formatMessage(record)
        fields = {name: value for name, value in record.__dict__.items() if name not in _USUAL}
        return " ".join([line, *(f"{name}={value!s}" for name, value in fields.items())])


def configure_logging(worker: str, level: str) -> None:
    """Send every logger's records to standard error in that form. Called once, by the worker process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FieldFormatter(worker))
    logging.basicConfig(level=level, handlers=[handler], force=True)
