"""A trace: what commands of one correlation id did, across actors, as a tree in reading order.

Pure: made from commits that were read. A commit says what each command emitted and sent, and which command
caused it; it does not say the name of a command that was called, nor whom a handler asked. So an asked command is
found under the one that its events name as their cause.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

from msgspec import DecodeError
from msgspec.json import decode, encode

from aether.errors import InvalidCommand, Rejected, UnreadableEvent
from aether.ids import ActorId, Position, Version
from aether.ports import StoredCommit
from aether.sends import (
    FIRING,
    RESULT,
    CancelSchedule,
    CancelTask,
    Send,
    SetSchedule,
    StartTask,
    decode_sends,
    due_of,
    placed,
)
from aether.tells import RETRY, TOLD, Tell
from aether.wire import (
    DEAD_LETTERED_EVENT,
    PARKED_EVENT,
    REFUSED_EVENT,
    WORKER_LOST_EVENT,
    Event,
    decode_commit,
    is_system_event,
)

How: TypeAlias = Literal[
    "call", "ask", "tell", "task", "result", "schedule", "tick", "cancelled task", "cancelled schedule", "commit",
    "sends",
]  # fmt: skip
"""What a step is: a command by the way in which it came to its actor, or what a command sent that is no command.

`commit`, `sends`: a whole commit, or what a command sent, that cannot be read.
"""

Outcome: TypeAlias = Literal["done", "rejected", "failed", "dead-lettered", "lost", "sent", "open", "unreadable"]
"""What came of a step.

- `done`: what it emitted is stored. `rejected`: the actor decided no. `failed`: another error was stored as its answer.
- `dead-lettered`: a tell that failed too often. `lost`: its handler ended a worker.
- `sent`: a task, a schedule, or the end of one. `open`: a tell that has not been run, as far as was read.
- `unreadable`: what holds the correlation id and cannot be read, so that not all of the trace is known.
"""


@dataclass(frozen=True, slots=True)
class TracedEvent:
    """An event that a command emitted; `data` are its fields as plain JSON values."""

    type: str
    version: Version
    data: Any


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One line of a trace. What it led to follows it, with a greater `depth`.

    `name` is that of the command, the task or the schedule; "" for a command that was called or asked, because
    histories do not have it. `error` says why it was rejected, has failed or cannot be read. `time` and `position` are
    those of its commit, None for a tell that is open; of a commit that cannot be read only the position is known. `due`
    is when a tick was due, or the first tick of a schedule.
    """

    depth: int
    how: How
    actor_id: ActorId
    name: str
    command_id: str
    causation_id: str
    outcome: Outcome
    error: str = ""
    time: datetime | None = None
    position: Position | None = None
    events: tuple[TracedEvent, ...] = ()
    due: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values, but for `time` and `due`."""
        return {
            "depth": self.depth,
            "how": self.how,
            "actor": {"kind": self.actor_id.kind, "key": self.actor_id.key},
            "name": self.name,
            "command_id": self.command_id,
            "causation_id": self.causation_id,
            "outcome": self.outcome,
            "error": self.error,
            "time": self.time,
            "position": self.position,
            "due": self.due,
            "events": [{"type": one.type, "version": one.version, "data": one.data} for one in self.events],
        }


@dataclass(frozen=True, slots=True)
class Trace:
    """The commands of one correlation id that are in the commits after `after` up to `until`, as a tree in `steps`.

    `complete` says that this was the whole of what had been asked for: the reading did not stop at its limit before.
    """

    correlation_id: str
    steps: tuple[TraceStep, ...]
    after: Position
    until: Position
    complete: bool


@dataclass(slots=True, eq=False)
class _Node:
    step: TraceStep
    sends: Sequence[Send] = ()
    unread: str = ""
    """Why it is not known what it sent, "" where that is known."""
    followed: "list[_Node]" = field(default_factory=list)
    """What it asked, and what an operator has told again after it was given up."""
    placed: bool = False


def mark_of(correlation_id: str) -> bytes:
    """What stands in every commit that belongs to a correlation id, and seldom in another."""
    return b'"correlationid":%b' % encode(correlation_id)


def steps_of(correlation_id: str, commits: Iterable[StoredCommit]) -> tuple[TraceStep, ...]:
    """The tree of a correlation id that commits, in the stream's order, hold; with what of them cannot be read."""
    nodes = [node for commit in commits for node in _nodes(correlation_id, commit)]
    by_id: dict[str, list[_Node]] = {}
    for node in nodes:
        if node.step.how != "commit":
            by_id.setdefault(node.step.command_id, []).append(node)
    for node in nodes:
        if node.step.outcome == "lost":
            node.step = _as_it_came(node.step, by_id)
    sent = {one for node in nodes for send in node.sends for one in _ids_of(send)}
    roots = []
    for node in nodes:
        if node.step.command_id in sent:
            continue
        parent = _parent(node.step, by_id)
        if parent is not None:
            parent.followed.append(node)
        else:
            roots.append(node)
    found = list(_in_order(roots, by_id))
    return (*found, *_in_order(nodes, by_id))


