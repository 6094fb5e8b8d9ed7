"""Every error Aether raises, and how each one travels.

One root, `AetherError`. A subclass has a stable `code` (its name on the wire), a message for people and fields for
programs; `error_body` and `error_from_body` carry all three between processes. Nothing here knows how a fault
came about: adapters translate their own faults into these.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class AetherError(Exception):
    """Root of every error that Aether raises on purpose.

    `code` names the class on the wire; `message` is for people; `details` are JSON values for programs.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details


class Rejected(AetherError):
    """The actor decided no. Raised by a handler, it stores nothing of its command and reaches the caller whole.

    A handler speaks with this class and with `InvalidCommand`, or with subclasses of them, which reach the caller as
    `Rejected` and `InvalidCommand`. Every other error that comes out of a handler reaches the caller as `ActorFailed`.
    """

    code = "rejected"


class InvalidCommand(AetherError):
    """The input cannot be a command: wrong type, missing or extra argument, out of bounds, too large, or expired form.

    `path` names the field (`amount`, `lines[2].price`), or is empty when the whole is meant. The text of the
    error begins with it.

    It may be the input of another command, or of a task, that the handler sends: then the text ends with both names.
    """

    code = "invalid_command"

    def __init__(self, message: str, path: str = "", **details: Any) -> None:
        super().__init__(message, path=path, **details)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class UnknownActor(AetherError):
    """No actor kind of that name is part of the model."""

    code = "unknown_actor"

    def __init__(self, message: str, kind: str = "", **details: Any) -> None:
        super().__init__(message, kind=kind, **details)
        self.kind = kind


class UnknownCommand(AetherError):
    """The actor kind has no command or query of that name."""

    code = "unknown_command"

    def __init__(self, message: str, kind: str = "", command: str = "", **details: Any) -> None:
        super().__init__(message, kind=kind, command=command, **details)
        self.kind = kind
        self.command = command


class ActorFailed(AetherError):
    """A handler raised something that is no decision, or users' code failed while the actor's history was replayed.

    The events of a handler that failed are rolled back. The traceback is in the worker's log under `command_id`.
    """

    code = "actor_failed"

    def __init__(self, message: str, actor: str = "", command_id: str = "", **details: Any) -> None:
        super().__init__(message, actor=actor, command_id=command_id, **details)
        self.actor = actor
        self.command_id = command_id


class StateChangedOutsideEvent(AetherError):
    """A state field was assigned outside an `@event` method, so replay could not repeat it."""

    code = "state_changed_outside_event"

    def __init__(self, message: str, actor: str = "", field: str = "", **details: Any) -> None:
        super().__init__(message, actor=actor, field=field, **details)
        self.actor = actor
        self.field = field


class VersionConflict(AetherError):
    """Another writer was first: `expected` and `actual` are what the writer believed and what was found.

    No call raises it: the runtime resolves the conflicts of its commits itself. A worker ends with it when its row in
    the table was written by another one.
    """

    code = "version_conflict"

    def __init__(self, actor: str, expected: int, actual: int, message: str = "", **details: Any) -> None:
        text = message or f"{actor} is at {actual}, the writer expected {expected}"
        super().__init__(text, actor=actor, expected=expected, actual=actual, **details)
        self.actor = actor
        self.expected = expected
        self.actual = actual


class Overloaded(AetherError):
    """A named bound is reached.

    Out of a call it means that nothing was done: retrying later, with the same command id, is safe. Out of an event
    stream it means that its reader is too slow and has missed events, which the histories have.
    """

    code = "overloaded"

    def __init__(self, message: str, limit: str = "", **details: Any) -> None:
        super().__init__(message, limit=limit, **details)
        self.limit = limit


class Unavailable(AetherError):
    """No answer can be had now: there is no server or no owner, or the owner is stopping.

    Out of a call it means that nothing was done. Retrying is safe.
    """

    code = "unavailable"


class DeadlineExceeded(AetherError):
    """The deadline passed first.

    With `outcome_known=False` the command may have been committed, or may be soon. With `outcome_known=True` it has
    stored nothing and will store nothing.
    """

    code = "deadline_exceeded"

    def __init__(self, message: str, outcome_known: bool = False, **details: Any) -> None:
        super().__init__(message, outcome_known=outcome_known, **details)
        self.outcome_known = outcome_known


class ClientUnusable(AetherError):
    """The client is closed, or it is used outside of the event loop, thread or process that it was made in.

    Raised at once, and by calls that are open when their client is closed. With `outcome_known=True` the command was
    not sent; with `outcome_known=False` it may have been carried out, or may be soon.
    """

    code = "client_unusable"

    def __init__(self, message: str, outcome_known: bool = True, **details: Any) -> None:
        super().__init__(message, outcome_known=outcome_known, **details)
        self.outcome_known = outcome_known


