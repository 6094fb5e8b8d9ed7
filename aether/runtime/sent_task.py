"""The start of a task as the handler that starts it makes it: checked against the model, so that it can be run."""

from collections.abc import Callable, Sequence
from inspect import Parameter, formatannotation
from typing import Any

from msgspec import inspect

from aether.core.actor.agenda import OPEN_MAX, Agenda, has_room
from aether.errors import ActorFailed, InvalidCommand
from aether.ids import ActorId
from aether.model.definition import DeclaredCommand
from aether.model.fitting import can_fit
from aether.model.task_type import TaskType
from aether.model.tasks import TaskCall, TaskFailed
from aether.runtime.pending_command import PendingCommand
from aether.runtime.sent_tell import PLACE_BYTES, encoded_args
from aether.runtime.telling import Telling
from aether.runtime.worker_context import WorkerContext
from aether.sends import Send, StartTask, encode_send, made_id

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

_FAILURE = inspect.type_info(TaskFailed)


def started_by(
    running: PendingCommand,
    actor_id: ActorId,
    worker: WorkerContext,
    call: TaskCall[Any],
    then: str,
    failed: str,
    *,
    version: int,
    sent: Sequence[Send],
    agenda: Agenda | None,
) -> StartTask:
    """The start of a task that a handler makes once it has `sent` this, run at this version of its actor.

    Raises `InvalidCommand` for a task that the model does not have, for arguments that it does not take, and for
    commands that do not take its result; `ActorFailed` in a query, and where no task can be started.
    """
    telling = _checked_telling(running, actor_id, worker, agenda, sent)
    task_type = worker.task_type(call.task)
    check_takes_what_comes(task_type, then, failed, lambda name: worker.command_type(actor_id.kind, name))
    by, whose = running.command, f"the task {task_type.name}, which {running.command.command} starts"
    start = StartTask(
        id=made_id(actor_id, by.id, version, len(sent)),
        task=task_type.name,
        args=encoded_args(task_type.encode_args, call.args, call.kwargs, whose),
        then=then,
        failed=failed,
        correlationid=by.correlationid or by.id,
        causationid=by.id,
        traceparent=by.traceparent,
    )
    size, most = len(encode_send(start)), telling.tell_bytes_max - PLACE_BYTES
    if size > most:
        raise InvalidCommand(f"the start of a task is at most {most} bytes, this is {size} ({whose})", path="call")
    return start


def _checked_telling(
    running: PendingCommand, actor_id: ActorId, worker: WorkerContext, agenda: Agenda | None, sent: Sequence[Send]
) -> Telling:
    telling, actor = worker.telling, str(actor_id)
    if running.type.query:
        raise ActorFailed(f"the query {running.type.name} started a task", actor=actor)
    if telling is None or not telling.has_tasks:
        why = "no task can be started here: this runtime has no inbox; a test with `local_pool` has one"
        raise ActorFailed(why, actor=actor)
    if not telling.can_schedule():
        why = "no task can be started while a worker of an earlier version, which does not know tasks, is there"
        raise ActorFailed(why, actor=actor)
    if not has_room(agenda, sent):
        raise ActorFailed(f"an actor has at most {OPEN_MAX} tasks and schedules open", actor=actor)
    return telling


def check_takes_what_comes(
    task_type: TaskType, then: str, failed: str, command_of: Callable[[str], DeclaredCommand]
) -> None:
    """Raise `InvalidCommand` for commands that never take what comes of a task; "" for none, as `start_task` has it."""
    for what, name, comes in (("then", then, task_type.returns), ("failed", failed, _FAILURE)):
        if name and (taker := (command_of(name), what)) not in task_type.takers:
            _check_takes(*taker, comes)
            task_type.takers.add(taker)


def _check_takes(command_type: DeclaredCommand, what: str, comes: inspect.Type) -> None:
    command = command_type.name
    if command_type.query:
        raise InvalidCommand(f"{command} is a query, and takes no result of a task", path=what)
    parameters = list(command_type.signature.parameters.values())
    needs_more = any(one.default is Parameter.empty for one in parameters[1:])
    if not parameters or parameters[0].kind not in _POSITIONAL or needs_more:
        names = ", ".join(one.name for one in parameters)
        raise InvalidCommand(f"{command}({names}) is called with one argument by position: what came", path=what)
    takes = command_type.takes
    if takes is not None and not can_fit(comes, takes):
        declared = formatannotation(parameters[0].annotation)
        came = "what the task returns" if what == "then" else "a TaskFailed"
        raise InvalidCommand(f"{command} takes {declared}, which {came} never is", path=what)
