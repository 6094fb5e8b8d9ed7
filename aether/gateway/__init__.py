"""The HTTP gateway: a model's actors as HTTP resources, for whatever speaks HTTP. Extra `gateway`.

It stands on a `Client` and nothing else: it holds no state, so several gateways need nothing of each other. Starlette
and uvicorn are imported here only, and only when a gateway is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aether.errors import ConfigError
from aether.gateway.config import GatewayConfig

if TYPE_CHECKING:
    from aether.client import Client
    from aether.gateway.access import Authorize
    from aether.gateway.application import Gateway
    from aether.model.model import Model

__all__ = ["GatewayConfig", "app"]


def app(
    model: Model,
    *,
    client: Client | None = None,
    url: str | None = None,
    namespace: str | None = None,
    authorize: Authorize | None = None,
    config: GatewayConfig | None = None,
) -> Gateway:
    """An ASGI application that serves the actors of `model`, by itself or mounted in another one.

    It is also an asynchronous context manager, which connects and drains: a server that runs it does so by ASGI's
    lifespan; where it is mounted, the application around it enters it in its own lifespan. With `client` it uses that
    one, else it connects as `aether.connect` does, to `url` and `namespace`. `authorize` decides on each request for
    actors and events; without it, every caller that reaches the application may do everything. Raises `ConfigError`
    when the extra `gateway` is not installed.
    """
    check_installed()
    from aether.gateway.access import access_by  # noqa: PLC0415 - needs the extra
    from aether.gateway.application import Gateway  # noqa: PLC0415 - likewise

    settings = config or GatewayConfig()
    return Gateway(model, access_by(authorize), settings, client=client, url=url, namespace=namespace)


def check_installed() -> None:
    """Raise `ConfigError` unless the extra `gateway` is installed."""
    try:
        import httptools  # noqa: F401, PLC0415 - only whether it is there
        import jinja2  # noqa: F401, PLC0415
        import prometheus_client  # noqa: F401, PLC0415
        import starlette  # noqa: F401, PLC0415
        import uvicorn  # noqa: F401, PLC0415
    except ImportError as error:
        text = f"the HTTP gateway needs the extra 'gateway': pip install 'aether-actors[gateway]' ({error})"
        raise ConfigError(text, setting="http") from None