class ReplyNotDelivered(AetherError):
    """The command or query succeeded, and all its events are stored; the caller cannot be given its reply.

    The reply is too large to be sent, or is not of the type that the caller's model declares. `version` and `position`
    are the actor's after the command. Do not send the command again under another id.
    """

    code = "reply_not_delivered"

    def __init__(self, message: str, version: int = 0, position: int = 0, **details: Any) -> None:
        super().__init__(message, version=version, position=position, **details)
        self.version = version
        self.position = position


class HistoryRegressed(AetherError):
    """The stream went backwards (a lost disk, a restored backup). The actor stops; history is never rewritten."""

    code = "history_regressed"

    def __init__(self, message: str, actor: str = "", **details: Any) -> None:
        super().__init__(message, actor=actor, **details)
        self.actor = actor


class UnreadableEvent(AetherError):
    """A stored event cannot be read as its type. The actor stops at `position`; the event is never skipped."""

    code = "unreadable_event"

    def __init__(self, message: str, actor: str = "", position: int = 0, **details: Any) -> None:
        super().__init__(message, actor=actor, position=position, **details)
        self.actor = actor
        self.position = position


class ModelError(AetherError):
    """A model that cannot be loaded: what is wrong, and the `file` and `line` where it is declared."""

    code = "model_error"

    def __init__(self, message: str, file: str = "", line: int = 0, **details: Any) -> None:
        where = f"{file}:{line}: " if file else ""
        super().__init__(f"{where}{message}", file=file, line=line, **details)
        self.file = file
        self.line = line


class ConfigError(AetherError):
    """A setting, flag or environment that cannot work; `setting` names it."""

    code = "config_error"

    def __init__(self, message: str, setting: str = "", **details: Any) -> None:
        super().__init__(message, setting=setting, **details)
        self.setting = setting


ERRORS: Mapping[str, type[AetherError]] = {
    kind.code: kind
    for kind in (
        Rejected,
        InvalidCommand,
        UnknownActor,
        UnknownCommand,
        ActorFailed,
        StateChangedOutsideEvent,
        VersionConflict,
        Overloaded,
        Unavailable,
        DeadlineExceeded,
        ClientUnusable,
        ReplyNotDelivered,
        HistoryRegressed,
        UnreadableEvent,
        ModelError,
        ConfigError,
    )
}


_KNOWN: frozenset[type] = frozenset({AetherError, *ERRORS.values()})


def error_body(error: AetherError) -> dict[str, Any]:
    """The error as the JSON object `{code, message, details}`.

    A subclass of a user's own travels as the class above it that both sides know, whatever its `code`.
    """
    code = next(kind.code for kind in type(error).__mro__ if issubclass(kind, AetherError) and kind in _KNOWN)
    return {"code": code, "message": str(error.message), "details": error.details}


def error_from_body(code: str, message: str, details: Mapping[str, Any]) -> AetherError:
    """The error that `error_body` described; an unknown code gives the root class, with the code in its message.

    Details of a class's own fields fill those fields, others stay in `details`: nothing is dropped.
    """
    kind = ERRORS.get(code)
    if kind is None:
        return AetherError(f"{code}: {message}", **{str(k): v for k, v in details.items() if k != "message"})
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.message = message
    error.details = dict(details)
    for field, default in _FIELDS.get(code, {}).items():
        setattr(error, field, details.get(field, default))
    return error


def asked_at(error: AetherError, namespace: str, server: str) -> AetherError:
    """The same error; its message and details also say which namespace of which server was asked."""
    error.message = f"{error.message} (asked: namespace {namespace} at {server})"
    error.args = (error.message,)
    error.details.update(namespace=namespace, server=server)
    return error


def mark_asked(error: AetherError, asked: str) -> None:
    """Note on an error that an ask raised it in a handler: `asked` is what was asked, as `account/bob.deposit`.

    The mark stays in the handler's process. It tells an answer of another actor from what the handler says itself.
    """
    error.__dict__["_aether_asked"] = asked


def asked_by(error: BaseException) -> str:
    """What was asked in a handler when the error came out of an ask; "" for every other error."""
    return str(getattr(error, "_aether_asked", ""))


def nothing_stored(late: DeadlineExceeded) -> DeadlineExceeded:
    """The same error of a query: whether or not a query was answered, it has stored nothing."""
    details = {name: value for name, value in late.details.items() if name != "outcome_known"}
    return DeadlineExceeded(late.message, outcome_known=True, **details)


_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "invalid_command": {"path": ""},
    "unknown_actor": {"kind": ""},
    "unknown_command": {"kind": "", "command": ""},
    "actor_failed": {"actor": "", "command_id": ""},
    "state_changed_outside_event": {"actor": "", "field": ""},
    "version_conflict": {"actor": "", "expected": 0, "actual": 0},
    "overloaded": {"limit": ""},
    "deadline_exceeded": {"outcome_known": False},
    "client_unusable": {"outcome_known": True},
    "reply_not_delivered": {"version": 0, "position": 0},
    "history_regressed": {"actor": ""},
    "unreadable_event": {"actor": "", "position": 0},
    "model_error": {"file": "", "line": 0},
    "config_error": {"setting": ""},
}
