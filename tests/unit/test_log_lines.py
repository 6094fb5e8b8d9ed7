"""Log lines: what repeats is one line and a count, and an error is never told without words."""

import ast
import logging
import re
from pathlib import Path

import pytest

from aether.log_lines import Repeated, words

ROOT = Path(__file__).parents[2] / "aether"


class Times:
    """A clock that the test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_an_error_without_a_text_is_called_by_its_class() -> None:
    assert words(TimeoutError()) == "TimeoutError"
    assert words(ValueError("  ")) == "ValueError"
    assert words(OSError("no route")) == "no route"


def test_what_repeats_is_told_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Times()
    line = Repeated(logging.getLogger("tests"), logging.INFO, "it failed", every_s=30, clock=clock)
    for n in range(10):
        line.again(attempt=n)
    clock.now_s = 31.0
    line.again(attempt=10)
    line.again(attempt=11)
    line.over()
    line.again(attempt=12)
    told = [(r.getMessage(), getattr(r, "times", None), getattr(r, "times_more", None)) for r in caplog.records]
    assert told == [
        ("it failed", None, None),
        ("it failed", 10, None),
        ("it failed", None, 1),
        ("it failed", None, None),
    ]


def test_what_is_only_counted_can_be_seen_when_debugging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    line = Repeated(logging.getLogger("tests"), logging.WARNING, "it failed", every_s=30, clock=Times())
    line.again()
    line.again()
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG"]


def bare_errors(source: str) -> list[int]:
    """Lines where a log call is given `str(error)`, which may be nothing."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "extra":
            calls = [each for each in ast.walk(node.value) if isinstance(each, ast.Call)]
            found += [
                each.lineno
                for each in calls
                if isinstance(each.func, ast.Name)
                and each.func.id == "str"
                and any(isinstance(arg, ast.Name) and arg.id in ("error", "why", "reason") for arg in each.args)
            ]
    return found


def test_the_search_finds_what_it_looks_for() -> None:
    assert bare_errors("log.info('x', extra={'error': str(error)})") == [1]
    assert bare_errors("log.info('x', extra={'error': words(error)})") == []


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_log_line_may_end_in_an_error_without_words(path: Path) -> None:
    assert bare_errors(path.read_text()) == []


def test_a_logger_is_called_log_and_named_by_a_part_that_the_documentation_lists() -> None:
    page = (ROOT.parent / "docs" / "how-to" / "observing.md").read_text()
    rows = "".join(line for line in page.splitlines() if line.startswith("| `aether."))
    listed = set(re.findall(r"`(aether\.[a-z]+)`", rows))
    made = {
        f"{path.relative_to(ROOT)}: {line}": re.fullmatch(r'log = logging\.getLogger\("(aether\.[a-z]+)"\)', line)
        for path in ROOT.rglob("*.py")
        for line in path.read_text().splitlines()
        if "getLogger(" in line and not line.startswith(" ")
    }
    assert [where for where, as_agreed in made.items() if not as_agreed] == []
    assert {as_agreed[1] for as_agreed in made.values() if as_agreed} | {"aether.supervisor"} == listed
