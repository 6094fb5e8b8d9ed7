"""Events that a handler emits and that its actor does not take, found in the handler's source while a model is built.

Only `self.emit(Name(...))` is looked at, where `Name` is a class of the handler's module: what is emitted then is of
that class for certain. An event that is made elsewhere is checked when it is emitted.
"""

import ast
import inspect
import textwrap
from collections.abc import Container, Iterator
from types import FunctionType
from typing import Any

from aether.model.declared import Place, place_of_function

_MAKERS = ("builtins", "abc", "typing", "dataclasses", "msgspec", "pydantic")
"""Packages whose classes make instances of themselves."""


def check_emitted(kind: str, function: FunctionType, taken: Container[Any], known: str) -> None:
    """Raise `ModelError` where the handler emits an event of a class that is not among `taken`; `known` names those."""
    if "emit" not in function.__code__.co_names:
        return
    for name, line in _made_and_emitted(function):
        found = function.__globals__.get(name)
        if isinstance(found, type) and found not in taken and _makes_itself(found):
            place = place_of_function(function)
            text = f"{kind}.{function.__name__} emits {name}, which no @event method takes; {kind} takes: {known}"
            raise Place(place.file, place.line + line - 1).error(text)


def _made_and_emitted(function: FunctionType) -> Iterator[tuple[str, int]]:
    """The names in `self.emit(Name(...))` that are not local, with the line from where the handler begins."""
    code = function.__code__
    tree = _tree(function)
    if tree is None or not code.co_argcount:
        return
    own, local = code.co_varnames[0], {*code.co_varnames, *code.co_cellvars, *code.co_freevars}
    for node in _statements(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=receiver), attr="emit"),
                args=[ast.Call(func=ast.Name(id=name))],
            ) if receiver == own and name not in local and name in code.co_names:
                yield name, node.lineno


def _tree(function: FunctionType) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The handler's syntax tree; None when its source is not there or is of something else."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    match body:
        case [ast.FunctionDef() | ast.AsyncFunctionDef() as found] if found.name == function.__name__:
            return found
    return None


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """What is in the handler itself, without functions and classes within it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from _statements(child)


def _makes_itself(cls: type) -> bool:
    """Whether calling the class gives an instance of exactly it."""
    if type(cls).__module__.split(".")[0] not in _MAKERS:
        return False
    bases = [base for base in cls.__mro__ if "__new__" in vars(base)]
    return all(base.__module__.split(".")[0] in _MAKERS for base in bases)
