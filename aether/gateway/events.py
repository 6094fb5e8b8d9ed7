"""`/events`: stored events as server-sent events, each with an id at which a later stream goes on."""

from dataclasses import dataclass

from starlette.types import Scope

from aether.errors import InvalidCommand
from aether.gateway.access import Role
from aether.gateway.config import GatewayConfig
from aether.gateway.feed import EventFeed, Filter, StreamPlace, place_of
from aether.gateway.requests import Options
from aether.gateway.routes import Exchange, Handler, Route
from aether.ids import ActorId, check_kind
from aether.untyped_client import UntypedClient

MEDIA_TYPE = "text/event-stream"
_KNOWN = frozenset({"type", "kind", "key", "after"})


class EventRoutes:
    """The streams of a gateway, over one feed."""

    def __init__(self, client: UntypedClient, config: GatewayConfig) -> None:
        self.feed = EventFeed(client, config)

    def route(self, scope: Scope) -> Route:
        """The route of a stream, with the kind and key that it is about. Raises `InvalidCommand`."""
        options = Options(scope, _KNOWN, many=frozenset({"type"}))
        kind, key = options.text("kind"), options.text("key")
        if kind is not None:
            check_kind(kind)
        if key is not None:
            if kind is None:
                raise InvalidCommand("a key needs the kind of its actor", path="kind")
            ActorId(kind, key)
        asked = _Asked(self.feed, Filter(frozenset(options.texts("type")), kind, key), options.text("after"))
        return Route({"GET": Handler(asked.respond, Role.READ, streams=True)}, kind, key)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One stream that is asked for."""

    feed: EventFeed
    wanted: Filter
    after: str | None

    async def respond(self, exchange: Exchange) -> None:
        """Stream until the reader is gone, is too slow, or the gateway stops."""
        async with self.feed.stream(self.wanted, self._start(exchange)) as events:
            # Proxies pass each piece on at once, as nginx does when it is told so.
            await exchange.stream(events, MEDIA_TYPE, **{"X-Accel-Buffering": "no"})

    def _start(self, exchange: Exchange) -> StreamPlace | None:
        """The place of the last event that the reader has; its header counts more than its query string, which stays
        as it was when a browser connects again."""
        header = exchange.headers.get(b"last-event-id")
        if header:
            return place_of(header.decode("latin-1"))
        return None if self.after is None else place_of(self.after)
