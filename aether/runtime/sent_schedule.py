"""Schedules as the handler that sets one makes them, and what a tick of one sends: the next tick, another actor's tell.

The time is given, and what is made depends on nothing else: a handler that runs again sets the same schedule.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from msgspec.structs import replace

from aether.core.actor.agenda import OPEN_MAX, Agenda, has_room
from aether.errors import ActorFailed, InvalidCommand
from aether.ids import ActorId
from aether.json_checks import encode
from aether.model.definition import ActorCommand
from aether.model.schedules import Recurrence, When
from aether.runtime.pending_command import PendingCommand
from aether.runtime.sent_tell import PLACE_BYTES, addressed, encoded_args
from aether.runtime.telling import Telling
from aether.runtime.worker_context import WorkerContext
from aether.sends import CancelSchedule, Send, SetSchedule, encode_send, encode_sends, made_id
from aether.tells import Tell


class ScheduleSetting(NamedTuple):
    """What a handler asks for; the name and the time are checked where it does."""

    name: str
    when: When
    to: ActorCommand
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def set_by(
    running: PendingCommand,
    actor_id: ActorId,
    worker: WorkerContext,
    wanted: ScheduleSetting,
    now: datetime,
    *,
    version: int,
    sent: Sequence[Send],
    agenda: Agenda | None,
) -> SetSchedule:
    """The schedule that a handler sets once it has `sent` this, run at this version of its actor.

    Raises `InvalidCommand` for arguments that the command does not take, `UnknownActor`, `UnknownCommand`;
    `ActorFailed` in a query, and where nothing can be scheduled.
    """
    name, when, to, args, kwargs = wanted
    telling = _checked_telling(running, actor_id, worker, name, agenda, sent)
    command_type = worker.command_type(to.kind, to.command)
    if command_type.query:
        raise InvalidCommand(f"{to.command} is a query, and a query cannot be scheduled: it does nothing", "command")
    whose = f"{to.kind}.{to.command}, which {running.type.name} schedules"
    target, by, recurrence = addressed(to, whose), running.command, when.recurrence
    setting = SetSchedule(
        name=name,
        id=made_id(actor_id, by.id, version, len(sent)),
        at=when.first(now),
        kind=target.kind,
        key=target.key,
        command=to.command,
        args=encoded_args(command_type.encode_args, args, kwargs, whose),
        rule=recurrence.rule,
        zone=recurrence.zone,
        catch_up=recurrence.catch_up,
        correlationid=by.correlationid or by.id,
        causationid=by.id,
        traceparent=by.traceparent,
    )
    size, most = len(encode_send(setting)), telling.tell_bytes_max - 2 * PLACE_BYTES
    if size > most:
        raise InvalidCommand(f"a schedule is at most {most} bytes, this is {size} ({whose})", path="args")
    _check_ticks_fit(setting, actor_id, worker.commit_bytes_max, whose)
    return setting


def _check_ticks_fit(setting: SetSchedule, actor_id: ActorId, commit_bytes_max: int, whose: str) -> None:
    """Refuse what could never be run: a tick stores what it tells another actor, and the next tick, in one commit."""
    told = tick_for_another(setting, actor_id, setting.traceparent)
    sends: list[Send] = [one for one in (told, setting if setting.rule else None) if one is not None]
    if not sends:
        return
    size, most = len(encode(encode_sends(sends))), commit_bytes_max - 2 * PLACE_BYTES
    if size > most:
        what = "what each tick of a schedule stores for another actor and for the next tick"
        raise InvalidCommand(f"{what} is at most {most} bytes, this is {size} ({whose})", path="args")


def _checked_telling(
    running: PendingCommand,
    actor_id: ActorId,
    worker: WorkerContext,
    name: str,
    agenda: Agenda | None,
    sent: Sequence[Send],
) -> Telling:
    telling, actor = worker.telling, str(actor_id)
    if running.type.query:
        raise ActorFailed(f"the query {running.type.name} set a schedule", actor=actor)
    if telling is None or not telling.has_timers:
        why = "nothing can be scheduled here: this runtime has no timers; a test with `local_pool` has them"
        raise ActorFailed(why, actor=actor)
    if not telling.can_schedule():
        why = "nothing can be scheduled while a worker of an earlier version, which does not know schedules, is there"
        raise ActorFailed(why, actor=actor)
    if not has_room(agenda, sent, name):
        raise ActorFailed(f"an actor has at most {OPEN_MAX} tasks and schedules open", actor=actor)
    return telling


def is_too_late(tick: SetSchedule, now: datetime, late_s: float) -> bool:
    """Whether a tick is left out: its schedule skips what was not run in time, and it is later than `late_s`."""
    return tick.catch_up == "skip" and (now - tick.at).total_seconds() > late_s


def tick_for_another(tick: SetSchedule, actor_id: ActorId, traceparent: str) -> Tell | None:
    """What the actor that has set a schedule tells its target when a tick is due; None when it is the target.

    `traceparent` is that of the tick.
    """
    if (tick.kind, tick.key) == (actor_id.kind, actor_id.key):
        return None
    return Tell(
        kind=tick.kind,
        key=tick.key,
        command=tick.command,
        args=tick.args,
        correlationid=tick.correlationid,
        causationid=tick.causationid,
        traceparent=traceparent,
        due=tick.at,
    )


def next_setting(tick: SetSchedule, sent: Sequence[Send], now: datetime) -> SetSchedule | None:
    """The schedule with its next tick, once this tick has been run or left out; None when there is none.

    `sent` is what the tick's command has sent: where it has set or cancelled the schedule itself, that holds. Raises
    `InvalidCommand` when the rule cannot be read here.
    """
    if not tick.rule:
        return None
    if any(isinstance(send, SetSchedule | CancelSchedule) and send.name == tick.name for send in sent):
        return None
    following = Recurrence(tick.rule, tick.zone, tick.catch_up).after_run(tick.at, now)
    return None if following is None else replace(tick, at=following)
