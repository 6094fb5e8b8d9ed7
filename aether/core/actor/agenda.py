"""What an actor still has to come: its schedules, and its tasks without a result.

It is a fold of the actor's history, as its state is: a commit opens what it sends, and the commit of a tick or of a
result closes it. So an actor knows by itself whether a tick or a result that arrives is one that it waits for, or one
that was had, replaced or cancelled: it may arrive twice, late, and from another worker. Pure; one writer, the machine.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from aether.sends import (
    FIRING,
    RESULT,
    CancelSchedule,
    CancelTask,
    Send,
    SetSchedule,
    StartTask,
)
from aether.tells import EMPTY_ARGS

OPEN_MAX = 10_000
"""So many schedules and tasks one actor may have open: they are in its memory and in its snapshots."""


class OpenTask(Struct, frozen=True):
    """A task that has no result yet: its name, and the commands for its result and its failure."""

    task: str
    then: str = ""
    failed: str = ""


class Agenda(Struct, dict=True):
    """The schedules by their names, and the open tasks by their ids."""

    schedules: dict[str, SetSchedule] = field(default_factory=dict)
    tasks: dict[str, OpenTask] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names: dict[str, str] = {}  # of the schedules, by the ids of their settings; it is not stored
        for setting in list(self.schedules.values()):
            self._set(_apart(setting))

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
        setting = self.schedules.get(self._names.get(setting_id, ""))
        return setting if setting is not None and setting.firing_id == command_id else None

    def close(self, command_id: str) -> None:
        """This command is committed: what it is the tick or the result of is over."""
        if command_id.startswith(RESULT):
            self.tasks.pop(command_id[len(RESULT) :], None)
        elif (setting := self.firing(command_id)) is not None:
            self._end(setting.name)

    def open(self, sends: Iterable[Send]) -> None:
        """A command that sent this is committed. To be called after `close`: a tick sets its schedule's next one."""
        for send in sends:
            match send:
                case SetSchedule():
                    self._end(send.name)
                    self._set(_apart(send))
                case CancelSchedule():
                    self._end(send.name)
                case StartTask():
                    self.tasks[send.id] = OpenTask(send.task, send.then, send.failed)
                case CancelTask():
                    self.tasks.pop(send.id, None)
                case _:
                    pass

    def _set(self, setting: SetSchedule) -> None:
        self.schedules[setting.name] = setting
        self._names[setting.id] = setting.name

    def _end(self, name: str) -> None:
        setting = self.schedules.pop(name, None)
        if setting is not None:
            self._names.pop(setting.id, None)


def _apart(setting: SetSchedule) -> SetSchedule:
    """A setting that does not keep all that it was read from, a commit or a snapshot."""
    return setting if setting.args is EMPTY_ARGS else replace(setting, args=setting.args.copy())


def has_room(agenda: Agenda | None, sent: Sequence[Send], name: str = "") -> bool:
    """Whether one more may be open than once a command is committed that has sent this.

    A schedule takes the place of one of its `name`.
    """
    open_ = agenda or Agenda()
    if len(sent) + len(open_) < OPEN_MAX:
        return True
    names, ids = set(open_.schedules), set(open_.tasks)
    for send in sent:
        match send:
            case SetSchedule():
                names.add(send.name)
            case CancelSchedule():
                names.discard(send.name)
            case StartTask():
                ids.add(send.id)
            case CancelTask():
                ids.discard(send.id)
            case _:
                pass
    return name in names or len(names) + len(ids) < OPEN_MAX


def is_bare_result(command_id: str, command: str) -> bool:
    """Whether a command is the result of a task that no command is to be run for: it only closes the task."""
    return not command and command_id.startswith(RESULT)


def is_tick_or_result(command_id: str) -> bool:
    """Whether a command is a tick or a result, which is run only when the actor's agenda expects it."""
    return command_id.startswith((RESULT, FIRING))
