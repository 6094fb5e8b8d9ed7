"""Pictures of numbers as SVG: the ring of shards, and charts over time.

Pure. Colours are classes, so that a style sheet has them for light and dark; no picture says by colour alone what no
text says. A picture is drawn from what was measured, and a while without a measurement is a gap.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup, escape

from aether.core.cluster.overview import ShardOverview, ShardState

ARCS_MAX = 1_024
"""Arcs of a ring; where there are more shards, neighbours share one, which shows the worst of their states."""

COLOURS = 8
"""Workers have so many colours, by turns."""

WIDE, FLOOR, HIGH = 240, 92, 76
"""Of a chart: its width, where its values are 0, and how far above that its scale ends."""

_WORST = (ShardState.FREE, ShardState.ORPHANED, ShardState.MOVING, ShardState.HELD)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: a name, a class for its colour, and values, None where there is none."""

    name: str
    colour: str
    values: Sequence[float | None]


def ring(shards: Sequence[ShardOverview], colours: Mapping[str, str]) -> Markup:
    """The shards around a circle in their order, each in the colour of the worker that holds it.

    A shard on its way is drawn further out, with the colour of the worker that it goes to beside it. One without a
    living holder is further in.
    """
    groups = _grouped(shards)
    paths: dict[tuple[str, str], list[str]] = {}
    for place, one in enumerate(groups):
        span = (2 * math.pi * place / len(groups), 2 * math.pi * (place + 1) / len(groups))
        if one.state is ShardState.HELD:
            paths.setdefault((colours.get(one.holder, "none"), f"{one.holder} holds"), []).append(_arc(84, span))
        elif one.state is ShardState.MOVING:
            paths.setdefault((colours.get(one.holder, "none"), f"{one.holder} gives away"), []).append(_arc(84, span))
            wanted = one.wanted or "none"
            paths.setdefault((f"to {colours.get(wanted, 'none')}", f"on the way to {wanted}"), []).append(
                _arc(97, span)
            )
        else:
            what = "without a worker" if one.state is ShardState.FREE else "its worker is gone"
            paths.setdefault((one.state.value, what), []).append(_arc(84, span))
    drawn = Markup("").join(
        Markup('<path class="arc {}" d="{}"><title>{}: {} shards</title></path>').format(
            name, "".join(arcs), what, len(arcs) if len(groups) == len(shards) else "some"
        )
        for (name, what), arcs in sorted(paths.items())
    )
    moving = sum(one.state is ShardState.MOVING for one in shards)
    lost = sum(one.state in (ShardState.FREE, ShardState.ORPHANED) for one in shards)
    words = f"{lost} without worker" if lost else f"{moving} moving" if moving else "all held"
    return Markup(
        '<svg class="ring" viewBox="0 0 220 220" role="img" aria-label="{label}">{drawn}'
        '<text x="110" y="108" class="figure">{count}</text><text x="110" y="124" class="unit">shards</text>'
        '<text x="110" y="140" class="unit {state}">{words}</text></svg>'
    ).format(
        label=f"Ring of {len(shards)} shards: {words}",
        drawn=drawn,
        count=f"{len(shards):,}",
        words=words,
        state="bad" if lost else "warn" if moving else "good",
    )


def chart(lines: Sequence[Line], unit: str, label: str) -> Markup:
    """Lines over time, the newest at the right, over a common scale from 0."""
    most = max((value for line in lines for value in line.values if value is not None), default=0.0)
    top = ceiling(most)
    drawn = Markup("").join(
        Markup('<path class="area {0}" d="{1}"/><path class="line {0}" d="{2}"/>').format(
            line.colour, _path(line.values, top, area=True), _path(line.values, top)
        )
        for line in lines
    )
    grid = Markup("").join(
        Markup('<path class="grid" d="M0 {y}H{width}"/><text x="0" y="{above}">{text}</text>').format(
            y=_short(FLOOR - share * HIGH),
            width=WIDE,
            above=_short(FLOOR - 3 - share * HIGH),
            text=f"{number(top * share)} {unit}".rstrip(),
        )
        for share in (0.5, 1.0)
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 {wide} {deep}" role="img" aria-label="{label}">{grid}'
        '<path class="axis" d="M0 {floor}H{wide}"/>{drawn}</svg>'
    ).format(wide=WIDE, deep=FLOOR + 2, label=label, grid=grid, floor=FLOOR, drawn=drawn)


def share_bar(share: float, colour: str) -> Markup:
    """A bar that is so long, 0 to 1. The number stands beside it as text."""
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="back" width="100" height="8"/><rect class="{}" width="{}" height="8"/></svg>'
    ).format(escape(colour), _short(100 * min(1.0, max(0.0, share))))


def ceiling(value: float) -> float:
    """The next round number: 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * 0.999999)


def number(value: float) -> str:
    """A number with about three digits, as people read it."""
    if value >= 10_000:
        return f"{value / 1000:,.0f}k" if value >= 100_000 else f"{value / 1000:.1f}k"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """A colour class for each worker, by its name, so that it stays the same while others come and go."""
    taken: dict[str, str] = {}
    for name in sorted(names):
        wanted = sum(name.encode()) % COLOURS
        free = [place % COLOURS for place in range(wanted, wanted + COLOURS)]
        used = set(taken.values()) if len(taken) < COLOURS else set()
        taken[name] = next((f"c{place}" for place in free if f"c{place}" not in used), f"c{wanted}")
    return taken


def _grouped(shards: Sequence[ShardOverview]) -> list[ShardOverview]:
    width = -(-len(shards) // ARCS_MAX)
    groups = [shards[first : first + width] for first in range(0, len(shards), width or 1)]
    return [min(group, key=lambda one: _WORST.index(one.state)) for group in groups]


def _arc(radius: float, span: tuple[float, float]) -> str:
    gap = min(0.004, (span[1] - span[0]) / 6)
    if span[1] - span[0] > math.pi:
        middle = (span[0] + span[1]) / 2
        return _arc(radius, (span[0], middle)) + _arc(radius, (middle, span[1]))
    first, last = _point(radius, span[0] + gap), _point(radius, span[1] - gap)
    return f"M{first}A{radius} {radius} 0 0 1 {last}"


def _point(radius: float, angle: float) -> str:
    return f"{110 + radius * math.sin(angle):.2f} {110 - radius * math.cos(angle):.2f}"


def _path(values: Sequence[float | None], top: float, *, area: bool = False) -> str:
    """The line through the values, or the area below it: a piece for each stretch without a gap."""
    step = WIDE / max(1, len(values) - 1)
    points = [
        None if value is None else (place * step, FLOOR - HIGH * value / top) for place, value in enumerate(values)
    ]
    path = []
    for measured, stretch in groupby(points, lambda point: point is not None):
        if measured:
            piece = [f"{_short(point[0])} {_short(point[1])}" for point in stretch if point is not None]
            line = "L".join(piece) if len(piece) > 1 else f"{piece[0]}h.1"
            first, last = piece[0].partition(" ")[0], piece[-1].partition(" ")[0]
            path.append(f"M{first} {FLOOR}L{line}L{last} {FLOOR}Z" if area else f"M{line}")
    return "".join(path)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
