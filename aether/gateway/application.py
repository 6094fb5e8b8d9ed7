"""The ASGI application: which request does what, and every error as a problem document.

One gateway belongs to one event loop. It asks a client and holds nothing but what is on its way; the middle of each
request is one `Route`, found from the path alone.
"""

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aether.client import Client
from aether.connecting import connect
from aether.errors import AetherError, Overloaded
from aether.gateway.access import Access, Role
from aether.gateway.actors import ActorRoutes
from aether.gateway.config import GatewayConfig
from aether.gateway.dashboard.dashboard import Dashboard
from aether.gateway.documents import Documents
from aether.gateway.events import EventRoutes
from aether.gateway.feed import EventFeed
from aether.gateway.health import Health
from aether.gateway.metrics import Metrics
from aether.gateway.problems import MEDIA_TYPE, HttpProblem, document, http_problem
from aether.gateway.rates import Rates, address_of_caller
from aether.gateway.requests import Disconnected, headers_of, segments_of
from aether.gateway.routes import Exchange, Handler, Route, not_found
from aether.gateway.traced import traced_app
from aether.model.model import Model
from aether.tracing.configured import configured_tracing

log = logging.getLogger("aether.gateway")

NOT_OPEN = "this gateway is not open: enter it in the lifespan of the application that it is mounted in"
_PORT = re.compile(r":\d+$")


