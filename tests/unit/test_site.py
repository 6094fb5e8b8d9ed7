"""The documentation as a site: it builds without a warning, and needs nothing from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[2]
FETCHED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src=[\"']?https?:"
    r"|<link(?=[^>]+https?:)[^>]+rel=[\"']?(?:stylesheet|preconnect|preload|icon)"
    r"|url\([\"']?https?:|@import"
)
"""What a browser loads from another host. A link that a reader may follow is none."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a broken link, anchor or name, and a page that is in no menu, end it."""
    directory = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)],
        cwd=CLONE,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return directory


def test_every_page_is_there(site: Path) -> None:
    pages = {str(page.relative_to(CLONE / "docs").with_suffix(".html")) for page in (CLONE / "docs").rglob("*.md")}
    assert len(pages) > 20
    assert pages <= {str(page.relative_to(site)) for page in site.rglob("*.html")}


def test_the_api_is_on_its_page(site: Path) -> None:
    page = (site / "reference" / "api.html").read_text()
    for anchor in (
        "aether.Actor.emit",
        "aether.Client.state",
        "aether.errors.Rejected",
        "aether.testing.local_runtime",
    ):
        assert f'id="{anchor}"' in page


def test_no_diagram_is_left_as_code(site: Path) -> None:
    page = (site / "reference" / "state-machines.html").read_text()
    pictures = re.findall(r'<img[^>]+src="([^"]+\.svg)"', page)
    assert len(pictures) == 2
    assert all((site / "reference" / one).is_file() for one in pictures)
    assert [path.name for path in site.rglob("*.html") if "language-mermaid" in path.read_text()] == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    fetched = {str(path.relative_to(site)): FETCHED.search(path.read_text()) for path in files}
    assert {name: found[0] for name, found in fetched.items() if found} == {}


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js">',
        '<link rel="stylesheet" href="https://fonts.example/a.css">',
        '<link href="https://fonts.example" rel="preconnect">',
        "src: url(https://fonts.example/a.woff)",
    ],
)
def test_what_would_be_fetched_is_found(text: str) -> None:
    assert FETCHED.search(text)


def test_a_link_to_follow_is_none() -> None:
    assert not FETCHED.search('<a href="https://nats.io"><link rel="canonical" href="https://nats.io">')
