"""The glossary: one line for each word, and the code that it names is there."""

import re
from collections import Counter
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

GLOSSARY = Path(__file__).parents[2] / "docs" / "glossary.md"


@dataclass(frozen=True)
class Line:
    """One row of the glossary's tables."""

    word: str
    meaning: str
    code: tuple[str, ...]


def lines() -> list[Line]:
    found = []
    for text in GLOSSARY.read_text().splitlines():
        cells = [cell.strip() for cell in text.strip("|").split("|")] if text.startswith("| ") else []
        if cells and cells[0] != "word":
            assert len(cells) == 3, text
            found.append(Line(cells[0], cells[1], tuple(re.findall(r"`([^`]+)`", cells[2]))))
    return found


def imported(name: str) -> tuple[Any, list[str]]:
    """The longest module that a dotted name begins with, and what is left of the name."""
    module = name
    attributes: list[str] = []
    while module:
        try:
            return import_module(module), attributes
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            attributes.insert(0, last)
    raise AssertionError(f"there is no {name}")


def resolve(name: str) -> None:
    """Find what a dotted name means; `AssertionError` when a part of it is not there."""
    found, attributes = imported(name)
    for attribute in attributes:
        is_field = is_dataclass(found) and any(field.name == attribute for field in fields(found))
        known = hasattr(found, attribute) or attribute in getattr(found, "__annotations__", {})
        assert is_field or known, f"there is no {name}"
        found = getattr(found, attribute, None)


def test_there_are_words() -> None:
    assert len(lines()) > 60


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.word)
def test_the_code_of_a_word_exists(line: Line) -> None:
    assert line.code
    for name in line.code:
        resolve(name)


def test_a_name_that_does_not_exist_is_noticed() -> None:
    for wrong in (
        "aether.core.actor.NoSuchThing",
        "aether.no_such_module",
        "aether.config.RuntimeConfig.no_such_field",
    ):
        with pytest.raises(AssertionError):
            resolve(wrong)


def test_a_word_has_one_line() -> None:
    counts = Counter(word.strip() for line in lines() for word in line.word.split(","))
    assert [word for word, count in counts.items() if count > 1] == []


def test_a_code_name_stands_for_one_word() -> None:
    names = Counter(name for line in lines() for name in line.code)
    assert [name for name, count in names.items() if count > 1] == []


def test_a_meaning_is_one_line_without_a_full_stop() -> None:
    assert [line.word for line in lines() if not line.meaning or line.meaning.endswith(".")] == []
