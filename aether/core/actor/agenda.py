"""What an actor still has to come: its schedules, and its tasks without a result.

It is a fold of the actor's history, as its state is: a commit opens what it sends, and the commit of a tick or of a
result closes it. So an actor knows by itself whether a tick or a result that arrives is one that it waits for, or one
that was had, replaced or cancelled: it may arrive twice, late, and from another worker. Pure; one writer, the machine.
"""

from collections.abc import Iterable

from msgspec import Struct, field

from aether.sends import (
    FIRING,
    RESULT,
    CancelSchedule,
    CancelTask,
    Send,
    SetSchedule,
    StartTask,
)

OPEN_MAX = 10_000
"""So many schedules and tasks one actor may have open: they are in its memory and in its snapshots."""


class OpenTask(Struct, frozen=True):
    """A task that has no result yet: its name, and the commands for its result and its failure."""

    task: str
    then: str = ""
    failed: str = ""


class Agenda(Struct):
    """The schedules by their names, and the open tasks by their ids."""

    schedules: dict[str, SetSchedule] = field(default_factory=dict)
    tasks: dict[str, OpenTask] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.schedules) + len(self.tasks)

    def expects(self, command_id: str) -> bool:
        """Whether the tick or the result that comes as this command is one that is waited for."""
        if command_id.startswith(RESULT):
            return command_id[len(RESULT) :] in self.tasks
        return self.firing(command_id) is not None

    def firing(self, command_id: str) -> SetSchedule | None:
        """The schedule whose next tick is this command; None for another command, and for any other tick."""
        if not command_id.startswith(FIRING):
            return None
        setting_id = command_id[len(FIRING) :].partition("@")[0]
        same = (one for one in self.schedules.values() if one.id == setting_id)
        return next((one for one in same if one.firing_id == command_id), None)

    def close(self, command_id: str) -> None:
        """This command is committed: what it is the tick or the result of is over."""
        if command_id.startswith(RESULT):
            self.tasks.pop(command_id[len(RESULT) :], None)
        elif (setting := self.firing(command_id)) is not None:
            del self.schedules[setting.name]

    def open(self, sends: Iterable[Send]) -> None:
        """A command that sent this is committed. To be called after `close`: a tick sets its schedule's next one."""
        for send in sends:
            match send:
                case SetSchedule():
                    self.schedules[send.name] = send
                case CancelSchedule():
                    self.schedules.pop(send.name, None)
                case StartTask():
                    self.tasks[send.id] = OpenTask(send.task, send.then, send.failed)
                case CancelTask():
                    self.tasks.pop(send.id, None)
                case _:
                    pass


def is_bare_result(command_id: str, command: str) -> bool:
    """Whether a command is the result of a task that no command is to be run for: it only closes the task."""
    return not command and command_id.startswith(RESULT)


def is_tick_or_result(command_id: str) -> bool:
    """Whether a command is a tick or a result, which is run only when the actor's agenda expects it."""
    return command_id.startswith((RESULT, FIRING))
