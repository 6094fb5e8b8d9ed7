"""Markdown and docstrings: what the pages share.

Docstrings are read from the sources and not from the classes: compiled classes have none.
"""

import ast
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

MADE = "<!-- Made by `python -m scripts.reference`. Do not edit. -->"

_LABEL = re.compile(r"(?P<names>`\w+`(?:(?:, | and )`\w+`)*):\s")
_NAME = re.compile(r"`(\w+)`")
CLONE = Path(__file__).parents[2]


def docstring(module: str, name: str) -> str:
    """The docstring of a class in the sources of a module, its lines joined within paragraphs and bullets."""
    tree = ast.parse((CLONE / f"{module.replace('.', '/')}.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            found = ast.get_docstring(node)
            assert found, f"{module}.{name} has no docstring"
            return found
    raise LookupError(f"there is no class {name} in {module}")


def meanings(text: str) -> dict[str, str]:
    """What the bullets of a docstring say of each name: "- `ttl_s`: how long ... `retry_s`: before ..."."""
    found: dict[str, str] = {}
    for bullet in re.split(r"^- ", text, flags=re.MULTILINE)[1:]:
        joined = " ".join(bullet.split("\n\n")[0].split())
        labels = list(_LABEL.finditer(joined))
        ends = [label.start() for label in labels[1:]] + [len(joined)]
        for label, end in zip(labels, ends, strict=True):
            meaning = joined[label.end() : end].strip().rstrip(";.")
            for name in _NAME.findall(label["names"]):
                found[name] = meaning
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a cell may hold anything but a line break."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        assert len(row) == len(head), row
        assert not any("\n" in cell for cell in row), row
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines)


def document(title: str, *parts: str) -> str:
    """A whole page."""
    return "\n\n".join([MADE, f"# {title}", *(part.strip("\n") for part in parts)]) + "\n"
