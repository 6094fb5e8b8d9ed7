"""What a part of Aether asks of tracing.

A part that can be traced asks `configured_tracing` (in `configured`) once, when it is made, and builds itself with or
without spans: what is not traced has no trace of tracing on its path. What runs outside of turns (a task, a batch of
a projection) does the same: a span of kind CONSUMER around the work, with the traceparent of what it belongs to as
`parent`, and the span's own `traceparent` in whatever it sends.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from typing import Protocol

from aether.errors import AetherError, InvalidCommand, Rejected

_SAMPLED = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f][13579bdf]")


class SpanKind(Enum):
    """Where a span stands in a trace; the names are OpenTelemetry's."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class Span(Protocol):
    """A piece of work that goes on. `end` it once."""

    @property
    def traceparent(self) -> str:
        """What makes other work its child (W3C Trace Context)."""
        ...

    def current(self) -> AbstractContextManager[object]:
        """Spans that other libraries begin within this are its children."""
        ...

    def set(self, name: str, value: str | int) -> None:
        """Add an attribute."""
        ...

    def raised(self, error: BaseException) -> None:
        """The work has failed with this."""
        ...

    def failed(self, why: str) -> None:
        """The work has failed."""
        ...

    def end(self) -> None:
        """The work is over."""
        ...


class Tracing(Protocol):
    """Begins spans."""

    def span(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, str | int],
        *,
        parent: str = "",
        links: Sequence[str] = (),
        apart: bool = False,
    ) -> Span:
        """A span that begins now, below the traceparent `parent`; without one, below the span that is current here.

        `apart`: below none, as the first of a trace of its own.
        """
        ...

    def nearest(self, parent: str) -> str:
        """`parent`; "" where the span that is current here is of its trace: that one is nearer."""
        ...


def attributes_of(actor: str, command: str, command_id: str = "") -> dict[str, str | int]:
    """The attributes of a span for one command of an actor, `kind/key`."""
    kind, _, key = actor.partition("/")
    found: dict[str, str | int] = {"aether.kind": kind, "aether.key": key, "aether.command": command}
    if command_id:
        found["aether.command_id"] = command_id
    return found


def sampled_trace(traceparent: str) -> str:
    """The trace id of a traceparent whose span is recorded, 32 hexadecimal digits; "" for another one and for none."""
    found = _SAMPLED.fullmatch(traceparent)
    return "" if found is None else found[1]


@contextmanager
def ended(span: Span) -> Iterator[None]:
    """Have the span current meanwhile, and end it with what comes of it."""
    try:
        with span.current():
            yield
    except BaseException as error:
        note_outcome(span, error)
        raise
    finally:
        span.end()


def note_outcome(span: Span, error: BaseException) -> None:
    """A command ended with an error. A decided no is an outcome and no failure, and so is a cancellation.

    A handler that asks another actor may be cancelled to run once more.
    """
    if isinstance(error, asyncio.CancelledError):
        span.set("aether.outcome", "cancelled")
        return
    if isinstance(error, Rejected | InvalidCommand):
        span.set("aether.outcome", "rejected" if isinstance(error, Rejected) else "invalid")
        return
    span.set("aether.outcome", "failed")
    if isinstance(error, AetherError):
        span.failed(str(error))
    else:
        span.raised(error)
