"""From the annotated signature of a handler to a compiled command: argument types, reply type, how to call it."""

import copy
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, TypeAlias

import msgspec

from aether.json_checks import ValueMismatch, is_immutable
from aether.model.declared import Place, codec_of, place_of_function, resolve_signature
from aether.model.definition import Scope, State
from aether.model.messages import Arguments, Invoke, TypedCommand
from aether.model.schema import GENERATED

Parameters: TypeAlias = list[inspect.Parameter]

_VARIADIC = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def compile_handler(
    kind: str,
    name: str,
    function: FunctionType,
    names: Mapping[str, Any],
    *,
    query: bool,
    blocking: bool = False,
    type_arguments: Mapping[Any, Any] | None = None,
) -> TypedCommand:
    """The command or query that a function `(state, ...) -> reply` is.

    Raises `ModelError` with the function's place for what is untyped, variadic, or not to be carried by JSON.
    """
    place = place_of_function(function)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise place.error(f"{kind}.{name} is a generator; a command returns one reply")
    parameters, returns = resolve_signature(function, names, place, type_arguments)
    parameters = _without_self(f"{kind}.{name}", parameters, place)
    if returns is inspect.Parameter.empty:
        raise place.error(f"{kind}.{name} does not say what it returns; write `-> None` when it answers nothing")
    return TypedCommand(
        kind,
        name,
        query=query,
        blocking=blocking,
        arguments=arguments_of(f"{kind}.{name}", name, parameters, place),
        reply=codec_of(returns, place, f"the reply of {kind}.{name}"),
        invoke=_invoke(function, parameters),
        signature=inspect.Signature(parameters, return_annotation=None if returns is type(None) else returns),
        description=inspect.cleandoc(function.__doc__ or ""),
    )


def _without_self(where: str, parameters: Parameters, place: Place) -> Parameters:
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise place.error(f"{where} takes no actor: its first parameter is `self`")
    check_typed(where, parameters[1:], place)
    return parameters[1:]


def check_typed(where: str, parameters: Parameters, place: Place) -> None:
    """Raise `ModelError` for a parameter that is variadic or has no type."""
    for parameter in parameters:
        if parameter.kind in _VARIADIC:
            stars = _VARIADIC[parameter.kind]
            raise place.error(f"{where}({stars}{parameter.name}) is untyped; name each argument")
        if parameter.annotation is inspect.Parameter.empty:
            raise place.error(f"{where}({parameter.name}) has no type; annotate it")


def arguments_of(where: str, name: str, parameters: Parameters, place: Place) -> Arguments:
    """How the arguments of something called `name` bind and convert. `where` is its name in errors, and unique."""
    fields = [_field(where, parameter, place) for parameter in parameters]
    struct = msgspec.defstruct(
        f"{GENERATED}{where.replace(' ', '-')}",
        fields,
        kw_only=True,
        frozen=True,
        forbid_unknown_fields=True,
        module=__name__,
    )
    codec = codec_of(struct, place, f"the arguments of {where}")
    positional = tuple(one.name for one in parameters if one.kind is not inspect.Parameter.KEYWORD_ONLY)
    return Arguments(name, codec, positional, {one.name: one.name for one in parameters})


def _field(where: str, parameter: inspect.Parameter, place: Place) -> tuple[str, Any] | tuple[str, Any, Any]:
    what = f"{where}({parameter.name})"
    codec = codec_of(parameter.annotation, place, what)
    if parameter.default is inspect.Parameter.empty:
        return parameter.name, parameter.annotation
    try:
        default = codec.encode_checked(parameter.default)[1]
    except ValueMismatch as error:
        raise place.error(f"the default of {what} is not of its type: {error}") from error
    if is_immutable(codec.info):
        return parameter.name, parameter.annotation, default
    return parameter.name, parameter.annotation, msgspec.field(default_factory=lambda: copy.deepcopy(default))


def _invoke(function: Callable[..., Any], parameters: Parameters) -> Invoke:
    """How to call the handler with its decoded arguments, without naming them where that is not needed."""
    by_name = [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
    by_place = len(parameters) - len(by_name)
    name = parameters[0].name if parameters else ""

    def alone(state: State, _scope: Scope, _args: Any) -> Any:
        return function(state)

    def one(state: State, _scope: Scope, args: Any) -> Any:
        return function(state, getattr(args, name))

    def placed(state: State, _scope: Scope, args: Any) -> Any:
        return function(state, *msgspec.structs.astuple(args))

    def named(state: State, _scope: Scope, args: Any) -> Any:
        values = msgspec.structs.astuple(args)
        return function(state, *values[:by_place], **dict(zip(by_name, values[by_place:], strict=True)))

    if by_name:
        return named
    if by_place == 1:
        return one
    return placed if by_place else alone
