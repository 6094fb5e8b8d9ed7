"""What may be compiled: mypyc gets the state of exceptions wrong where a coroutine waits within `try` or `with`.

An exception that was handled while another coroutine waited came back as somebody else's: a drain that had succeeded
raised the error of a connection that had failed before.
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

GUARDS = ast.Try | ast.TryStar | ast.With
WAITS = ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Yield | ast.YieldFrom
PAGE = "docs/hot-path.md"
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def within(node: ast.AST) -> Iterator[ast.AST]:
    """What the node holds, functions of its own aside."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, FUNCTIONS):
            yield child
            yield from within(child)


def unsafe_lines(source: str) -> list[int]:
    """Where a coroutine waits within `try` or `with`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AsyncWith):
            found.append(node.lineno)
        elif isinstance(node, GUARDS):
            found += [waits.lineno for waits in within(node) if isinstance(waits, WAITS)]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_no_compiled_coroutine_waits_within_try_or_with(module: str) -> None:
    assert unsafe_lines((ROOT / module.lstrip("/")).read_text()) == []


def test_the_rule_sees_every_form() -> None:
    for body in (
        "try:\n  await x\n finally: pass",
        "try: pass\n except E:\n  await x",
        "try: pass\n finally:\n  await x",
        "with c:\n  await x",
        "async with c: pass",
        "with c:\n  async for y in x: pass",
        "try:\n  yield 1\n finally: pass",
    ):
        assert unsafe_lines(f"async def f():\n {body}\n"), body
    assert not unsafe_lines("async def f():\n await x\n try:\n  def g():\n   return 1\n finally: pass\n")


def test_the_page_about_the_hot_path_and_the_modules_name_each_other() -> None:
    page = (ROOT / PAGE).read_text()
    rows = "\n".join(line.rpartition(" | ")[2] for line in page.splitlines() if line.startswith("| "))
    named = set(re.findall(r"`(aether/[a-z_/]+\.py)`", rows))
    pointing = {str(path.relative_to(ROOT)) for path in (ROOT / "aether").rglob("*.py") if PAGE in path.read_text()}
    assert len(named) > 5
    assert named == pointing
