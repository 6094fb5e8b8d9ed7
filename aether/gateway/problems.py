"""What went wrong, as an RFC 9457 problem document: one table from Aether's errors to HTTP.

Pure. The members of a document are its class's fields and details. What a caller has no business to know (where the
server is, what a handler's exception said, paths of files) stays in the log.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from aether.errors import (
    ActorFailed,
    AetherError,
    ClientUnusable,
    DeadlineExceeded,
    HistoryRegressed,
    InvalidCommand,
    Overloaded,
    Rejected,
    ReplyNotDelivered,
    StateChangedOutsideEvent,
    Unavailable,
    UnknownActor,
    UnknownCommand,
    UnreadableEvent,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
"""What a caller that finds no room or no worker is told to wait, in seconds."""

STATUS: Mapping[type[AetherError], int] = {
    Rejected: 409,
    InvalidCommand: 422,
    UnknownActor: 404,
    UnknownCommand: 404,
    Overloaded: 429,
    Unavailable: 503,
    ClientUnusable: 503,
    DeadlineExceeded: 504,
    ActorFailed: 500,
    StateChangedOutsideEvent: 500,
    ReplyNotDelivered: 500,
    HistoryRegressed: 500,
    UnreadableEvent: 500,
    AetherError: 500,
}

_SILENT: Mapping[type[AetherError], str] = {
    DeadlineExceeded: "the deadline has passed",
    ActorFailed: "the actor's handler failed and nothing of the command was stored; the worker's log says why",
    Unavailable: "no answer can be had now, and nothing was done; send the same request again",
    ClientUnusable: "the gateway is stopping; send the same request again",
    AetherError: "the pool answered with an error that this gateway does not know",
}
"""Errors whose own words may hold what callers must not see, and what is said instead."""

_STOPPED = "the gateway was stopped before there was an answer; the command may have been carried out"

_RESERVED = frozenset({"type", "title", "status", "detail", "instance", "code", "details"})
_PRIVATE = frozenset({"server", "namespace", "gone", "err_code", "file", "line"})

log = logging.getLogger("aether.gateway")


class HttpProblem(Exception):
    """A request that is refused before any actor hears of it."""

    def __init__(
        self, status: int, detail: str, *, code: str = "", headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code or HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
        self.headers = dict(headers or {})
        self.members = members


def http_problem(error: AetherError) -> HttpProblem:
    """The problem that an error of Aether's is."""
    kind = next(one for one in type(error).__mro__ if one in STATUS)
    unknown = isinstance(error, ClientUnusable) and not error.outcome_known
    status = STATUS[DeadlineExceeded] if unknown else STATUS[kind]
    details = {name: value for name, value in error.details.items() if name not in _PRIVATE}
    if kind in _SILENT:
        log.warning("a request failed", extra={"error": error.message, "code": error.code})
    text = _STOPPED if unknown else _SILENT.get(kind) or _without_place(error)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
    members = {name: value for name, value in details.items() if name not in _RESERVED}
    if hidden := {name: value for name, value in details.items() if name in _RESERVED}:
        members["details"] = hidden
    return HttpProblem(status, text, code=error.code, headers=headers, **members)


def document(problem: HttpProblem) -> bytes:
    """The problem as JSON."""
    body = {
        "type": f"urn:aether:problem:{problem.code.replace('_', '-')}",
        "title": problem.code.replace("_", " ").capitalize(),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        **problem.members,
    }
    return orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS)


def _without_place(error: AetherError) -> str:
    """The message without the words that `asked_at` adds: which server was asked is for the log."""
    namespace, server = error.details.get("namespace"), error.details.get("server")
    return str(error.message).removesuffix(f" (asked: namespace {namespace} at {server})")
