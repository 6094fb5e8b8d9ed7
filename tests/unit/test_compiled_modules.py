"""What may be compiled: nothing that waits.

Within `try` or `with` mypyc gets the state of exceptions wrong: one that was handled while another coroutine waited
came back as that of a drain which had succeeded. And it throws into what a coroutine awaits by a form that Python has
deprecated: where warnings are errors, a cancellation ended nothing.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"][
    "mypyc"
]
MODULES: list[str] = HOOK["include"]

WAITS = ast.Await | ast.AsyncFor | ast.AsyncWith
GUARDS = ast.Try | ast.TryStar | ast.With
YIELDS = ast.Yield | ast.YieldFrom
PAGE = "docs/hot-path.md"
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def within(node: ast.AST) -> Iterator[ast.AST]:
    """What the node holds, functions of its own aside."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, FUNCTIONS):
            yield child
            yield from within(child)


def waits(source: str) -> list[int]:
    """The lines where a coroutine waits, or a generator within `try` or `with`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, WAITS):
            found.append(node.lineno)
        elif isinstance(node, ast.comprehension) and node.is_async:
            found.append(node.target.lineno)
        elif isinstance(node, GUARDS):
            found += [yields.lineno for yields in within(node) if isinstance(yields, YIELDS)]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_no_compiled_coroutine_waits(module: str) -> None:
    assert waits((ROOT / module.lstrip("/")).read_text()) == []


def test_the_rule_sees_every_form() -> None:
    for body in (
        "await x",
        "try:\n  await x\n finally: pass",
        "with c:\n  await x",
        "async with c: pass",
        "async for y in x: pass",
        "[y async for y in x]",
        "try:\n  yield 1\n finally: pass",
        "with c:\n  yield 1",
    ):
        assert waits(f"async def f():\n {body}\n"), body
    assert not waits("async def f():\n return g()\n")
    assert not waits("def f():\n yield 1\n try:\n  def g():\n   yield 1\n finally: pass\n")


def test_the_page_about_the_hot_path_and_the_modules_name_each_other() -> None:
    page = (ROOT / PAGE).read_text()
    rows = "\n".join(line.rpartition(" | ")[2] for line in page.splitlines() if line.startswith("| "))
    named = set(re.findall(r"`(aether/[a-z_/]+\.py)`", rows))
    pointing = {str(path.relative_to(ROOT)) for path in (ROOT / "aether").rglob("*.py") if PAGE in path.read_text()}
    assert len(named) > 5
    assert named == pointing
