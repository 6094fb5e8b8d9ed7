"""Who may do what: a function of the user's, or bearer tokens with roles from a file.

A token's role holds those below it: `read` reads states, histories, keys and events; `call` sends commands too;
`admin` is for what changes a pool. Tokens are compared by their digests, never by themselves.
"""

import hashlib
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Protocol, TypeAlias

from starlette.requests import Request

from aether.errors import ConfigError
from aether.gateway.problems import HttpProblem

Authorize: TypeAlias = Callable[[Request, str, str, str], "bool | Awaitable[bool]"]
"""Whether a request may be: given the request, and its kind, key and command; "" for what it does not name."""

TOKEN_CHARS_MIN = 16
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class Role(IntEnum):
    """What a request needs; the higher holds the lower."""

    READ = 1
    CALL = 2
    ADMIN = 3


class Access(Protocol):
    """Decides on a request. `checks`: whether it refuses any caller."""

    @property
    def checks(self) -> bool: ...  # noqa: D102 - a field

    async def caller(self, request: Request, role: Role, kind: str, key: str, command: str) -> str:
        """Who sends the request, "" when that has no name. A problem when it may not be."""
        ...


class WithoutAuthentication:
    """Every caller may do everything."""

    checks = False

    async def caller(self, request: Request, role: Role, kind: str, key: str, command: str) -> str:
        """No caller is refused, and none has a name."""
        return ""


class ByFunction:
    """A function of the user's decides."""

    checks = True

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize

    async def caller(self, request: Request, role: Role, kind: str, key: str, command: str) -> str:
        """A problem when the function says no."""
        allowed = self._authorize(request, kind, key, command)
        if inspect.isawaitable(allowed):
            allowed = await allowed
        if allowed is not True:
            raise HttpProblem(403, "this is not allowed")
        return ""


class ByToken:
    """Bearer tokens, each with a role and a name, which the actors see as their caller."""

    checks = True

    def __init__(self, tokens: Mapping[str, tuple[Role, str]]) -> None:
        self._by_digest = {_digest(token.encode()): found for token, found in tokens.items()}

    async def caller(self, request: Request, role: Role, kind: str, key: str, command: str) -> str:
        """The token's name. A problem without a token, for an unknown one, and for a role that is not enough."""
        given = [value for name, value in request.scope["headers"] if name == b"authorization"]
        scheme, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        found = self._by_digest.get(_digest(token.strip())) if scheme.lower() == b"bearer" else None
        if found is None:
            error = ', error="invalid_token"' if given else ""
            challenge = {"WWW-Authenticate": f'Bearer realm="aether"{error}'}
            raise HttpProblem(401, "this needs a bearer token", headers=challenge)
        if found[0] < role:
            text = f"this needs the role {role.name.lower()}, and the token has {found[0].name.lower()}"
            raise HttpProblem(403, text, role=role.name.lower())
        return found[1]


def access_by(authorize: Authorize | None) -> Access:
    """By a function; without one no caller is refused."""
    return WithoutAuthentication() if authorize is None else ByFunction(authorize)


def read_tokens(file: Path) -> ByToken:
    """The tokens of a file: a line each with role, name and token; `#` begins a comment. Raises `ConfigError`."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the tokens in {file} cannot be read: {error}", setting="http_tokens") from None
    tokens: dict[str, tuple[Role, str]] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if words:
            token, found = _token_line(words, f"{file}:{number}")
            if token in tokens:
                raise ConfigError(f"{file}:{number}: the token is there twice", setting="http_tokens")
            tokens[token] = found
    if not tokens:
        raise ConfigError(f"{file} has no token", setting="http_tokens")
    return ByToken(tokens)


def _token_line(words: list[str], where: str) -> tuple[str, tuple[Role, str]]:
    """One token. Its own text is in no message."""
    if len(words) != 3:
        raise ConfigError(f"{where}: a line has a role, a name and a token", setting="http_tokens")
    role, name, token = words
    if role.upper() not in Role.__members__:
        raise ConfigError(f"{where}: a role is read, call or admin, not {role!r}", setting="http_tokens")
    if not _NAME.fullmatch(name):
        text = f"{where}: a name is 1-64 letters, digits and . _ @ -, not {name[:70]!r}"
        raise ConfigError(text, setting="http_tokens")
    if len(token) < TOKEN_CHARS_MIN or not _TOKEN.fullmatch(token):
        text = f"{where}: a token is at least {TOKEN_CHARS_MIN} letters, digits and . _ ~ + / = -"
        raise ConfigError(text, setting="http_tokens")
    return token, (Role[role.upper()], name)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
