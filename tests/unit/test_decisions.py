"""The decisions: a page each, dated, with a status, and listed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
INDEX = DOCS / "decisions.md"
PAGES = sorted((DOCS / "decisions").glob("*.md"))
FILES = [file.as_posix() for part in ("aether", "tests", "scripts") for file in (ROOT / part).rglob("*.py")]
HEAD = re.compile(
    r"# (?P<title>.+)\n\n"
    r"Date: (?P<date>\d{4}-\d\d-\d\d)\. Status: (?P<status>accepted|replaced by \[.+\]\(.+\))\.\n\n\S"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_is_dated_has_a_status_and_is_listed(page: Path) -> None:
    head = HEAD.match(page.read_text())
    assert head, "it begins with: # title, then: Date: YYYY-MM-DD. Status: accepted."
    status = head["status"].partition(" [")[0]
    assert f"| {head['date']} | {status} | [{head['title']}](decisions/{page.name}) |" in INDEX.read_text().splitlines()


def test_the_index_lists_pages_only_and_holds_no_decision() -> None:
    index = INDEX.read_text()
    listed = re.findall(r"\(decisions/([a-z0-9-]+\.md)\)", index)
    assert sorted(listed) == [page.name for page in PAGES]
    assert "\n## " not in index, "a decision is a page in docs/decisions/"
    dates = re.findall(r"^\| (\d{4}-\d\d-\d\d) ", index, re.MULTILINE)
    assert dates == sorted(dates), "the rows are in the order of their dates"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_that_a_decision_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", page.read_text())
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in FILES)] == []
