"""What handlers say in their source that they start: tasks with the commands that get the result, and schedules.

No declaration has it, so it is read from the syntax trees of commands, of the plain methods of the same class that they
use, and of policies. It is for people, who look at the board: what a handler computes (a task or a command chosen while
it runs) is not found, and nothing decides by it. Nothing of the user's is called.
"""

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from aether.model.definition import JsonSchema
from aether.model.methods import ActorMethod
from aether.model.source_trees import trees_of_function
from aether.model.tasks import Task

_STARTS = ("start_task", "schedule")

WHEN_CHARS_MAX = 60
"""Of the source of when a schedule is due."""


@dataclass(slots=True)
class Started:
    """What the handlers of a model start, each once and in the order of the source, as parts of the model's schema.

    `tasks`: `{"by", "task", "then", "failed"}`; `schedules`: `{"by", "name", "when", "run"}`. `by` is a command
    `{"kind", "command"}` or `{"policy"}`; `then`, `failed` and `run` are commands too, None for none, and for one that
    the source does not name.
    """

    tasks: list[JsonSchema] = field(default_factory=list)
    schedules: list[JsonSchema] = field(default_factory=list)

    def of_class(self, kind: str, cls: type) -> None:
        """Read the commands of an actor's class."""
        members = {name: inspect.getattr_static(cls, name) for base in cls.__mro__ for name in vars(base)}
        for name, member in members.items():
            if isinstance(member, ActorMethod) and member.role == "command":
                self._of(member.handler, {"kind": kind, "command": name}, 0, cls)

    def of_policy(self, name: str, function: Any) -> None:
        """Read a policy, whose second argument is its context."""
        self._of(function, {"policy": name}, 1, None)

    def _of(self, function: Any, by: JsonSchema, place: int, cls: type | None) -> None:
        for one, tree, self_name in _walked(inspect.unwrap(function), place, cls):
            names = _Names(one, tree, self_name, cls)
            for call in ast.walk(tree):
                if isinstance(call, ast.Call) and _is_start(call, self_name):
                    self._add(call, by, names)

    def _add(self, call: ast.Call, by: JsonSchema, names: "_Names") -> None:
        given = {one.arg: one.value for one in call.keywords}
        if getattr(call.func, "attr", "") == "schedule":
            if len(call.args) >= 3:
                name, when, command = call.args[:3]
                due = ast.unparse(when)
                due = due if len(due) <= WHEN_CHARS_MAX else f"{due[: WHEN_CHARS_MAX - 1]}…"
                _once(self.schedules, {"by": by, "name": _said(name), "when": due, "run": names.command(command)})
            return
        task = names.task(call.args[0]) if call.args else None
        if task is not None:
            then, failed = names.command(given.get("then")), names.command(given.get("failed"))
            _once(self.tasks, {"by": by, "task": task, "then": then, "failed": failed})


def _said(name: ast.AST) -> str:
    """The name of a schedule; what is only known while the handler runs is in braces."""
    if isinstance(name, ast.Constant):
        return str(name.value).encode(errors="replace").decode()
    if isinstance(name, ast.JoinedStr):
        return "".join(map(_said, name.values))
    return f"{{{ast.unparse(name.value if isinstance(name, ast.FormattedValue) else name)}}}"


def _once(found: list[JsonSchema], one: JsonSchema) -> None:
    if one not in found:
        found.append(one)


def _is_start(call: ast.Call, self_name: str) -> bool:
    on = call.func
    return isinstance(on, ast.Attribute) and on.attr in _STARTS and _is_name(on.value, self_name)


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _walked(function: Any, place: int, cls: type | None) -> Iterator[tuple[FunctionType, ast.AST, str]]:
    """A handler and the plain methods of its class that it uses, each once: its tree, and what it calls the actor."""
    waiting, seen = [function], {function}
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, FunctionType) or one.__code__.co_argcount <= place:
            continue
        self_name = one.__code__.co_varnames[place]
        for tree in trees_of_function(one.__code__):
            yield one, tree, self_name
            for used in _used(tree, self_name, cls):
                if used not in seen:
                    seen.add(used)
                    waiting.append(used)


def _used(tree: ast.AST, self_name: str, cls: type | None) -> Iterator[FunctionType]:
    for node in ast.walk(tree):
        if cls is not None and isinstance(node, ast.Attribute) and _is_name(node.value, self_name):
            member = inspect.getattr_static(cls, node.attr, None)
            if isinstance(member, FunctionType):
                yield member


class _Names:
    """What names of a function stand for, without running anything: globals, closures, attributes of objects."""

    def __init__(self, function: FunctionType, tree: ast.AST, self_name: str, cls: type | None) -> None:
        around = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        self._found: dict[str, Any] = dict(function.__globals__)
        self._found |= {name: cell.cell_contents for name, cell in around if _is_set(cell)}
        self._self_name = self_name
        self._cls = cls
        self._assigned = _assigned(ast.walk(tree))

    def task(self, node: ast.AST) -> str | None:
        """The name of the task that an expression is a call of: the call itself, or a variable that holds it."""
        if isinstance(node, ast.Name):
            node = self._assigned.get(node.id, node)
        found = self._of(node.func) if isinstance(node, ast.Call) else None
        return found.name if isinstance(found, Task) else None

    def command(self, node: ast.AST | None) -> JsonSchema | None:
        """The command that an expression like `Order.paid` names."""
        found = None if node is None else self._of(node)
        return {"kind": found.kind, "command": found.name} if isinstance(found, ActorMethod) else None

    def _of(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Name):
            return self._found.get(node.id)
        if isinstance(node, ast.Call):
            is_own = _is_name(node.func, "type") and len(node.args) == 1 and _is_name(node.args[0], self._self_name)
            return self._cls if is_own else None
        if not isinstance(node, ast.Attribute):
            return None
        owner = self._of(node.value)
        member = inspect.getattr_static(owner, node.attr, None)
        return member._get(None, owner) if isinstance(member, ActorMethod) and isinstance(owner, type) else member


def _is_set(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _assigned(nodes: Iterable[ast.AST]) -> Mapping[str, ast.AST]:
    """What variables are set to by a plain assignment."""
    return {
        target.id: node.value
        for node in nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
