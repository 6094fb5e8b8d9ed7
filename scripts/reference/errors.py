"""The page of errors, with their codes on the wire."""

import inspect

from aether.cli.exits import EXIT_CODES
from aether.errors import ERRORS, AetherError
from scripts.reference.text import docstring, document, table

INTRODUCTION = """
Every error that Aether raises on purpose is an `AetherError`. It has a `code` (its name on the wire), a `message` for
people and `details` for programs. The fields are attributes of the error, and in its details.

[Rejections and other errors](../how-to/rejections.md) says what to do with each.
"""

UNKNOWN = """
A code that a client does not know is an `AetherError` with the code in its message. A subclass of `Rejected` or
`InvalidCommand` that a handler raises travels as `rejected` or `invalid_command`.
"""


def page() -> str:
    """The page."""
    parts = [INTRODUCTION, table(("error", "code on the wire", "exit code of the command line"), _rows()), UNKNOWN]
    for kind in ERRORS.values():
        parts += [f"## {kind.__name__}", docstring("aether.errors", kind.__name__), _fields(kind)]
    return document("Errors", *parts)


def _rows() -> list[tuple[str, str, str]]:
    return [
        (f"[`{kind.__name__}`](#{kind.__name__.lower()})", f"`{code}`", str(EXIT_CODES[kind]))
        for code, kind in ERRORS.items()
    ]


def _fields(kind: type[AetherError]) -> str:
    names = [name for name in inspect.signature(kind.__init__).parameters if name not in ("self", "message", "details")]
    return f"Fields: {', '.join(f'`{name}`' for name in names)}." if names else "Fields: none of its own."
