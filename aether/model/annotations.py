"""The annotations of classes and functions, read so that no name in them must be known yet.

Since Python 3.14 an annotation is evaluated when it is first read (PEP 649), so one without quotes may name what is
defined further down, or imported for type checkers only. Such a name stays a `ForwardRef`, as it stays a string on
older versions; `aether.model.declared.resolve` evaluates both, when the model is built.
"""

import inspect
import sys
from collections.abc import Callable
from typing import Any

_FORMAT: dict[str, Any] = {}
_SIGNATURE_FORMAT: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    from annotationlib import Format

    _FORMAT["format"] = _SIGNATURE_FORMAT["annotation_format"] = Format.FORWARDREF


def annotations_of(declared: type | Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, or of a class without those of its bases."""
    return inspect.get_annotations(declared, **_FORMAT)


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """A callable's signature. Raises TypeError and ValueError as `inspect.signature` does."""
    return inspect.signature(function, **_SIGNATURE_FORMAT)
