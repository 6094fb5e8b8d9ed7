"""What users write, through both type checkers: tests/typing, the examples, a new project, the code on pages."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tests.typing
from aether.cli.project import create_project
from aether.model.model import Model
from aether.system.environment import is_compiled

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "typing.md")

pytestmark = pytest.mark.skipif(is_compiled(), reason="type checkers read the sources, which are the same")


def passes(*command: str, directory: Path = ROOT) -> None:
    """Run a checker of this environment, and show what it found."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=directory, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def passes_both(directory: Path, *files: str) -> None:
    """Check a directory of its own, as strictly as each checker does."""
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "enableTypeIgnoreComments": False}
    (directory / "pyrightconfig.json").write_text(json.dumps(settings))
    passes("pyright", "--pythonpath", sys.executable, directory=directory)
    passes("mypy", "--strict", f"--cache-dir={ROOT / '.mypy_cache' / 'users'}", *files, directory=directory)


def code_of(page: Path) -> dict[str, str]:
    """The page's code as files: a block that begins with a comment `# bank.py` is that file for those after it."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    named = [re.match(r"# (\w+\.py)\n", block) for block in blocks]
    return {
        name.group(1) if name else f"block_{number}.py": block
        for number, (name, block) in enumerate(zip(named, blocks, strict=True))
    }


def test_pyright_finds_what_is_expected_and_no_more() -> None:
    passes("pyright", "--pythonpath", sys.executable)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_on_a_page_is_typed_for_both_checkers(page: Path, tmp_path: Path) -> None:
    files = code_of(page)
    assert files
    for name, code in files.items():
        (tmp_path / name).write_text(code)
    passes_both(tmp_path, *files)


def test_a_new_project_is_typed_for_both_checkers(tmp_path: Path) -> None:
    create_project("shop", tmp_path)
    passes_both(tmp_path / "shop", "shop", "tests")


def test_the_models_of_the_typed_files_can_be_built() -> None:
    modules = [
        importlib.import_module(f"tests.typing.{one.name}") for one in pkgutil.iter_modules(tests.typing.__path__)
    ]
    models = [one for module in modules for one in vars(module).values() if isinstance(one, Model)]
    assert {one.name for one in models} == {"bank", "deciders", "declared"}
