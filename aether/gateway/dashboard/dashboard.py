"""The pages below `/ui/`: which address leads to which, who may see it, and errors as pages.

It stands on the same client, feed and access as the rest of the gateway, and holds nothing but readings for charts. A
browser sends no bearer token, so a sign-in puts the token into a cookie that only these pages get.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from starlette.requests import Request
from starlette.types import Scope

from aether.errors import AetherError
from aether.gateway.access import Access, Role
from aether.gateway.config import GatewayConfig
from aether.gateway.dashboard.actor_pages import ActorPages, OfActor
from aether.gateway.dashboard.browser import (
    HEADERS,
    check_own_origin,
    cookie,
    form_of,
    own_path,
    token_of,
)
from aether.gateway.dashboard.event_pages import EventPages
from aether.gateway.dashboard.failure_pages import FailurePages
from aether.gateway.dashboard.letter_pages import LetterPages
from aether.gateway.dashboard.numbers import Numbers
from aether.gateway.dashboard.overview_pages import OverviewPages
from aether.gateway.dashboard.pages import STATIC, Pages, Visit
from aether.gateway.dashboard.rights import Rights
from aether.gateway.dashboard.schedule_pages import SchedulePages
from aether.gateway.dashboard.task_pages import TaskPages
from aether.gateway.dashboard.trace_pages import TracePages
from aether.gateway.events import EventRoutes
from aether.gateway.problems import HttpProblem, http_problem
from aether.gateway.requests import Options, read_body
from aether.gateway.routes import Exchange, Handler, Route, not_found
from aether.model.drawing import draw
from aether.model.model import Model
from aether.untyped_client import UntypedClient

SIGN_IN_BYTES_MAX = 8_192

Show = Callable[[Visit], Awaitable[None]]
"""Answers a visit."""


@dataclass(frozen=True, slots=True)
class _Place:
    """An address: what its query string may have, and what shows it; `send` takes its form."""

    show: Show
    known: frozenset[str] = frozenset()
    many: frozenset[str] = frozenset()
    send: Show | None = None
    streams: bool = False


class Dashboard:
    """The dashboard of one gateway."""

    def __init__(
        self, model: Model, client: UntypedClient, config: GatewayConfig, access: Access, events: EventRoutes
    ) -> None:
        self._access = access
        self._config = config
        self._pages = Pages(model.name)
        self._model = model
        self._events = events
        self._numbers = Numbers(client, config.deadline_s)
        self._rights = rights = Rights(access, model)
        failures = FailurePages(self._numbers, self._pages, rights.may_read, rights.may_see_errors)
        letters = LetterPages(client, self._numbers, config, self._pages, rights)
        schedules = SchedulePages(client, config, self._pages, rights)
        tasks = TaskPages(client, config, self._pages, rights, has_tasks=bool(model.task_types))
        self._overview = OverviewPages(client, self._numbers, failures, letters, self._pages)
        parts = OfActor(failures, letters, schedules, tasks)
        actors = ActorPages(model, client, config, self._pages, rights.may_call, parts)
        shown = EventPages(model, client, config, self._pages)
        traces = TracePages(client, config, self._pages)
        self._places = {
            "": _Place(self._overview.show),
            "overview": _Place(self._overview.show_part),
            "actors": _Place(actors.show_list, frozenset({"kind", "begins", "cursor"})),
            "actor": _Place(actors.show_actor, frozenset({"kind", "key", "version"})),
            "state.json": _Place(actors.show_state, frozenset({"kind", "key", "version"})),
            "command": _Place(
                actors.show_command, frozenset({"kind", "key", "name"}), frozenset(), actors.send_command
            ),
            "events": _Place(shown.show, frozenset({"kind", "key", "type"}), frozenset({"type"})),
            "stream": _Place(self._stream, frozenset({"kind", "key", "type", "after"}), frozenset({"type"}),
                             streams=True),
            "trace": _Place(traces.show, frozenset({"id", "since", "cursor"})),
            "failures": _Place(failures.show),
            "dead-letters": _Place(letters.show, frozenset({"kind", "key", "after"}), frozenset(), letters.send),
            "tasks": _Place(tasks.show, frozenset({"kind", "key", "skip"}), frozenset(), tasks.send),
            "schedules": _Place(schedules.show, frozenset({"kind", "key", "skip"})),
            "board": _Place(self._show_board),
            "board.svg": _Place(self._send_board),
        }  # fmt: skip

    def close(self) -> None:
        """Measure nothing more. Idempotent."""
        self._numbers.close()

    def route(self, segments: tuple[str, ...]) -> Route:
        """The route of an address below `/ui`. A problem when there is none."""
        match segments:
            case ():
                return Route({"GET": Handler(self._go_home, None)})
            case ("static", name) if name in STATIC:
                return Route({"GET": Handler(partial(self._send_static, name), None)})
            case ("sign-in",):
                return Route({"GET": Handler(self._show_sign_in, None), "POST": Handler(self._sign_in, None)})
            case ("sign-out",):
                return Route({"POST": Handler(self._sign_out, None)})
            case (name,) if name in self._places:
                place = self._places[name]
                handlers = {"GET": Handler(partial(self._visited, name, place, False), None, streams=place.streams)}
                if place.send is not None:
                    handlers["POST"] = Handler(partial(self._visited, name, place, True), None)
                return Route(handlers)
        raise not_found()

    # ------------------------------------------------------------------------------------------------ one visit

    async def _visited(self, name: str, place: _Place, sends: bool, exchange: Exchange) -> None:
        """Show a page to whom it may be shown, or a page that says why not."""
        visit = _visit(exchange, name)
        try:
            if sends:
                check_own_origin(exchange.headers)
            visit = _visit(exchange, name, Options(exchange.scope, place.known, place.many))
            kind, key = visit.options.text("kind") or "", visit.options.text("key") or ""
            command = (visit.options.text("name") or "") if sends else ""
            caller = await self._rights.caller(exchange, self._rights.role(kind, command), kind, key, command)
            show = place.send if sends and place.send is not None else place.show
            await show(_visit(exchange, name, visit.options, caller))
        except HttpProblem as problem:
            await self._show_problem(visit, problem)
        except AetherError as error:
            await self._show_problem(visit, http_problem(error))

    async def _show_problem(self, visit: Visit, problem: HttpProblem) -> None:
        if (
            problem.status == 401
            and visit.exchange.scope["method"] == "GET"
            and visit.place not in ("overview", "stream")
        ):
            await _see_other(visit.exchange, visit.url("sign-in", to=_own_address(visit.exchange.scope)))
            return
        await self._pages.answer(visit, "problem.html", status=problem.status, problem=problem)

    # ------------------------------------------------------------------------------------------------ signing in

    async def _show_sign_in(self, exchange: Exchange) -> None:
        visit = _visit(exchange, "sign-in", Options(exchange.scope, frozenset({"to"})))
        await self._pages.answer(visit, "sign_in.html", to=visit.options.text("to") or "", error="")

    async def _sign_in(self, exchange: Exchange) -> None:
        visit = _visit(exchange, "sign-in")
        try:
            check_own_origin(exchange.headers)
            form = form_of(await self._body(exchange, SIGN_IN_BYTES_MAX), exchange.headers)
        except HttpProblem as problem:
            await self._show_problem(visit, problem)
            return
        token, to = form.get("token", "").strip(), form.get("to", "")
        headers = [*exchange.scope["headers"], (b"authorization", f"Bearer {token}".encode())]
        try:
            if not (token.isascii() and token.isprintable()) or not token or ";" in token or " " in token:
                raise HttpProblem(401, "this is no token")
            request = Request({**exchange.scope, "headers": headers}, exchange.receive)
            await self._access.caller(request, Role.READ, "", "", "")
        except HttpProblem:
            await self._pages.answer(visit, "sign_in.html", status=401, to=to, error="No such token.")
            return
        secure = exchange.scope.get("scheme") == "https"
        await _see_other(exchange, own_path(to, visit.base), cookie(token, f"{visit.base}/", secure=secure))

    async def _sign_out(self, exchange: Exchange) -> None:
        visit = _visit(exchange, "sign-out")
        try:
            check_own_origin(exchange.headers)
        except HttpProblem as problem:
            await self._show_problem(visit, problem)
            return
        secure = exchange.scope.get("scheme") == "https"
        await _see_other(exchange, visit.url("sign-in"), cookie("", f"{visit.base}/", secure=secure))

    async def _body(self, exchange: Exchange, bytes_max: int) -> bytes:
        return await read_body(exchange.receive, exchange.headers, bytes_max, self._config.body_timeout_s)

    # ------------------------------------------------------------------------------------------------ small ones

    async def _go_home(self, exchange: Exchange) -> None:
        await _see_other(exchange, f"{_base(exchange.scope)}/")

    async def _send_static(self, name: str, exchange: Exchange) -> None:
        await self._pages.answer_static(exchange, name)

    async def _stream(self, visit: Visit) -> None:
        """The stream of `/events`, under an address that the cookie goes to."""
        await self._events.route(visit.exchange.scope).handlers["GET"].respond(visit.exchange)

    async def _show_board(self, visit: Visit) -> None:
        document = self._model.schema()
        traffic = await self._overview.traffic()
        board = draw(document, traffic or {})
        summary = "The pool does not answer, so rates and failures are not known." if traffic is None else ""
        parts = {name: document.get(name, {}) for name in ("actors", "policies", "tasks", "starts", "schedules")}
        await self._pages.answer(visit, "board.html", board=board, summary=summary, **parts)

    async def _send_board(self, visit: Visit) -> None:
        named = {name.replace("-", "_"): value for name, value in HEADERS.items()}
        await visit.exchange.answer(
            draw(self._model.schema()).encode(), "image/svg+xml", status=200, cache="no-cache", **named
        )


def _visit(exchange: Exchange, place: str, options: Options | None = None, caller: str = "") -> Visit:
    nothing = Options({"query_string": b""}, frozenset())
    return Visit(exchange, _base(exchange.scope), options or nothing, place, caller, bool(token_of(exchange.headers)))


def _base(scope: Scope) -> str:
    return quote(scope.get("root_path", "").rstrip("/")) + "/ui"


def _own_address(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    query: bytes = scope.get("query_string", b"")
    return (raw + (b"?" + query if query else b"")).decode("latin-1")


async def _see_other(exchange: Exchange, address: str, set_cookie: str = "") -> None:
    named = {"Location": address}
    if set_cookie:
        named["Set_Cookie"] = set_cookie
    await exchange.answer(b"", "text/plain", status=303, cache="no-store", **named)
