"""Where NATS is and who we are there: settings as nats-py takes them, and its faults as errors that name a setting.

Files are read when a connection is opened, so that rotated credentials are used by the next session. Secrets never
reach a message.
"""

import asyncio
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from nats.errors import Error as NatsError

from aether.config import ConnectionConfig, without_secret
from aether.errors import ConfigError, Unavailable
from aether.jetstream.connection.fallback import TlsNotOffered
from aether.jetstream.connection.session import NatsSession, RepliesForbidden

SCHEMES = ("nats", "tls", "ws", "wss")


class Dialer:
    """One server or several of a cluster: `url` may list them with commas. Raises `ConfigError` naming the setting."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._config = config
        self._urls = [_checked(url.strip()) for url in config.url.split(",") if url.strip()]
        self.shown = ", ".join(without_secret(url) for url in self._urls)

    async def open(self, number: int) -> NatsSession:
        """A new session. Raises `Unavailable` naming the URL, `ConfigError` naming the setting."""
        config = self._config
        tls = self._tls()
        _readable(config.credentials_file, "credentials_file")
        _holds_credentials(config.credentials_file)
        try:
            # Name resolution and the handshake have no limit of their own.
            async with asyncio.timeout(config.connect_timeout_s * (1 + len(self._urls))):
                return await NatsSession.open(config, number, self._urls, tls)
        except ssl.SSLError as error:
            raise ConfigError(f"TLS with {self.shown} fails: {error}", setting="tls_ca_file") from None
        except TlsNotOffered:
            text = f"TLS is asked for, and the server at {self.shown} does not offer it; nothing was sent to it"
            raise ConfigError(text, setting="tls_ca_file" if tls is not None else "url") from None
        except RepliesForbidden:
            text = (
                f"{self.shown} does not permit this user to publish and subscribe to _INBOX.>, which each connection "
                "needs: replies come there"
            )
            raise ConfigError(text, setting=self._credentials_setting()) from None
        except (OSError, NatsError, TimeoutError, Unavailable) as error:
            if "authorization" in str(error).lower() or "authentication" in str(error).lower():
                text = f"{self.shown} refuses the credentials"
                raise ConfigError(text, setting=self._credentials_setting()) from None
            reason = _why_unreachable(error, config.connect_timeout_s)
            raise Unavailable(f"NATS cannot be reached at {self.shown}: {reason}", url=self.shown) from None
        except ImportError as error:
            raise ConfigError(f"{self.shown} cannot be used: {error}", setting="url") from None
        except Exception as error:
            # nats-py and the library it reads credentials with raise what they like about such a file.
            reason = str(error) or type(error).__name__
            if not config.credentials_file:
                text = f"NATS cannot be reached at {self.shown}: {type(error).__name__}: {reason}"
                raise Unavailable(text, url=self.shown) from error
            text = f"the credentials in {config.credentials_file} cannot be used: {reason}"
            raise ConfigError(text, setting="credentials_file") from None

    def _credentials_setting(self) -> str:
        config = self._config
        given = {"credentials_file": config.credentials_file, "token": config.token, "user": config.user}
        return next((setting for setting, value in given.items() if value), "url" if "@" in config.url else "user")

    def _tls(self) -> ssl.SSLContext | None:
        config = self._config
        if not (config.tls_ca_file or config.tls_cert_file or config.tls_key_file):
            return None
        for setting in ("tls_ca_file", "tls_cert_file", "tls_key_file"):
            _readable(getattr(config, setting), setting)
        try:
            context = ssl.create_default_context(cafile=config.tls_ca_file or None)
        except ssl.SSLError as error:
            raise ConfigError(f"the certificate authority cannot be read: {error}", setting="tls_ca_file") from None
        if config.tls_cert_file:
            try:
                context.load_cert_chain(config.tls_cert_file, config.tls_key_file or None)
            except ssl.SSLError as error:
                raise ConfigError(f"the certificate cannot be read: {error}", setting="tls_cert_file") from None
        return context


def _why_unreachable(error: Exception, timeout_s: float) -> str:
    text = str(error)
    if "expecting INFO" in text:
        return "what listens there does not greet as a NATS server does"
    if text or not isinstance(error, TimeoutError):
        return text or type(error).__name__
    return (
        f"no answer within {timeout_s:g} s. What listens there may be no NATS server, or a stopped one, or one that "
        "wants TLS before anything else"
    )


def _checked(url: str) -> str:
    full = url if "://" in url else f"nats://{url}"
    try:
        parts = urlsplit(full)
        usable = parts.scheme in SCHEMES and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = None
    if not usable:
        text = f"not a NATS URL: {without_secret(url)!r}; expected nats://host:port"
        raise ConfigError(text, setting="url")
    return full


def _readable(path: str, setting: str) -> None:
    if not path:
        return
    try:
        with Path(path).open("rb"):
            return
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", setting=setting) from None


def _holds_credentials(path: str) -> None:
    # nats-py reads the file only when the server asks, so a wrong file would go unnoticed with others.
    if path and b"BEGIN NATS USER JWT" not in Path(path).read_bytes():
        raise ConfigError(f"{path} holds no NATS credentials", setting="credentials_file")
