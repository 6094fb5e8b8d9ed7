"""What a fold depends on beside the state's type: the code and the constants that its functions reach.

From the functions that apply events it follows every name to the functions, classes and constants of the user's own
modules: globals, closures, defaults, attributes of modules, and members of the actor's class. Each is given as text
that is the same in every process and on every Python: of functions and classes the syntax tree, without comments,
docstrings and annotations of parameters; of constants the value. What another package, the environment or `getattr`
brings is not seen. Used while a model is built, never later.
"""

import ast
import dataclasses
import dis
import enum
import functools
import inspect
import linecache
import operator
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from importlib.util import find_spec
from pathlib import PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from aether.json_checks import field_names, nodes
from aether.model.annotations import annotations_of
from aether.model.methods import ActorMethod
from aether.model.source_trees import trees_of_function

_WHOLE = (bool, int, float, complex, str, bytes, bytearray, Decimal, Fraction, date, datetime, time, timedelta,
          timezone, ZoneInfo, UUID, range, slice, type(None), type(...), PurePath, operator.attrgetter,
          operator.itemgetter, operator.methodcaller)  # fmt: skip
_OTHERS = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_LEFT_OUT = {"ctx", "type_comment", "type_params", "kind", "annotation", "returns"}


def reached_text(
    module: str,
    roots: Iterable[Any],
    types: Iterable[msgspec.inspect.Type],
    defaults: Mapping[str, Any],
    members_of: type | None = None,
) -> str:
    """Everything that a fold reaches, one line each, in an order of its own.

    `roots` are the functions that fold and the classes of their events, declared in `module`; `types` are those of the
    state and the events, whose classes count too, and `defaults` are the state's first values or what makes them. Names
    of attributes are looked up in `members_of` too, the actor's class.
    """
    walk = _Walk(module, members_of)
    for root in roots:
        walk.reach(root, root=True)
    for type_ in types:
        for node in nodes(type_):
            if isinstance(getattr(node, "cls", None), type):
                walk.reach(getattr(node, "cls", None))
    for name, default in defaults.items():
        walk.lines.add(f"{name} by default {walk.reach(default)}")
    return "\n".join(sorted(walk.lines))


