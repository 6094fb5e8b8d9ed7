"""What the caller hears of an error that a handler raised. Counts and logs it; users' code may raise here too."""

import asyncio
import logging

from aether.errors import (
    ActorFailed,
    AetherError,
    DeadlineExceeded,
    InvalidCommand,
    Rejected,
    StateChangedOutsideEvent,
    asked_by,
)
from aether.ids import ActorId
from aether.log_lines import type_name
from aether.runtime.ask_errors import of_group, passed_on, too_late
from aether.runtime.counters import Counters
from aether.runtime.pending_command import PendingCommand
from aether.wire import encode_error

log = logging.getLogger("aether.turn")


def encode_failure(error: BaseException, pending: PendingCommand, actor_id: ActorId, counters: Counters) -> bytes:
    """The answer to a command whose handler raised. Never raises, whatever the error's text or class does."""
    try:
        return encode_error(_described(error, pending, actor_id, counters))
    except BaseException as unspeakable:  # users' code too: the error's text, its details, its class
        name, why = type_name(error), type_name(unspeakable)
        message = f"{pending.command.command} failed with {name}, which cannot be described: {why}"
        log.error(message, exc_info=unspeakable, extra={"actor": str(actor_id)})
        return encode_error(ActorFailed(message, actor=str(actor_id), command_id=pending.id))


def _described(error: BaseException, pending: PendingCommand, actor_id: ActorId, counters: Counters) -> AetherError:
    """What a handler's error is to the caller: a decision is passed on, everything else is the handler's failure.

    A handler cannot speak for the runtime: callers retry `Unavailable`, and believe what `DeadlineExceeded` says.
    """
    cause = too_late(error)
    asked = asked_by(cause)
    heard = passed_on(cause, asked, pending.type.name) if asked else error
    if isinstance(heard, Rejected | InvalidCommand):
        counters.commands_rejected += 1
        pending.counts.rejected += 1
        return heard
    if asked and isinstance(heard, DeadlineExceeded):
        pending.counts.timed_out += 1
        return heard
    counters.handlers_failed += 1
    pending.counts.failed += 1
    command = pending.command
    log.error(
        "a handler failed",
        exc_info=error,
        extra={"actor": str(actor_id), "command": command.command, "command_id": command.id},
    )
    if isinstance(heard, StateChangedOutsideEvent):
        return heard
    what = f"{type_name(heard)}: {heard}{of_group(heard)}"
    if isinstance(heard, ActorFailed):
        what = heard.message
    elif isinstance(error, asyncio.CancelledError):
        what = "CancelledError: its own code cancelled it, or something that it waited for"
    failed = ActorFailed(f"{command.command} failed: {what}", actor=str(actor_id), command_id=command.id)
    if asked and isinstance(heard, ActorFailed):
        failed.details = {**heard.details, **failed.details}
    return failed