class Gateway:
    """Serves the actors of a model over HTTP; made by `aether.gateway.app`."""

    def __init__(
        self,
        model: Model,
        access: Access,
        config: GatewayConfig,
        *,
        client: Client | None = None,
        url: str | None = None,
        namespace: str | None = None,
    ) -> None:
        self._model = model
        self._access = access
        self._config = config
        self._given = client
        self._url = url
        self._namespace = namespace
        self._open: _Open | None = None
        self._closing = AsyncExitStack()
        self._calls = 0
        self._rates = Rates(config.rate_per_s, config.rate_burst, config.rate_callers_max)
        self._draining = False
        self._app: ASGIApp = self._serve
        if config.cors_origins:
            self._app = CORSMiddleware(
                self._serve,
                allow_origins=config.cors_origins,
                allow_methods=("GET", "HEAD", "POST"),
                allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID",
                               "Prefer", "X-Correlation-Id", "traceparent"),
                expose_headers=("ETag", "Retry-After"),
            )  # fmt: skip

    @property
    def client(self) -> Client:
        """The client that it uses, for the rest of the application. Raises RuntimeError when it is not open."""
        if self._open is None:
            raise RuntimeError(NOT_OPEN)
        return self._open.client

    @property
    def feed(self) -> EventFeed:
        """What its event streams read from. Raises RuntimeError when it is not open."""
        if self._open is None:
            raise RuntimeError(NOT_OPEN)
        return self._open.feed

    @property
    def calls(self) -> int:
        """Requests that are worked on now, without event streams."""
        return self._calls

    async def __aenter__(self) -> Self:
        client = self._given
        if client is None:
            opening: AbstractAsyncContextManager[Client]
            opening = connect(self._url, model=self._model, namespace=self._namespace)
            client = await self._closing.enter_async_context(opening)
        self._open = _Open(self._model, client, self._config, self._access)
        tracing = configured_tracing()
        if tracing is not None:
            self._app = traced_app(self._app, tracing)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain()
        held, self._open = self._open, None
        if held is not None:
            held.close()
        await self._closing.aclose()
        del held  # its client is not to be garbage before it is closed

    def drain(self) -> None:
        """Tell every event stream that it ends, and take no further one. Calls are still answered. Idempotent."""
        self._draining = True
        if self._open is not None:
            self._open.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: HTTP, and the lifespan where nothing is around it."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._app(scope, receive, send)
        else:  # a websocket, which is refused before it is accepted
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.__aenter__()
        except AetherError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.__aexit__(None, None, None)
        await send({"type": "lifespan.shutdown.complete"})

    # ------------------------------------------------------------------------------------------------ one request

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._answer(scope, receive, noted)
        except Disconnected:
            return
        except HttpProblem as problem:
            refused = problem
        except AetherError as error:
            refused = http_problem(error)
        except Exception:
            log.exception("a request failed")
            refused = HttpProblem(500, "the gateway has failed; its log says why", code="gateway_failed")
        else:
            return
        if started:  # a part of the answer is on its way: only its missing end can say that it is not whole
            raise _CutOff(refused.detail) from None
        headers = {"Cache-Control": "no-store", **refused.headers}
        response = Response(document(refused), refused.status, headers, media_type=MEDIA_TYPE)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        if b"host" not in headers and scope.get("http_version") == "1.1":
            raise HttpProblem(400, "the header host is missing")
        self._check_place(scope["method"], headers)
        segments = segments_of(scope)
        if self._open is None:
            raise HttpProblem(503, NOT_OPEN, code="unavailable", headers={"Retry-After": "1"})
        route = self._open.route(scope, segments)
        method = scope["method"]
        handler = route.handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = _allowed(route)
            if method != "OPTIONS":
                raise HttpProblem(405, f"this takes {allowed}", headers={"Allow": allowed})
            await Response(status_code=204, headers={"Allow": allowed})(scope, receive, send)
            return
        caller = await self._caller(handler, route, Request(scope, receive))
        exchange = Exchange(scope, receive, send, headers, caller)
        if handler.streams and method == "HEAD":  # which would have no end
            await exchange.answer(b"", "text/event-stream")
            return
        if handler.streams:
            await handler.respond(exchange)
            return
        if self._calls >= self._config.calls_max:
            raise Overloaded(f"{self._config.calls_max} requests are worked on", limit="calls_max")
        self._calls += 1
        try:
            await handler.respond(exchange)
        finally:
            self._calls -= 1

    async def _caller(self, handler: Handler, route: Route, request: Request) -> str:
        """Who sends the request. A problem when the caller may not, or has sent too many."""
        address = address_of_caller(request.scope) if self._rates.limited else ""
        if handler.role is None:
            if not handler.unlimited:
                self._take_request(f"pages {address}")
            return ""
        try:
            kind, key = route.kind or "", route.key or ""
            caller = await self._access.caller(request, handler.role, kind, key, route.command)
        except HttpProblem:
            self._take_request(f"refused {address}")  # who guesses tokens is slowed down, and no caller beside it
            raise
        self._take_request(f"token {caller}" if caller else f"address {address}")
        return caller

    def _take_request(self, caller: str) -> None:
        """A problem when this caller has sent too many."""
        if not self._rates.limited:
            return
        wait_s = self._rates.wait_s(caller, asyncio.get_running_loop().time())
        if wait_s:
            text = f"this caller may send {self._config.rate_per_s:g} requests per second; nothing was done"
            headers = {"Retry-After": str(max(1, math.ceil(wait_s)))}
            raise HttpProblem(429, text, headers=headers, limit="rate_per_s")

    def _check_place(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        """Refuse names that this gateway has not, and commands that another site's page sends."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._config.hosts and _PORT.sub("", host).strip("[]") not in self._config.hosts:
            raise HttpProblem(421, "this gateway is not called that; see its hosts")
        origin = headers.get(b"origin")
        if origin is None or method in ("GET", "HEAD"):
            return
        named = origin.decode("latin-1").lower()
        if urlsplit(named).netloc != host and not {"*", named} & {*self._config.cors_origins}:
            raise HttpProblem(403, "pages of other origins may send nothing here")


class _Open:
    """What a gateway works with while it is open: the client, and the routes over it."""

    def __init__(self, model: Model, client: Client, config: GatewayConfig, access: Access) -> None:
        self.client = client
        untyped = client.untyped
        self._actors = ActorRoutes(model, untyped, config)
        self._events = EventRoutes(untyped, config)
        self.feed = self._events.feed
        self._health = Health(model, untyped)
        self._metrics = Metrics(untyped)
        self._documents = Documents(model, client.namespace, access.checks)
        self._dashboard = Dashboard(model, untyped, config, access, self._events)
        self._draining = False

    def drain(self) -> None:
        """Tell the event streams, and be ready no more."""
        self._draining = True
        self.feed.drain()

    def close(self) -> None:
        """Ask the pool nothing more."""
        self._dashboard.close()

    def route(self, scope: Scope, segments: tuple[str, ...]) -> Route:
        """Where a path leads. A problem, or an error of Aether's, when it leads nowhere."""
        match segments:
            case ("",):
                return _open_to_all(_show_dashboard)
            case ("actors", *below):
                return self._actors.route(tuple(below))
            case ("events",):
                return self._events.route(scope)
            case ("ui", *below):
                return self._dashboard.route(tuple(below))
            case ("healthz",):
                return _open_to_all(self._health.answer_health, unlimited=True)
            case ("readyz",):
                return _open_to_all(partial(self._health.answer_readiness, self._draining), unlimited=True)
            case ("metrics",):
                return Route({"GET": Handler(self._metrics.answer, Role.READ)})
            case ("docs",):
                return _open_to_all(self._documents.answer_page)
            case ("openapi.json",):
                return Route({"GET": Handler(self._documents.answer_openapi, Role.READ)})
            case ("asyncapi.json",):
                return Route({"GET": Handler(self._documents.answer_asyncapi, Role.READ)})
        raise not_found()


def _open_to_all(respond: Callable[[Exchange], Awaitable[None]], *, unlimited: bool = False) -> Route:
    return Route({"GET": Handler(respond, None, unlimited=unlimited)})


def _allowed(route: Route) -> str:
    """The methods of a path, for `Allow`."""
    return ", ".join(sorted({*route.handlers, "OPTIONS", *(["HEAD"] if "GET" in route.handlers else [])}))


async def _show_dashboard(exchange: Exchange) -> None:
    """Send a browser to the dashboard."""
    root = quote(exchange.scope.get("root_path", "").rstrip("/"))
    await exchange.answer(b"", "text/plain", status=307, Location=f"{root}/ui/")


class _CutOff(Exception):
    """An answer that could not be finished: the server closes the connection."""
