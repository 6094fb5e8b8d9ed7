"""What protects the dashboard in a browser: who sent a form, the cookie of a sign-in, and what a page may load.

Pure. Three things keep another site's page from sending a command: a form is taken only from a page of this very
origin, the cookie goes with no request of another site, and no page may put one of ours into a frame.
"""

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlsplit

from starlette.types import Scope

from aether.gateway.problems import HttpProblem

COOKIE = "aether_token"
FORM_TYPE = b"application/x-www-form-urlencoded"
FORM_FIELDS_MAX = 5_000

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every page: nothing of another host, no script or style within a page, no frame around it."""


def check_own_origin(headers: Mapping[bytes, bytes]) -> None:
    """A problem unless a page of this origin sent the form; a browser names the origin with every form."""
    host = headers.get(b"host", b"").decode("latin-1").lower()
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    site = headers.get(b"sec-fetch-site", b"same-origin")
    if not host or urlsplit(origin).netloc != host or site != b"same-origin":
        raise HttpProblem(403, "forms are taken from this dashboard's own pages only")


def form_of(body: bytes, headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The fields of a form by name. A problem for another type, for no UTF-8, and for a name that is there twice."""
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != FORM_TYPE:
        raise HttpProblem(415, "a form is sent as application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS_MAX)
    except UnicodeDecodeError:
        raise HttpProblem(400, "the form is not percent-encoded UTF-8") from None
    except ValueError:
        raise HttpProblem(413, f"a form has at most {FORM_FIELDS_MAX} fields") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise HttpProblem(400, "a field of the form is there twice")
    return found


def with_cookie(scope: Scope, headers: Mapping[bytes, bytes]) -> Scope:
    """The request with the token of its sign-in as a bearer token, unless it brings one itself."""
    token = token_of(headers)
    if not token or b"authorization" in headers:
        return scope
    return {**scope, "headers": [*scope["headers"], (b"authorization", f"Bearer {token}".encode("latin-1"))]}


def token_of(headers: Mapping[bytes, bytes]) -> str:
    """The token in the cookie; "" when there is none."""
    try:
        found = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def cookie(token: str, path: str, *, secure: bool) -> str:
    """The `Set-Cookie` of a sign-in, for as long as the browser is open; "" as the token signs out."""
    parts = [f"{COOKIE}={token}", f"Path={path}", "HttpOnly", "SameSite=Strict"]
    if secure:
        parts.append("Secure")
    if not token:
        parts.append("Max-Age=0")
    return "; ".join(parts)


def own_path(wanted: str, base: str) -> str:
    """The address to go on to after a sign-in: one of the dashboard's, whatever a link said."""
    parts = urlsplit(wanted)
    inside = not parts.scheme and not parts.netloc and wanted.startswith(f"{base}/") and "\\" not in wanted
    return wanted if inside and wanted.isprintable() else f"{base}/"
