"""Where a declaration stands and what its annotations mean.

Annotations may be strings (`from __future__ import annotations`) or forward references (`aether.model.annotations`).
Strings may name what is local to the function that holds the declaration; only those names are kept from its frame,
nothing else. Used while classes are made and a model is built, never later.
"""

import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import FrameType, FunctionType
from typing import Any, NamedTuple

from aether.codec import Codec
from aether.errors import ModelError
from aether.json_checks import Unsupported, nodes
from aether.model.annotations import signature_of
from aether.storable import check_kept

_NAME = re.compile(r"[A-Za-z_]\w*")


class Place(NamedTuple):
    """A line of a file; `file` is empty when it is not known."""

    file: str
    line: int

    def error(self, message: str) -> ModelError:
        """The model error of this place."""
        return ModelError(message, file=self.file, line=self.line)


def place_of_frame(frame: FrameType) -> Place:
    """Where a frame is now."""
    return Place(frame.f_code.co_filename, frame.f_lineno)


def place_of_function(function: Callable[..., Any]) -> Place:
    """Where a function is declared, its decorators included; no place for what has no Python code."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return Place(code.co_filename, code.co_firstlineno) if code is not None else Place("", 0)


def place_of_class(cls: type, otherwise: Place) -> Place:
    """Where a class is declared; `otherwise` when its source is not there (a notebook, a generated class)."""
    try:
        return Place(inspect.getsourcefile(cls) or otherwise.file, _source_lines(cls)[1])
    except (OSError, TypeError, IndexError):
        return otherwise


def _source_lines(cls: type) -> tuple[list[str], int]:
    """The lines of a class and the number of the first; `OSError` where its name is that of another class.

    Before Python 3.13 `inspect` looks for the name: it finds another class for one that `make_dataclass` made.
    """
    named: object = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):  # "<locals>" is no attribute
        named = getattr(named, name, None)
    if isinstance(named, type) and named is not cls:
        raise OSError(f"{cls.__qualname__} is another class in {cls.__module__}")
    return inspect.getsourcelines(cls)


def place_of_field(cls: type, name: str, otherwise: Place) -> Place:
    """Where a class annotates a name; the class's own place when its source is not there."""
    try:
        lines, first = _source_lines(cls)
        file = inspect.getsourcefile(cls)
    except (OSError, TypeError, IndexError):
        return otherwise
    annotated = re.compile(rf"\s+{re.escape(name)}\s*:")
    found = next((n for n, line in enumerate(lines) if annotated.match(line)), None)
    return Place(file or otherwise.file, first + found) if found is not None else otherwise


def caller_frame(depth: int, skip: str = "") -> FrameType:
    """The frame `depth` calls above the caller of this, and above any function named `skip`."""
    frame = sys._getframe(depth + 1)
    while frame.f_code.co_name == skip and frame.f_back is not None:
        frame = frame.f_back
    return frame


def local_names(frame: FrameType, annotations: Iterable[Any]) -> dict[str, Any]:
    """What string annotations may mean by names local to the function, or classes in a function, that `frame` runs."""
    wanted = {name for text in annotations if isinstance(text, str) for name in _NAME.findall(text)}
    found: dict[str, Any] = {}
    around: FrameType | None = frame
    while around is not None and around.f_locals is not around.f_globals:
        for name in wanted.intersection(around.f_locals):
            found.setdefault(name, around.f_locals[name])
        in_class_body = not around.f_code.co_flags & inspect.CO_OPTIMIZED
        around = around.f_back if in_class_body else None
    return found


def resolve(annotation: Any, module: str, names: Mapping[str, Any], place: Place, what: str) -> Any:
    """The type that an annotation means. Raises `ModelError` when a name in it is unknown."""
    holder = type("annotated", (), {"__annotations__": {"it": annotation}, "__module__": module})
    module_names = getattr(sys.modules.get(module), "__dict__", {})
    try:
        hints = typing.get_type_hints(holder, dict(module_names), dict(names), include_extras=True)
    except Exception as error:  # an annotation is any expression
        written = annotation.__forward_arg__ if isinstance(annotation, typing.ForwardRef) else annotation
        raise place.error(f"the annotation of {what}, {written!r}, cannot be evaluated: {error}") from error
    return hints["it"]


def type_arguments(cls: type) -> dict[type, Mapping[Any, Any]]:
    """What the type parameters of each class above stand for in this one: int for T of `Box` in `IntBox(Box[int])`."""
    found: dict[type, Mapping[Any, Any]] = {}

    def visit(one: type, arguments: Mapping[Any, Any]) -> None:
        found.setdefault(one, arguments)
        for base in vars(one).get("__orig_bases__", one.__bases__):
            origin = typing.get_origin(base) or base
            if isinstance(origin, type) and origin is not typing.Generic:
                given = [with_arguments(argument, arguments) for argument in typing.get_args(base)]
                parameters = getattr(origin, "__parameters__", ())
                visit(origin, dict(zip(parameters, given, strict=False)))

    visit(cls, {})
    return found


def with_arguments(type_: Any, arguments: Mapping[Any, Any]) -> Any:
    """A type with the arguments of its type parameters in their place."""
    if isinstance(type_, typing.TypeVar):
        return arguments.get(type_, type_)
    parameters = getattr(type_, "__parameters__", ())
    if not arguments or not parameters or typing.get_origin(type_) is None:
        return type_
    return type_[tuple(arguments.get(one, one) for one in parameters)]


def resolve_signature(
    function: FunctionType, names: Mapping[str, Any], place: Place, arguments: Mapping[Any, Any] | None = None
) -> tuple[list[inspect.Parameter], Any]:
    """A function's parameters and return type, resolved; `inspect.Parameter.empty` stays for what is not annotated.

    `arguments` are those of the type parameters of its class. Raises `ModelError` when a name in an annotation is
    unknown.
    """
    signature = signature_of(function)
    scope = {**names, **closure_names(function)}

    def resolved(annotation: Any, what: str) -> Any:
        if annotation is inspect.Parameter.empty:
            return annotation
        return with_arguments(resolve(annotation, function.__module__, scope, place, what), arguments or {})

    parameters = [
        parameter.replace(annotation=resolved(parameter.annotation, f"{function.__name__}({name})"))
        for name, parameter in signature.parameters.items()
    ]
    return parameters, resolved(signature.return_annotation, f"what {function.__name__} returns")


def closure_names(function: FunctionType) -> dict[str, Any]:
    """The variables that a function closes over and that are set."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a variable that is not set yet
            found[name] = cell.cell_contents
    return found


def kept_codec_of(type_: Any, place: Place, what: str) -> Codec:
    """The codec of a type of events or states. Raises `ModelError` when JSON cannot carry it, or not for good."""
    codec = codec_of(type_, place, what)
    try:
        for node in nodes(codec.info):
            check_kept(node)
    except Unsupported as error:
        raise place.error(f"the type of {what} cannot be stored as JSON: {error}") from error
    return codec


def codec_of(type_: Any, place: Place, what: str) -> Codec:
    """The codec of a declared type. Raises `ModelError` when JSON cannot carry it."""
    try:
        return Codec(type_)
    except Unsupported as error:
        raise place.error(f"the type of {what} cannot be stored as JSON: {error}") from error
