"""What the distribution brings and what it leaves to its users, as a wheel and as a checkout."""

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.pool import READY, Pool

CLONE = Path(__file__).parents[2]
RELOADED = re.compile("aether: reloading")
JOB_SEEN = re.compile("the user's own job: (.*)")

MODEL = """
import sys
from aether import Actor, Model, command
from workers.jobs import job

print("the user's own job:", job(), file=sys.stderr)

class Door(Actor):
    @command
    def knock(self) -> str:
        return job()

model = Model("doors", actors=[Door])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(command, cwd=CLONE, check=True, capture_output=True, timeout=100)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the import path with what the wheel installs."""
    directory = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's project with a package `workers` of its own."""
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers/__init__.py").write_text("")
    (tmp_path / "workers/jobs.py").write_text("def job() -> str:\n    return 'done'\n")
    (tmp_path / "doors.py").write_text(MODEL)
    return tmp_path


def from_wheel(installed: Path) -> dict[str, str]:
    """Variables of a Python that finds the wheel's packages before the checkout's."""
    return {**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{sysconfig.get_path('purelib')}"}


def test_a_wheel_installs_one_package_and_is_called_aether_actors(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {"aether", "aether_actors-0.1.0.dist-info"}
    assert "aether/supervisor/run.py" in names
    assert "aether/py.typed" in names


def test_a_wheel_knows_its_version_without_a_checkout(installed: Path, tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-S", "-m", "aether.cli", "--version"], cwd=tmp_path, text=True, timeout=60,
                          env=from_wheel(installed), capture_output=True, check=False)  # fmt: skip
    assert (told.returncode, told.stdout) == (0, "aether 0.1.0 (plain Python)\n"), told.stderr


@pytest.mark.parametrize("program", ["aether.cli", "aether.supervisor", "workers"])
def test_a_package_of_the_users_named_workers_is_theirs_over_a_reload(project: Path, program: str) -> None:
    """From a checkout, whose launcher has that name too."""
    command = ["aether.cli", "run"] if program == "aether.cli" else [program]
    with Pool("doors:model", "--workers=1", "--nats=embedded", directory=project, program=command) as pool:
        pool.reload()
        pool.wait_for(READY, 2)
        assert [seen[1] for seen in pool.wait_for(JOB_SEEN, 3)] == ["done"] * 3  # at the start, the check, the reload


def test_a_package_named_workers_is_the_users_where_the_wheel_is_installed(project: Path, installed: Path) -> None:
    command = [sys.executable, "-S", "-c", "import aether.cli, sys; sys.exit(aether.cli.main(sys.argv[1:]))"]
    shown = subprocess.run([*command, "model", "schema", "doors:model"], cwd=project, env=from_wheel(installed),
                           text=True, capture_output=True, timeout=60, check=False)  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert JOB_SEEN.search(shown.stderr)
    with Pool("doors:model", "--workers=1", "--nats=embedded", directory=project, program=["aether.cli", "run"],
              variables=from_wheel(installed)) as pool:  # fmt: skip
        pool.wait_for(JOB_SEEN)
        assert pool.drain() == 0
