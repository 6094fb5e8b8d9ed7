"""A span for each request to an actor and each page, where this program has configured tracing.

It is put around the application when the gateway opens. The request's `traceparent` is the parent of its span, or the
span of that trace that the application around the gateway has made current. It goes no further: all that the request
leads to is below the span, which is current. Streams of events, which last for hours,
and scrapes have none.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aether.gateway.problems import HttpProblem
from aether.gateway.requests import segments_of
from aether.tracing.spans import SpanKind, Tracing

_ACTORS = ("", "/{kind}", "/{kind}/{key}", "/{kind}/{key}/{command}")
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
_UNTRACED_PAGES = frozenset({"static", "stream", "overview"})


def traced_app(app: ASGIApp, tracing: Tracing) -> ASGIApp:
    """The same application, with spans."""

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        route = _route(scope)
        if not route:
            await app(scope, receive, send)
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"]
        if len(given) > 1:  # which the gateway refuses
            await app(scope, receive, send)
            return
        attributes: dict[str, str | int] = {
            "http.request.method": scope["method"],
            "http.route": route,
            "url.path": scope["path"],
        }
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        parent = tracing.nearest("".join(given))
        span = tracing.span(f"{method} {route}", SpanKind.SERVER, attributes, parent=parent)
        headers = [(name, value) for name, value in scope["headers"] if name != b"traceparent"]

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    span.failed(f"status {message['status']}")
            await send(message)

        try:
            with span.current():
                await app({**scope, "headers": headers}, receive, noted)
        except BaseException as error:
            span.raised(error)
            raise
        finally:
            span.end()

    return traced


def _route(scope: Scope) -> str:
    """The route of a request that gets a span, without what differs from actor to actor; "" for the others."""
    try:
        segments = segments_of(scope)
    except HttpProblem:
        return ""
    match segments:
        case ("actors", *rest) if len(rest) < len(_ACTORS):
            return f"/actors{_ACTORS[len(rest)]}"
        case ("ui", page) if page not in _UNTRACED_PAGES:
            return "/ui/{page}"
    return ""
