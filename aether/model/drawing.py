"""The event-storming board of a model as SVG: one pure function over `model.schema()`.

Each kind is a lane: its commands (blue) and queries (green) at the left, the actor with its state (yellow) in the
middle, its events (orange) at the right. Which command emits which event is decided while it runs and is in no
declaration, so the arrows go through the actor. Below the actors each policy (lilac) stands between its events and the
commands that it says it tells. Colours are attributes and not styles, so that a page with a strict
content policy may hold the picture, and words outside of the notes take the colour of the text around it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from aether.model.schema_reading import Schema, resolve, signature_text, type_text

NOTE_WIDTH, NOTE_HEIGHT, GAP = 200, 44, 10
COLUMNS = (16, 276, 536)
"""Where commands, actors and events begin, pixels."""

WIDTH = 752
HEAD = 56
LANE_HEAD = 34
STATE_SHOWN_MAX = 12

COMMAND, QUERY, ACTOR, EVENT, POLICY = "#a6ccf5", "#b9e3b4", "#fbe58a", "#fbb96b", "#d9bdf2"
INK = "#1c1c1c"


@dataclass(frozen=True, slots=True)
class _Note:
    """One sticky note: a title, a smaller line, and what is shown when a pointer rests on it."""

    title: str
    line: str
    about: str
    colour: str
    traffic: str = ""


def draw(document: Schema, traffic: Mapping[tuple[str, str], str] | None = None) -> str:
    """The board of what `model.schema()` gave, as an SVG document without references to anything.

    `traffic` is a few words for a kind and a command, which its note says at its right edge.
    """
    policies: Mapping[str, Schema] = document.get("policies", {})
    parts, y = [_legend(with_policies=bool(policies))], HEAD
    for kind, actor in document.get("actors", {}).items():
        lane, height = _lane(str(kind), actor, document, y, traffic or {})
        parts += lane
        y += height
    if policies:
        lane, height = _policies_lane(policies, y)
        parts += lane
        y += height
    title = f"Event-storming board of {document.get('model', '')}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="currentColor">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>\n"
    )


def _legend(*, with_policies: bool) -> str:
    found, x = [], COLUMNS[0]
    shown = [(COMMAND, "command"), (QUERY, "query"), (ACTOR, "actor and its state"), (EVENT, "event")]
    for colour, word in [*shown, (POLICY, "policy")] if with_policies else shown:
        found.append(f'<rect x="{x}" y="14" width="16" height="16" rx="2" fill="{colour}"/>')
        found.append(f'<text x="{x + 24}" y="27">{word}</text>')
        x += 48 + 8 * len(word)
    return "".join(found)


def _lane(
    kind: str, actor: Schema, document: Schema, y: int, traffic: Mapping[tuple[str, str], str]
) -> tuple[list[str], int]:
    """The notes of one kind from a height on, and how high they are together."""
    left = [
        _command_note(name, one, document, traffic.get((kind, name), ""))
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


def _policies_lane(policies: Mapping[str, Schema], y: int) -> tuple[list[str], int]:
    """Whenever these events, then these commands: a row for each policy, and how high they are together."""
    found, top = _lane_head("policies", y), y + LANE_HEAD
    for name, policy in policies.items():
        events = [_message_note(str(one["kind"]), str(one["event"]), EVENT) for one in policy["events"]]
        told: Sequence[Schema] | None = policy["tells"]
        commands = [_message_note(str(one["kind"]), str(one["command"]), COMMAND) for one in told or ()]
        inner = max(len(events), len(commands), 1) * (NOTE_HEIGHT + GAP) - GAP
        middle = top + inner // 2
        found += _column(events, COLUMNS[0], top, inner, to_actor=True, middle=middle)
        found += _column(commands, COLUMNS[2], top, inner, to_actor=False, middle=middle)
        line = "its tells are not listed" if told is None else f"tells {len(told)} command{'s' * (len(told) != 1)}"
        note = _Note(name, line, str(policy.get("description", "")) or name, POLICY)
        found.append(_sticky(note, COLUMNS[1], middle - NOTE_HEIGHT // 2))
        top += inner + 2 * GAP
    return found, top - y


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
    line = _fit(note.line, 16 if note.traffic else 31)
    traffic = (
        f'<text x="{x + NOTE_WIDTH - 8}" y="{y + 35}" font-size="11" font-weight="700" text-anchor="end">'
        f"{escape(note.traffic)}</text>"
    )
    return (
        f'<g fill="{INK}"><title>{escape(note.about)}</title>'
        f'<rect x="{x}" y="{y}" width="{NOTE_WIDTH}" height="{NOTE_HEIGHT}" rx="3" fill="{note.colour}"/>'
        f'<text x="{x + 10}" y="{y + 18}" font-weight="600">{_fit(note.title, 25)}</text>'
        f'<text x="{x + 10}" y="{y + 35}" font-size="11" fill-opacity=".75">{line}</text>'
        f"{traffic if note.traffic else ''}</g>"
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
        f'<text x="{x + 10}" y="{y + 21}" font-size="15" font-weight="600">{_fit(kind, 22)}</text>{lines}</g>'
    )


def _command_note(name: str, command: Schema, document: Schema, traffic: str) -> _Note:
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
