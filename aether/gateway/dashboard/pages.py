"""Templates to pages: one place that knows Jinja, addresses within the dashboard, and the headers of a page."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import jinja2

from aether.gateway.dashboard.browser import HEADERS
from aether.gateway.dashboard.pictures import number, share_bar
from aether.gateway.dashboard.trace_search import since_for
from aether.gateway.requests import Options
from aether.gateway.routes import Exchange

NAVIGATION = (
    ("", "Overview"),
    ("actors", "Actors"),
    ("failures", "Failures"),
    ("dead-letters", "Dead letters"),
    ("tasks", "Tasks"),
    ("schedules", "Schedules"),
    ("events", "Events"),
    ("trace", "Trace"),
    ("board", "Board"),
)
"""The rooms of the dashboard, as the navigation lists them: the last part of the address, and the words."""

STATIC: Mapping[str, str] = {
    "dashboard.css": "text/css",
    "dashboard.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page. `base` is the address of the dashboard without a slash at its end."""

    exchange: Exchange
    base: str
    options: Options
    place: str
    caller: str
    signed_in: bool

    def url(self, place: str = "", **query: object) -> str:
        """An address within the dashboard; what is None or "" is left out of the query string."""
        given = {name: str(value) for name, value in query.items() if value not in (None, "")}
        return f"{self.base}/{place}" + (f"?{urlencode(given)}" if given else "")


class Pages:
    """Makes pages from templates."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("aether.gateway.dashboard"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"number": number, "time": _time}
        self._templates.globals |= {"share_bar": share_bar, "since_for": since_for}

    @cached_property
    def _static(self) -> dict[str, tuple[bytes, str]]:
        """The files by name, each with a tag of its content."""
        folder = files("aether.gateway.dashboard").joinpath("static")
        read = {name: folder.joinpath(name).read_bytes() for name in STATIC}
        return {name: (content, hashlib.sha256(content).hexdigest()[:12]) for name, content in read.items()}

    async def answer(self, visit: Visit, template: str, *, status: int = 200, **values: Any) -> None:
        """Send a page."""
        content = self._templates.get_template(template).render(
            values,
            visit=visit,
            url=visit.url,
            static=lambda name: visit.url(f"static/{name}", v=self._static[name][1]),
            navigation=NAVIGATION,
            model=self._model,
            version=version("aether-actors"),
        )
        named = {name.replace("-", "_"): value for name, value in HEADERS.items()}
        await visit.exchange.answer(content.encode(), "text/html", status=status, **named)

    async def answer_static(self, exchange: Exchange, name: str) -> None:
        """Send a file that pages load. Their addresses change with the content, so it may be kept."""
        content, _ = self._static[name]
        await exchange.answer(
            content, STATIC[name], cache="public, max-age=31536000, immutable", X_Content_Type_Options="nosniff"
        )


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
