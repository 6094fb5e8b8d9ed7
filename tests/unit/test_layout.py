"""The pages that lead through the code: each path on them exists, and layout.md has each part of the package."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = (ROOT, ROOT / "aether", ROOT / "docs" / "reference")


def cells(page: str) -> list[list[str]]:
    """The paths that each row or line of a page names, in its order; one beside another may leave the folder out."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    return [re.findall(r"`([a-z_-]+(?:/[a-z_-]+)*(?:/|\.py|\.md))`", line) for line in lines]


def exists(path: str, before: list[str]) -> bool:
    """Whether there is such a path: from the clone, in the package, or beside or in what its line names before it."""
    folders = list(PLACES)
    for other in before:
        for place in PLACES:
            folders += [place / other, (place / other).parent]
    return any((folder / path).exists() for folder in folders)


@pytest.mark.parametrize("page", ["layout.md", "messages.md"])
def test_every_path_exists(page: str) -> None:
    missing = [path for row in cells(page) for place, path in enumerate(row) if not exists(path, row[:place])]
    assert sum(map(len, cells(page))) > 40
    assert missing == []


def test_every_part_of_the_package_is_listed() -> None:
    listed = {path for row in cells("layout.md") for path in row}
    parts = [
        f"aether/{path.name}{'/' if path.is_dir() else ''}"
        for path in (ROOT / "aether").iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py"))))
    ]
    assert [part for part in parts if part not in listed] == []


def is_module(name: str) -> bool:
    """Whether a dotted name begins with that of a module, or is a package."""
    path, parts = ROOT, name.split(".")
    while parts and (path / parts[0]).is_dir():
        path /= parts.pop(0)
    return not parts or (path / f"{parts[0]}.py").exists() or parts[0] in (path / "__init__.py").read_text()


def test_the_modules_that_docstrings_and_pages_name_exist() -> None:
    packages = [path.name for path in (ROOT / "aether").iterdir() if path.is_dir() and not path.name.startswith("_")]
    named = re.compile(rf"`(aether\.(?:{'|'.join(packages)})\.[\w.]+)`")
    files = [*(ROOT / "aether").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]
    found = [(file.name, name) for file in files for name in named.findall(file.read_text())]
    assert len(found) > 60
    assert [one for one in found if not is_module(one[1])] == []
