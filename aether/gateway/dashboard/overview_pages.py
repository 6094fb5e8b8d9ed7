"""The overview: workers, the ring of shards, and what the pool does, drawn anew every few seconds."""

from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from aether.core.cluster.overview import ShardState
from aether.core.cluster.status import SERVING
from aether.errors import AetherError
from aether.gateway.dashboard.failure_pages import FailurePages
from aether.gateway.dashboard.letter_pages import LetterPages
from aether.gateway.dashboard.numbers import Interval, Numbers, Reading, intervals, recent, recent_tasks, state_reads
from aether.gateway.dashboard.pages import Pages, Visit
from aether.gateway.dashboard.pictures import Line, chart, colours_of, number, ring
from aether.model.drawing import Busy, Traffic
from aether.untyped_client import UntypedClient


class OverviewPages:
    """The overview as a page, and its living part alone."""

    def __init__(
        self, client: UntypedClient, numbers: Numbers, failures: FailurePages, letters: LetterPages, pages: Pages
    ) -> None:
        self._letters = letters
        self._client = client
        self._pages = pages
        self._numbers = numbers
        self._failures = failures

    async def show(self, visit: Visit) -> None:
        """The whole page."""
        await self._show(visit, "overview.html")

    async def show_part(self, visit: Visit) -> None:
        """What changes on the page."""
        await self._show(visit, "overview_part.html")

    async def traffic(self) -> dict[Busy, Traffic] | None:
        """A few words for each command and each task of the last minute; None when the pool does not say them."""
        try:
            readings = await self._numbers.readings()
        except AetherError:
            return None
        return {
            **{(row.kind, row.command): _in_words(row.rate, row.failed) for row in recent(readings, None)},
            **{(row.task,): _in_words(row.rate, row.failed) for row in recent_tasks(readings)},
        }

    async def _show(self, visit: Visit, template: str) -> None:
        readings = await self._numbers.readings()
        last = readings[-1]
        names = [_name(member) for member in last.overview.members]
        colours = colours_of(names)
        shards = last.overview.shards
        failures = await self._failures.overview(visit, last)
        counted = self._letters.known_count()
        await self._pages.answer(
            visit,
            template,
            namespace=self._client.namespace,
            reading=last,
            ring=ring(shards, colours),
            workers=[_worker(member, colours, len(shards)) for member in last.overview.members],
            summary=_summary(last, failures["failing"]),
            charts=_charts(intervals(readings)),
            commands=recent(readings),
            reads=state_reads(readings),
            active=sorted(last.readings.values.get("aether_active_actors", {}).items()),
            dead_letters=int(last.readings.total("aether_dead_letters")) if counted is None else counted,
            conflicts=last.readings.total("aether_conflicts_total"),
            unknown=last.readings.total("aether_unknown_outcomes_total"),
            **failures,
        )


def _in_words(rate: float, failed: float) -> Traffic:
    """How often it ends per second, and how many failed, with a sign that is seen from afar."""
    return Traffic(f"{number(rate)}/s" + (f" ▲ {number(failed)} failed" if failed else ""), bool(failed))


def _name(member: dict[str, Any]) -> str:
    return f"{member['node']}-{member['slot']}"


def _worker(member: dict[str, Any], colours: dict[str, str], shards: int) -> dict[str, Any]:
    name = _name(member)
    return {
        **member,
        "name": name,
        "colour": colours[name],
        "share": member["shards"] / max(1, shards),
        "good": member["state"] == SERVING,
        "why": member.get("why", ""),
        "pid": member.get("pid", ""),
        "host": member.get("host", ""),
    }


def _summary(reading: Reading, failing: str) -> str:
    """The state of the pool in a line, which a screen reader says when it changes."""
    members = reading.overview.members
    serving = sum(member["state"] == SERVING for member in members)
    moving = sum(one.state is ShardState.MOVING for one in reading.overview.shards)
    lost = sum(one.state in (ShardState.FREE, ShardState.ORPHANED) for one in reading.overview.shards)
    parts = [f"{serving} of {len(members)} workers serve"]
    parts.append(f"{lost} shards have no worker" if lost else "every shard has a worker")
    if moving:
        parts.append(f"{moving} shards are moving")
    return ", ".join(parts) + (f"; {failing}" if failing else "")


def _charts(found: list[Interval | None]) -> list[dict[str, Any]]:
    """The charts, each with what it shows now as text."""
    return [
        _chart("Commands", "/s", found, [("all", "c0", lambda one: one.commands)]),
        _chart("Latency", "ms", found, [("median", "c2", lambda one: one.p50_ms),
                                        ("p99", "c1", lambda one: one.p99_ms)]),
        _chart("Failed and refused", "/s", found, [("failed", "bad", lambda one: one.failures),
                                                   ("refused", "c3", lambda one: one.refusals)]),
        _chart("Waiting commands", "", found, [("waiting", "c4", lambda one: one.waiting)]),
    ]  # fmt: skip


def _chart(
    title: str,
    unit: str,
    found: list[Interval | None],
    lines: list[tuple[str, str, Callable[[Interval], float | None]]],
) -> dict[str, Any]:
    drawn = [Line(name, colour, [None if one is None else of(one) for one in found]) for name, colour, of in lines]
    now = [(line.name, line.colour, _said(line.values[-1], unit)) for line in drawn]
    label = f"{title} over three minutes; now " + ", ".join(f"{name} {text}" for name, _, text in now)
    picture: Markup = chart(drawn, unit, label)
    return {"title": title, "picture": picture, "now": now}


def _said(value: float | None, unit: str) -> str:
    return "none" if value is None else f"{number(value)} {unit}".strip()
