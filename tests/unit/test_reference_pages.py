"""The pages that are made from the code: current, complete, and with examples that the command line takes."""

import os
import re
import shlex
from pathlib import Path

import pytest

import aether
import aether.testing
from scripts.reference import DIRECTORY, outdated
from scripts.reference.command_line import commands, examples
from scripts.reference.text import docstring, meanings, table

SOURCES = Path(__file__).parents[2] / "aether"
INTERNAL = {"AETHER_CHECK_FD", "AETHER_SUPERVISOR_HANDOVER", "AETHER_POOL_MODEL"}
"""Variables by which Aether's own processes talk to each other."""

COMMANDS = dict(commands())
EXAMPLES = [line for command in COMMANDS.values() for line in examples(command) if "aether " in line]


def test_the_pages_are_what_the_code_gives() -> None:
    assert outdated() == [], "write them with: python -m scripts.reference"


def test_every_variable_that_the_sources_name_is_on_the_page() -> None:
    named: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        named |= set(re.findall(r"\"(AETHER_[A-Z_]+)\"", path.read_text()))
    page = (DIRECTORY / "configuration.md").read_text()
    assert len(named) > 10
    assert {name for name in named - INTERNAL if f"`{name}`" not in page} == set()


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = (DIRECTORY / "api.md").read_text()
    missing = [name for name in aether.__all__ if not re.search(rf"(::: aether\.|- ){name}$", page, re.MULTILINE)]
    assert missing == [], "say what they are in docs/reference/api.md"


def test_every_public_name_has_a_sentence_in_a_checkout() -> None:
    page = (DIRECTORY / "names.md").read_text()
    names = [*aether.__all__, *(f"testing.{name}" for name in aether.testing.__all__), "Client.follow"]
    missing = [name for name in names if not re.search(rf"^\| `[a-z ]*{name}[(`].* \| .+ \|$", page, re.MULTILINE)]
    assert missing == []


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 12


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_of_the_help_is_a_command_line(line: str) -> None:
    typed = re.split(r" \| (?!aether)|  +#", line)[0].rpartition("| ")[2]
    words = shlex.split(typed)
    path = max((path for path in COMMANDS if words[: len(path.split())] == path.split()), key=len)
    COMMANDS[path].make_context(path, words[len(path.split()) :])


def test_bullets_of_docstrings_are_read() -> None:
    text = (
        "Settings.\n\n- `a_s`: one thing,\n  in seconds. `b`: 2.\n"
        "- `c` and `d`: both; `e`: last; 0 never.\n\nMore: `f`: no."
    )
    assert meanings(text) == {"a_s": "one thing, in seconds", "b": "2", "c": "both", "d": "both", "e": "last; 0 never"}


def test_a_class_that_is_not_there_is_noticed() -> None:
    with pytest.raises(LookupError):
        docstring("aether.config", "NoSuchConfig")


def test_a_table_keeps_its_columns() -> None:
    assert table(("a", "b"), [("x|y", "z")]).splitlines()[2] == "| x\\|y | z |"
    with pytest.raises(AssertionError):
        table(("a", "b"), [("x",)])


def test_the_script_for_the_site_can_be_run() -> None:
    assert os.access(SOURCES.parent / "scripts" / "docs", os.X_OK)
