"""A state machine's table as a picture: one column per state, one arrow per pair of states, named by its triggers.

The picture is SVG without references to anything, so that the site shows it without a network. It is drawn from the
table alone, so it has every transition, in the table's order.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from html import escape
from typing import TypeVar

StateT = TypeVar("StateT", bound=Enum)
TriggerT = TypeVar("TriggerT", bound=Enum)

COLUMN, ROW, HEAD, MARGIN = 108, 30, 64, 12
BOX_WIDTH, BOX_HEIGHT = 92, 28
INK, PAPER, BOX, LINE = "#1c1c1c", "#ffffff", "#fbe58a", "#c9c9c9"


def draw(title: str, transitions: Mapping[tuple[StateT, TriggerT], StateT], initial: StateT) -> str:
    """The table as an SVG document. A dot marks the first state, a double frame one that cannot be left."""
    steps: dict[tuple[StateT, StateT], list[str]] = {}
    for (before, trigger), after in transitions.items():
        steps.setdefault((before, after), []).append(trigger.value)
    states = list(dict.fromkeys([initial, *(state for pair in steps for state in pair)]))
    left = {before for before, _ in steps}
    centre = {state: MARGIN + COLUMN // 2 + COLUMN * n for n, state in enumerate(states)}
    width, height = 2 * MARGIN + COLUMN * len(states), HEAD + ROW * len(steps) + MARGIN
    parts = [f'<rect width="{width}" height="{height}" fill="{PAPER}"/>', _arrow_head()]
    for state in states:
        parts += _column(centre[state], height, state.value, first=state is initial, last=state not in left)
    for row, ((before, after), triggers) in enumerate(steps.items()):
        parts += _arrow(centre[before], centre[after], HEAD + ROW * row + ROW // 2 + 6, ", ".join(triggers))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="12" fill="{INK}" text-anchor="middle">'
        f"<title>{escape(title)}</title>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _arrow_head() -> str:
    shape = f'<path d="M0 0L8 4L0 8Z" fill="{INK}"/>'
    size = 'viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7"'
    return f'<marker id="head" {size} orient="auto">{shape}</marker>'


def _column(x: int, height: int, name: str, *, first: bool, last: bool) -> Iterator[str]:
    """A state with the line that its arrows begin and end at."""
    left, top = x - BOX_WIDTH // 2, 22
    yield f'<path d="M{x} {top + BOX_HEIGHT}V{height - MARGIN}" stroke="{LINE}"/>'
    yield f'<rect x="{left}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" fill="{BOX}" stroke="{INK}"/>'
    if last:
        inner = f'width="{BOX_WIDTH - 6}" height="{BOX_HEIGHT - 6}" rx="3" fill="none" stroke="{INK}"'
        yield f'<rect x="{left + 3}" y="{top + 3}" {inner}/>'
    if first:
        yield f'<circle cx="{x}" cy="6" r="5"/><path d="M{x} 6V{top}" stroke="{INK}" marker-end="url(#head)"/>'
    yield f'<text x="{x}" y="{top + 18}" font-weight="600">{escape(name)}</text>'


def _arrow(start: int, end: int, y: int, label: str) -> Iterator[str]:
    """One arrow with its triggers above it; the arrow is drawn last, over the edge of the text."""
    paper = f'stroke="{PAPER}" stroke-width="4" paint-order="stroke"'
    yield f'<text x="{(start + end) // 2}" y="{y - 5}" font-size="11" {paper}>{escape(label)}</text>'
    if start == end:
        yield f'<path d="M{start} {y - 5}h16v8h-16" fill="none" stroke="{INK}" marker-end="url(#head)"/>'
    else:
        yield f'<path d="M{start} {y}H{end}" stroke="{INK}" marker-end="url(#head)"/>'
