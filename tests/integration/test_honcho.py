"""The Procfile under honcho: started as it is, and exported as units that systemd takes and that run the same."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.systemd import CLONE, settings, verify

ROWS = 100
HONCHO = CLONE / ".venv/bin/honcho"

Variables = dict[str, str]


@pytest.fixture
def variables() -> Variables:
    """The environment without what would reach the Procfile's programs from outside."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AETHER_", "FLIGHTS_"))}


def honcho(variables: Variables, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HONCHO, *arguments], cwd=CLONE, env=variables, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=100, check=False)  # fmt: skip


def env_file(directory: Path) -> Path:
    """Settings in a file, with a space in each value that may have one."""
    path = directory / "dotenv"
    path.write_text(f'AETHER_DATA_DIR="{directory}/the data"\nFLIGHTS_FEED="--limit {ROWS}"\nFLIGHTS_WORKERS=1\n')
    return path


def test_honcho_starts_the_pool_and_the_feed_with_settings_from_a_file(tmp_path: Path, variables: Variables) -> None:
    ended = honcho(variables, "start", "-e", str(env_file(tmp_path)))
    assert ended.returncode == 0, ended.stdout
    assert "1 worker ready" in ended.stdout
    assert f"are equal to a direct pass over the file ({ROWS} rows fed)" in ended.stdout
    assert (tmp_path / "the data" / "nats.url").exists()


@pytest.mark.parametrize("with_file", [False, True])
def test_the_exported_units_are_accepted_and_run_what_the_procfile_says(
    tmp_path: Path, variables: Variables, with_file: bool
) -> None:
    units = tmp_path / "units"
    settings_file = env_file(tmp_path) if with_file else tmp_path / "none"
    exported = honcho(variables, "export", "-a", "flights", "-e", str(settings_file), "systemd", str(units))
    assert exported.returncode == 0, exported.stdout
    assert {path.name for path in units.glob("*.service")} == {"flights-pool-1.service", "flights-feed-1.service"}
    assert verify(units) == (0, "")
    procfile = dict(line.split(": ", 1) for line in (CLONE / "Procfile").read_text().splitlines())
    for name, command in procfile.items():
        unit = settings(units / f"flights-{name}-1.service")
        assert unit["WorkingDirectory"] == [str(CLONE)]
        # systemd would replace variables and specifiers, with other rules than a shell's.
        assert not {"$", "%"} & set(unit["ExecStart"][0])
        assert shlex.split(unit["ExecStart"][0])[-1] == command
        given = dict(shlex.split(assignment)[0].split("=", 1) for assignment in unit["Environment"])
        assert (given.get("AETHER_DATA_DIR"), given.get("FLIGHTS_FEED")) == (
            (f"{tmp_path}/the data", f"--limit {ROWS}") if with_file else (None, None)
        )


def test_an_exported_command_runs_as_systemd_would_run_it(tmp_path: Path, variables: Variables) -> None:
    exported = honcho(variables, "export", "-a", "flights", "-e", str(tmp_path / "none"), "systemd", str(tmp_path))
    assert exported.returncode == 0, exported.stdout

    def run(name: str, **settings_of_it: str) -> subprocess.CompletedProcess[str]:
        command = shlex.split(settings(tmp_path / f"flights-{name}-1.service")["ExecStart"][0])
        environment = {"PATH": "/usr/bin:/bin", "AETHER_DATA_DIR": str(tmp_path / "the data"), **settings_of_it}
        return subprocess.run(
            command, cwd=CLONE, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    refused = run("pool", FLIGHTS_WORKERS="0")
    assert (refused.returncode, "workers must be" in refused.stderr) == (4, True), refused.stderr
    helped = run("feed", FLIGHTS_FEED="--limit 1 --help")
    assert (helped.returncode, "--data-dir" in helped.stdout) == (0, True), helped.stderr
