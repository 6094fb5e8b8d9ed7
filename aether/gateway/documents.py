"""What the gateway says of itself: OpenAPI and AsyncAPI of the model, and a page to read them with. Made once."""

from functools import cached_property
from importlib.resources import files

import orjson

from aether.gateway.asyncapi import asyncapi
from aether.gateway.openapi import openapi
from aether.gateway.routes import Exchange
from aether.model.model import Model

PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Documents:
    """`/openapi.json`, `/asyncapi.json` and `/docs`."""

    def __init__(self, model: Model, namespace: str, has_access: bool) -> None:
        self._model = model
        self._namespace = namespace
        self._has_access = has_access

    @cached_property
    def _openapi(self) -> bytes:
        return orjson.dumps(openapi(self._model.name, self._model.schema(), bearer=self._has_access))

    @cached_property
    def _asyncapi(self) -> bytes:
        return orjson.dumps(asyncapi(self._model.name, self._namespace, self._model.schema()))

    @cached_property
    def _page(self) -> bytes:
        return files("aether.gateway").joinpath("docs.html").read_bytes()

    async def answer_openapi(self, exchange: Exchange) -> None:
        """The description of the requests."""
        await exchange.answer(self._openapi, cache="no-cache")

    async def answer_asyncapi(self, exchange: Exchange) -> None:
        """The description of the events."""
        await exchange.answer(self._asyncapi, cache="no-cache")

    async def answer_page(self, exchange: Exchange) -> None:
        """A page that shows the requests and sends them. It holds no data itself."""
        await exchange.answer(
            self._page,
            "text/html",
            cache="no-cache",
            Content_Security_Policy=PAGE_POLICY,
            X_Content_Type_Options="nosniff",
            Referrer_Policy="no-referrer",
        )