class _Walk:
    """One walk over what is reached; each object once."""

    def __init__(self, module: str, members_of: type | None) -> None:
        self.lines: set[str] = set()
        self._members_of = members_of
        self._package = _top(module)
        file = getattr(sys.modules.get(self._package), "__file__", None) or ""
        self._directory = f"{PurePath(file).parent}/" if PurePath(file).stem == "__init__" else file
        self._seen: dict[int, Any] = {}
        self._texts: dict[int, str] = {}

    def reach(self, found: Any, root: bool = False) -> str:
        """The object's own text, which names functions and classes only; their lines are added."""
        if isinstance(found, ActorMethod):
            found = found.handler
        inner = _unwrapped(found)
        if inner is not None:
            return f"{type(found).__name__}({', '.join([self.reach(one, root) for one in inner])})"
        if isinstance(found, FunctionType):
            if root or self._is_own(found.__module__):
                self._once(found, self._function)
            return f"function {found.__qualname__}"
        if isinstance(found, type):
            if root or (self._is_own(found.__module__) and found is not self._members_of):
                self._once(found, self._class)
            return f"class {found.__qualname__}"
        return self._value(found)

    def _once(self, found: Any, visit: Callable[[Any], None]) -> None:
        if id(found) not in self._seen:
            self._seen[id(found)] = found
            visit(found)

    def _is_own(self, module: str | None) -> bool:
        top = _top(module or "")
        if top == self._package:
            return True
        if top in ("", "aether", "builtins") or top in sys.stdlib_module_names - {"__main__"}:
            return False
        file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
        return not any(file.startswith(f"{path}/") for path in _OTHERS)

    def _is_foreign(self, function: FunctionType) -> bool:
        """Whether its code is another's: a wrapper of the standard library says that it is of our module."""
        file = function.__code__.co_filename
        own = bool(self._directory) and file.startswith(self._directory)
        return not own and any(file.startswith(f"{path}/") for path in _OTHERS)

    def _function(self, function: FunctionType) -> None:
        if self._is_foreign(function):
            within = [one for one in _within(function) if isinstance(one, FunctionType)]
            self.lines.update(f"{function.__qualname__} around {self.reach(one)}" for one in within)
            return
        trees = trees_of_function(function.__code__)
        body = " | ".join(map(_tree_text, trees)) if trees else _code_text(function.__code__)
        names = set().union(*map(_names_in, trees)) if trees else _names_of_code(function.__code__)
        self._imported(function.__qualname__, trees, function.__globals__.get("__package__") or "")
        self.lines.add(f"function {function.__qualname__}: {body}")
        given = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        self.lines.update(f"{function.__qualname__} by default {self.reach(one)}" for one in given)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                with_value = _content(cell)
                self.lines.add(f"{function.__qualname__} around it {name} = {self.reach(with_value)}")
        self._follow(function.__qualname__, names, function.__globals__)

    def _follow(self, where: str, names: set[str], scope: Mapping[str, Any]) -> None:
        for name in sorted(names):
            if name in scope:
                self._global(where, name, scope[name], names)
            for base in getattr(self._members_of, "__mro__", ()):
                if name in vars(base) and self._is_own(base.__module__) and name not in _fields_of(base):
                    self.lines.add(f"{base.__qualname__}.{name} = {self.reach(vars(base)[name])}")

    def _global(self, where: str, name: str, found: Any, names: set[str]) -> None:
        if not isinstance(found, ModuleType):
            self.lines.add(f"{where} uses {name} = {self.reach(found)}")
        elif self._is_own(found.__name__):
            for inner in sorted(names.intersection(vars(found)) - {name}):
                self._global(where, f"{name}.{inner}", vars(found)[inner], names - {inner})

    def _imported(self, where: str, trees: Iterable[ast.AST], package: str) -> None:
        """Modules that a function imports itself: given as a whole, without being imported for it."""
        for tree in trees:
            for module in sorted(_imports_in(tree, package)):
                text = _text_of_module(module) if self._is_own(module) or _top(module) == self._package else ""
                if text:
                    self.lines.add(f"{where} imports {module}: {text}")

    def _class(self, cls: type) -> None:
        bases = ", ".join([self.reach(base) for base in cls.__bases__])
        self.lines.add(f"class {cls.__qualname__}({bases})")
        if issubclass(cls, enum.Enum):
            for name, member in cls.__members__.items():
                self.lines.add(f"{cls.__qualname__}.{name} = {self.reach(member.value)}")
        for name, member in vars(cls).items():
            if _is_written(cls, name, member):
                self.lines.add(f"{cls.__qualname__}.{name} = {self.reach(member)}")
        for field in getattr(cls, "__dataclass_fields__", {}).values():
            self._default(cls, field.name, field.default, field.default_factory, dataclasses.MISSING)
        if issubclass(cls, msgspec.Struct):
            for one in msgspec.structs.fields(cls):
                self._default(cls, one.name, one.default, one.default_factory, msgspec.NODEFAULT)
        for name, one in _pydantic_fields(cls).items():
            self._default(cls, name, one.default, one.default_factory, None)

    def _default(self, cls: type, name: str, value: Any, factory: Any, missing: Any) -> None:
        text = f"made by {self.reach(factory)}" if factory is not missing and factory is not None else ""
        if value is not missing and not text:
            text = self.reach(value)
        if text:
            self.lines.add(f"{cls.__qualname__}.{name} by default {text}")

    def _value(self, value: Any) -> str:
        if isinstance(value, enum.Enum):
            if self._is_own(type(value).__module__):
                self._once(type(value), self._class)
            return f"{type(value).__qualname__}.{value.name}"
        if isinstance(value, _WHOLE):
            return f"{type(value).__name__} {value!a}"
        if id(value) not in self._texts:
            self._seen[id(value)], self._texts[id(value)] = value, type(value).__qualname__  # it may hold itself
            self._texts[id(value)] = f"{type(value).__qualname__} {self._parts(value)}"
        return self._texts[id(value)]

    def _parts(self, value: Any) -> str:
        if isinstance(value, re.Pattern):
            return f"{value.pattern!a} {value.flags}"
        if isinstance(value, Mapping):
            return str([(self.reach(key), self.reach(item)) for key, item in value.items()])
        if isinstance(value, Set):
            return str(sorted(self.reach(item) for item in value))
        names = field_names(value)
        if names is not None:
            self.reach(type(value))
            return str([(name, self.reach(getattr(value, name, None))) for name in names])
        if isinstance(value, Sequence):
            return str([self.reach(item) for item in value])
        if self._is_own(type(value).__module__):
            self.reach(type(value))
            slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ()) if name[:2] != "__"]
            kept = {name: getattr(value, name) for name in slots if hasattr(value, name)}
            kept.update(getattr(value, "__dict__", {}))
            return str([(name, self.reach(item)) for name, item in sorted(kept.items())])
        return ""


