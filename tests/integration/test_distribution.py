"""What the distribution brings and what it leaves to its users, as a wheel and as a checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.pool import READY, Pool

CLONE = Path(__file__).parents[2]
RELOADED = re.compile("aether: reloading")
JOB_SEEN = re.compile("the user's own job: (.*)")

EXTENSION = sysconfig.get_config_var("EXT_SUFFIX")
LEFTOVERS = (
    f"aether/core/actor/commit_draft{EXTENSION}",
    f"aether/errors{EXTENSION}",  # of a module that is on no list of compiled ones
    "aether/core/actor/commit_draft.cpython-313-x86_64-linux-gnu.so",
    "aether/codec.abi3.so",
    "aether/core/actor/commit_draft.so",
    "aether/core/actor/commit_draft.c",
    "aether/core/actor/commit_draft.o",
    f"6ec57f84c680d3a3778b__mypyc{EXTENSION}",
    f"aether/6ec57f84c680d3a3778b__mypyc{EXTENSION}",
    "build/lib/aether/core/actor/commit_draft.py",
    "aether/build/lib/aether/core/actor/commit_draft.py",
    "pyproject.toml.bak",
)

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
    return built("wheel", CLONE, directory)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the import path with what the wheel installs."""
    directory = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


@pytest.fixture
def compiled_in_place(tmp_path: Path) -> Path:
    """The checkout's sources, without its list of ignored files, after compilers of several kinds have run in them."""
    copy = tmp_path / "checkout"
    for name in (*tracked("aether"), "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CLONE / name, copy / name)
    for name in LEFTOVERS:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(b"not a module")
    return copy


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's project with a package `workers` of its own."""
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers/__init__.py").write_text("")
    (tmp_path / "workers/jobs.py").write_text("def job() -> str:\n    return 'done'\n")
    (tmp_path / "doors.py").write_text(MODEL)
    return tmp_path


def built(target: str, source: Path, directory: Path) -> Path:
    """A distribution made without the package index."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=100)
    (made,) = directory.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


def tracked(*paths: str) -> list[str]:
    """The files that git has below these paths."""
    listed = subprocess.run(["git", "ls-files", *paths], cwd=CLONE, text=True, check=True, capture_output=True)
    return listed.stdout.splitlines()


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


def test_what_a_compiler_left_in_a_checkout_is_in_no_distribution(compiled_in_place: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(built("wheel", compiled_in_place, tmp_path / "wheel")) as archive:
        files = [name for name in archive.namelist() if not name.startswith("aether_actors-")]
        archive.extractall(tmp_path / "installed")
    assert sorted(files) == sorted(tracked("aether"))
    imports = "import aether, aether.worker.worker, aether.supervisor.run"
    imported = subprocess.run([sys.executable, "-S", "-c", imports],
                              env=from_wheel(tmp_path / "installed"), timeout=60, check=False)  # fmt: skip
    assert imported.returncode == 0
    with tarfile.open(built("sdist", compiled_in_place, tmp_path / "sdist")) as source:
        inside = {name.partition("/")[2] for name in source.getnames()}
    assert {name for name in inside if name.startswith("aether/")} == set(tracked("aether"))


def test_git_ignores_what_a_compiler_leaves() -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", *LEFTOVERS], cwd=CLONE, text=True, check=False, capture_output=True
    )
    assert ignored.stdout.splitlines() == list(LEFTOVERS)


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
