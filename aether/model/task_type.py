"""A task as a model has it: its arguments and its result with their codecs, checked and compiled once."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, get_args

import msgspec
import msgspec.inspect

from aether.codec import Codec
from aether.json_checks import ValueMismatch
from aether.model.declared import Place, codec_of, place_of_function, resolve_signature
from aether.model.definition import JsonSchema
from aether.model.messages import Arguments
from aether.model.signature import Parameters, arguments_of, check_typed
from aether.model.tasks import Retry, Task, TaskContext
from aether.names import task_consumer

CONSUMER_NAME_MAX = 255
"""What the server takes for the name of a consumer, in characters."""

_RUN_METHODS = ("self", "cls")
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class TaskType:
    """One task of a model, compiled: shared by all its runs. All that changes is what is known of its `takers`."""

    __slots__ = ("_arguments", "_by_place", "_invoke", "_result", "blocking", "declared", "description", "max_running",
                 "name", "place", "retry", "signature", "takers", "takes_context", "timeout_s")  # fmt: skip

    def __init__(self, declared: Task[Any, Any]) -> None:
        """Raises `ModelError` with the function's place for what is untyped, variadic, or not to be carried by JSON."""
        function = declared.function
        self.declared = declared
        self.name = declared.name
        self.retry: Retry = declared.retry
        self.timeout_s = declared.timeout_s
        self.max_running = declared.max_running
        self.blocking = declared.blocking
        self.takers: set[tuple[object, str]] = set()
        """Commands that can take what comes of it, each with what for: "then" or "failed"."""
        self.place: Place = place_of_function(function)
        self.description = inspect.cleandoc(function.__doc__ or "")
        where = f"the task {self.name}"
        if len(task_consumer(self.name)) > CONSUMER_NAME_MAX:
            what = "255 characters at most, of which others than ASCII letters, digits and _ count several"
            raise self.place.error(f"{where} has a name that is too long: the server takes {what}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise self.place.error(f"{where} is a generator; a task returns one result")
        parameters, returns = resolve_signature(function, declared.local_names, self.place)  # type: ignore[arg-type]
        parameters = self._without_context(parameters, where)
        if returns is inspect.Parameter.empty:
            raise self.place.error(f"{where} does not say what it returns; write `-> None` when it gives nothing")
        check_typed(where, parameters, self.place)
        self._arguments: Arguments = arguments_of(where, self.name, parameters, self.place)
        self._result: Codec = codec_of(returns, self.place, f"the result of {where}")
        self._invoke = _invoke(function, parameters, takes_context=self.takes_context)
        self.signature = inspect.Signature(parameters, return_annotation=None if returns is type(None) else returns)

    def _without_context(self, parameters: Parameters, where: str) -> Parameters:
        if parameters and parameters[0].name in _RUN_METHODS and parameters[0].annotation is inspect.Parameter.empty:
            raise self.place.error(f"{where} is a method; @task goes on a function outside of classes")
        first = parameters[0] if parameters else None
        self.takes_context = first is not None and first.annotation is TaskContext and first.kind in _BY_PLACE
        rest = parameters[1:] if self.takes_context else parameters
        for one in rest:
            if one.annotation is TaskContext or TaskContext in get_args(one.annotation):
                what = "a TaskContext is the first parameter, by its place, and of that type alone"
                raise self.place.error(f"{where}({one.name}): {what}")
        return rest

    @property
    def types(self) -> dict[tuple[str, str], Any]:
        """The types of its messages, for schemas."""
        return {("args", self.name): self._arguments.codec.type, ("result", self.name): self._result.type}

    @property
    def returns(self) -> msgspec.inspect.Type:
        """The type of its result."""
        return self._result.info

    def encode_args(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Bind, validate and encode as a JSON object by name. Raises `InvalidCommand` with the argument's path."""
        return self._arguments.encode(args, kwargs)

    def decode_args(self, raw: bytes) -> Any:
        """The validated arguments, as `invoke` takes them. Raises `InvalidCommand` with the argument's path."""
        return self._arguments.decode(raw)

    def invoke(self, context: TaskContext, args: Any) -> Any | Awaitable[Any]:
        """Call the function."""
        return self._invoke(context, args)

    def encode_result(self, value: Any) -> bytes:
        """The result as JSON. Raises TypeError when it is not of the declared type."""
        try:
            return self._result.convert(value)
        except ValueMismatch as error:
            raise TypeError(f"what the task {self.name} returned is not of its declared type: {error}") from None

    def decode_result(self, raw: bytes) -> Any:
        """The result of its JSON."""
        return self._result.decode(raw)


def task_schemas(tasks: Mapping[str, TaskType], schemas: Mapping[tuple[str, ...], JsonSchema]) -> JsonSchema:
    """The part of a model's schema that describes its tasks, from the schemas of their `types`."""
    return {
        name: {
            "args": schemas["args", name],
            "result": schemas["result", name],
            "description": one.description,
        }
        for name, one in tasks.items()
    }


def _invoke(function: Callable[..., Any], parameters: Parameters, *, takes_context: bool) -> Callable[..., Any]:
    by_name = [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
    by_place = len(parameters) - len(by_name)

    def call(context: TaskContext, args: Any) -> Any:
        values = msgspec.structs.astuple(args)
        first = (context,) if takes_context else ()
        return function(*first, *values[:by_place], **dict(zip(by_name, values[by_place:], strict=True)))

    return call
