"""The event-storming board of a model as SVG: one pure function over `model.schema()`.

Each kind is a lane: its commands (blue) and queries (green) at the left, the actor with its state (yellow) in the
middle, its events (orange) at the right. Which command emits which event is decided while it runs and is in no
declaration, so the arrows go through the actor. Below the actors each policy (lilac) stands between its events and the
commands that it says it tells, each task (pink) between what starts it and the commands that get its result or hear
that it failed, and each schedule (turquoise) between what sets it and the command that it runs. Colours are attributes
and not styles, so that a page with a strict content policy may hold the picture, and words outside of the notes take
the colour of the text around it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple, TypeAlias

from aether.model.schema_reading import Schema, resolve, signature_text, type_text

NOTE_WIDTH, NOTE_HEIGHT, GAP = 200, 44, 10
COLUMNS = (16, 276, 536)
"""Where commands, actors and events begin, pixels."""

WIDTH = 752
HEAD = 56
LANE_HEAD = 34
STATE_SHOWN_MAX = 12

COMMAND, QUERY, ACTOR, EVENT, POLICY = "#a6ccf5", "#b9e3b4", "#fbe58a", "#fbb96b", "#d9bdf2"
TASK, SCHEDULE = "#f7b8cd", "#a5dfdd"
INK, FAILING = "#1c1c1c", "#c0261c"


class Traffic(NamedTuple):
    """What a note says of the last minute in a few words, and whether something failed: then it has a red border."""

    words: str
    failing: bool = False


Busy: TypeAlias = tuple[str, ...]
"""What has traffic: a command as its kind and name, a task as its name alone."""

NO_TRAFFIC = Traffic("")


@dataclass(frozen=True, slots=True)
class _Note:
    """One sticky note: a title, a smaller line, and what is shown when a pointer rests on it."""

    title: str
    line: str
    about: str
    colour: str
    traffic: Traffic = NO_TRAFFIC


@dataclass(frozen=True, slots=True)
class _Row:
    """A note in the middle, between what leads to it and what it leads to."""

    before: Sequence[_Note]
    note: _Note
    after: Sequence[_Note]


def draw(document: Schema, traffic: Mapping[Busy, Traffic] | None = None) -> str:
    """The board of what `model.schema()` gave, as an SVG document without references to anything.

    `traffic` has words for a kind and a command, or for a task, which its notes say at their right edge.
    """
    known = traffic or {}
    lanes = {
        "policies": [_policy_row(name, one, known) for name, one in document.get("policies", {}).items()],
        "tasks": _task_rows(document, known),
        "schedules": _schedule_rows(document, known),
    }
    parts, y = [_legend(lanes)], HEAD
    for kind, actor in document.get("actors", {}).items():
        lane, height = _lane(str(kind), actor, document, y, known)
        parts += lane
        y += height
    for title, rows in lanes.items():
        if rows:
            lane, height = _row_lane(title, rows, y)
            parts += lane
            y += height
    title = f"Event-storming board of {document.get('model', '')}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="currentColor">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>\n"
    )


def _legend(lanes: Mapping[str, Sequence[_Row]]) -> str:
    found, x = [], COLUMNS[0]
    shown = [(COMMAND, "command"), (QUERY, "query"), (ACTOR, "actor and its state"), (EVENT, "event")]
    beside = [("policies", POLICY, "policy"), ("tasks", TASK, "task"), ("schedules", SCHEDULE, "schedule")]
    for colour, word in [*shown, *((colour, word) for title, colour, word in beside if lanes[title])]:
        found.append(f'<rect x="{x}" y="14" width="16" height="16" rx="2" fill="{colour}"/>')
        found.append(f'<text x="{x + 24}" y="27">{word}</text>')
        x += 48 + sum(12 if one in "mw" else 5 if one in " ijlt" else 8 for one in word)
    return "".join(found)


def _lane(kind: str, actor: Schema, document: Schema, y: int, traffic: Mapping[Busy, Traffic]) -> tuple[list[str], int]:
    """The notes of one kind from a height on, and how high they are together."""
    left = [
        _command_note(name, one, document, traffic.get((kind, name), NO_TRAFFIC))
        for name, one in actor.get("commands", {}).items()
    ]
    left.sort(key=lambda note: note.colour == QUERY)
    right = [_event_note(name, one, document) for name, one in actor.get("events", {}).items()]
    fields = _state_lines(actor.get("state", {}), document)
    state_height = NOTE_HEIGHT + 17 * len(fields)
    rows = max(len(left), len(right), 1)
    inner = max(rows * (NOTE_HEIGHT + GAP) - GAP, state_height)
    top, middle = y + LANE_HEAD, y + LANE_HEAD + inner // 2
    found = _lane_head(kind, y)
    found += _column(left, COLUMNS[0], top, inner, to_actor=True, middle=middle)
    found += _column(right, COLUMNS[2], top, inner, to_actor=False, middle=middle)
    found.append(_actor_note(kind, str(actor.get("description", "")), fields, middle - state_height // 2, state_height))
    return found, LANE_HEAD + inner + 22


def _lane_head(title: str, y: int) -> list[str]:
    return [
        f'<path d="M16 {y}H{WIDTH - 16}" stroke="currentColor" stroke-opacity=".25"/>',
        f'<text x="16" y="{y + 22}" font-size="15" font-weight="600">{escape(title)}</text>',
    ]


def _row_lane(title: str, rows: Sequence[_Row], y: int) -> tuple[list[str], int]:
    """A row for each note of a lane, and how high they are together."""
    found, top = _lane_head(title, y), y + LANE_HEAD
    for row in rows:
        inner = max(len(row.before), len(row.after), 1) * (NOTE_HEIGHT + GAP) - GAP
        middle = top + inner // 2
        found += _column(row.before, COLUMNS[0], top, inner, to_actor=True, middle=middle)
        found += _column(row.after, COLUMNS[2], top, inner, to_actor=False, middle=middle)
        found.append(_sticky(row.note, COLUMNS[1], middle - NOTE_HEIGHT // 2))
        top += inner + 2 * GAP
    return found, top - y


def _policy_row(name: str, policy: Schema, traffic: Mapping[Busy, Traffic]) -> _Row:
    """Whenever these events, then these commands."""
    told: Sequence[Schema] | None = policy["tells"]
    line = "its tells are not listed" if told is None else f"tells {len(told)} command{'s' * (len(told) != 1)}"
    return _Row(
        [_message_note(str(one["kind"]), str(one["event"]), EVENT) for one in policy["events"]],
        _Note(name, line, str(policy.get("description", "")) or name, POLICY),
        [_of_command(one, traffic) for one in told or ()],
    )


def _task_rows(document: Schema, traffic: Mapping[Busy, Traffic]) -> list[_Row]:
    """A row for each task: what starts it, the task, the commands that get its result and hear that it failed."""
    found = []
    starts: Sequence[Schema] = document.get("starts", ())
    for name, task in document.get("tasks", {}).items():
        of_task = [one for one in starts if one["task"] == name]
        takes = signature_text(task.get("args", {}), document)
        result = type_text(task.get("result", True), document)
        line = ", ".join(resolve(task.get("args", {}), document).get("properties", {})) or "no arguments"
        about = f"{name}({takes}) -> {result}\n{task.get('description', '')}".strip()
        then = _each_once(one["then"] for one in of_task if one["then"])
        failed = _each_once(one["failed"] for one in of_task if one["failed"])
        found.append(
            _Row(
                [_starter(one, traffic) for one in _each_once(one["by"] for one in of_task)],
                _Note(name, line, about, TASK, traffic.get((name,), NO_TRAFFIC)),
                [*(_of_command(one, traffic, "gets the result") for one in then),
                 *(_of_command(one, traffic, "when it failed") for one in failed)],
            )
        )  # fmt: skip
    return found


def _schedule_rows(document: Schema, traffic: Mapping[Busy, Traffic]) -> list[_Row]:
    """A row for each schedule that the source names: what sets it, when it is due, what it runs."""
    rows: dict[tuple[str, str, str], tuple[list[Schema], list[Schema]]] = {}
    for one in document.get("schedules", ()):
        row = rows.setdefault((str(one["by"].get("kind", "")), str(one["name"]), str(one["when"])), ([], []))
        row[0].append(one["by"])
        row[1].extend([one["run"]] if one["run"] else [])
    return [
        _Row(
            [_starter(by, traffic) for by in _each_once(setters)],
            _Note(name, when, f"{name}: {when}", SCHEDULE),
            [_of_command(run, traffic) for run in _each_once(runs)],
        )
        for (_, name, when), (setters, runs) in rows.items()
    ]


def _each_once(found: Iterable[Schema]) -> list[Schema]:
    return list({str(one): one for one in found}.values())


def _starter(by: Schema, traffic: Mapping[Busy, Traffic]) -> _Note:
    if "policy" in by:
        return _Note(str(by["policy"]), "policy", f"the policy {by['policy']}", POLICY)
    return _of_command(by, traffic)


def _of_command(one: Schema, traffic: Mapping[Busy, Traffic], why: str = "") -> _Note:
    kind, name = str(one["kind"]), str(one["command"])
    note = _message_note(kind, name, COMMAND)
    line = f"of {kind}, {why}" if why else note.line
    return _Note(name, line, note.about, COMMAND, NO_TRAFFIC if why else traffic.get((kind, name), NO_TRAFFIC))


def _column(notes: Sequence[_Note], x: int, top: int, inner: int, *, to_actor: bool, middle: int) -> list[str]:
    """The notes under each other in the middle of a lane, each with its line to or from the actor."""
    used = len(notes) * (NOTE_HEIGHT + GAP) - GAP
    y, found = top + (inner - used) // 2, []
    for note in notes:
        centre = y + NOTE_HEIGHT // 2
        if to_actor:
            found.append(_curve(x + NOTE_WIDTH, centre, COLUMNS[1], middle))
        else:
            found.append(_curve(COLUMNS[1] + NOTE_WIDTH, middle, x, centre))
        found.append(_sticky(note, x, y))
        y += NOTE_HEIGHT + GAP
    return found


def _curve(x: int, y: int, to_x: int, to_y: int) -> str:
    half = (x + to_x) // 2
    return (
        f'<path d="M{x} {y}C{half} {y} {half} {to_y} {to_x} {to_y}" fill="none" stroke="currentColor" '
        'stroke-opacity=".45"/>'
    )


def _sticky(note: _Note, x: int, y: int) -> str:
    said, failing = note.traffic
    room = (NOTE_WIDTH - 24 - 7 * len(said)) // 6 if said else 31
    line = _fit(note.line, room) if room > 3 else ""
    border = f' stroke="{FAILING}" stroke-width="3"' if failing else ""
    traffic = (
        f'<text x="{x + NOTE_WIDTH - 8}" y="{y + 35}" font-size="11" font-weight="700" text-anchor="end">'
        f"{escape(said)}</text>"
    )
    return (
        f'<g fill="{INK}"><title>{escape(note.about)}</title>'
        f'<rect x="{x}" y="{y}" width="{NOTE_WIDTH}" height="{NOTE_HEIGHT}" rx="3" fill="{note.colour}"{border}/>'
        f'<text x="{x + 10}" y="{y + 18}" font-weight="600">{_fit(note.title, 22)}</text>'
        f'<text x="{x + 10}" y="{y + 35}" font-size="11" fill-opacity=".75">{line}</text>'
        f"{traffic if said else ''}</g>"
    )


def _actor_note(kind: str, description: str, fields: Sequence[str], y: int, height: int) -> str:
    x = COLUMNS[1]
    lines = "".join(
        f'<text x="{x + 10}" y="{y + 44 + 17 * place}" font-size="12">{_fit(line, 29)}</text>'
        for place, line in enumerate(fields)
    )
    return (
        f'<g fill="{INK}"><title>{escape(description or kind)}</title>'
        f'<rect x="{x}" y="{y}" width="{NOTE_WIDTH}" height="{height}" rx="3" fill="{ACTOR}"/>'
        f'<text x="{x + 10}" y="{y + 21}" font-size="15" font-weight="600">{_fit(kind, 19)}</text>{lines}</g>'
    )


def _command_note(name: str, command: Schema, document: Schema, traffic: Traffic) -> _Note:
    takes = signature_text(command.get("args", {}), document)
    reply = type_text(command.get("reply", True), document)
    line = ", ".join(resolve(command.get("args", {}), document).get("properties", {})) or "no arguments"
    about = f"{name}({takes}) -> {reply}\n{command.get('description', '')}".strip()
    return _Note(name, line, about, QUERY if command.get("query") else COMMAND, traffic)


def _event_note(name: str, event: Schema, document: Schema) -> _Note:
    found = resolve(event, document)
    properties: Mapping[str, object] = found.get("properties", {})
    about = f"{name}({signature_text(event, document)})\n{found.get('description', '')}".strip()
    return _Note(name, ", ".join(properties) or "no fields", about, EVENT)


def _message_note(kind: str, name: str, colour: str) -> _Note:
    return _Note(name, f"of {kind}", f"{kind}.{name}", colour)


def _state_lines(state: Schema, document: Schema) -> list[str]:
    properties: Mapping[str, Schema] = resolve(state, document).get("properties", {})
    lines = [f"{name}: {type_text(schema, document)}" for name, schema in properties.items()]
    if len(lines) > STATE_SHOWN_MAX:
        return [*lines[:STATE_SHOWN_MAX], f"and {len(lines) - STATE_SHOWN_MAX} more"]
    return lines


def _fit(text: str, chars: int) -> str:
    return escape(text if len(text) <= chars else f"{text[: chars - 1]}…")