def _as_it_came(lost: TraceStep, by_id: Mapping[str, Sequence[_Node]]) -> TraceStep:
    """A command that ended a worker with what else its history says of it: the event of the loss has only its id."""
    for node in by_id[lost.command_id]:
        other = node.step
        if other.actor_id == lost.actor_id and other.outcome != "lost":
            return replace(lost, how=other.how, causation_id=other.causation_id)
    return lost


def _parent(step: TraceStep, by_id: Mapping[str, Sequence[_Node]]) -> _Node | None:
    """What asked a command, or the tell that an operator has told again with it; None where that is not known.

    Actors may have commands of one id. What is asked is stored before what its asker emits, so the first one after it
    has asked it; what is told again was given up before.
    """
    asked = step.how == "ask"
    if not asked and not step.command_id.startswith(RETRY):
        return None
    causes = by_id.get(step.causation_id, ())
    place = step.position or 0
    if asked:
        found = next((one for one in causes if (one.step.position or 0) > place), None)
    else:
        found = next((one for one in reversed(causes) if (one.step.position or 0) < place), None)
    return found or (causes[0] if causes else None)


def _nodes(correlation_id: str, commit: StoredCommit) -> Iterator[_Node]:
    """The commands of a commit that belong to the correlation id; of one that cannot be read, that it is there.

    A send is known by its number in the commit, so behind one that cannot be read the others are not known either.
    """
    try:
        events = decode_commit(commit.payload, commit.actor_id, commit.position)
    except UnreadableEvent as error:
        yield _Node(_unreadable_commit(commit, error))
        return
    number, unread = 0, ""
    for own in _by_command(events):
        last, sent = own[-1], list[Send]()
        if last.sends and not unread:
            try:
                sent = _sent_by(last, commit)
            except (UnreadableEvent, InvalidCommand) as error:
                unread = error.message
        if last.correlationid == correlation_id:
            sends = placed(sent, commit.actor_id, commit.position, number)
            yield _Node(_step(commit, own), sends, unread if last.sends else "")
        number += len(sent)


def _unreadable_commit(commit: StoredCommit, error: UnreadableEvent) -> TraceStep:
    return TraceStep(
        depth=0,
        how="commit",
        actor_id=commit.actor_id,
        name="",
        command_id="",
        causation_id="",
        outcome="unreadable",
        error=error.message,
        position=commit.position,
    )


def _sent_by(event: Event, commit: StoredCommit) -> list[Send]:
    """What a command sent. Raises `UnreadableEvent`, and `InvalidCommand` for a tell to what can be no actor."""
    sent = decode_sends(event, commit.actor_id, commit.position)
    for send in sent:
        if isinstance(send, Tell):
            send.target  # noqa: B018 - checks kind and key
    return sent


def _by_command(events: Sequence[Event]) -> Iterator[list[Event]]:
    own: list[Event] = []
    for event in events:
        if own and own[-1].commandid != event.commandid:
            yield own
            own = []
        own.append(event)
    yield own


def _step(commit: StoredCommit, events: Sequence[Event]) -> TraceStep:
    last = events[-1]
    outcome, error, name = _outcome(last)
    emitted = [
        TracedEvent(one.type, one.version, _value(bytes(one.data))) for one in events if not is_system_event(one)
    ]
    return TraceStep(
        depth=0,
        how=_how(last),
        actor_id=commit.actor_id,
        name=name,
        command_id=last.commandid,
        causation_id=last.causationid,
        outcome=outcome,
        error=error,
        time=last.time,
        position=commit.position,
        events=tuple(emitted),
        due=due_of(last.commandid),
    )


def _how(event: Event) -> How:
    if event.commandid.startswith(RESULT):
        return "result"
    if event.commandid.startswith(FIRING):
        return "tick"
    if event.inboxseq or event.commandid.startswith((TOLD, RETRY)):
        return "tell"
    return "call" if event.causationid in ("", event.commandid) else "ask"


