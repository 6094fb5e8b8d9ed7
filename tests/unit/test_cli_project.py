"""`aether init`: what it makes, and what it refuses."""

from pathlib import Path

import pytest

from aether.cli.project import create_project
from aether.errors import InvalidCommand
from tests.support.command_line import Run, runner


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return runner(capfd)


WRONG = ("", "Bank", "1st", "a_b", "bank-", "-bank", "json", "class", "tests", "aether", "a" * 33, "../x")


@pytest.mark.parametrize("name", WRONG)
def test_a_name_that_cannot_be_a_package_and_a_namespace_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidCommand) as refused:
        create_project(name, tmp_path)
    assert refused.value.path == "NAME"
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bank").mkdir()
    assert run("init", "bank").code == 0, "an empty directory is as good as none"
    model = tmp_path / "bank" / "bank" / "model.py"
    model.write_text("mine")
    ran = run("init", "bank")
    assert (ran.code, ran.out) == (2, "")
    assert "is there already" in ran.err
    assert model.read_text() == "mine"


def test_it_prints_what_it_made_and_what_to_do(run: Run, tmp_path: Path) -> None:
    ran = run("init", "my-shop")
    assert ran.code == 0
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert set(ran.out.splitlines()) == made
    assert {
        "my-shop/pyproject.toml",
        "my-shop/my_shop/model.py",
        "my-shop/tests/test_model.py",
        "my-shop/Procfile",
    } < made
    assert "aether dev my_shop.model:model" in ran.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "$" in path.read_text()]
