"""What users write, through both type checkers: tests/typing, the examples, a new project, the code on pages."""

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tests.typing
from aether.cli.project import create_project
from aether.model.model import Model
from aether.system.environment import is_compiled
from tests.support.pages import blocks

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", DOCS / "typing.md", DOCS / "how-to" / "deciders.md", DOCS / "how-to" / "testing.md")
WITHOUT_AETHER = DOCS / "how-to" / "other-languages.md"
WITH_CODE = [
    page
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    if page != WITHOUT_AETHER and any(block.language == "python" for block in blocks(page))
]
STRICT = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "enableTypeIgnoreComments": False}

pytestmark = pytest.mark.skipif(is_compiled(), reason="type checkers read the sources, which are the same")


def passes(*command: str, directory: Path = ROOT) -> None:
    """Run a checker of this environment, and show what it found."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=directory, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def mypy(directory: Path, *files: str) -> None:
    """Check files as strictly as mypy does."""
    passes("mypy", "--strict", f"--cache-dir={ROOT / '.mypy_cache' / 'users'}", *files, directory=directory)


def written(page: Path, directory: Path) -> list[str]:
    """Write a page's code into files, each named by its first line, `# bank.py`; their names."""
    directory.mkdir(exist_ok=True)
    files = {block.file_name: block.text for block in blocks(page) if block.language == "python"}
    for name, code in files.items():
        (directory / name).write_text(code)
    return list(files)


def test_pyright_finds_what_is_expected_and_no_more() -> None:
    passes("pyright", "--pythonpath", sys.executable)


def test_pyright_checks_the_code_of_every_page(tmp_path: Path) -> None:
    names = [page.relative_to(ROOT).with_suffix("").as_posix().replace("/", "-") for page in WITH_CODE]
    for name, page in zip(names, WITH_CODE, strict=True):
        written(page, tmp_path / name)
    settings = {**STRICT, "executionEnvironments": [{"root": name} for name in names]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    passes("pyright", "--pythonpath", sys.executable, directory=tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mypy_checks_the_code_of_a_page(page: Path, tmp_path: Path) -> None:
    mypy(tmp_path, *written(page, tmp_path))


def test_a_new_project_is_typed_for_both_checkers(tmp_path: Path) -> None:
    create_project("shop", tmp_path)
    (tmp_path / "shop" / "pyrightconfig.json").write_text(json.dumps(STRICT))
    passes("pyright", "--pythonpath", sys.executable, directory=tmp_path / "shop")
    mypy(tmp_path / "shop", "shop", "tests")


def test_the_models_of_the_typed_files_can_be_built() -> None:
    modules = [
        importlib.import_module(f"tests.typing.{one.name}") for one in pkgutil.iter_modules(tests.typing.__path__)
    ]
    models = [one for module in modules for one in vars(module).values() if isinstance(one, Model)]
    assert {one.name for one in models} == {"bank", "deciders", "declared", "hotel", "tellers", "typed-tasks"}