def _unwrapped(found: Any) -> list[Any] | None:
    """The functions within what wraps some."""
    if isinstance(found, staticmethod | classmethod | types.MethodType):
        return [found.__func__]
    if isinstance(found, property):
        return [one for one in (found.fget, found.fset, found.fdel) if one is not None]
    if isinstance(found, functools.cached_property):
        return [found.func]
    if isinstance(found, functools.partial | functools.partialmethod):
        return [found.func, *found.args, *[found.keywords[name] for name in sorted(found.keywords)]]
    if isinstance(found, functools.singledispatchmethod):
        return [found.func, *found.dispatcher.registry.values()]
    if not isinstance(found, FunctionType | type) and isinstance(getattr(found, "__wrapped__", None), FunctionType):
        return [found.__wrapped__]
    return None


def _within(function: FunctionType) -> list[Any]:
    """What a wrapper wraps: by its mark, and in its closure."""
    return [getattr(function, "__wrapped__", None), *map(_content, function.__closure__ or ())]


def _top(module: str) -> str:
    return module.partition(".")[0]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _fields_of(cls: type) -> Set[str]:
    """Annotated names, which are state, unless they are of the class itself."""
    annotations = annotations_of(cls)
    return {name for name, type_ in annotations.items() if "ClassVar" not in str(type_)}


def _pydantic_fields(cls: Any) -> Mapping[str, Any]:
    pydantic = sys.modules.get("pydantic")
    found: Mapping[str, Any] = cls.model_fields if pydantic is not None and issubclass(cls, pydantic.BaseModel) else {}
    return found


def _is_written(cls: type, name: str, member: Any) -> bool:
    """Whether a member of a class was written in it, and not made by a decorator or a metaclass."""
    if isinstance(member, enum.Enum | types.MemberDescriptorType | types.GetSetDescriptorType):
        return False
    if name.startswith("__"):
        if not isinstance(member, FunctionType):
            return False
        inner: Any = inspect.unwrap(member)
        return name == "__post_init__" or (bool(trees_of_function(inner.__code__)) and inner.__name__ == name)
    return not name.startswith("_") or isinstance(member, FunctionType) or not issubclass(cls, enum.Enum)


# ------------------------------------------------------------------------------------------------ source and trees


def _tree_text(node: Any) -> str:
    """A syntax tree as text that no version of Python changes, without docstrings and annotations."""
    if isinstance(node, ast.AST):
        parts = [(name, value) for name, value in ast.iter_fields(node) if name not in _LEFT_OUT and value != []]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            parts = [(name, _without_docstring(value) if name == "body" else value) for name, value in parts]
        inner = ", ".join(
            f"{name}={_tree_text(value)}" for name, value in parts if value is not None or name == "value"
        )
        return f"{type(node).__name__}({inner})"
    if isinstance(node, list):
        return f"[{', '.join(map(_tree_text, node))}]"
    return ascii(node)


def _without_docstring(body: list[Any]) -> list[Any]:
    first = body[0].value if body and isinstance(body[0], ast.Expr) else None
    is_text = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return body[1:] if is_text else body


def _names_in(node: Any) -> set[str]:
    """Names of variables and attributes, but for annotations."""
    if isinstance(node, list):
        return set().union(*map(_names_in, node))
    if not isinstance(node, ast.AST):
        return set()
    own = {node.id} if isinstance(node, ast.Name) else {node.attr} if isinstance(node, ast.Attribute) else set()
    return own.union(*[_names_in(value) for name, value in ast.iter_fields(node) if name not in _LEFT_OUT])


def _imports_in(tree: ast.AST, package: str) -> set[str]:
    """The modules that code within a function imports, and what may be modules of those that it takes from them."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found.update([module, *[f"{module}.{one.name}" for one in node.names]])
    return found - {""}


def _text_of_module(name: str) -> str:
    """The syntax tree of a module's file; empty for what is no module or has no source."""
    try:
        spec = find_spec(name)
        text = "" if spec is None or spec.origin is None else "".join(linecache.getlines(spec.origin))
        return _tree_text(_without_docstring(ast.parse(text).body)) if text else ""
    except (ImportError, AttributeError, ValueError, SyntaxError):
        return ""


def _names_of_code(code: CodeType) -> set[str]:
    inner = [_names_of_code(one) for one in code.co_consts if isinstance(one, CodeType)]
    return set(code.co_names).union(*inner)


def _code_text(code: CodeType) -> str:
    """What code without source does: without comments, line numbers and docstrings, but of one version of Python."""
    return " ".join(f"{step.opname} {_constant_text(step.argval)}" for step in dis.get_instructions(code))


def _constant_text(constant: object) -> str:
    if isinstance(constant, CodeType):
        return _code_text(constant)
    if isinstance(constant, frozenset):
        return str(sorted(map(_constant_text, constant)))
    if isinstance(constant, tuple):
        return str([_constant_text(item) for item in constant])
    return ascii(constant)
