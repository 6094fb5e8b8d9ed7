"""`names.md`: every name of the API page with its parameters and one sentence.

The API page itself is written for the site, which puts docstrings in. This page says enough without the site.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import aether
from scripts.reference.text import CLONE, document, table

_DIRECTIVE = re.compile(r"::: (?P<path>aether[\w.]*)\n(?:    options:\n(?P<options>(?:      .*\n)*))?")
_Named = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

MADE_WITH_ARGUMENTS = ("Model", "Runtime")
"""Classes without fields that users make."""

INTRODUCTION = """Each name of the [API](api.md) with its parameters and the first sentence about it. The whole text,
with types, is on that page of the site, and in the docstrings: `help(aether.Client)`. Names without a module are
imported from `aether`."""


def page() -> str:
    """The page, made from the directives of `api.md` and the docstrings of the sources."""
    full = (CLONE / "docs" / "reference" / "api.md").read_text()
    parts = [INTRODUCTION]
    for section in re.split(r"^## ", full, flags=re.MULTILINE)[1:]:
        title = section.split("\n", 1)[0]
        rows = [row for path, options in _directives(section) for row in _rows(path, options)]
        parts.append(f"## {title}\n\n{table(('name', 'what it is'), rows)}")
    return document("API at a glance", *parts)


def _directives(section: str) -> Iterator[tuple[str, str]]:
    for found in _DIRECTIVE.finditer(section + "\n"):
        yield found["path"], found["options"] or ""


def _rows(path: str, options: str) -> Iterator[tuple[str, str]]:
    if path == "aether.errors":
        for name in re.findall(r"- (\w+)$", options, re.MULTILINE):
            node = _find("aether.errors", name)
            yield _call(name, node), _sentence(node)
        return
    module, _, name = path.rpartition(".")
    shown = name if module == "aether" else path.removeprefix("aether.")
    node = _where(module, name)
    yield _call(shown, node), _sentence(node)
    if isinstance(node, ast.ClassDef):
        for member in _members(node, options):
            yield _call(f"{name}.{member.name}", member), _sentence(member)


def _where(module: str, name: str) -> _Named:
    if module == "aether":
        return _find(aether._WHERE[name], name)
    if module == "aether.testing":
        tree = ast.parse((CLONE / "aether" / "testing" / "__init__.py").read_text())
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
                return _find(str(node.module), name)
    if module == "aether.gateway":
        tree = ast.parse((CLONE / "aether" / "gateway" / "__init__.py").read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return node
    return _find(module, name)


def _find(module: str, name: str) -> _Named:
    """The definition in the sources of a module; of overloads the last, which has the docstring."""
    path = Path(CLONE, *module.split("."))
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    found = [node for node in tree.body if isinstance(node, _Named) and node.name == name]
    if not found:
        raise LookupError(f"{module} defines no {name}")
    return found[-1]


def _members(node: ast.ClassDef, options: str) -> list[_Named]:
    """The public methods and properties, those that the API page chooses, each once."""
    if "members: false" in options:
        return []
    chosen = re.search(r"members: \[(.*)\]", options)
    wanted = set(chosen[1].split(", ")) if chosen else None
    methods = {
        one.name: one
        for one in node.body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and not one.name.startswith("_")
    }
    return [method for name, method in methods.items() if wanted is None or name in wanted]


def _call(shown: str, node: _Named) -> str:
    """`Client.state(kind, key, version=None)`, with what its caller writes before it; a field is a name alone."""
    if isinstance(node, ast.ClassDef):
        names = _fields(node)
        return f"`{shown}({', '.join(names)})`" if names else f"`{shown}`"
    decorators = [ast.unparse(one) for one in node.decorator_list]
    if "property" in decorators:
        return f"`{shown}`"
    returns = ast.unparse(node.returns) if node.returns is not None else ""
    waits = isinstance(node, ast.AsyncFunctionDef) or returns.startswith("Coroutine[")
    before = "async with " if "asynccontextmanager" in decorators else ""
    if waits and "Iterator" not in returns:
        before = "await "
    return f"`{before}{shown}({', '.join(_parameters(node.args))})`"


def _fields(node: ast.ClassDef) -> list[str]:
    """What a class is made with, if users make it or read its fields."""
    if node.name in MADE_WITH_ARGUMENTS:
        made = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        return _parameters(made[-1].args)
    if node.name.endswith("Config") or not any("dataclass" in ast.unparse(one) for one in node.decorator_list):
        return []
    fields = [one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
    return [name for name in fields if not name.startswith("_")]


def _parameters(arguments: ast.arguments) -> list[str]:
    """The parameters without their types."""
    bare = ast.parse(f"lambda {ast.unparse(_untyped(arguments))}: 0", mode="eval").body
    assert isinstance(bare, ast.Lambda)
    names = ast.unparse(bare.args).split(", ")
    return [name for name in names if name != "self"]


def _untyped(arguments: ast.arguments) -> ast.arguments:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    for one in every:
        if one is not None:
            one.annotation = None
    return arguments


def _sentence(node: _Named) -> str:
    """The first sentence of the docstring."""
    text = ast.get_docstring(node)
    assert text, f"{node.name} has no docstring"
    first = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.])\s+(?=[A-Z`])", first)[0]