def _outcome(event: Event) -> tuple[Outcome, str, str]:
    """What came of the command whose last event this is, its error, and its name where that is known."""
    if event.type == WORKER_LOST_EVENT:
        return "lost", "its handler ended a worker", ""
    if event.type == REFUSED_EVENT:
        body = _value(bytes(event.data))
        return ("rejected" if _text(body, "code") == Rejected.code else "failed"), _text(body, "message"), ""
    if event.type == PARKED_EVENT:  # it is tried again
        return "failed", _text(_value(bytes(event.data)), "message"), ""
    if event.type == DEAD_LETTERED_EVENT:
        body = _value(bytes(event.data))
        error = body.get("error") if isinstance(body, Mapping) else None
        return "dead-lettered", _text(error, "message"), _text(body, "command")
    return "done", "", ""


def _value(raw: bytes) -> Any:
    try:
        return decode(raw)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _text(body: Any, name: str) -> str:
    return str(body.get(name, "")) if isinstance(body, Mapping) else ""


def _ids_of(send: Send) -> tuple[str, ...]:
    """The command ids under which what was sent arrives."""
    if isinstance(send, Tell):
        return (send.command_id,)
    if isinstance(send, StartTask):
        return (send.result_id,)
    return (send.firing_id,) if isinstance(send, SetSchedule) else ()


def _in_order(roots: Iterable[_Node], by_id: Mapping[str, Sequence[_Node]]) -> Iterator[TraceStep]:
    """The steps below some nodes, each before what it led to; each node once."""
    stack: list[tuple[_Node | TraceStep, int, str]] = [(node, 0, "") for node in reversed(list(roots))]
    while stack:
        one, depth, name = stack.pop()
        if isinstance(one, TraceStep):
            yield one
            continue
        if one.placed:
            continue
        one.placed = True
        name = name or one.step.name or _name_of_tick(one)
        yield replace(one.step, depth=depth, name=name)
        below: list[tuple[_Node | TraceStep, int, str]] = [
            (node, depth + 1, name if node.step.how == "tell" else "") for node in one.followed
        ]
        if one.unread:
            unread = replace(_sent(one.step, depth + 1, "sends", "", "unreadable", ""), error=one.unread)
            below.append((unread, depth + 1, ""))
        further: list[tuple[_Node | TraceStep, int, str]] = []
        for send in one.sends:
            if isinstance(send, SetSchedule) and _is_tick_of(one.step, send):
                further += [(node, depth, send.command) for node in by_id.get(send.firing_id, ())]
            else:
                below += _below(one.step, send, depth + 1, by_id)
        stack += reversed([*below, *further])


def _name_of_tick(node: _Node) -> str:
    """The command of a tick whose schedule was set before what was read, where it goes on; else ""."""
    sent = (send for send in node.sends if isinstance(send, SetSchedule) and _is_tick_of(node.step, send))
    return next((send.command for send in sent), "")


def _is_tick_of(step: TraceStep, send: SetSchedule) -> bool:
    """Whether a step is a tick of the schedule that it sets: the next tick stands beside it then, not below."""
    return step.command_id.startswith(f"{FIRING}{send.id}@")


def _below(
    step: TraceStep, send: Send, depth: int, by_id: Mapping[str, Sequence[_Node]]
) -> Iterator[tuple[_Node | TraceStep, int, str]]:
    """What a command sent and what came of it."""
    found = [node for one in _ids_of(send) for node in by_id.get(one, ())]
    if isinstance(send, Tell):
        for node in found:
            yield node, depth, send.command
        if not found:
            yield _sent(step, depth, "tell", send.command, "open", send.command_id, send.target), depth, ""
        return
    how, name, command = _what(send)
    due = send.at if isinstance(send, SetSchedule) else None
    yield replace(_sent(step, depth, how, name, "sent", ""), due=due), depth, ""
    for node in found:
        yield node, depth + 1, command


def _what(send: SetSchedule | CancelSchedule | StartTask | CancelTask) -> tuple[How, str, str]:
    """How a send that is no tell is shown, and the command that its tick runs."""
    match send:
        case SetSchedule():
            return "schedule", send.name, send.command
        case CancelSchedule():
            return "cancelled schedule", send.name, ""
        case StartTask():
            return "task", send.task, ""
        case CancelTask():
            return "cancelled task", send.id, ""


def _sent(
    step: TraceStep, depth: int, how: How, name: str, outcome: Outcome, command_id: str, to: ActorId | None = None
) -> TraceStep:
    """A step that has no commit of its own; it is in that of the command that sent it."""
    open_ = outcome == "open"
    return TraceStep(
        depth=depth,
        how=how,
        actor_id=to or step.actor_id,
        name=name,
        command_id=command_id,
        causation_id=step.command_id,
        outcome=outcome,
        time=None if open_ else step.time,
        position=None if open_ else step.position,
    )
