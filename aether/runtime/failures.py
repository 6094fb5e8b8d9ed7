"""What of a command that did not end well is remembered: who asked what of which actor, and where it went wrong.

It never raises, whatever the text of a user's error does, and is called when a command has failed only.
"""

import os
import site
import sysconfig
from pathlib import Path
from types import TracebackType

from aether.core.metrics.failures import TASK, Failure, RecentFailures
from aether.errors import AetherError, DeadlineExceeded, InvalidCommand, Rejected
from aether.ids import ActorId
from aether.log_lines import type_name
from aether.sends import StartTask
from aether.wire import Command

_OURS = f"{Path(__file__).parents[1]}{os.sep}"
_LIBRARIES = (sysconfig.get_paths()["stdlib"], *site.getsitepackages(), site.getusersitepackages(), "<frozen ")


def note_failure(
    failures: RecentFailures, actor_id: ActorId, command: Command, error: BaseException, now_s: float
) -> None:
    """Remember how a command ended; `now_s`: Unix seconds."""
    try:
        message = error.message if isinstance(error, AetherError) else str(error)
    except BaseException as unspeakable:  # users' code
        message = f"it cannot be described: {type_name(unspeakable)}"
    failures.add(
        Failure(
            actor_id.kind,
            actor_id.key,
            command.command,
            _outcome(error),
            type_name(error),
            str(message),
            place_of(error.__traceback__),
            command.id,
            command.correlationid or command.id,
            now_s,
        )
    )


def note_task_failure(
    failures: RecentFailures, start: StartTask, error: BaseException, message: str, now_s: float
) -> None:
    """Remember how an attempt of a task ended, under its actor; `now_s`: Unix seconds."""
    failures.add(
        Failure(
            start.actor_id.kind,
            start.actor_id.key,
            TASK + start.task,
            "timed_out" if isinstance(error, TimeoutError) else "failed",
            type_name(error),
            message,
            place_of(error.__traceback__),
            start.causationid,
            start.correlationid or start.causationid,
            now_s,
        )
    )


def place_of(traceback: TracebackType | None) -> str:
    """The innermost line of the user's own code, as `file:line in function`; else of any but Aether's; else ""."""
    own = other = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        name = code.co_filename
        if not name.startswith(_OURS):
            other = f"{name}:{traceback.tb_lineno} in {code.co_name}"
            if not name.startswith(_LIBRARIES):
                own = other
        traceback = traceback.tb_next
    return own or other


def _outcome(error: BaseException) -> str:
    if isinstance(error, Rejected | InvalidCommand):
        return "rejected"
    return "timed_out" if isinstance(error, DeadlineExceeded) else "failed"
