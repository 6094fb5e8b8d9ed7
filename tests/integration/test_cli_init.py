"""A project that `aether init` made: its test passes, its checks are clean, its pool runs as the Procfile says."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.nats_server import free_port
from tests.support.pool import Pool

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("projects")
    aether(parent, "init", "corner-shop")
    return parent / "corner-shop"


def aether(directory: Path, *arguments: str) -> str:
    """What the command line prints."""
    command = [sys.executable, "-P", "-m", "aether.cli", *arguments]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


def test_its_test_passes(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 passed" in ran.stdout
    assert "Warning" not in ran.stdout + ran.stderr


def test_it_is_clean(project: Path) -> None:
    for check in (("ruff", "check", "--isolated"), ("ruff", "format", "--isolated", "--check"), ("mypy", "--strict")):
        command = [sys.executable, "-m", *check, "."]
        ran = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_it_needs_extras_that_there_are(project: Path) -> None:
    needs = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [(name, extras)] = [one.removesuffix("]").split("[") for one in needs]
    assert name == ours["name"]
    assert set(extras.split(",")) <= set(ours["optional-dependencies"])


def test_its_pool_runs(project: Path) -> None:
    name, _, line = (project / "Procfile").read_text().partition(": ")
    program, *arguments = line.split()
    assert (name, program, arguments[0]) == ("pool", "aether", "run")
    options = ("--workers", "1", "--port", str(free_port()))
    with Pool(arguments[1], *options, directory=project, program=("aether.cli", "run")) as pool:
        data = ("--data-dir", pool.data_dir)
        assert aether(project, "call", *data, "account", "alice", "deposit", "amount=10") == "10\n"
        assert aether(project, "ls", *data, "account") == "alice\n"
